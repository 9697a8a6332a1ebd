"""One dump as several streams: who carries what, and that together they are one dump."""

from __future__ import annotations

import pytest

from db_backup.engines.mysql.contents import contents_of
from db_backup.engines.mysql.dump_parser import DumpParser
from db_backup.engines.mysql.dump_splitter import MalformedDump
from db_backup.engines.mysql.flavour import DumpPlan
from db_backup.engines.mysql.sharing import share_out, stream_plans

pytestmark = pytest.mark.unit

SIZES = {"small": 1, "large": 100, "half": 50, "other_half": 49, "empty": 0}


def test_tables_are_shared_out_by_size_each_once() -> None:
    assert share_out(SIZES, 2) == [("empty", "large"), ("half", "other_half", "small")]
    assert share_out(dict.fromkeys("abcd", 0), 3) == [("a", "d"), ("b",), ("c",)]


def test_definitions_come_first_rows_next_and_what_acts_on_rows_last() -> None:
    plans = stream_plans(DumpPlan("shop", ignored_views=("v",), tables_without_rows=("x",)), SIZES, 2)
    assert {name: (plan.definitions, plan.rows, plan.triggers, plan.events) for name, plan in plans.items()} == {
        "definitions": (True, False, False, False),
        "data-1": (False, True, False, False),
        "data-2": (False, True, False, False),
        "triggers": (False, False, True, True),
    }
    assert [*plans] == ["definitions", "data-1", "data-2", "triggers"]
    assert all(plan.tells_steps and plan.ignored_views == ("v",) for plan in plans.values())
    assert not any(plan.tables_without_rows for plan in plans.values())  # nobody asks for them


def test_counters_follow_the_last_rows() -> None:
    plan = DumpPlan("shop", definitions=False, triggers=False, events=False, counters=True)
    assert [(name, part.counters) for name, part in stream_plans(plan, SIZES, 3).items()] == [
        ("data-1", False),
        ("data-2", False),
        ("data-3", True),
    ]


@pytest.mark.parametrize(("sizes", "jobs"), [({}, 3), ({"only": 1}, 3), (SIZES, 1)])
def test_where_nothing_is_to_be_shared_out_there_is_one_stream(sizes: dict[str, int], jobs: int) -> None:
    plan = DumpPlan("shop")
    assert stream_plans(plan, sizes, jobs) == {"main": plan}


def test_there_are_no_more_streams_with_rows_than_tables() -> None:
    assert [*stream_plans(DumpPlan("shop"), {"a": 1, "b": 1}, 9)] == ["definitions", "data-1", "data-2", "triggers"]


def parser_of(text: bytes) -> DumpParser:
    parser = DumpParser()
    parser.feed(text)
    parser.finish()
    return parser


DEFINED = b"CREATE TABLE `a` (\n  `x` int\n) AUTO_INCREMENT=7;\nCREATE TABLE `b` (\n  `x` int\n);\n"
ROWS_OF_A = b"/*!40000 ALTER TABLE `a` DISABLE KEYS */;\nINSERT INTO `a` VALUES\n(1),\n(2);\n"
ROWS_OF_B = b"/*!40000 ALTER TABLE `b` DISABLE KEYS */;\n"


def test_streams_hold_together_what_one_holds() -> None:
    apart = contents_of([parser_of(text) for text in (DEFINED, ROWS_OF_B, ROWS_OF_A)])
    assert apart == contents_of([parser_of(DEFINED + ROWS_OF_B + ROWS_OF_A)])
    assert [(table.name, table.rows) for table in apart.tables] == [("a", 2), ("b", 0)]


@pytest.mark.parametrize("text", [DEFINED, ROWS_OF_A, ROWS_OF_B])
def test_what_two_streams_bring_is_found(text: bytes) -> None:
    with pytest.raises(MalformedDump, match="more than one of its streams"):
        contents_of([parser_of(text), parser_of(text)])
