"""From what was asked for to a plan: everything is examined, and nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from db_backup.catalog import BackupQuery
from db_backup.config import Check, Entry
from db_backup.engines.base import LoadOptions, Occupancy, TargetExamination
from db_backup.errors import Refused, TargetNotEmpty, UsageError
from db_backup.jobs.checks import applicable
from db_backup.jobs.restore.own_places import refuse_own_places
from db_backup.jobs.restore.request import RestorePlan, RestoreRequest, Way
from db_backup.jobs.restore.resolve import Resolved, kept, resolve_backup
from db_backup.jobs.restore.targets import Destination, Owners, Target, find_target, is_same_server, owners_of
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, ServerInfo
from db_backup.model import BackupStatus, BackupType
from db_backup.standing import status
from db_backup.summary import BackupSummary, summarise
from db_backup.units import human_bytes

_SCRATCH = "a scratch server"
_TIMED_BACKUPS = 50  # how many of the newest are looked at for one whose restore was timed

#: What a plan that was said yes to promises, and what it is called when it has changed.
_PROMISED = {
    "backup_id": "the backup",
    "from_storage": "the storage that it is read from",
    "target_address": "the target",
    "way": "what happens to the target",
    "holds": "how many objects the target holds",
    "protected": "whether the target is protected",
    "tables": "the tables",
    "with_owners": "whether owners are restored",
    "safety_backup_of": "the safety backup",
    "before_dag": "the DAG that runs before",
    "after_dag": "the DAG that runs afterwards",
}


def plan_restore(workspace: Workspace, request: RestoreRequest) -> RestorePlan:
    """What a restore would do; the backup is leased while it is found out.

    :raises BackupError: what :func:`planned_restore` raises.
    """
    resolved = resolve_backup(workspace, request)
    with kept(workspace, resolved, "restore plan") as held:
        return make_plan(workspace, request, held)[0]


def make_plan(
    workspace: Workspace, request: RestoreRequest, resolved: Resolved
) -> tuple[RestorePlan, Destination | None]:
    """The plan, and the target as it was found; None for a scratch server, which is not there yet.

    :raises UsageError: what is asked for cannot be.
    :raises TargetNotEmpty: the target holds something, and nobody said to replace it.
    :raises Refused: it would be replaced, and nothing could back it up before; or it is needed for the restore itself.
    :raises SourceError, LoadFailed, ToolError: the target is not fit for this backup.
    """
    manifest = resolved.located.manifest
    refuse_contradictions(request, manifest)
    if request.scratch:
        return _scratch_plan(workspace, request, resolved), None
    target = find_target(workspace, request, manifest)
    examination = _examine(target, request, manifest)
    occupancy = examination.occupancy
    address = target.engine.connection.address
    way = choose_way(request, manifest, address, occupancy)
    owners = owners_of(workspace, target, examination.server, manifest)
    refuse_own_places(workspace, target, owners)
    if way is Way.NEW:
        owners = replace(owners, unsure=())  # nothing is there that could be somebody's
    hooks = owners.first.hooks if owners.first else None
    plan = RestorePlan(
        **_of_the_backup(workspace, request, resolved),
        way=way,
        target_conn_id=target.engine.connection.conn_id,
        target_address=address,
        target_database=target.database,
        target_server=_server_words(examination.server),
        same_server=is_same_server(manifest, target, examination.server),
        protected=owners.protected,
        holds=occupancy.objects if occupancy else 0,
        examples=occupancy.examples if occupancy else (),
        sessions=occupancy.sessions if occupancy and way is Way.REPLACE else 0,
        safety_backup_of=_safety_backup_of(request, way, owners.first, address),
        leftover=_leftover(target, way),
        before_dag=hooks.before_restore.trigger_dag if hooks and hooks.before_restore else None,
        after_dag=hooks.after_restore.trigger_dag if hooks and hooks.after_restore else None,
        warnings=(
            *resolved.warnings,
            *examination.warnings,
            *_losses(manifest, way),
            *_unsure(owners, address),
        ),
    )
    return plan, Destination(target, examination.server, owners)


def refuse_contradictions(request: RestoreRequest, manifest: Manifest) -> None:
    """:raises UsageError: the request asks for two things that exclude each other."""
    if request.tables and manifest.type is not BackupType.FULL:
        raise UsageError(
            f"Single tables are restored from full backups, and {manifest.id} is a {manifest.type} backup.",
            hint="Name a full backup, or restore all of this one.",
            backup_id=manifest.id,
        )
    if request.tables and request.force:
        raise UsageError(
            "Single tables are added to a database, and --force replaces a whole one.",
            hint="Leave out --force: tables that are there already are never replaced. Rename or drop them first, "
            "or restore the tables under another name (--as) and copy from there.",
        )
    elsewhere = request.to or request.new_name or request.tables or request.force or request.with_owners
    if request.scratch and elsewhere:
        raise UsageError(
            "A test goes into a scratch server and nowhere else.",
            hint="Leave out --to, --as, --table, --force and --with-owners, or --test.",
        )


def choose_way(request: RestoreRequest, manifest: Manifest, address: str, occupancy: Occupancy | None) -> Way:
    """What happens to the target, by what it holds.

    :raises TargetNotEmpty: it holds something that would have to go.
    :raises UsageError: rows, and no tables that they could go into.
    """
    if manifest.type is BackupType.DATA:
        if occupancy is None:
            raise _no_tables(manifest, address)
        if occupancy.rows:
            raise TargetNotEmpty(
                f"{address} has rows already, and {manifest.id} holds rows for empty tables; nothing was changed.",
                hint="Empty its tables first, or restore into another database (--as NAME).",
                database=manifest.entry,
                backup_id=manifest.id,
            )
        return Way.ROWS
    if occupancy is None:
        return Way.NEW
    if not occupancy.objects and not occupancy.rows:
        return Way.EMPTY
    if request.tables:
        return Way.TABLES
    if request.force:
        return Way.REPLACE
    raise TargetNotEmpty(
        f"{address} is not empty: it holds {holding(occupancy)}. Nothing was changed.",
        hint="Restore into a new database (--as NAME), or replace this one with --force.",
        database=manifest.entry,
        backup_id=manifest.id,
    )


def holding(occupancy: Occupancy) -> str:
    """What a database holds, for people: ``12 objects (orders, users, …) and rows, 3.2 MB``."""
    text = f"{occupancy.objects} object{'' if occupancy.objects == 1 else 's'}"
    if occupancy.examples:
        more = ", …" if occupancy.objects > len(occupancy.examples) else ""
        text += f" ({', '.join(occupancy.examples)}{more})"
    if occupancy.rows:
        text += " and rows"
    return text + (f", {human_bytes(occupancy.size_bytes)}" if occupancy.size_bytes else "")


def what_changed(approved: RestorePlan, now: RestorePlan) -> tuple[str, ...]:
    """In what a plan is another one than the one that was said yes to, in words; empty: in nothing that matters."""
    changed = [
        f"{words}: {_words(getattr(approved, field))} before, now {_words(getattr(now, field))}"
        for field, words in _PROMISED.items()
        if getattr(approved, field) != getattr(now, field)
    ]
    if (before := _needs(approved)) != (needed := _needs(now)):
        changed.append(f"what is rebuilt: {before} before, now {needed}")
    if now.status not in {approved.status, BackupStatus.GOOD}:  # that it was proved meanwhile is no objection
        changed.append(f"the backup's status: {approved.status} before, now {now.status}")
    return tuple(changed)


def _needs(plan: RestorePlan) -> str:
    recovery = plan.recovery
    if recovery is None:
        return "nothing"
    return f"'{recovery.source_database}' at {recovery.asked} by {', '.join(recovery.links)}"


def load_options(request: RestoreRequest) -> LoadOptions:
    return LoadOptions(tables=request.tables, with_owners=request.with_owners, jobs=request.jobs)


def checks_for(workspace: Workspace, manifest: Manifest, request: RestoreRequest) -> tuple[Check, ...]:
    """The entry's application checks, where the backup holds all that they may ask after."""
    entry = workspace.config.entries.get(manifest.entry)
    return () if entry is None or request.tables else applicable(entry.checks, manifest.type)


