"""PostgreSQL's chains without a server: positions, pages, pieces, the base's tar, and which links lead to a point."""

from __future__ import annotations

import hashlib
import itertools
import json
import struct
from collections.abc import Iterator
from datetime import timedelta

import pytest

from db_backup.engines.chain import Link
from db_backup.engines.postgres.chain.base_tar import BaseReader
from db_backup.engines.postgres.chain.links import needed, position_of
from db_backup.engines.postgres.chain.pieces import PiecesReader, as_tar, parts_of
from db_backup.engines.postgres.chain.position import (
    PAGE_BYTES,
    Position,
    format_lsn,
    last_page,
    parse_lsn,
    record_end,
    segment_name,
    segment_start,
)
from db_backup.engines.postgres.chain.slot import slot_name
from db_backup.engines.postgres.chain.wal_pages import WalPages
from db_backup.engines.postgres.contents import StreamDamaged
from db_backup.engines.postgres.tar_members import END_OF_TAR
from db_backup.errors import ChainBroken, PointOutOfReach, UsageError
from db_backup.manifest import Chain
from db_backup.model import BackupType
from db_backup.recovery import Point
from support.factories import MORNING, make_manifest
from support.tars import tar_of

pytestmark = pytest.mark.unit

SEGMENT = 1 << 20
SYSTEM = "7711365717517794658"


def position(lsn: int, **overrides: object) -> Position:
    fields = {"lsn": lsn, "timeline": 1, "system": SYSTEM, "segment_bytes": SEGMENT, "page": "0" * 32, **overrides}
    return Position(**fields)  # type: ignore[arg-type]


def wal(start: int, end: int, *, timeline: int = 1, system: str = SYSTEM) -> bytes:
    """Pages as a server writes them, filled with something else than zeros."""
    first = start // PAGE_BYTES * PAGE_BYTES
    pages = []
    for address in range(first, end, PAGE_BYTES):
        is_first = address % SEGMENT == 0
        head = struct.pack("<HHIQII", 0xD110, 2 if is_first else 0, timeline, address, 0, 0)
        if is_first:
            head += struct.pack("<QII", int(system), SEGMENT, PAGE_BYTES)
        pages.append(head + b"w" * (PAGE_BYTES - len(head)))
    return b"".join(pages)[start - first : end - first]


# Positions


@pytest.mark.parametrize("lsn", [0, 1, 0x3000148, (1 << 32) - 1, 1 << 32, (1 << 64) - 1])
def test_an_lsn_is_read_as_it_prints(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "0/G", "0-3000148", "123456789/0", "0/123456789", "-1/0"])
def test_what_is_no_lsn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no position"):
        parse_lsn(text)


def test_a_position_is_read_as_it_prints_and_begins_with_its_lsn() -> None:
    there = position(0x3000148, timeline=7)
    assert str(there).split()[0] == "0/3000148"
    assert Position.parse(str(there)) == there


@pytest.mark.parametrize("text", ["", "0/3000148", "mariadb-bin.000001:4", str(position(1)).replace("1048576", "1000")])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no position"):
        Position.parse(text)


@pytest.mark.parametrize("segment_bytes", [1 << 20, 16 << 20, 1 << 30])
@pytest.mark.parametrize("lsn", [0, 0x3000148, 0xFFFFFFFF, 1 << 32, 0x1_2345_6789])
def test_a_segment_is_found_by_its_name_whatever_its_size(lsn: int, segment_bytes: int) -> None:
    timeline, start = segment_start(segment_name(lsn, 3, segment_bytes), segment_bytes)
    assert timeline == 3
    assert start <= lsn < start + segment_bytes


def test_segments_are_named_as_postgresql_names_them() -> None:
    assert segment_name(parse_lsn("1/2A00148"), 2, 16 << 20) == "000000020000000100000002"  # pg_walfile_name
    assert segment_name(parse_lsn("1/2A00148"), 2, 1 << 20) == "00000002000000010000002A"


@pytest.mark.parametrize("name", ["00000001.history", "0000000100000000000000", "000000010000000000001000", "x" * 24])
def test_what_is_no_segment_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no segment"):
        segment_start(name, SEGMENT)


