"""An increment, where one can follow the entry's newest chain; a full in its place, where none can."""

from __future__ import annotations

from dataclasses import dataclass, replace

from db_backup.catalog import AuditAct
from db_backup.engines.chain import ChainEngine
from db_backup.errors import ArtefactError, BackupError, ChainBroken, ManifestError, ObjectMissing
from db_backup.jobs.acts import audited
from db_backup.jobs.chains import can_anchor, end_of_chain, fulls_to_follow, increments_since, link_of
from db_backup.jobs.creation import Creation, Plan
from db_backup.jobs.holdings import Holdings
from db_backup.jobs.sidecars import Located, locate, newest_manifest
from db_backup.jobs.sources import BaseSource, IncrementSource
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, RunInfo, State
from db_backup.model import BackupType, utc_now
from db_backup.progress import Cancellation, Progress, Silent
from db_backup.recovery import FULL_INSTEAD
from db_backup.retention import Backup


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

    def publish(self) -> tuple[Manifest, State]:
        """The increment, or the full that begins a new chain; its first warning then says why.

        :raises ChainBroken: no increment can follow, and no full is wanted.
        :raises BackupError: any other: nothing was published.
        """
        parent = self._parent()
        if parent is None:
            return self._full(
                ChainBroken(
                    f"'{self.plan.entry.name}' has no whole full backup yet that an increment could follow.",
                    database=self.plan.entry.name,
                    worth_a_full=True,
                )
            )
        try:
            self.progress.stage(f"asking {self.plan.entry.name} for what came after {parent.manifest.id}")
            self.engine.prove_chain(parent.manifest)
            source = IncrementSource(self.engine, link_of(parent, Silent()))
            return Creation(self.plan, source, self.run, self.progress, self.cancellation).publish()
        except ChainBroken as broken:
            if not broken.worth_a_full:
                self._record_break(parent, broken)
            return self._full(broken)
        except ArtefactError as damaged:  # of the parent: nothing else is read
            self.cancellation.check()
            self._record_break(parent, damaged)
            return self._full(damaged)

    def _parent(self) -> Located | None:
        """What the increment follows; of the entry's many backups only those of its newest chain are read."""
        holdings = Holdings(self.workspace)
        ids = holdings.stored_ids(self.plan.entry.name)
        for full_id in fulls_to_follow(ids, now=utc_now()):
            base = self._base(holdings, full_id)
            if base is not None:
                later = (_stored(holdings, backup_id) for backup_id in increments_since(ids, full_id))
                links = {base.id: base, **{backup.id: backup for backup in later if backup is not None}}
                return locate(self.workspace, end_of_chain(base, links))
        return None

    def _base(self, holdings: Holdings, full_id: str) -> Backup | None:
        """The full, if increments can follow it and nothing speaks against it."""
        full = _stored(holdings, full_id)
        if full is None or full.fault is not None or full.safety:
            return None
        return full if can_anchor(locate(self.workspace, full_id).manifest) else None

    def _record_break(self, parent: Located, error: BackupError) -> None:
        """History is lost, whatever comes of the full: written down before it is begun."""
        with audited(
            self.workspace,
            AuditAct.CHAIN_BROKEN,
            self.run,
            entry=self.plan.entry.name,
            backup_id=parent.manifest.id,
        ) as act:
            act.detail = error.message

    def _full(self, reason: BackupError) -> tuple[Manifest, State]:
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


def _stored(holdings: Holdings, backup_id: str) -> Backup | None:
    """None also where nobody can say what it is: no increment follows that."""
    try:
        return holdings.stored_backup(backup_id)
    except (ManifestError, ObjectMissing):
        return None
