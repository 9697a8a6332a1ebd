"""Reading a restored copy back: by the same tool, with the same arguments, as the dump was made.

The archive formats give the same inventory, so those that are staged on a disk are not used for it.
"""

from __future__ import annotations

import os

from db_backup.engines.base import DumpRequest, DumpSummary, EngineOptions, Preflight
from db_backup.engines.postgres import tools
from db_backup.engines.postgres.dump import PostgresDump, export_snapshot, open_dump
from db_backup.engines.postgres.formats import DumpFormat
from db_backup.engines.postgres.inventory import count_structure
from db_backup.engines.postgres.preflight import describe_server, refuse_unreadable
from db_backup.engines.postgres.restore import LOST_SERVER
from db_backup.engines.postgres.session import connected, is_scratch, scratch_lost
from db_backup.engines.postgres.snapshot import begin_snapshot
from db_backup.errors import DumpFailed, DumpIncomplete, LoadFailed
from db_backup.manifest import Inventory, Manifest
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation

_BLOCK_BYTES = 1 << 20


def take_inventory(
    connection: ConnectionInfo, options: EngineOptions, manifest: Manifest, cancellation: Cancellation
) -> Inventory:
    """What the connection's database holds, to be compared with the manifest's inventory.

    :raises PrivilegeMissing: the user may not read all of it.
    :raises LoadFailed: pg_dump cannot read it back.
    :raises ScratchUnavailable: it lies on a scratch server that has gone or is full.
    :raises ServerUnreachable, ToolMissing, ToolVersionMismatch, Interrupted:
    """
    cancellation.check()
    dump_format = DumpFormat.parse(manifest.format).as_stream
    with connected(connection, entry=manifest.entry, cancellation=cancellation) as link:
        begin_snapshot(link, manifest.entry, cancellation)
        server = describe_server(link, connection, entry=manifest.entry)
        refuse_unreadable(link, dump_format.type, _outcome(connection, manifest), manifest.entry)
        if manifest.type is BackupType.STRUCTURE:
            return count_structure(link)
        tool = tools.find("pg_dump", server.major, database=manifest.entry)
        snapshot = export_snapshot(link, DumpRequest(manifest.entry, manifest.type))
        with open_dump(
            connection,
            Preflight(server=server, tools=(tool.info,), warnings=(), estimated_plain_bytes=None),
            snapshot,
            tool,
            dump_format=dump_format,
            options=options,
            entry=manifest.entry,
            cancellation=cancellation,
        ) as dump:
            _drain(dump)
            inventory = _complete(dump, connection, manifest).inventory
            return _without_unread_tables(inventory, manifest, dump)


def _outcome(connection: ConnectionInfo, manifest: Manifest) -> str:
    return f"'{manifest.entry}' was restored to {connection.address}, but could not be compared"


def _drain(dump: PostgresDump) -> None:
    """Read every stream to its end, keeping nothing; a stop ends them."""
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    for stream in dump.streams:
        while size := os.readv(stream.fileno(), [buffer]):
            stream.observe(buffer[:size])


def _complete(dump: PostgresDump, connection: ConnectionInfo, manifest: Manifest) -> DumpSummary:
    try:
        return dump.complete()
    except (DumpFailed, DumpIncomplete) as error:
        if is_scratch(connection) and LOST_SERVER.search(error.message):
            raise scratch_lost(error.message.rstrip("."), manifest.entry) from error
        raise LoadFailed(
            f"{_outcome(connection, manifest)}: {error.message}",
            hint="Mend what pg_dump names; the restored database is still there, unless it was for a proof.",
            database=manifest.entry,
            backup_id=manifest.id,
        ) from error


def _without_unread_tables(inventory: Inventory, manifest: Manifest, dump: PostgresDump) -> Inventory:
    """Without the empty unlogged tables that the manifest does not list: a standby cannot read those."""
    unlogged = {".".join(table.name) for table in dump.catalogue.tables if table.unlogged}
    unread = unlogged - {table.name for table in manifest.inventory.tables}
    kept = tuple(table for table in inventory.tables if table.rows or table.name not in unread)
    return inventory.model_copy(update={"tables": kept})
