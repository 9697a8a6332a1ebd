"""An increment, where one can follow the entry's newest chain; a full in its place, where none can."""

from __future__ import annotations

from dataclasses import dataclass, replace

from db_backup.engines.chain import ChainEngine
from db_backup.errors import ArtefactError, BackupError, ChainBroken, EncryptionKeyError
from db_backup.jobs.chains import link_of, newest_link, record_break
from db_backup.jobs.copies import newest_manifest
from db_backup.jobs.creation import Creation, Made, Plan
from db_backup.jobs.fallback import Fallback
from db_backup.jobs.sidecars import Located
from db_backup.jobs.sources import BaseSource, IncrementSource
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.model import BackupType
from db_backup.progress import Cancellation, Progress, Silent
from db_backup.recovery import FULL_INSTEAD


@dataclass(frozen=True)
class Capture:
    """One increment of an entry, whose lock the caller holds.

    :param plan: of the increment.
    :param full_days: how long a full that takes its place is kept; None: where none can be made, nothing is.
    """

    workspace: Workspace
    plan: Plan
    engine: ChainEngine
    full_days: int | None
    run: RunInfo
    progress: Progress
    cancellation: Cancellation

    def publish(self) -> Made:
        """The increment, or the full that begins a new chain; its first warning then says why.

        :raises ChainBroken: no increment can follow, and no full is wanted.
        :raises BackupError: any other: nothing was published.
        """
        entry = self.plan.entry.name
        try:
            parent = newest_link(self.workspace, entry)
        except ChainBroken as broken:
            if not broken.worth_a_full:
                record_break(self.workspace, entry, broken.backup_id, broken, self.run)
            return self._full(broken)
        if parent is None:
            return self._full(
                ChainBroken(
                    f"'{entry}' has no whole full backup yet that an increment could follow.",
                    database=entry,
                    worth_a_full=True,
                )
            )
        try:
            self.progress.stage(f"asking {entry} for what came after {parent.manifest.id}")
            self.engine.prove_chain(parent.manifest)
            reading = Fallback(self.workspace, [parent], self.cancellation)
            return reading.run(lambda copies: self._increment(copies[0], reading.warnings))
        except ChainBroken as broken:
            if not broken.worth_a_full:
                record_break(self.workspace, entry, parent.manifest.id, broken, self.run)
            return self._full(broken)
        except EncryptionKeyError as shut:
            if shut.backup_id != parent.manifest.id:  # the increment itself cannot be encrypted, nor could a full
                raise
            self.cancellation.check()
            return self._full(shut)
        except ArtefactError as damaged:  # of the parent: nothing else is read
            self.cancellation.check()
            record_break(self.workspace, entry, parent.manifest.id, damaged, self.run)
            return self._full(damaged)

    def _increment(self, parent: Located, told: tuple[str, ...]) -> Made:
        source = IncrementSource(self.engine, link_of(parent, Silent()))
        plan = replace(self.plan, warnings=(*self.plan.warnings, *told))
        return Creation(plan, source, self.run, self.progress, self.cancellation).publish()

    def _full(self, reason: BackupError) -> Made:
        entry = self.plan.entry
        if self.full_days is None:
            anew = f"Run `db-backup create {entry.name} --type full`, which begins a new chain."
            raise ChainBroken(
                f"No increment of '{entry.name}' was made: {reason.message}",
                hint=f"{reason.hint} {anew}".lstrip(),
                database=entry.name,
            ) from reason
        plan = replace(
            self.plan,
            type=BackupType.FULL,
            retention_days=self.full_days,
            previous=newest_manifest(self.workspace, entry.name, BackupType.FULL, self.plan.storages),
            warnings=(f"{FULL_INSTEAD}{reason.message}",),
        )
        return Creation(plan, BaseSource(self.engine), self.run, self.progress, self.cancellation).publish()