@pytest.mark.parametrize(
    ("insert", "end"),
    [
        pytest.param(2 * SEGMENT + 40, 2 * SEGMENT, id="a segment's first page"),
        pytest.param(2 * SEGMENT + PAGE_BYTES + 24, 2 * SEGMENT + PAGE_BYTES, id="any other page"),
        pytest.param(2 * SEGMENT + PAGE_BYTES + 40, 2 * SEGMENT + PAGE_BYTES + 40, id="the end of a record there"),
        pytest.param(2 * SEGMENT + PAGE_BYTES, 2 * SEGMENT + PAGE_BYTES, id="a page's start"),
    ],
)
def test_where_the_next_record_begins_after_a_pages_header_the_last_one_ended_before_it(insert: int, end: int) -> None:
    assert record_end(insert, SEGMENT) == end


def test_the_page_before_a_position_is_the_one_of_its_last_byte() -> None:
    assert last_page(PAGE_BYTES + 1) == PAGE_BYTES
    assert last_page(2 * PAGE_BYTES) == PAGE_BYTES


@pytest.mark.parametrize("entry", ["shop", "main-pg", "x" * 48])
def test_a_slots_name_is_one_that_postgresql_takes_and_differs_between_servers(entry: str) -> None:
    name = slot_name(entry, SYSTEM)
    assert len(name) <= 63
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert name == slot_name(entry, SYSTEM)
    assert name != slot_name(entry, "4711")
    assert slot_name("main-pg", SYSTEM) != slot_name("main_pg", SYSTEM)


# Pages


@pytest.mark.parametrize("size", [1, 7, 41, PAGE_BYTES, 100_003])
def test_pages_are_recognised_however_they_are_cut(size: int) -> None:
    data = wal(100, 3 * SEGMENT)
    pages = WalPages(100, 1, system=SYSTEM, segment_bytes=SEGMENT)
    for start in range(0, len(data), size):
        pages.feed(data[start : start + size])
    assert pages.at == 3 * SEGMENT


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(wal(SEGMENT, 2 * SEGMENT), id="of another place"),
        pytest.param(wal(0, SEGMENT, timeline=2), id="of a later timeline"),
        pytest.param(wal(0, SEGMENT, system="4711"), id="of another server"),
        pytest.param(b"\xd1" * SEGMENT, id="of nothing"),
        pytest.param(wal(0, PAGE_BYTES) + bytes(PAGE_BYTES) + wal(2 * PAGE_BYTES, SEGMENT), id="with a hole"),
    ],
)
def test_what_is_not_this_write_ahead_log_is_refused(data: bytes) -> None:
    with pytest.raises(StreamDamaged):
        WalPages(0, 1, system=SYSTEM, segment_bytes=SEGMENT).feed(data)


def test_the_rest_of_a_segment_that_was_switched_is_zeros_and_the_next_one_goes_on() -> None:
    pages = WalPages(0, 1, system=SYSTEM, segment_bytes=SEGMENT)
    pages.feed(wal(0, PAGE_BYTES) + bytes(SEGMENT - PAGE_BYTES) + wal(SEGMENT, SEGMENT + 100))
    assert pages.at == SEGMENT + 100


# Pieces

START, END = SEGMENT - 1234, 3 * SEGMENT + 4321


def pieces_tar(start: int = START, end: int = END) -> bytes:
    data = wal(start, end)
    blocks = (data[at : at + 70_001] for at in range(0, len(data), 70_001))
    return b"".join(as_tar(blocks, start, end, 1, SEGMENT))


def read_pieces(tar: bytes, start: int = START, end: int = END, size: int = 100_003) -> bytes:
    reader = PiecesReader(position(start), position(end))
    found = [
        piece for at in range(0, len(tar), size) for piece in reader.feed(tar[at : at + size])
    ]  # in the order in which they lie in the log
    reader.finish()
    return b"".join(piece.data for piece in found)


@pytest.mark.parametrize("size", [513, 100_003, 1 << 24])
def test_pieces_put_together_are_the_log_that_went_in(size: int) -> None:
    assert read_pieces(pieces_tar(), size=size) == wal(START, END)


def test_pieces_say_where_in_their_segments_they_belong() -> None:
    reader = PiecesReader(position(START), position(END))
    for piece in reader.feed(pieces_tar()):
        _, start = segment_start(piece.segment, SEGMENT)
        assert piece.data == wal(start + piece.offset, start + piece.offset + len(piece.data))


