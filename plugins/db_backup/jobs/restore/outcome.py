"""What has become of a restore so far, and of its target: for the report, and for whatever error comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from db_backup.errors import BackupError, Interrupted
from db_backup.jobs.checks import CheckResult
from db_backup.jobs.fallback import Fallback
from db_backup.jobs.restore.request import RestorePlan, RestoreReport, Way
from db_backup.manifest import Difference, Inventory


class Outcome:
    """Filled in on the way. ``target_state`` is a sentence that is true at every moment."""

    def __init__(self, plan: RestorePlan) -> None:
        self._plan = plan
        self._began = time.monotonic()
        self.target_state = f"{plan.target_address} {'was not made' if plan.way is Way.NEW else 'is as it was'}."
        self.restored_to = plan.target_database
        self.in_place = True
        self.safety_backup_id: str | None = None
        self.safety_backup_began: datetime | None = None
        self.warnings = list(plan.warnings)
        self.found = Inventory()
        self.differences: tuple[Difference, ...] = ()
        self.checks: tuple[CheckResult, ...] = ()
        self.fetch_seconds = self.load_seconds = self.check_seconds = 0.0

    def left_beside(self, name: str) -> None:
        """It differs, and did not take the target's place."""
        self.in_place = False
        self.restored_to = name

    @contextmanager
    def told(self) -> Iterator[None]:
        """Whatever error leaves the block says in which state the target is."""
        try:
            yield
        except BackupError as error:
            error.message = f"{error.message} {self._state()}"
            if isinstance(error, Interrupted):
                error.hint = "Run it again."
            raise
        except BaseException as error:
            error.add_note(self._state())
            raise

    def _state(self) -> str:
        safety = f" Its safety backup is {self.safety_backup_id}." if self.safety_backup_id else ""
        return f"{self.target_state}{safety}"

    def _lost_writes(self) -> Iterator[str]:
        if self._plan.way is Way.REPLACE and self.in_place and self.safety_backup_began is not None:
            yield (
                f"What was written to {self._plan.target_address} after {self.safety_backup_began:%H:%M:%S} UTC, when "
                "its safety backup began, is neither in it nor in the safety backup."
            )

    def report(self, reading: Fallback) -> RestoreReport:
        manifest = reading.copies[0].manifest
        return RestoreReport(
            backup_id=manifest.id,
            target=self._plan.target_address,
            restored_to=self.restored_to,
            tables=len(self.found.tables),
            rows=self.found.rows,
            differences=self.differences,
            warnings=(*self.warnings, *reading.warnings, *self._lost_writes()),
            duration_seconds=round(time.monotonic() - self._began, 3),
            way=self._plan.way,
            checks=self.checks,
            safety_backup_id=self.safety_backup_id,
            in_place=self.in_place,
            fetch_seconds=round(self.fetch_seconds, 3),
            load_seconds=round(self.load_seconds, 3),
            check_seconds=round(self.check_seconds, 3),
            plain_bytes=manifest.plain_bytes,
            read_from=reading.read_from,
            passed_over=reading.passed_over,
        )
