"""Restore a backup into a new database beside the one it came from; nothing that exists is ever touched."""

from __future__ import annotations

import time
from contextlib import ExitStack

from db_backup.comparison import compare
from db_backup.engines import engine_for
from db_backup.engines.base import Engine
from db_backup.errors import FeatureNotAvailable, LoadFailed, UsageError
from db_backup.jobs.acts import audited
from db_backup.jobs.contents import plain_streams
from db_backup.jobs.restore.request import RestoreReport, RestoreRequest
from db_backup.jobs.sidecars import Located, leased, locate
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, RunInfo
from db_backup.model import BackupType, ConnectionInfo, EngineName
from db_backup.progress import Cancellation, Progress


def restore_backup(
    workspace: Workspace, request: RestoreRequest, *, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> RestoreReport:
    """Create a new database, load the backup and compare its inventory with the manifest's.

    A load that fails takes away the database that it created. One that succeeds with differences is left for the
    person to look at; the report lists them.

    :raises TargetNotEmpty: the name exists already; nothing was touched.
    :raises Refused: the backup is being deleted.
    :raises FeatureNotAvailable: it holds rows alone.
    :raises LoadFailed, ArtefactError, UnknownBackup, UnknownDatabase, SourceError:
    """
    if request.backup is None or request.new_name is None:
        raise UsageError("A backup and a new name are needed.", hint="Name both.")
    with audited(workspace, "restore", run, backup_id=request.backup) as act:
        act.detail = f"to the new database {request.new_name}"
        found = locate(workspace, request.backup)
        act.entry, act.backup_id = found.manifest.entry, found.manifest.id
        _refuse_rows_alone(found.manifest)
        with leased(workspace, found, "restore") as located:
            source = _server_of(workspace, located.manifest)
            return _restore_beside(source, located, request.new_name, progress, cancellation)


def _refuse_rows_alone(manifest: Manifest) -> None:
    if manifest.type is BackupType.DATA:
        raise FeatureNotAvailable(
            f"{manifest.id} holds rows and no tables, and a new database has no tables to load them into.",
            hint=f"Restore a structure backup of '{manifest.entry}' first, then load the rows into that database with "
            f"the command under stock_restore in {manifest.id}.json.",
            database=manifest.entry,
            backup_id=manifest.id,
        )


def _server_of(workspace: Workspace, manifest: Manifest) -> Engine:
    """The engine on whose server the new database is made; a SQLite file needs none."""
    if manifest.engine is EngineName.SQLITE:
        return engine_for(ConnectionInfo(conn_id="", engine=EngineName.SQLITE), workspace.engine_options)
    source = workspace.engine(workspace.config.entry(manifest.entry))
    if source.name is not manifest.engine:
        raise LoadFailed(
            f"{manifest.id} is a {manifest.engine} backup, and the connection of '{manifest.entry}' is {source.name}.",
            hint="Point the entry's connection at a server of the backup's engine.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    return source


def _restore_beside(
    source: Engine, located: Located, new_name: str, progress: Progress, cancellation: Cancellation
) -> RestoreReport:
    manifest = located.manifest
    started = time.monotonic()
    target = source.create_database(new_name)
    with ExitStack() as undo:
        if manifest.engine is not EngineName.SQLITE:
            undo.callback(source.drop_database, new_name)  # a SQLite file appears whole or not at all
        progress.stage(f"restoring {manifest.id} to {new_name}", manifest.plain_bytes)
        warnings = target.load(plain_streams(located, progress), manifest, cancellation)
        cancellation.check()
        undo.pop_all()
    progress.stage(f"comparing {len(manifest.inventory.tables)} tables")
    found = target.take_inventory(manifest, cancellation)
    return RestoreReport(
        backup_id=manifest.id,
        target=target.connection.address,
        restored_to=new_name,
        tables=len(found.tables),
        rows=found.rows,
        differences=compare(manifest.inventory, found),
        warnings=warnings,
        duration_seconds=round(time.monotonic() - started, 3),
    )