def test_an_empty_increment_is_a_tar_of_nothing() -> None:
    assert pieces_tar(START, START) == END_OF_TAR
    assert read_pieces(END_OF_TAR, START, START) == b""


def test_a_range_is_divided_where_segments_end() -> None:
    assert list(parts_of(START, END, SEGMENT)) == [
        (START, SEGMENT),
        (SEGMENT, 2 * SEGMENT),
        (2 * SEGMENT, 3 * SEGMENT),
        (3 * SEGMENT, END),
    ]
    assert list(parts_of(SEGMENT, 2 * SEGMENT, SEGMENT)) == [(SEGMENT, 2 * SEGMENT)]


@pytest.mark.parametrize("kept", [0, 100, 512, 5000, -1, -513, -1024])
def test_pieces_that_are_cut_off_are_seen(kept: int) -> None:
    with pytest.raises(StreamDamaged):
        read_pieces(pieces_tar()[:kept])


@pytest.mark.parametrize(
    ("start", "end"),
    [(START - 1, END), (START + 1, END), (START, END - 1), (START, END + 1), (START, START), (END, END)],
)
def test_pieces_of_another_range_than_the_manifest_says_are_refused(start: int, end: int) -> None:
    with pytest.raises(StreamDamaged):
        read_pieces(pieces_tar(), start, end)


def test_a_member_that_is_no_piece_is_refused() -> None:
    for name in ("passwd", "../000000010000000000000000.00000000", "000000010000000000000000"):
        with pytest.raises(StreamDamaged):
            read_pieces(tar_of({name: b"w"}))


# The base's tar


def base_files() -> dict[str, bytes]:
    return {"backup_label": b"START", "PG_VERSION": b"15\n", "base/1/1259": b"rows" * 5000, "global/pg_control": b"c"}


def backup_manifest(files: dict[str, bytes], *, checksum: str | None = None) -> bytes:
    listed = [
        {
            "Path": name,
            "Size": len(data),
            "Last-Modified": "2026-01-31 03:00:00 GMT",
            "Checksum-Algorithm": "SHA256",
            "Checksum": hashlib.sha256(data).hexdigest(),
        }
        for name, data in files.items()
    ]
    ranges = [{"Timeline": 1, "Start-LSN": format_lsn(SEGMENT + 40), "End-LSN": format_lsn(SEGMENT + 400)}]
    text = json.dumps({"PostgreSQL-Backup-Manifest-Version": 1, "Files": listed, "WAL-Ranges": ranges})[:-1] + ",\n"
    own = checksum or hashlib.sha256(text.encode()).hexdigest()
    return f'{text}"Manifest-Checksum": "{own}"}}\n'.encode()


def segment(lsn: int) -> dict[str, bytes]:
    return {f"pg_wal/{segment_name(lsn, 1, SEGMENT)}": wal(lsn, lsn + SEGMENT)}


def base_members(**changes: bytes) -> dict[str, bytes]:
    files = base_files()
    members = {**files, **segment(SEGMENT), "backup_manifest": backup_manifest(files)}
    return {**members, **changes}


def read_base(tar: bytes, size: int = 100_003) -> BaseReader:
    reader = BaseReader()
    for at in range(0, len(tar), size):
        for _ in reader.feed(tar[at : at + size]):
            pass
    return reader


@pytest.mark.parametrize("size", [511, 100_003])
def test_a_whole_base_says_where_its_log_ends(size: int) -> None:
    members = base_members() | segment(2 * SEGMENT)
    contents = read_base(tar_of(members), size).finish()
    assert (contents.timeline, contents.start, contents.consistent) == (1, SEGMENT + 40, SEGMENT + 400)
    assert contents.end == 3 * SEGMENT


def damaged_bases() -> Iterator[tuple[str, dict[str, bytes]]]:
    whole = base_members()
    yield "a file is missing", {name: data for name, data in whole.items() if name != "PG_VERSION"}
    yield "a file is another", base_members(PG_VERSION=b"16\n")
    yield "a file is longer", base_members(PG_VERSION=b"15\n\n")
    yield "there is one more", base_members(**{"base/1/9999": b""})
    yield "a name leads out", base_members(**{"../evil": b""})
    yield "a name is absolute", base_members(**{"/etc/cron.d/evil": b""})
    yield "the manifest is missing", {name: data for name, data in whole.items() if name != "backup_manifest"}
    yield "the manifest was edited", base_members(backup_manifest=backup_manifest(base_files(), checksum="0" * 64))
    yield "the manifest is no JSON", base_members(backup_manifest=b"{")
    yield "the log is missing", {name: data for name, data in whole.items() if not name.startswith("pg_wal/")}
    yield (
        "the log begins too late",
        {name: d for name, d in whole.items() if "pg_wal" not in name} | segment(2 * SEGMENT),
    )
    yield "the log has a gap", whole | segment(3 * SEGMENT)
    yield "the log is another", base_members(**{f"pg_wal/{segment_name(SEGMENT, 1, SEGMENT)}": wal(0, SEGMENT)})


