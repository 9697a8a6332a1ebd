"""What killed processes left behind: locks, leases, attempts, temporary files, and backups that nobody indexed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from db_backup import naming
from db_backup.catalog import Attempt, AttemptOutcome
from db_backup.errors import UnknownBackup
from db_backup.jobs.copies import copies_of, record_newest
from db_backup.jobs.listing import Survey, survey
from db_backup.jobs.reach import Unanswered, ask, tell
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.model import BackupType
from db_backup.storage import Storage
from db_backup.stream.private_folder import sweep

_OF_CHAINS = frozenset({BackupType.FULL, BackupType.INCREMENTAL})
_STALE_AFTER = timedelta(days=1)  # beyond what a backup may take


def tidy(workspace: Workspace, storages: Sequence[Storage]) -> None:
    """Take it away, or finish it. What belongs to the living is not touched.

    :raises StorageError, CatalogError:
    """
    workspace.catalog.sweep()
    workspace.catalog.note_usage()
    for attempt in workspace.catalog.abandoned_attempts():
        _conclude(workspace, storages, attempt)
    stale_after = _STALE_AFTER + timedelta(seconds=workspace.settings.backup_timeout_seconds)
    for storage in storages:
        swept = ask(workspace, storage, lambda asked: asked.sweep(older_than=stale_after))
        if isinstance(swept, Unanswered):
            tell(workspace, [swept])
    options = workspace.engine_options
    for folder in {options.scratch_path, options.staging_path, Path(tempfile.gettempdir())}:
        sweep(folder)


def _conclude(workspace: Workspace, storages: Sequence[Storage], attempt: Attempt) -> None:
    """It has succeeded if it came as far as its manifest; then the catalogue learns of the backup.

    Nobody can tell while a storage does not answer: then that is left to the next time.
    """
    listed = survey(workspace, storages, parts=False)
    taken_in = []
    for found in _unindexed(workspace, listed, attempt):
        try:
            record_newest(workspace, found)
        except UnknownBackup:
            continue  # deleted meanwhile
        taken_in.append(found.manifest)
    if not taken_in and listed.unasked:
        return
    if not taken_in:
        workspace.catalog.finish_attempt(attempt.id, AttemptOutcome.INTERRUPTED, error="Its process is gone.")
        return
    asked_for = next((manifest for manifest in taken_in if manifest.type is attempt.type), taken_in[0])
    workspace.catalog.finish_attempt(
        attempt.id,
        AttemptOutcome.SUCCEEDED,
        backup_id=asked_for.id,
        error="Its process was gone before the catalogue took the backup in.",
    )


def _unindexed(workspace: Workspace, listed: Survey, attempt: Attempt) -> Iterator[Located]:
    """Backups that the attempt has published, and that the catalogue does not know."""
    since = attempt.started_at.replace(microsecond=0)  # ids count in whole seconds
    for backup_id in sorted(listed.published({attempt.entry})):
        name = naming.parse_backup_id(backup_id)
        if name.type not in _made_by(attempt) or name.moment < since:
            continue
        # None: deleted meanwhile, or for `catalog check` to tell of
        found = next(iter(copies_of(workspace, backup_id)), None)
        if found is not None and found.manifest.run == attempt.run and not workspace.catalog.knows(backup_id):
            yield found


def _made_by(attempt: Attempt) -> frozenset[BackupType]:
    """Where no increment can follow, a full is made; and after the full of a server an increment."""
    return _OF_CHAINS if attempt.type in _OF_CHAINS else frozenset({attempt.type})
