"""The target is filled: beside what is there and put in its place, or where it is to stay."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from db_backup.comparison import compare
from db_backup.config import Check
from db_backup.engines.base import Engine, LoadOptions, Occupancy
from db_backup.errors import BackupError, Interrupted, Refused, SourceError
from db_backup.jobs.checks import failed_checks, run_checks
from db_backup.jobs.contents import FetchClock, plain_streams
from db_backup.jobs.fallback import Fallback
from db_backup.jobs.restore.outcome import Outcome
from db_backup.jobs.restore.request import RestorePlan, Way
from db_backup.jobs.restore.targets import Target
from db_backup.jobs.restore.validation import restored_part
from db_backup.jobs.sidecars import Located
from db_backup.progress import Cancellation, Progress


@dataclass
class Filling:
    """One restore into a target that nobody else restores to meanwhile.

    :param reading: the one backup; where its copy cannot be read, loading begins again with the next.
    :param replacing: a person insists on what is in the target's place: nothing takes it that differs.
    """

    reading: Fallback
    target: Target
    plan: RestorePlan
    options: LoadOptions
    checks: tuple[Check, ...]
    replacing: bool
    outcome: Outcome
    progress: Progress
    cancellation: Cancellation

    def run(self) -> None:
        if self.plan.way in {Way.NEW, Way.REPLACE}:
            self._beside()
        else:
            self._where_it_stays()
        if self.outcome.in_place:
            self._refresh_statistics()

    def _beside(self) -> None:
        """Load a database of its own, and let it take the target's place when it is found whole."""
        name = self.target.engine.replacement_name()
        with ExitStack() as undo:
            copy = self.reading.run(lambda copies: self._loaded_beside(name, copies[0], undo))
            self._compare(copy)
            if self.outcome.differences and self.replacing:
                self.outcome.left_beside(name)
            else:
                self._put_in_place(name, undo)
            undo.pop_all()

    def _loaded_beside(self, name: str, located: Located, undo: ExitStack) -> Engine:
        """The database beside, full; ``undo`` takes it away when the restore fails later on."""
        replaced = self.plan.way is Way.REPLACE
        self.target.engine.drop_database(name)  # what an interrupted restore has left
        maker = self.target.engine if replaced else self.target.maker
        with ExitStack() as failed:
            copy = maker.create_database(name, None if replaced else located.manifest.server)
            failed.push(_Discard(self.target.engine, name))
            self._load(copy, located)
            undo.push(failed.pop_all())
        return copy

    def _put_in_place(self, name: str, undo: ExitStack) -> None:
        address = self.plan.target_address
        self.progress.stage(f"putting {self.plan.backup_id} in place as {address}")
        try:
            self.outcome.warnings += self.target.engine.replace_with(name, self.cancellation)
        except (Refused, Interrupted):
            raise  # before anything was changed
        except BaseException:
            undo.pop_all()  # it may be all that there is
            unchanged = self.outcome.target_state.removesuffix(".")
            self.outcome.target_state = (
                f"Where this does not say otherwise, {unchanged}; what of the restored copy did not take its place "
                f"is kept as {name}."
            )
            raise
        self.outcome.target_state = f"{address} is restored and in place."

    def _where_it_stays(self) -> None:
        """Load into a database that is there. A load that fails takes away again what it had brought."""
        engine, address = self.target.engine, self.plan.target_address
        before = self.outcome.target_state

        def load(copies: Sequence[Located]) -> None:
            try:
                self._load(engine, copies[0])
            except BaseException:
                self.outcome.target_state = self._state_after_failed_load()
                raise

        self.reading.run(load, again=lambda: self.outcome.target_state == before)
        self.outcome.target_state = f"{address} holds all that was restored, and was not compared to its end."
        self._compare(engine)
        self.outcome.target_state = f"{address} is restored."

    def _load(self, engine: Engine, located: Located) -> None:
        manifest, clock = located.manifest, FetchClock()
        self.progress.stage(f"restoring {manifest.id} to {self.plan.target_address}", manifest.plain_bytes)
        began = time.monotonic()
        streams = plain_streams(located, self.progress, clock)
        self.outcome.warnings += engine.load(streams, manifest, self.cancellation, self.options)
        took = time.monotonic() - began
        self.outcome.fetch_seconds = min(clock.seconds, took)
        self.outcome.load_seconds = took - self.outcome.fetch_seconds
        if self.plan.way in {Way.NEW, Way.REPLACE}:
            self.cancellation.check()

    def _compare(self, engine: Engine) -> None:
        manifest, tables = self.reading.copies[0].manifest, self.options.tables
        expected = manifest.inventory
        self.progress.stage(f"comparing {len(tables or expected.tables)} tables")
        began = time.monotonic()
        found = engine.take_inventory(manifest, self.cancellation)
        results = run_checks(engine, self.checks, self.cancellation)
        ours = restored_part(found, expected, self.plan.way, tables)
        differences = compare(restored_part(expected, expected, self.plan.way, tables), ours)
        self.outcome.found, self.outcome.checks = ours, results
        self.outcome.differences = (*differences, *failed_checks(results))
        self.outcome.check_seconds = time.monotonic() - began

    def _refresh_statistics(self) -> None:
        self.progress.stage(f"refreshing the statistics of {self.plan.target_address}")
        try:
            self.target.engine.refresh_statistics(self.cancellation)
        except SourceError as error:
            self.outcome.warnings.append(f"The planner's statistics were not refreshed: {error}")

    def _state_after_failed_load(self) -> str:
        """Looked at, for whoever could not load may not have been able to tidy up either."""
        address = self.plan.target_address
        try:
            manifest = self.reading.copies[0].manifest
            examination = self.target.engine.examine_target(manifest, LoadOptions(), replace=False)
        except BackupError:
            return f"What {address} holds now cannot be found out: it may be incomplete."
        occupancy = examination.occupancy or Occupancy()
        if occupancy.objects > self.plan.holds or (occupancy.rows and self.plan.way is not Way.TABLES):
            return f"{address} is incomplete: it holds a part of the backup."
        return f"{address} is as it was."


class _Discard:
    """Takes the copy away when its block fails. What failed matters more than a copy that cannot be removed."""

    def __init__(self, target: Engine, name: str) -> None:
        self._target = target
        self._name = name

    def __call__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        try:
            self._target.drop_database(self._name)
        except BackupError as left:
            error.add_note(f"What had been loaded, {self._name}, could not be removed; the next try will: {left}")