@pytest.mark.parametrize("members", [pytest.param(members, id=reason) for reason, members in damaged_bases()])
def test_a_base_that_is_not_whole_is_refused(members: dict[str, bytes]) -> None:
    with pytest.raises(StreamDamaged):
        read_base(tar_of(members)).finish()


@pytest.mark.parametrize("kept", [0, 600, 20_000, 500_000, -1, -513, -1024])
def test_a_base_that_is_cut_off_is_seen(kept: int) -> None:
    with pytest.raises(StreamDamaged):
        read_base(tar_of(base_members())[:kept]).finish()


# Which links lead to a point


def link(number: int, lsn: int | None, minutes: int) -> Link:
    manifest = make_manifest(
        entry="main",
        type=BackupType.INCREMENTAL if number else BackupType.FULL,
        serial=number + 1,
        recovery_point=MORNING + timedelta(minutes=minutes),
        chain=Chain(to_position=None if lsn is None else str(position(lsn))),
    )
    return Link(manifest, lambda _stream: [])


CHAIN = [link(0, 1000, 0), link(1, 2000, 10), link(2, 2000, 20), link(3, 3000, 30)]


@pytest.mark.parametrize(
    ("point", "count"),
    [
        (Point(), 4),
        (Point(time=MORNING), 1),
        (Point(time=MORNING + timedelta(minutes=10)), 2),
        (Point(time=MORNING + timedelta(minutes=10, microseconds=1)), 3),
        (Point(time=MORNING + timedelta(minutes=30)), 4),
        (Point(lsn=format_lsn(1000)), 1),
        (Point(lsn=format_lsn(1001)), 2),
        (Point(lsn=format_lsn(2000)), 2),
        (Point(lsn=format_lsn(3000)), 4),
    ],
)
def test_no_more_links_are_read_than_lead_to_the_point(point: Point, count: int) -> None:
    assert needed(CHAIN, point) == CHAIN[:count]


@pytest.mark.parametrize(
    ("point", "nearest"),
    [
        (Point(time=MORNING - timedelta(seconds=1)), "2026-01-31 03:00:00.000000 UTC"),
        (Point(time=MORNING + timedelta(days=1)), "2026-01-31 03:30:00.000000 UTC"),
        (Point(lsn="0/1"), "0/3E8"),
        (Point(lsn="1/0"), "0/BB8"),
    ],
)
def test_a_point_out_of_reach_is_answered_with_the_nearest_one(point: Point, nearest: str) -> None:
    with pytest.raises(PointOutOfReach) as caught:
        needed(CHAIN, point)
    assert caught.value.hint == f"The nearest point is {nearest}."


def test_when_the_servers_clock_went_back_the_latest_time_is_still_reached() -> None:
    jumped = [*CHAIN, link(4, 4000, 5)]
    assert needed(jumped, Point(time=MORNING + timedelta(minutes=30))) == jumped[:4]


@pytest.mark.parametrize("point", [Point(gtid="0-1-4711"), Point(position="mariadb-bin.000003:4"), Point(lsn="here")])
def test_points_that_postgresql_does_not_know_are_refused(point: Point) -> None:
    with pytest.raises(UsageError):
        needed(CHAIN, point)


def test_a_backup_that_does_not_say_where_it_ends_is_no_link() -> None:
    with pytest.raises(ChainBroken):
        position_of(link(0, None, 0).manifest)


def test_every_piece_of_a_tar_comes_in_the_order_of_the_log() -> None:
    reader = PiecesReader(position(START), position(END))
    found = list(reader.feed(pieces_tar()))
    at = [segment_start(piece.segment, SEGMENT)[1] + piece.offset for piece in found]
    assert all(before < after for before, after in itertools.pairwise(at))
