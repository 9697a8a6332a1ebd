"""The backups of a chain: which one the next increment follows, and which ones a backup needs to be rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import partial

from db_backup import lineage, naming, standing
from db_backup.catalog import AuditAct, BackupQuery
from db_backup.engines.chain import Link
from db_backup.errors import BackupError, ChainBroken, ManifestError, StorageError
from db_backup.jobs.acts import audited
from db_backup.jobs.contents import FetchClock, stream_of
from db_backup.jobs.copies import locate
from db_backup.jobs.holdings import Holdings
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, RunInfo
from db_backup.model import BackupStatus, BackupType, utc_now
from db_backup.progress import Progress
from db_backup.retention import Backup, Presence

_RELIABLE = frozenset({BackupStatus.GOOD, BackupStatus.UNVERIFIED})


def newest_link(workspace: Workspace, entry: str, *, besides: str | None = None) -> Located | None:
    """What the entry's next increment follows; of its many backups only those of its newest chain are read.

    :param besides: the id of a full that is passed over.
    :return: None: there is no chain yet.
    :raises ChainBroken: nothing can follow the newest one; ``backup_id`` is the one that is at fault.
    :raises StorageNotMounted, StorageError: no storage answers.
    """
    holdings = Holdings(workspace)
    ids = holdings.stored_ids(entry) - {besides}
    now = utc_now()
    beyond = _out_of_reach(workspace, holdings, entry, ids | {besides})
    fallen: Backup | None = None
    for full_id in fulls_to_follow(ids | beyond.keys(), now=now):
        if full_id in beyond:
            raise ChainBroken(
                f"The newest chain of '{entry}' begins with {full_id}, which cannot be read now: {beyond[full_id]}",
                database=entry,
                backup_id=full_id,
                worth_a_full=True,
            )
        base = _stored(partial(holdings.stored_backup, full_id))
        if base is None or base.safety or base.status is BackupStatus.DELETING or base.presence is Presence.ABSENT:
            continue
        if not can_anchor(locate(workspace, full_id).manifest):
            continue
        if base.fault is not None:
            fallen = fallen or base
            continue
        later = (_stored(stored) for _, stored in holdings.stored_backups(increments_since(ids, full_id)))
        links = {base.id: base, **{backup.id: backup for backup in later if backup is not None}}
        useless = lineage.broken(links, lambda backup: backup.fault)
        _refuse_unreplayable(workspace, links, useless)
        return locate(workspace, end_of_chain(base, links, useless))
    if fallen is not None:
        raise ChainBroken(
            f"{fallen.id}, which the newest chain of '{entry}' begins with, {fallen.fault}.",
            database=entry,
            backup_id=fallen.id,
        )
    return None


def _out_of_reach(workspace: Workspace, holdings: Holdings, entry: str, ids: Collection[str | None]) -> dict[str, str]:
    """The fulls that the catalogue knows and that only silent storages hold, and which of these does not answer."""
    silent = {unanswered.storage.name: str(unanswered) for unanswered in holdings.unasked}
    if not silent:
        return {}
    return {
        full.id: silent[place]
        for full in workspace.catalog.newest_first(BackupQuery(database=entry, type=BackupType.FULL))
        for place in full.storages
        if full.id not in ids and place in silent and full.status in _RELIABLE and not full.safety
    }


def fulls_to_follow(ids: Iterable[str], *, now: datetime) -> list[str]:
    """The ids of fulls among these, the newest first; those that the clock dates in the future come last of all."""
    names = {backup_id: naming.parse_backup_id(backup_id) for backup_id in ids if naming.is_backup_id(backup_id)}
    fulls = [backup_id for backup_id, name in names.items() if name.type is BackupType.FULL]
    ages = {backup_id: (names[backup_id].moment <= now, names[backup_id].moment, backup_id) for backup_id in fulls}
    return sorted(fulls, key=ages.__getitem__, reverse=True)


def increments_since(ids: Iterable[str], full_id: str) -> list[str]:
    """The ids of increments among these that were begun after that full."""
    since = naming.parse_backup_id(full_id).moment
    names = {backup_id: naming.parse_backup_id(backup_id) for backup_id in ids if naming.is_backup_id(backup_id)}
    return [
        backup_id for backup_id, name in names.items() if name.type is BackupType.INCREMENTAL and name.moment >= since
    ]


def end_of_chain(base: Backup, backups: Mapping[str, Backup], useless: Collection[str]) -> str:
    """The id of the backup that the next increment follows: the last one of this full's chain that stands.

    All that it leans on is whole in storage and has not failed. Where an increment has failed, that is the one before
    it: what was in the failed one is captured again.

    :param backups: by id; the full is among them.
    :param useless: the ids of those that cannot be restored.
    """
    links = [
        backup for backup in backups.values() if backup.id not in useless and base.id in (backup.id, backup.base_id)
    ]
    followed = {link.parent_id for link in links}
    ends = [link for link in links if link.id not in followed]  # several, where one that had failed stands again
    return max(ends, key=lambda end: end.age_key).id


def _refuse_unreplayable(workspace: Workspace, links: Mapping[str, Backup], useless: Collection[str]) -> None:
    """What is whole, follows what stands, and cannot be replayed all the same, would be captured as it was before.

    :raises ChainBroken:
    """
    for link in links.values():
        if link.status is not BackupStatus.FAILED_VERIFICATION or link.presence is not Presence.WHOLE:
            continue
        follows_good = link.parent_id in links and link.parent_id not in useless
        if follows_good and standing.fails_to_replay(locate(workspace, link.id).state):
            raise ChainBroken(
                f"{link.id} is whole, but could not be replayed when its chain was restored for proof.",
                database=link.entry,
                backup_id=link.id,
            )


def record_break(workspace: Workspace, entry: str, backup_id: str | None, error: BackupError, run: RunInfo) -> None:
    """History after this backup of the entry is lost: written down before anything else is begun."""
    with audited(workspace, AuditAct.CHAIN_BROKEN, run, entry=entry, backup_id=backup_id) as act:
        act.detail = error.message


def can_anchor(manifest: Manifest) -> bool:
    """Whether increments can follow this full."""
    return manifest.type is BackupType.FULL and manifest.chain is not None and bool(manifest.chain.to_position)


def lineage_of(workspace: Workspace, located: Located) -> tuple[Located, ...]:
    """All that this backup needs, and itself at the end: the base and every increment between, by their sidecars.

    :raises ChainBroken: one of them is gone, cannot be read, has failed or is being deleted.
    :raises StorageError: a storage that may hold one does not answer.
    """
    found = [located]
    while (parent := _parent_id(found[0].manifest)) is not None:
        if any(known.manifest.id == parent for known in found):
            raise _useless(located.manifest, f"{parent} is said to follow itself")
        try:
            before = locate(workspace, parent)
        except StorageError:
            raise
        except BackupError as error:
            raise _useless(located.manifest, error.message.removesuffix(".")) from error
        status = standing.status(before.manifest, before.state)
        if status not in _RELIABLE:
            raise _useless(located.manifest, f"{parent}, which it needs, is {status.replace('_', ' ')}")
        found.insert(0, before)
    return tuple(found)


def link_of(located: Located, progress: Progress, clock: FetchClock | None = None) -> Link:
    """The backup for a chain engine. What it reads is told to ``progress``; ``clock`` how long the storage took."""
    return Link(located.manifest, lambda stream: stream_of(located, stream, progress, clock))


def _stored(backup: Callable[[], Backup | None]) -> Backup | None:
    """None also where nobody can say what it is: no increment follows that."""
    try:
        return backup()
    except (ManifestError, StorageError):
        return None


def _parent_id(manifest: Manifest) -> str | None:
    return manifest.chain.parent_id if manifest.chain else None


def _useless(manifest: Manifest, reason: str) -> ChainBroken:
    return ChainBroken(
        f"Nothing can be rebuilt with {manifest.id}: {reason}.",
        hint=f"Take a full backup, which begins a new chain: `db-backup create {manifest.entry} --type full`.",
        database=manifest.entry,
        backup_id=manifest.id,
    )
