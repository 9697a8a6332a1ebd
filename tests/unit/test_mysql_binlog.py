"""Binlog events, the tar of increments, and where a replay stops: made by hand, byte by byte."""

from __future__ import annotations

import io
import struct
import subprocess
import tarfile
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db_backup.engines.mysql.chain.archive import END_OF_TAR, MalformedArchive, Span, member, read_members
from db_backup.engines.mysql.chain.events import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    MAGIC,
    Event,
    EventScanner,
    EventType,
    Head,
    MalformedBinlog,
    read_head,
)
from db_backup.engines.mysql.chain.moments import Stop, StopAfterGtid, StopAtPosition, StopAtTime
from db_backup.engines.mysql.chain.position import Place, Position
from db_backup.engines.mysql.chain.silencing import Silencer
from db_backup.engines.mysql.chain.unreplayable import Unreplayable, xid_text

pytestmark = pytest.mark.unit

NOON = 1_770_000_000


def event(kind: int, body: bytes, offset: int, *, at: int = NOON, checked: bool = True) -> bytes:
    length = HEADER_BYTES + len(body) + CHECKSUM_BYTES * checked
    plain = struct.pack("<IBIIIH", at, kind, 1, length, (offset + length) % 2**32, 0) + body
    return plain + zlib.crc32(plain).to_bytes(4, "little") if checked else plain


def description(algorithm: int = 1) -> bytes:
    body = struct.pack("<H50sIB", 4, b"10.11.19-MariaDB", 0, HEADER_BYTES) + bytes(40) + bytes([algorithm])
    return event(EventType.FORMAT_DESCRIPTION, body, len(MAGIC))


def head_of(*, algorithm: int = 1) -> Head:
    begins = MAGIC + description(algorithm)
    listed = event(EventType.MARIADB_GTID_LIST, struct.pack("<I", 0), len(begins), checked=bool(algorithm))
    return Head(begins + listed)


def query(statement: bytes, *, database: bytes = b"shop", took: int = 0, mode: int = 0) -> bytes:
    variables = struct.pack("<BIBQ", 0, 0, 1, mode)
    return struct.pack("<IIBHH", 7, took, len(database), 0, len(variables)) + variables + database + b"\0" + statement


def gtid(number: int) -> bytes:
    return struct.pack("<QIB6x", number, 0, 1)


class Log:
    """Events, one after the other."""

    def __init__(self, offset: int) -> None:
        self.start = offset
        self.content = b""
        self.starts: list[int] = []

    def add(self, kind: int, body: bytes, *, at: int = NOON) -> Log:
        self.starts.append(self.start + len(self.content))
        self.content += event(kind, body, self.starts[-1], at=at)
        return self

    def transaction(self, number: int, at: int, *, took: int = 0) -> Log:
        self.add(EventType.MARIADB_GTID, gtid(number), at=at)
        return self.add(EventType.QUERY, query(b"INSERT", took=took), at=at)

    @property
    def end(self) -> int:
        return self.start + len(self.content)

    def events(self, step: int = 7) -> list[Event]:
        scanner = EventScanner(self.start, CHECKSUM_BYTES)
        found = [
            one
            for start in range(0, len(self.content), step)
            for one in scanner.feed(self.content[start : start + step])
        ]
        scanner.finish()
        return found


# Events


@pytest.mark.parametrize("step", [1, 3, 19, 100, 10_000])
def test_events_are_found_whatever_the_blocks_are(step: int) -> None:
    log = Log(4711).transaction(42, NOON).add(EventType.XID, bytes(8))
    found = log.events(step)
    assert [one.offset for one in found] == log.starts
    assert [one.header.type for one in found] == [EventType.MARIADB_GTID, EventType.QUERY, EventType.XID]
    assert (found[0].gtid, found[1].statement, found[1].database) == ("0-1-42", b"INSERT", b"shop")


def test_a_flipped_bit_anywhere_in_an_event_is_found() -> None:
    log = Log(4711).transaction(42, NOON)
    for place in range(len(log.content)):
        damaged = bytearray(log.content)
        damaged[place] ^= 0x10
        scanner = EventScanner(log.start, CHECKSUM_BYTES)
        with pytest.raises(MalformedBinlog):
            _scan_all(scanner, bytes(damaged))


def _scan_all(scanner: EventScanner, content: bytes) -> None:
    list(scanner.feed(content))
    scanner.finish()


def test_events_beyond_4_gib_are_found_though_their_own_offsets_have_32_bits() -> None:
    start = 2**32 - 20
    assert next(one.offset for one in Log(start).transaction(1, NOON).events()) == start


def test_a_compressed_statement_is_read() -> None:
    text = b"GRANT SELECT ON a.* TO b" * 30
    packed = bytes([0x82]) + len(text).to_bytes(2, "big") + zlib.compress(text)
    (found,) = Log(100).add(EventType.COMPRESSED_QUERY, query(packed)).events()
    assert found.statement == text


