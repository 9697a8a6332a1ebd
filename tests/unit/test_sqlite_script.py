"""Values as SQL, and scripts taken apart again."""

from __future__ import annotations

import math
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from db_backup.engines.sqlite.literals import Literals, real
from db_backup.engines.sqlite.script import END, ScriptDamaged, frame, statements, whole_script

pytestmark = pytest.mark.unit

INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(st.none(), INTEGERS, st.floats(allow_nan=False), st.text(), st.binary())


@pytest.fixture(scope="module")
def sql() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


@given(number=st.floats(allow_nan=False))
@example(number=-0.0)
@example(number=5e-324)
@example(number=-1.7976931348623157e308)
@example(number=2.0**53)
@example(number=2.0**63)
@example(number=0.1)
def test_a_float_comes_back_to_the_bit(sql: sqlite3.Connection, number: float) -> None:
    ((found, kind),) = sql.execute(f"SELECT x, typeof(x) FROM (SELECT {real(number).decode()} AS x)").fetchall()
    assert kind == "real"
    assert struct.pack("d", found) == struct.pack("d", number)


@pytest.mark.parametrize(("number", "text"), [(1.0, "1.0"), (12.5, "25*1.0/2"), (math.inf, "9e999"), (-0.0, "-0.0")])
def test_simple_floats_are_written_simply(number: float, text: str) -> None:
    assert real(number).decode() == text


@given(values=st.lists(VALUES, min_size=1, max_size=5))
@example(values=["nul \0", "\r\n", "'", "--", ";\n", b""])
def test_every_value_comes_back_as_it_was(
    sql: sqlite3.Connection, values: list[int | float | str | bytes | None]
) -> None:
    ((*found,),) = sql.execute(f"VALUES({Literals('UTF-8').row(values).decode()})").fetchall()
    assert [(type(value), value) for value in found] == [(type(value), value) for value in values]


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_texts_hold_no_line_end_that_the_shell_changes(text: str) -> None:
    assert b"\r" not in Literals("UTF-8").row([text])
    assert b"\0" not in Literals("UTF-8").row([text])


PIECES = [
    b"INSERT INTO \"it's;\n--\" VALUES('a;\n-- b''', 1);\n",
    b"SELECT 0;\n",
    b"INSERT INTO t VALUES('');\n",
]
SCRIPT = b"".join(frame("A test", "nobody", "UTF-8", PIECES))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_script_is_taken_apart_wherever_its_blocks_end(size: int) -> None:
    pieces = [SCRIPT[start : start + size] for start in range(0, len(SCRIPT), size)]
    found = list(statements(pieces))
    assert found[4:-1] == [piece[:-2].decode() for piece in PIECES]
    assert found[-1] == "COMMIT"


def test_a_script_that_is_cut_anywhere_is_seen_as_truncated() -> None:
    for length in range(len(SCRIPT)):
        with pytest.raises(ScriptDamaged) as caught:
            list(statements([SCRIPT[:length]]))
        assert caught.value.truncated, length
        with pytest.raises(ScriptDamaged) as caught:
            whole_script([SCRIPT[:length]])
        assert caught.value.truncated, length


@pytest.mark.parametrize(
    "script",
    [SCRIPT + b"DROP TABLE t;\n", SCRIPT + b"x", SCRIPT.replace(b"COMMIT", b"COM\0IT"), SCRIPT[:-1] + b"\xff" + END],
)
def test_a_script_that_is_not_ours_is_damaged(script: bytes) -> None:
    with pytest.raises(ScriptDamaged):
        list(statements([script]))