def _examine(target: Target, request: RestoreRequest, manifest: Manifest) -> TargetExamination:
    rows_alone = manifest.type is BackupType.DATA
    if rows_alone and not target.engine.database_exists(target.database):
        raise _no_tables(manifest, target.engine.connection.address)
    return target.engine.examine_target(manifest, load_options(request), replace=request.force and not rows_alone)


def _no_tables(manifest: Manifest, address: str) -> UsageError:
    return UsageError(
        f"{manifest.id} holds rows and no tables, and there is no database {address} that has them.",
        hint=f"Restore a structure backup of '{manifest.entry}' first, then these rows into that database.",
        database=manifest.entry,
        backup_id=manifest.id,
    )


def _safety_backup_of(request: RestoreRequest, way: Way, owner: Entry | None, address: str) -> str | None:
    """:raises Refused: the target would be replaced, and no entry says how to back it up."""
    if way not in {Way.REPLACE, Way.TABLES} or not request.safety_backup:
        return None
    if owner is None and way is Way.REPLACE:
        raise Refused(
            f"{address} is no entry's own database, so nothing can back it up before it is replaced.",
            hint="Say --no-safety-backup if what it holds may be lost, or restore into a new database (--as NAME).",
        )
    return owner.name if owner else None


def _of_the_backup(workspace: Workspace, request: RestoreRequest, resolved: Resolved) -> dict[str, Any]:
    """The fields of a plan that the target has no say in."""
    manifest, state, recovery = resolved.located.manifest, resolved.located.state, resolved.recovery
    timed = not request.tables and recovery is None
    return {
        "backup_id": manifest.id,
        "entry": manifest.entry,
        "type": manifest.type,
        "engine": manifest.engine,
        "status": recovery.status if recovery else status(manifest, state),
        "created_at": manifest.created_at,
        "recovery_point": manifest.recovery_point,
        "size_bytes": sum(located.manifest.size_bytes for located in resolved.needed),
        "plain_bytes": manifest.plain_bytes,
        "rows": manifest.inventory.rows,
        "source_address": manifest.server.address,
        "tables": request.tables,
        "with_owners": request.with_owners,
        "checks": tuple(check.sql for check in checks_for(workspace, manifest, request)),
        "estimated_seconds": _estimated_seconds(workspace, resolved.located) if timed else None,
        "recovery": recovery.planned if recovery else None,
        "from_storage": request.from_storage,
    }


