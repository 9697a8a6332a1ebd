"""Application checks of the configuration (SPEC §2, ``checks``): asked of a restored database, and judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real

from db_backup.config import Check
from db_backup.engines.base import Engine
from db_backup.errors import SourceError
from db_backup.frozen import FrozenModel
from db_backup.manifest import Difference
from db_backup.model import BackupType
from db_backup.progress import Cancellation

_FALSE, _TRUE = ("f", "false", "no", "off", "0"), ("t", "true", "yes", "on", "1")
_NOTHING = "nothing"


class CheckResult(FrozenModel):
    """An application check of the configuration: its query, what it should give and gave."""

    sql: str
    expected: str
    found: str
    passed: bool

    @property
    def difference(self) -> Difference:
        """A check that failed, among what else is not as it should be."""
        return Difference(kind="check", name=self.sql, expected=self.expected, found=self.found)


def applicable(checks: Sequence[Check], backup_type: BackupType) -> tuple[Check, ...]:
    """Those that a restored backup of this type can pass: without rows there is nothing to ask after."""
    return () if backup_type is BackupType.STRUCTURE else tuple(checks)


def run_checks(engine: Engine, checks: Sequence[Check], cancellation: Cancellation) -> tuple[CheckResult, ...]:
    """Ask each in turn; one whose query fails has failed, and stops no other.

    :raises Interrupted:
    """
    return tuple(_run(engine, check, cancellation) for check in checks)


def failed_checks(results: Sequence[CheckResult]) -> tuple[Difference, ...]:
    return tuple(result.difference for result in results if not result.passed)


def _run(engine: Engine, check: Check, cancellation: Cancellation) -> CheckResult:
    cancellation.check()
    expected = _text(check.expect)
    try:
        found = engine.ask(check.sql, cancellation)
    except SourceError as error:
        cancellation.check()
        return CheckResult(sql=check.sql, expected=expected, found=f"an error: {error.message}", passed=False)
    return CheckResult(sql=check.sql, expected=expected, found=_text(found), passed=is_as_expected(check.expect, found))


def is_as_expected(expected: object, found: object) -> bool:
    """Whether a query gave what the configuration expects.

    Engines and YAML write the same value differently: MySQL and SQLite know no booleans and give 0 and 1, sums come as
    decimals, and YAML reads a date where a server may give a text.
    """
    if expected is None or found is None:
        return expected is found
    if isinstance(expected, bool):
        return _as_boolean(found) is expected
    if isinstance(expected, int | float):
        return isinstance(found, Real | Decimal) and _same_number(expected, found)
    return _text(expected) == _text(found)


def _as_boolean(found: object) -> bool | None:
    word = _text(found).lower()
    return False if word in _FALSE else True if word in _TRUE else None


def _same_number(expected: float, found: Real | Decimal) -> bool:
    if isinstance(expected, float) or isinstance(found, float):
        return math.isclose(float(expected), float(found), rel_tol=1e-9)
    return Decimal(expected) == found


def _text(value: object) -> str:
    match value:
        case None:
            return _NOTHING
        case bool():
            return str(value).lower()
        case bytes() | bytearray() | memoryview():
            return bytes(value).decode(errors="replace")
        case _:
            return str(value)