def test_a_head_ends_where_the_first_transaction_may_begin() -> None:
    head = head_of()
    rest = event(EventType.MARIADB_GTID, gtid(1), len(head.content))
    assert read_head(head.content + rest) == head
    assert read_head(head.content[:50]) is None
    assert (head.checksum_bytes, head_of(algorithm=0).checksum_bytes) == (4, 0)
    with pytest.raises(MalformedBinlog):
        read_head(b"no binlog")


# Positions


def test_a_position_is_read_as_it_was_written() -> None:
    position = Position(Place("mariadb-bin.000003", 4711), "0-1-42,1-2-7", 1, 3, head="ab12")
    assert str(position).startswith("mariadb-bin.000003:4711 ")
    assert Position.parse(str(position)) == position
    assert Position.parse("bin.000001:4 server=1 domain=0").gtids == frozenset()


@pytest.mark.parametrize("text", ["", "bin.000001", "bin:x", "../bin.000001:4", "a b:3"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no position"):
        Position.parse(text)


def test_files_are_in_the_order_of_their_numbers() -> None:
    assert Place("bin.999999", 9).order < Place("bin.1000000", 4).order


# The tar


def spans(first: Log, second: Log) -> list[tuple[Span, bytes]]:
    return [
        (Span("bin.000001", first.start, first.end), first.content),
        (Span("bin.000002", second.start, second.end), second.content),
    ]


def archive(start: int) -> tuple[bytes, Head, list[tuple[Span, bytes]]]:
    """From ``start`` of one file to the middle of the next."""
    head = head_of()
    held = spans(Log(start).transaction(1, NOON), Log(len(head.content)).transaction(2, NOON))
    tar = b"".join(part for span, content in held for part in _around(span, head, content))
    return tar + END_OF_TAR, head, held


def _begin(held: list[tuple[Span, bytes]]) -> Place:
    return Place(held[0][0].file, held[0][0].start)


def _around(span: Span, head: Head, content: bytes) -> tuple[bytes, bytes, bytes]:
    before, after = member(span, head)
    return before, content, after


@pytest.mark.parametrize("start", [200, 511, 512, 513, 4711, 9 << 30])
def test_what_is_written_is_read_again(start: int) -> None:
    tar, head, held = archive(start)
    for step in (1_000, 7):
        blocks = (tar[at : at + step] for at in range(0, len(tar), step))
        found = [(one.span, one.head, b"".join(one.content)) for one in read_members(blocks, _begin(held))]
        assert found == [(span, head, content) for span, content in held]


@pytest.mark.parametrize("start", [200, 4711])
def test_stock_tar_makes_files_with_every_event_at_its_offset(start: int, tmp_path: Path) -> None:
    tar, head, held = archive(start)
    subprocess.run(["tar", "--extract", "--file=-"], cwd=tmp_path, input=tar, check=True)
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        for span, content in held:
            extracted = (tmp_path / span.file).read_bytes()
            assert extracted == opened.extractfile(span.file).read()  # type: ignore[union-attr]
            assert extracted[: len(head.content)] == head.content
            assert extracted[span.start :] == content


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_tar_that_is_cut_off_is_refused(kept: float) -> None:
    tar, _, held = archive(4711)
    with pytest.raises(MalformedArchive) as caught:
        _read_all(tar[: int(len(tar) * kept)], _begin(held))
    assert caught.value.truncated


def _read_all(tar: bytes, start: Place) -> None:
    for one in read_members([tar], start):
        list(one.content)


def test_a_tar_of_something_else_is_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as other:
        other.addfile(tarfile.TarInfo("bin.000001"))
    with pytest.raises(MalformedArchive):
        list(read_members([buffer.getvalue()], Place("bin.000001", 4711)))


# Where a replay stops


def stopped(stop: Stop, *logs: Log, taken_at: int = NOON + 1000) -> Stop:
    for number, log in enumerate(logs, start=1):
        stop.begin_increment(datetime.fromtimestamp(taken_at, UTC))
        stop.begin(f"bin.00000{number}")
        for one in log.events():
            stop.see(one)
        stop.end(Span(f"bin.00000{number}", log.start, log.end))
    return stop


def at_time(seconds: int, *logs: Log) -> StopAtTime:
    stop = StopAtTime(datetime.fromtimestamp(seconds, UTC))
    stopped(stop, *logs)
    return stop


def test_a_second_is_there_with_all_that_was_committed_in_it_and_nothing_later() -> None:
    log = Log(300).transaction(1, NOON).transaction(2, NOON + 1).transaction(3, NOON + 1).transaction(4, NOON + 2)
    assert at_time(NOON + 1, log).place == Place("bin.000001", log.starts[6])
    assert at_time(NOON, log).place == Place("bin.000001", log.starts[2])
    assert at_time(NOON + 5, log).place is None


def test_a_statement_counts_by_when_it_ended_where_the_binlog_tells_it() -> None:
    log = Log(300).transaction(1, NOON).transaction(2, NOON, took=60)
    assert at_time(NOON + 30, log).place == Place("bin.000001", log.starts[2])


def test_what_says_an_earlier_second_after_a_later_one_is_not_there_and_is_counted() -> None:
    log = Log(300).transaction(1, NOON).transaction(2, NOON + 50).transaction(3, NOON + 10)
    stop = at_time(NOON + 20, log)
    assert stop.place == Place("bin.000001", log.starts[2])
    assert stop.later == 1


def test_a_clock_that_a_session_has_set_to_the_future_ends_no_replay() -> None:
    log = Log(300).transaction(1, NOON + 10**8).transaction(2, NOON).transaction(3, NOON + 9)
    stop = at_time(NOON + 5, log)
    assert stop.place == Place("bin.000001", log.starts[4])


def test_a_gtid_is_there_with_its_own_transaction() -> None:
    log = Log(300).transaction(1, NOON).transaction(2, NOON).transaction(3, NOON)
    assert stopped(StopAfterGtid("0-1-2"), log).place == Place("bin.000001", log.starts[4])
    last = stopped(StopAfterGtid("0-1-3"), log)
    assert last.place == Place("bin.000001", log.end)
    assert last.last is not None
    assert last.last.gtid == "0-1-3"
    assert stopped(StopAfterGtid("0-1-4"), log).place is None


def test_a_position_inside_of_a_transaction_is_the_beginning_of_it() -> None:
    log = Log(300).transaction(1, NOON).add(EventType.BINLOG_CHECKPOINT, b"bin").transaction(2, NOON)
    for offset, place in (
        (log.starts[0], log.starts[0]),
        (log.starts[1], log.starts[0]),
        (log.starts[2], log.starts[2]),
        (log.starts[3], log.starts[3]),
        (log.starts[4], log.starts[3]),
        (log.end, log.end),
    ):
        assert stopped(StopAtPosition(Place("bin.000001", offset)), log).place == Place("bin.000001", place)
    assert stopped(StopAtPosition(Place("bin.000001", log.starts[1] + 1)), log).place is None


# What a scratch server is spared


def spared(statement: bytes) -> bytes:
    """The statement that is replayed in its place."""
    log = Log(300).add(EventType.QUERY, query(statement))
    (found,) = log.events()
    silencer = Silencer()
    content = bytearray(log.content)
    for patch in silencer.see(found):
        content[patch.offset - 300 : patch.offset - 300 + len(patch.content)] = patch.content
    log.content = bytes(content)
    (replayed,) = log.events()  # its checksum and length are right
    assert replayed.statement is not None
    return replayed.statement.rstrip()


@pytest.mark.parametrize(
    "statement",
    [
        b"GRANT SELECT ON shop.* TO ada@localhost",
        b"/* of the app */ revoke all on *.* from ada",
        b"CREATE OR REPLACE USER ada IDENTIFIED BY 'x'",
        b"DROP ROLE IF EXISTS reader",
        b"SET PASSWORD FOR ada@localhost = PASSWORD('x')",
        b"SET STATEMENT max_statement_time = 10 FOR GRANT SELECT ON a.* TO b",
        b"SET STATEMENT sql_mode = 'FOR GRANT' FOR RENAME USER a TO b",
        b"/*!50003 ALTER USER ada ACCOUNT LOCK */",
    ],
)
def test_statements_about_accounts_do_nothing(statement: bytes) -> None:
    assert spared(statement) == b"DO 0"


@pytest.mark.parametrize(
    "statement",
    [
        b"CREATE TABLE grants (user int)",
        b"INSERT INTO t VALUES ('GRANT SELECT ON a TO b')",
        b"CREATE PROCEDURE p() GRANT SELECT ON a.* TO b",
        b"SET STATEMENT max_statement_time = 10 FOR INSERT INTO t VALUES ('DROP USER x')",
        b"DROP TABLE IF EXISTS `shop`.`t` /* generated by server */",
        b"DROP USERS",
        b"BEGIN",
    ],
)
def test_other_statements_stay_as_they_are(statement: bytes) -> None:
    assert spared(statement) == statement


def test_what_is_dropped_may_be_missing() -> None:
    assert spared(b"DROP TABLE `shop`.`t`,`shop`.`nope` /* generated by server */").startswith(
        b"DROP TABLE IF EXISTS `shop`.`t`,`shop`.`nope`"
    )
    assert spared(b"DROP VIEW a, b") == b"DROP VIEW IF EXISTS a, b"


def test_tables_are_made_without_the_keys_of_their_server() -> None:
    assert spared(b"CREATE TABLE t (a int) ENCRYPTED=YES") == b"CREATE TABLE t (a int) ENCRYPTED=NO"
    assert spared(b"ALTER TABLE t `ENCRYPTED`='YES'") == b"ALTER TABLE t `ENCRYPTED`=NO"


def test_transactions_of_others_and_loaded_files_cannot_be_replayed() -> None:
    xid = xid_text(1, 1, b"xy")
    (decided,) = Log(300).add(EventType.QUERY, query(b"XA COMMIT X'78',X'79',1")).events()
    for known, reason in (((xid,), True), ((), False), ((xid_text(1, 2, b"xy"),), False)):
        watching = Unreplayable(known)
        watching.see(decided)
        assert bool(watching.reason) is reason
    loading = Unreplayable(())
    (loads,) = Log(300).add(EventType.BEGIN_LOAD_QUERY, bytes(8)).events()
    loading.see(loads)
    assert "LOAD DATA" in loading.reason
