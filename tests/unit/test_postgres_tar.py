"""The reader of pg_dump's tar, and what pg_restore is given of it: never all, before the tar is known to be whole."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from db_backup.engines.postgres.contents import DumpContents, StreamDamaged
from db_backup.engines.postgres.tar_archive import TarReader, as_tar, for_pg_restore
from db_backup.engines.postgres.tar_members import TarMembers, header, padding
from support.postgres_archive import ArchiveWriter
from support.tars import tar_members, tar_of
from unit.test_postgres_archive import END, VERSIONS
from unit.test_postgres_archive import read as read_custom

pytestmark = pytest.mark.unit


def written(version: tuple[int, int] = (1, 14), *, tar: bool = True) -> bytes:
    writer = ArchiveWriter(version, tar=tar)
    writer.entry("TABLE", "public", "orders", definition="CREATE TABLE public.orders (id integer);\n")
    writer.table("public", "orders", [b"1\ta\n", b"2\tb\n", END])
    writer.table("public", "empty", [END])
    writer.large_objects([(16400, [b"\x00\xff" * 10, b"more"]), (16401, [])])
    return writer.whole()


def read(tar: bytes, block_size: int = 1 << 20) -> DumpContents:
    reader = TarReader()
    for block in cut(tar, block_size):
        reader.feed(block)
    return reader.finish()


def cut(tar: bytes, block_size: int) -> Iterator[bytes]:
    for start in range(0, len(tar), block_size):
        yield tar[start : start + block_size]


def members_of_what_is_given(given: bytearray) -> dict[str, bytes]:
    """Of a beginning, too."""
    return tar_members(bytes(given) + padding(len(given)))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_tar_holds_what_the_custom_archive_of_the_same_version_holds(version: tuple[int, int]) -> None:
    found = read(written(version))
    assert found.inventory() == read_custom(written(version, tar=False)).inventory()
    assert found.defined == {("public", "orders")}


@pytest.mark.parametrize("block_size", [1, 7, 511, 513])
def test_blocks_of_any_size_are_read_alike(block_size: int) -> None:
    assert read(written(), block_size).inventory() == read(written()).inventory()


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_a_tar_that_is_cut_anywhere_is_seen_as_truncated(version: tuple[int, int]) -> None:
    tar = written(version)
    for length in range(len(tar)):
        with pytest.raises(StreamDamaged) as caught:
            read(tar[:length])
        assert caught.value.truncated, length


def test_what_goes_on_after_its_end_is_no_tar() -> None:
    with pytest.raises(StreamDamaged, match="goes on after its last block"):
        read(written() + bytes(512))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"3.dat": b"1\n" + END + b"2\n"}, "goes on after the end mark of table public.empty"),
        ({"3.dat": b"1\n"}, "no end mark after the data of table public.empty"),
        ({"3.dat": None}, r"ends before the data of table public\.empty$"),
        ({"5.dat": END}, "holds '5.dat', which its table of contents does not announce"),
        ({"../3.dat": END}, "holds '../3.dat', which"),
        ({"blob_16401.dat": None}, "holds other large objects than 'blobs.toc' lists"),
        ({"blob_16402.dat": b""}, "holds 'blob_16402.dat', which"),
        ({"blobs.toc": None}, "ends before the data of blobs"),
        ({"toc.dat": None}, "does not begin with its table of contents"),
        ({"toc.dat": b"PGDMP"}, "ends in its header"),
    ],
)
def test_members_that_are_missing_or_too_many_are_seen(changes: dict[str, bytes | None], complaint: str) -> None:
    members = {**tar_members(written()), **changes}
    with pytest.raises(StreamDamaged, match=complaint):
        read(tar_of({name: content for name, content in members.items() if content is not None}))


def test_a_flipped_bit_in_a_header_or_in_padding_is_damage() -> None:
    tar = written()
    place = tar.rindex(b"3.dat\0")
    for damaged in (place + 130, place + 512 + len(END) + 1):
        flipped = tar[:damaged] + bytes([tar[damaged] ^ 1]) + tar[damaged + 1 :]
        with pytest.raises(StreamDamaged, match=r"3\.dat|2\.dat") as caught:
            read(flipped)
        assert not caught.value.truncated


def test_a_member_of_more_than_8_gib_is_announced_as_pg_restore_reads_it() -> None:
    size = 9 << 30
    (piece,) = TarMembers().feed(header("7.dat", size) + b"1\n")
    assert (piece.name, piece.size, piece.data, piece.ends) == ("7.dat", size, b"1\n", False)


@pytest.mark.parametrize("block_size", [1, 600, 1 << 20])
@pytest.mark.parametrize("without", [(), ("blob_16400.dat", "blob_16401.dat", "blobs.toc"), ("2.dat", "3.dat")])
def test_pg_restore_waits_for_bytes_that_come_when_the_tar_is_known_to_be_whole(
    block_size: int, without: tuple[str, ...]
) -> None:
    members = {name: content for name, content in tar_members(written()).items() if name not in without}
    ended = False

    def content() -> Iterator[bytes]:
        nonlocal ended
        yield from cut(tar_of(members), block_size)
        ended = True

    before, after = bytearray(), bytearray()
    for block in for_pg_restore(content()):
        (after if ended else before).extend(block)
    assert after
    given = members_of_what_is_given(before + after)
    lists = {name: b"" for name in given if name.startswith("blobs")}
    assert given == {**{name: content for name, content in members.items() if name != "restore.sql"}, **lists}
    last_header = bytes(before + after).rindex(f"{list(given)[-1]}\0".encode())
    wanted = last_header + 512 + len(list(given.values())[-1])
    assert len(before) < wanted


def test_a_tar_that_is_not_whole_is_never_given_to_its_end() -> None:
    given = bytearray()
    with pytest.raises(StreamDamaged, match="ends before its last block"):
        deque(map(given.extend, for_pg_restore([written()[:-1]])), maxlen=0)
    assert "blob_16401.dat" in members_of_what_is_given(given)
    assert "blobs.toc" not in members_of_what_is_given(given)


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_a_directory_becomes_a_tar_in_the_order_of_its_table_of_contents(
    tmp_path: Path, version: tuple[int, int]
) -> None:
    members = tar_members(written(version))
    del members["restore.sql"]
    (listed,) = (name for name in members if name.startswith("blobs"))
    members["toc.dat"] = members["toc.dat"].replace(
        b"\x05\0\0\x004.dat", len(listed).to_bytes(4, "little") + listed.encode()
    )
    for name in reversed(members):
        (tmp_path / name).write_bytes(members[name])
    tar = b"".join(as_tar(tmp_path))
    assert tar_members(tar) == members
    assert list(tar_members(tar)) == list(members)
    assert read(tar).inventory() == read(written(version)).inventory()
    listing = subprocess.run(["tar", "--list"], input=tar, capture_output=True, check=True).stdout.decode()
    assert listing.split() == list(members)
