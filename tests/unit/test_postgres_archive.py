"""The reader of pg_dump's custom archive: counts what came, and sees whatever did not come."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db_backup.engines.postgres.archive import ArchiveReader
from db_backup.engines.postgres.contents import LARGE_OBJECTS, DumpContents, StreamDamaged
from db_backup.engines.row_hashing import TableCounter
from support.postgres_archive import ArchiveWriter

pytestmark = pytest.mark.unit

END = b"\\.\n\n\n"
VERSIONS = [(1, 12), (1, 13), (1, 14), (1, 15), (1, 16)]


def read(archive: bytes, block_size: int = 1 << 20) -> DumpContents:
    reader = ArchiveReader()
    for start in range(0, len(archive), block_size):
        reader.feed(archive[start : start + block_size])
    return reader.finish()


def checksum(*rows: bytes) -> str:
    counter = TableCounter()
    counter.add_all(rows)
    return counter.checksum


def sample(version: tuple[int, int] = (1, 14)) -> bytes:
    writer = ArchiveWriter(version)
    writer.entry("ENCODING", None, "ENCODING", definition="SET client_encoding = 'UTF8';\n")
    writer.entry("TABLE", "public", "orders", definition="CREATE TABLE public.orders (id integer);\n")
    writer.table("public", "orders", [b"1\ta\n", b"2\tb\n", END])
    writer.table("public", "empty", [END])
    writer.large_objects([(16400, [b"\x00\xff" * 10, b"more"]), (16401, [])])
    return writer.whole()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_archive_version_is_read(version: tuple[int, int]) -> None:
    tables = {table.name: table for table in read(sample(version)).inventory()}
    assert {name: table.rows for name, table in tables.items()} == {
        "public.orders": 2,
        "public.empty": 0,
        LARGE_OBJECTS: 2,
    }
    assert tables["public.orders"].checksum == checksum(b"1\ta", b"2\tb")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_archive_that_is_cut_anywhere_is_seen_as_truncated(version: tuple[int, int]) -> None:
    archive = sample(version)
    for length in range(len(archive)):
        with pytest.raises(StreamDamaged) as caught:
            read(archive[:length])
        assert caught.value.truncated, length


@pytest.mark.parametrize("block_size", [1, 2, 3, 7, 64])
def test_blocks_of_any_size_are_read_alike(block_size: int) -> None:
    assert read(sample(), block_size).inventory() == read(sample()).inventory()


def test_a_cut_between_two_blocks_names_the_table_that_is_missing() -> None:
    writer = ArchiveWriter()
    writer.table("public", "first", [b"1\n", END])
    writer.announced_table("public", "second")
    writer.announced_table("public", "third")
    with pytest.raises(StreamDamaged, match=r"before the data of table public\.second and of 1 more"):
        read(writer.whole())


def test_a_block_that_was_ended_early_is_missed_by_its_end_mark() -> None:
    writer = ArchiveWriter()
    writer.table("public", "orders", [b"1\n", b"2\n"])
    with pytest.raises(StreamDamaged, match=r"no end mark after the data of table public\.orders"):
        read(writer.whole())


@given(
    rows=st.lists(st.binary(max_size=20).map(lambda row: row.replace(b"\n", b"").replace(b"\\", b"\\\\")), max_size=30),
    seed=st.integers(),
)
def test_chunks_and_rows_need_not_have_the_same_borders(rows: list[bytes], seed: int) -> None:
    content = b"".join(row + b"\n" for row in rows) + END
    borders = sorted(random.Random(seed).sample(range(1, len(content)), k=min(5, len(content) - 1)))
    chunks = [content[start:stop] for start, stop in zip([0, *borders], [*borders, len(content)], strict=True)]
    writer = ArchiveWriter()
    writer.table("public", "t", chunks)
    (table,) = read(writer.whole(), block_size=11).inventory()
    assert (table.rows, table.checksum) == (len(rows), checksum(*rows))


def test_rows_larger_than_memory_should_hold_are_hashed_in_pieces() -> None:
    long_row = b"x" * 5_000_000
    writer = ArchiveWriter()
    writer.table("public", "t", [b"short\n", long_row + b"\n", b"short\n", END])
    (table,) = read(writer.whole(), block_size=300_000).inventory()
    assert (table.rows, table.checksum) == (3, checksum(b"short", long_row, b"short"))


def test_empty_rows_of_a_one_column_table_are_rows() -> None:
    writer = ArchiveWriter()
    writer.table("public", "t", [b"\n", b"\n", END])
    assert read(writer.whole()).inventory()[0].rows == 2


def test_a_large_object_with_other_bytes_has_another_checksum() -> None:
    def with_content(content: bytes) -> str | None:
        writer = ArchiveWriter()
        writer.large_objects([(1, [content])])
        return read(writer.whole()).inventory()[0].checksum

    assert with_content(b"abc") != with_content(b"abd")


def test_partitions_are_added_up_in_their_root() -> None:
    writer = ArchiveWriter()
    for child, parent in (('"a.b"', "middle"), ("middle", "root"), ("other", "root")):
        writer.entry(
            "TABLE ATTACH",
            "public",
            child.strip('"'),
            definition=f"ALTER TABLE ONLY public.{parent} ATTACH PARTITION public.{child} FOR VALUES IN ('x');\n",
        )
    writer.table("public", "a.b", [b"1\n", END])
    writer.table("public", "other", [b"2\n", b"3\n", END])
    (table,) = read(writer.whole()).inventory()
    assert (table.name, table.rows, table.checksum) == ("public.root", 3, checksum(b"1", b"2", b"3"))


def test_a_newer_archive_version_is_refused_with_the_way_out() -> None:
    with pytest.raises(StreamDamaged, match=r"1\.17.*PGSQL_BACKUP_FORMAT=plain") as caught:
        read(ArchiveWriter((1, 17)).whole())
    assert not caught.value.truncated


@pytest.mark.parametrize("version", [(1, 14), (1, 16)])
def test_an_archive_that_is_compressed_inside_is_refused(version: tuple[int, int]) -> None:
    with pytest.raises(StreamDamaged, match="compressed inside"):
        read(ArchiveWriter(version, compression=1).whole())


def test_something_else_is_not_taken_for_an_archive() -> None:
    with pytest.raises(StreamDamaged, match="not a custom archive"):
        read(b"-- PostgreSQL database dump\n\n")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda archive: archive + b"\x01" + bytes(5), "does not announce"),
        (lambda archive: archive.replace(b"\x00\x04\x00\x00\x002\tb\n", b"\x01\x04\x00\x00\x002\tb\n"), "negative"),
        (lambda archive: archive.replace(b"\\.\n\n\n", b"\\.\nxy", 1), "after the end mark"),
    ],
)
def test_damage_that_is_no_truncation_is_told_apart(damage: object, complaint: str) -> None:
    assert callable(damage)
    with pytest.raises(StreamDamaged, match=complaint) as caught:
        read(damage(sample()))
    assert not caught.value.truncated
