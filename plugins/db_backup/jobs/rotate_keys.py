"""Rotation of keys: every backup's data key is wrapped anew for the keys that are configured now.

The artefacts stay as they are. Each backup is done by itself and for good, so whoever is stopped half-way begins again
where it ended.
"""

from __future__ import annotations

import time
from enum import StrEnum
from itertools import takewhile

from db_backup.catalog import AuditAct
from db_backup.errors import BackupError, Interrupted, ObjectMissing, UnknownBackup
from db_backup.frozen import FrozenModel
from db_backup.jobs.acts import audited
from db_backup.jobs.ahead import requests_at_once, worked_ahead
from db_backup.jobs.copies import Copies, known_copies
from db_backup.jobs.failures import FailedBackup
from db_backup.jobs.locking import lock_wrapped_key
from db_backup.jobs.reach import Unanswered, ask
from db_backup.jobs.roots import ready_storages
from db_backup.jobs.sidecars import backup_ids, deleted_meanwhile, rewrite_state
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, RunInfo, State
from db_backup.progress import Cancellation, Progress
from db_backup.storage import Storage

_SECONDS_BETWEEN_STAGES = 0.5


class Rotated(StrEnum):
    """What became of one backup; in a dry run, what would. ``already``: wrapped for just these keys before."""

    REWRAPPED = "rewrapped"
    ALREADY = "already"
    UNENCRYPTED = "unencrypted"
    GONE = "gone"


class Recipient(FrozenModel):
    """A key that backups are encrypted for from now on; ``kind`` as in the state."""

    name: str
    kind: str
    fingerprint: str