def _scratch_plan(workspace: Workspace, request: RestoreRequest, resolved: Resolved) -> RestorePlan:
    manifest = resolved.located.manifest
    return RestorePlan(
        **_of_the_backup(workspace, request, resolved),
        way=Way.SCRATCH,
        target_conn_id="",
        target_address=_SCRATCH,
        target_database=manifest.databases[0],
        target_server=_server_words(manifest.server),
        same_server=True,
        warnings=resolved.warnings,
    )


def _estimated_seconds(workspace: Workspace, located: Located) -> float | None:
    """As long as the last timed restore for proof of such a backup took, for the size of this one."""
    own = summarise(located.manifest, located.state)
    for summary in _alike(workspace, own):
        if summary.restore_seconds is not None and summary.plain_bytes:
            return round(summary.restore_seconds * own.plain_bytes / summary.plain_bytes, 1)
    return None


def _alike(workspace: Workspace, own: BackupSummary) -> Iterator[BackupSummary]:
    """This backup, then the newest of its entry and type that the catalogue knows."""
    yield own
    query = BackupQuery(database=own.database, type=own.type)
    yield from workspace.catalog.page(query, limit=_TIMED_BACKUPS).items


def _losses(manifest: Manifest, way: Way) -> Iterator[str]:
    """What is not there any more once a whole database was replaced by this backup."""
    if way is not Way.REPLACE:
        return
    if manifest.type is BackupType.STRUCTURE:
        yield "The backup holds no rows: the tables are empty afterwards."
    elif manifest.excluded_tables:
        tables = ", ".join(manifest.excluded_tables)
        yield f"The backup was made without the rows of {tables}: they are gone afterwards."


def _unsure(owners: Owners, address: str) -> Iterator[str]:
    for entry, why in owners.unsure:
        yield (
            f"Whether {address} is the database of the protected '{entry.name}' cannot be told, so it counts as "
            f"protected: {why}"
        )


def _leftover(target: Target, way: Way) -> str | None:
    """What an earlier restore has left where this one loads."""
    if way not in {Way.NEW, Way.REPLACE}:
        return None
    name = target.engine.replacement_name()
    return name if target.engine.database_exists(name) else None


def _server_words(server: ServerInfo) -> str:
    return f"{server.flavour} {server.version}"


def _words(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ", ".join(map(str, value)) or "all"
        case _:
            return str(value)
