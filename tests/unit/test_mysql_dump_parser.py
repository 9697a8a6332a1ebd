"""Dumps taken apart: the same whatever the blocks, and not led astray by what stands inside strings and bodies."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from xxhash import xxh3_64_intdigest

from db_backup.engines.mysql.dump_parser import DumpParser, with_name
from db_backup.engines.mysql.dump_splitter import ROWS_LIMIT_BYTES, DumpSplitter, Kind, MalformedDump

pytestmark = pytest.mark.unit

HEAD = b"-- MariaDB dump 10.19\n--\n-- Host: localhost    Database: shop\n"
END = b"-- Dump completed on 2026-01-31  3:00:00\n"
TABLE = b"CREATE TABLE `t` (\n  `a` int\n) ENGINE=InnoDB;\n"


def blocks(content: bytes, size: int) -> Iterable[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


def parse(content: bytes, size: int = 1 << 20) -> DumpParser:
    parser = DumpParser()
    for block in blocks(content, size):
        parser.feed(block)
    parser.finish()
    return parser


def rows_of(content: bytes, size: int = 1 << 20) -> dict[str, int]:
    return {table.name: table.rows for table in parse(content, size).tables}


def insert(rows: list[bytes], *, separator: bytes = b",\n", head: bytes = b"INSERT INTO `t` VALUES\n") -> bytes:
    return head + separator.join(b"(%s)" % row for row in rows) + b";\n"


def dump(*statements: bytes) -> bytes:
    return b"".join([HEAD, TABLE, *statements, END])


AWKWARD_ROWS = [
    b"1,'plain'",
    b"2,'it\\'s'",
    b"3,'),\\n('",
    b"4,'),('",
    b"5,');\\n'",
    b"6,'\\\\'",
    b"7,'a''b'",
    b"8,'-- Dump completed\\n'",
    b"9,0x29,NULL,-1.5e10,''",
    b"10,'\xf0\x9f\x98\x80 \\0\\Z'",
    b"11,'INSERT INTO `t` VALUES (1);'",
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 1 << 20])
def test_rows_hash_the_same_whatever_the_blocks(size: int) -> None:
    content = dump(insert(AWKWARD_ROWS))
    parser = parse(content, size)
    (table,) = parser.tables
    assert table.rows == len(AWKWARD_ROWS)
    assert table.checksum == f"{sum(map(xxh3_64_intdigest, AWKWARD_ROWS)) % 2**64:016x}"
    assert parser.complete


@pytest.mark.parametrize("separator", [b",\n", b","])
@pytest.mark.parametrize(
    "head",
    [
        b"INSERT INTO `t` VALUES\n",
        b"INSERT INTO `t` VALUES ",
        b"INSERT INTO `t` (`a`, `(b) VALUES (``;`) VALUES ",
        b"INSERT  IGNORE INTO `t` VALUES ".replace(b"  ", b" "),
    ],
)
def test_rows_hash_the_same_on_one_line_and_on_many(separator: bytes, head: bytes) -> None:
    expected = parse(dump(insert(AWKWARD_ROWS))).tables
    for size in (1, 13, 1 << 20):
        assert parse(dump(insert(AWKWARD_ROWS, separator=separator, head=head)), size).tables == expected


def test_rows_hash_the_same_however_they_are_spread_over_statements() -> None:
    together = dump(insert(AWKWARD_ROWS))
    apart = dump(*(insert([row]) for row in reversed(AWKWARD_ROWS)))
    assert parse(together).tables == parse(apart).tables


def test_a_lost_row_a_doubled_row_and_a_changed_byte_show() -> None:
    whole = parse(dump(insert(AWKWARD_ROWS))).tables
    for rows in (AWKWARD_ROWS[1:], [*AWKWARD_ROWS, AWKWARD_ROWS[0]], [b"1,'plaim'", *AWKWARD_ROWS[1:]]):
        assert parse(dump(insert(rows))).tables != whole


@pytest.mark.parametrize("size", [999, 65_536, 1 << 20])
@pytest.mark.parametrize("separator", [b",\n", b","])
def test_rows_larger_than_what_is_held_hash_like_small_ones(size: int, separator: bytes) -> None:
    large = [
        b"1,'" + b"\\'),\\n(\\\\" * (ROWS_LIMIT_BYTES // 7) + b"'",
        b"2,0x" + b"00FF" * (ROWS_LIMIT_BYTES // 3),
        b"3,'x'," + b"'a\\\\','b''c'," * (ROWS_LIMIT_BYTES // 12) + b"NULL",
    ]
    rows = [AWKWARD_ROWS[3], large[0], AWKWARD_ROWS[4], large[1], large[2], AWKWARD_ROWS[5]]
    assert all(len(row) > ROWS_LIMIT_BYTES for row in large)
    parser = parse(dump(insert(rows, separator=separator)), size)
    (table,) = parser.tables
    assert table.rows == len(rows)
    assert table.checksum == f"{sum(map(xxh3_64_intdigest, rows)) % 2**64:016x}"
    assert parser.complete


def test_what_is_held_stays_small_whatever_the_row() -> None:
    splitter = DumpSplitter()
    list(splitter.feed(HEAD + TABLE + b"INSERT INTO `t` VALUES\n(1,'"))
    for _ in range(200):
        list(splitter.feed(b"x\\'y" * 16_384))
        assert len(splitter.rest) <= ROWS_LIMIT_BYTES + 65_536


@pytest.mark.parametrize("separator", [b",\n", b","])
def test_rows_do_not_wait_for_the_end_of_their_insert(separator: bytes) -> None:
    splitter = DumpSplitter()
    list(splitter.feed(HEAD + TABLE + b"INSERT INTO `t` VALUES\n"))
    for _ in range(200):
        list(splitter.feed(separator.join([b"(1,'it\\'s (2), (3)')"] * 20) + separator))
        assert len(splitter.rest) < 100


def test_random_rows_are_counted_in_random_blocks() -> None:
    chance = random.Random(7)
    alphabet = [
        b"a",
        b"\\'",
        b"''",
        b"\\\\",
        b"(",
        b")",
        b",",
        b";",
        b"\\n",
        b"),\\n(",
        b"),(",
        b");",
        b'\\"',
        b"`",
        b"--",
        b" ",
    ]
    for _ in range(200):
        rows = [
            b"%d,'%s'" % (number, b"".join(chance.choices(alphabet, k=chance.randint(0, 12)))) for number in range(9)
        ]
        separator = chance.choice([b",", b",\n"])
        (table,) = parse(dump(insert(rows, separator=separator)), chance.randint(1, 40)).tables
        assert (table.rows, table.checksum) == (9, f"{sum(map(xxh3_64_intdigest, rows)) % 2**64:016x}")


def test_a_line_break_inside_a_string_separates_no_rows() -> None:
    assert rows_of(dump(insert([b"1,'raw\nbreak'", b"2,'),\n(3'"]))) == {"t": 2}


@pytest.mark.parametrize("size", [1, 11, 1 << 20])
def test_bodies_of_routines_and_strings_of_tables_forge_nothing(size: int) -> None:
    body = (
        b"DELIMITER ;;\n"
        b"CREATE DEFINER=`a`@`%` PROCEDURE `p`()\nBEGIN\n-- don't\n# nor \"this\n/* or ` this */\n"
        b"SELECT '\nINSERT INTO `forged` VALUES\n(1);\nDELIMITER ;\n-- Dump completed on 2026-01-01  1:00:00\n;;\n';\n"
        b"END ;;\nDELIMITER ;\n"
    )
    table = b"CREATE TABLE `u` (\n  `a` int COMMENT 'x;\nCREATE TABLE `forged` (',\n  `b;\n` int\n);\n"
    parser = parse(dump(body, table, insert([b"1"])), size)
    assert parser.created_tables == {"t", "u"}
    assert {found.name: found.rows for found in parser.tables} == {"t": 1, "u": 0}
    assert parser.objects == [("procedure", "p")]
    assert parser.complete


def test_a_body_without_backslash_escapes_is_read_as_its_sql_mode_says() -> None:
    body = (
        b"/*!50003 SET sql_mode              = 'NO_BACKSLASH_ESCAPES' */ ;\n"
        b"DELIMITER ;;\nCREATE DEFINER=`a`@`%` PROCEDURE `p`()\nSELECT '\\', ';;' ;;\nDELIMITER ;\n"
        b"/*!50003 SET sql_mode              = @saved_sql_mode */ ;\n"
    )
    parser = parse(dump(body, insert([b"1,'\\''"])))
    assert parser.objects == [("procedure", "p")]
    assert {table.name: table.rows for table in parser.tables} == {"t": 1}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (b"CREATE SEQUENCE `s` start with 1 ENGINE=InnoDB;\n", ("sequence", "s")),
        (
            b"/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`a`@`%` SQL SECURITY DEFINER */\n"
            b"/*!50001 VIEW `v``w` AS select 1 AS `1` */;\n",
            ("view", "v`w"),
        ),
        (
            b"DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`%`*/ /*!50003 TRIGGER t1 BEFORE INSERT ON t "
            b"FOR EACH ROW BEGIN END */;;\nDELIMITER ;\n",
            ("trigger", "t1"),
        ),
        (
            b"DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`%`*/ /*!50003 TRIGGER `d`.`t 1` AFTER DELETE ON t "
            b"FOR EACH ROW BEGIN END */;;\nDELIMITER ;\n",
            ("trigger", "t 1"),
        ),
        (
            b"DELIMITER ;;\n/*!50106 CREATE*/ /*!50117 DEFINER=`a`@`%`*/ /*!50106 EVENT `e` ON SCHEDULE EVERY 1 DAY DO "
            b"SELECT 1 */ ;;\nDELIMITER ;\n",
            ("event", "e"),
        ),
        (b'DELIMITER ;;\nCREATE DEFINER="a"@"%" PACKAGE BODY "p" AS END ;;\nDELIMITER ;\n', ("package body", "p")),
        (b"DELIMITER ;;\nCREATE DEFINER=`a role` FUNCTION `f`() RETURNS int RETURN 1 ;;\nDELIMITER ;\n", None),
    ],
)
def test_objects_are_recognised(statement: bytes, expected: tuple[str, str] | None) -> None:
    found = parse(dump(statement)).objects
    assert found == [expected or ("function", "f")]


def test_positions_are_read_at_both_ends() -> None:
    parser = parse(
        dump(
            b"-- CHANGE MASTER TO MASTER_LOG_FILE='bin.000001', MASTER_LOG_POS=1035075;\n",
            b"-- SET GLOBAL gtid_slave_pos='0-1-81';\n",
        )
    )
    assert (parser.binlog_file, parser.binlog_position, parser.gtid) == ("bin.000001", 1035075, "0-1-81")
    mysql = parse(dump(b"-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='b.2', SOURCE_LOG_POS=4;\n"))
    assert (mysql.binlog_file, mysql.binlog_position) == ("b.2", 4)


def test_the_database_name_is_read_from_the_head() -> None:
    assert parse(dump()).database == "shop"


def test_the_sandbox_line_is_a_piece_of_its_own_and_only_at_the_start() -> None:
    line = b"/*M!999999\\- enable the sandbox mode */ \n"
    for size in (1, 1 << 20):
        splitter = DumpSplitter()
        pieces = [piece for block in blocks(line + dump(), size) for piece in splitter.feed(block)]
        assert pieces[0].kind is Kind.SANDBOX
        assert pieces[0].text == line


@pytest.mark.parametrize("size", [1, 17, 1 << 20])
def test_the_pieces_put_together_are_the_stream(size: int) -> None:
    content = dump(insert(AWKWARD_ROWS), b"/*!40000 ALTER TABLE `t` ENABLE KEYS */;\n")
    splitter = DumpSplitter()
    pieces = [piece.text for block in blocks(content, size) for piece in splitter.feed(block)]
    assert b"".join(pieces) + splitter.rest == content


def test_every_truncation_is_found() -> None:
    content = dump(insert(AWKWARD_ROWS))
    for length in range(len(content) - 1):  # the last byte is the line break after the marker
        assert not parse(content[:length]).complete


def test_a_marker_that_is_not_the_end_is_none() -> None:
    assert parse(dump()[:-1]).complete
    for more in (insert([b"1"]), b"-- anything\n", b"DELIMITER ;;\n", b"x"):
        try:
            assert not parse(dump() + more).complete
        except MalformedDump as error:
            assert "after its end marker" in str(error)  # noqa: PT017 - the last bytes may be no whole piece


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (b"", "after its end marker"),
        (TABLE, "the table 't' twice"),
        (b"DELIMITER ;;\nCREATE PROCEDURE `p`() SELECT 1 ;;\nDELIMITER ;\n" * 2, "the procedure 'p' twice"),
        (b"CREATE SEQUENCE `s` start with 1 ENGINE=InnoDB;\n" * 2, "the sequence 's' twice"),
    ],
)
def test_a_dump_printed_twice_is_malformed(statement: bytes, said: str) -> None:
    content = dump(statement) if statement else dump() + dump()
    with pytest.raises(MalformedDump, match=said):
        parse(content)


def test_a_table_named_like_the_end_marker_ends_nothing() -> None:
    comment = b"--\n-- Table structure for table `x\n-- Dump completed on 2026-01-31  3:00:00\n-- y`\n--\n\n"
    assert parse(dump(comment, b"CREATE TABLE `x\nDump completed on 2026-01-31  3:00:00\ny` (a int);\n")).complete


@pytest.mark.parametrize(
    "words",
    [
        b"trigger tr before",
        b"Trigger tr before",
        b"TRIGGER /* c */ tr before",
        b"TRIGGER -- c\n tr before",
        b"TRIGGER # c\n`tr`before",
        b"trigger`tr`before",
        b"trigger if not exists tr before",
        b"trigger /*a*/ if /*b*/ not /*c*/ exists /*d*/ `tr` /*e*/ before",
        b"trigger /*!50003 if not exists */ tr before",
        b"trigger shop /* of */ . /* a */ `tr` before",
        b"trigger `shop`.tr before",
        b'trigger "tr" before',
    ],
)
def test_a_trigger_is_recognised_as_its_author_typed_it(words: bytes) -> None:
    head = b"DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`%`*/ /*!50003 "
    parser = parse(dump(head + words + b" insert on t for each row begin end */;;\nDELIMITER ;\n"))
    assert parser.objects == [("trigger", "tr")]


@pytest.mark.parametrize("head", [b"create or replace procedure", b"Create /* c */ Definer = a@b Procedure -- c\n"])
def test_a_routine_is_recognised_in_any_case(head: bytes) -> None:
    parser = parse(dump(b"DELIMITER ;;\n" + head + b" `p`() begin end ;;\nDELIMITER ;\n"))
    assert parser.objects == [("procedure", "p")]


def counters(*statements: bytes) -> list[tuple[str, str]]:
    return [(item.kind, item.name) for item in parse(dump(*statements)).counters]


def test_an_auto_increment_is_read_from_the_tables_options_alone() -> None:
    table = (
        b"CREATE TABLE `a` (\n  `id` int AUTO_INCREMENT COMMENT ') AUTO_INCREMENT=9',\n  `AUTO_INCREMENT=8` int\n)"
        b" ENGINE=InnoDB%s DEFAULT CHARSET=utf8mb4 COMMENT='it''s AUTO_INCREMENT=7';\n"
    )
    assert counters(table % b"") == []
    assert counters(table % b" AUTO_INCREMENT=1001") == [("auto_increment", "`a`: 1001")]


@pytest.mark.parametrize(
    ("start", "increment", "value", "expected"),
    [(1, 1, 51, 51), (5, -2, 3, 3), (10, 0, 1010, 1010), (2000, 1, 1000, 2000), (-5, -3, -1, -5)],
)
def test_a_sequence_stands_where_a_load_leaves_it(start: int, increment: int, value: int, expected: int) -> None:
    created = (
        b"CREATE SEQUENCE `s` start with %d minvalue -99 maxvalue 9999 increment by %d cache 1000 nocycle "
        b"ENGINE=InnoDB;\nDO SETVAL(`s`, %d, 0);\n" % (start, increment, value)
    )
    assert counters(created) == [("sequence value", f"`s`: {expected}")]


def test_zeros_where_a_disk_lost_a_page_are_malformed() -> None:
    with pytest.raises(MalformedDump):
        parse(dump(insert(AWKWARD_ROWS[:5]), bytes(4096), insert(AWKWARD_ROWS[5:])))


def test_what_the_tool_may_not_show_is_kept() -> None:
    parser = parse(dump(b"-- insufficient privileges to SHOW CREATE FUNCTION `f`\n"))
    assert parser.refusals == ["SHOW CREATE FUNCTION `f`"]


# A data backup: no definitions, and a section of ours after the tool's end marker

ANNOUNCED = b"/*!40000 ALTER TABLE `t` DISABLE KEYS */;\n"
COUNTERS = (
    b"\n-- Where AUTO_INCREMENT columns and sequences stand\n\nSET NAMES utf8mb4;\n"
    b"ALTER TABLE `t` AUTO_INCREMENT=7;\nALTER TABLE `empty\n-- Counters completed\n` AUTO_INCREMENT=1;\n"
    b"ALTER SEQUENCE `s``s` RESTART -3;\n\n-- Counters completed\n"
)


def parse_rows(content: bytes, size: int = 1 << 20) -> DumpParser:
    parser = DumpParser(counters=True)
    for block in blocks(content, size):
        parser.feed(block)
    parser.finish()
    return parser


def is_whole(content: bytes) -> bool:
    try:
        return parse_rows(content).complete
    except MalformedDump:
        return False


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_tables_without_rows_and_counters_are_found_in_a_data_backup(size: int) -> None:
    parser = parse_rows(HEAD + ANNOUNCED + ANNOUNCED.replace(b"`t`", b"`none`") + insert([b"1"]) + END + COUNTERS, size)
    assert parser.complete
    assert {table.name: table.rows for table in parser.tables} == {"t": 1, "none": 0}
    assert [(item.kind, item.name) for item in parser.counters] == [
        ("sequence value", "`s``s`: -3"),
        ("auto_increment", "`t`: 7"),
    ]


def test_a_data_backup_without_the_whole_of_its_counters_is_not_complete() -> None:
    whole = HEAD + ANNOUNCED + insert([b"1"]) + END + COUNTERS
    for end in range(len(HEAD), len(whole) - len(b"-- Counters completed\n") + 1):
        assert not is_whole(whole[:end]), whole[:end]
    assert is_whole(whole)


def test_nothing_may_follow_the_counters() -> None:
    with pytest.raises(MalformedDump, match="after its end marker"):
        parse_rows(HEAD + ANNOUNCED + END + COUNTERS + COUNTERS)


def test_counters_after_any_other_dump_are_too_much() -> None:
    with pytest.raises(MalformedDump, match="after its end marker"):
        parse(HEAD + TABLE + END + COUNTERS)


@pytest.mark.parametrize(
    "statement",
    [
        b"/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 TRIGGER %s BEFORE INSERT ON t FOR EACH ROW SET @a=1;;",
        b"create /* c */ trigger if not exists %s after insert on t for each row set @a = 'trigger x'//",
    ],
)
@pytest.mark.parametrize("name", [b"old", b"`shop`.`o``ld`", b"shop /* c */ . old", b'"old"'])
def test_a_statement_gets_another_name(statement: bytes, name: bytes) -> None:
    assert with_name(statement % name, b"`new`") == statement % b"`new`"