class RotationReport(FrozenModel):
    """``rewrapped``: so many were, or, in a dry run, would be. ``already``: wrapped for just these keys before.

    ``failed``: their states stayed as they were. ``unreached``: the storages that did not answer, and why; what lies
    there alone still needs its old keys.
    """

    recipients: tuple[Recipient, ...]
    dry_run: bool
    rewrapped: int
    already: int
    failed: tuple[FailedBackup, ...]
    unreached: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether no backup needs a key any more that is not among the recipients."""
        return not self.failed and not self.unreached


def rotate_keys(
    workspace: Workspace, *, dry_run: bool, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> RotationReport:
    """Wrap every data key for the configured recipients alone, in all copies of its backup.

    :param dry_run: open every data key, and change nothing.
    :raises KeyUnavailable, ConfigurationError: a recipient is not here: then nothing is changed.
    :raises Interrupted: what was done until then stands.
    """
    recipients = tuple(workspace.keyring.keys.named(name) for name in workspace.keyring.recipients)
    ready_storages(workspace, (workspace.settings.backup_storage_disk,))  # which keeps the audit trail
    with audited(workspace, AuditAct.KEY, run) as act:
        rotation = _Rotation(workspace, dry_run, progress, cancellation)
        act.detail = f"rotate to {', '.join(f'{recipient.name} {recipient.key_id}' for recipient in recipients)}"
        rotation.go()
        act.detail += f": {rotation.words()}"
    return RotationReport(
        recipients=tuple(
            Recipient(name=recipient.name, kind=recipient.kind, fingerprint=recipient.key_id)
            for recipient in recipients
        ),
        dry_run=dry_run,
        rewrapped=rotation.counts[Rotated.REWRAPPED],
        already=rotation.counts[Rotated.ALREADY],
        failed=tuple(rotation.failed),
        unreached=tuple(map(str, rotation.unreached.values())),
    )


class _Rotation:
    def __init__(self, workspace: Workspace, dry_run: bool, progress: Progress, cancellation: Cancellation) -> None:
        self.workspace = workspace
        self.keyring = workspace.keyring
        self.dry_run = dry_run
        self.progress = progress
        self.cancellation = cancellation
        self.counts = dict.fromkeys(Rotated, 0)
        self.failed: list[FailedBackup] = []
        self.unreached: dict[str, Unanswered] = {}

    def go(self) -> None:
        ids = self._ids()
        told = 0.0
        number = 0
        wanted = takewhile(lambda _: not self.cancellation.requested, ids)
        at_once = requests_at_once(self.workspace)
        for number, (backup_id, outcome) in enumerate(worked_ahead(self._one, wanted, at_once=at_once), 1):
            if time.monotonic() - told >= _SECONDS_BETWEEN_STAGES:
                told = time.monotonic()
                self.progress.stage(f"keys of backup {number:,} of {len(ids):,}")
            try:
                self.counts[outcome()] += 1
            except Interrupted:
                raise
            except BackupError as error:
                self.failed.append(FailedBackup.of(backup_id, error))
        if number < len(ids):
            self._check()

    def words(self) -> str:
        would = "would be rewrapped" if self.dry_run else "rewrapped"
        return (
            f"{self.counts[Rotated.REWRAPPED]} {would}, {self.counts[Rotated.ALREADY]} already so, "
            f"{len(self.failed)} failed, {len(self.unreached)} storages did not answer"
        )

    def _check(self) -> None:
        try:
            self.cancellation.check()
        except Interrupted as stop:
            raise Interrupted(
                f"{stop.message} {self.words()}.", hint="Run `db-backup keys rotate` again: it goes on from there."
            ) from stop

    def _ids(self) -> list[str]:
        found: dict[str, None] = {}
        for storage in self.workspace.storages.values():
            answer = ask(self.workspace, storage, lambda asked: list(backup_ids(asked)))
            if isinstance(answer, Unanswered):
                self.unreached[storage.name] = answer
            else:
                found |= dict.fromkeys(answer)
        return list(found)

    def _one(self, backup_id: str) -> Rotated:
        copies = known_copies(self.workspace, backup_id)
        for silent in copies.unasked:
            self.unreached[silent.storage.name] = silent
        if not copies.found or copies.state is None or copies.state.tombstone is not None:
            return self._absent(copies)
        manifest, state = copies.manifest, copies.state
        if all(part.cipher is None for part in manifest.parts):
            return Rotated.UNENCRYPTED
        if self._is_done(copies, state):
            return Rotated.ALREADY
        if self.dry_run:
            self.keyring.unwrap(manifest, state)
            return Rotated.REWRAPPED
        try:
            self._rewrap(copies, manifest, state)
        except UnknownBackup:
            return Rotated.GONE
        return Rotated.REWRAPPED

    def _absent(self, copies: Copies) -> Rotated:
        """:raises ManifestError: it is there and cannot be read."""
        if copies.unreadable:
            raise copies.absence()
        return Rotated.GONE

    def _is_done(self, copies: Copies, state: State) -> bool:
        """In every copy, and with the same wraps in each."""
        own = [copies.own_states.get(located.storage.name) for located in copies.found]
        same = all(known is not None and known.wrapped_keys == state.wrapped_keys for known in own)
        return same and self.keyring.is_wrapped(state)

    def _rewrap(self, copies: Copies, manifest: Manifest, state: State) -> None:
        """In every copy. The catalogue knows nothing of wraps, and so has nothing to learn.

        :raises UnknownBackup: it was deleted meanwhile.
        :raises StorageError: no copy's state could be written.
        """
        wraps = self.keyring.rewrap(manifest, state)

        def rewritten(storage: Storage) -> State:
            return rewrite_state(
                storage, manifest.id, lambda newest: newest.model_copy(update={"wrapped_keys": wraps}), lost=state
            )

        silent: list[Unanswered] = []
        for located in copies.found:
            try:
                answer = ask(self.workspace, located.storage, rewritten)
            except ObjectMissing as error:
                raise deleted_meanwhile(manifest.id) from error
            if isinstance(answer, Unanswered):
                silent.append(answer)
            elif warning := lock_wrapped_key(self.workspace, located.storage, manifest).warning:
                self.workspace.warnings.append(warning)
        self.unreached |= {answer.storage.name: answer for answer in silent}
        if len(silent) == len(copies.found):
            raise silent[0].error
