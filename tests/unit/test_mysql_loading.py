"""What a person is told when the client of MySQL or MariaDB fails: its errors, and nobody's rows."""

from __future__ import annotations

import pytest

from db_backup.engines.mysql.client import complaints

pytestmark = pytest.mark.unit

_ECHO = "--------------\nINSERT INTO `people` VALUES\n(1,'secret'),\n(2,'ERROR 1 secret')\n--------------\n\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "ERROR 1062 (23000) at line 5: Duplicate entry 'secret' for key 'PRIMARY'",
            "ERROR 1062 (23000) at line 5: Duplicate entry '…' for key 'PRIMARY'",
        ),
        (
            "ERROR 1062 (23000) at line 5: Duplicate entry 'it's secret' for key 'PRIMARY'",
            "ERROR 1062 (23000) at line 5: Duplicate entry '…' for key 'PRIMARY'",
        ),
        (
            "ERROR 1062 (23000) at line 5: Duplicate entry 'it's secret\nand secret' for key 'PRIMARY'",
            "ERROR 1062 (23000) at line 5: Duplicate entry '…'",
        ),
        (
            "ERROR 1366 (22007) at line 9: Incorrect integer value: 'secret' for column `d`.`t`.`c` at row 1",
            "ERROR 1366 (22007) at line 9: Incorrect integer value: '…' for column `d`.`t`.`c` at row 1",
        ),
        (
            "ERROR 1064 (42000) at line 9: You have an error in your SQL syntax near ''secret')' at line 3",
            "ERROR 1064 (42000) at line 9: You have an error in your SQL syntax near '…'",
        ),
        (
            "ERROR 1146 (42S02) at line 9: Table 'other.t' doesn't exist",
            "ERROR 1146 (42S02) at line 9: Table 'other.t' doesn't exist",
        ),
    ],
)
def test_only_the_clients_errors_are_told_and_no_value(line: str, expected: str) -> None:
    assert complaints(_ECHO + line) == expected


def test_warnings_and_rows_alone_are_no_complaint() -> None:
    assert complaints(_ECHO) == ""
