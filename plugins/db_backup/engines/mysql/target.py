"""A restore's target before anything is changed: what is there, what stands in the way, and what this user may do."""

from __future__ import annotations

from collections.abc import Iterator

import pymysql

from db_backup.engines.base import LoadOptions, Occupancy, TargetExamination
from db_backup.engines.mysql.cautions import account_of
from db_backup.engines.mysql.connecting import Session, error_code, identifier, query, session_for
from db_backup.engines.mysql.databases import (
    character_set,
    check_name,
    code_items,
    replaced_name,
    replacement_name,
    some,
    stored_tables,
)
from db_backup.engines.mysql.flavour import Flavour, find_client_tool, version_numbers
from db_backup.engines.mysql.preflight import routine_grant
from db_backup.engines.mysql.privileges import Privileges, read_privileges
from db_backup.engines.mysql.replacing import refuse_outside_keys
from db_backup.engines.mysql.replica import read_replica
from db_backup.engines.mysql.server import Server, describe_server
from db_backup.engines.mysql.sessions import other_sessions
from db_backup.engines.mysql.tables import filled_tables, read_tables
from db_backup.errors import (
    FeatureNotAvailable,
    LoadFailed,
    PrivilegeMissing,
    SourceUnsupported,
    TargetNotEmpty,
    UsageError,
)
from db_backup.manifest import Manifest
from db_backup.model import BackupType, ConnectionInfo
from db_backup.settings.problems import did_you_mean, nearest

_EXAMPLES = 5
_MAY_NOT_SEE = {1044, 1142, 1143}
_SIZE = "SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE table_schema = %s"
_ROUTINE_GRANTS = "SELECT COUNT(*) FROM mysql.procs_priv WHERE db = %s"
_SET_ASIDE = """SELECT definer FROM information_schema.triggers WHERE trigger_schema = %s
    UNION SELECT definer FROM information_schema.events WHERE event_schema = %s"""
_LOGGED_BY_SUPER = {"trigger", "function", "package", "package body"}
_MAY_NAME_DEFINERS = ("SET USER", "SUPER", "SET_USER_ID", "SET_ANY_DEFINER")
# What a table takes; and then what each kind of object takes besides.
_TABLES_TAKE = ("SELECT", "INSERT", "CREATE", "DROP", "ALTER")
_KINDS_TAKE = {
    "index": ("INDEX",),
    "foreign key": ("REFERENCES",),
    "view": ("CREATE VIEW", "SHOW VIEW"),
    "trigger": ("TRIGGER",),
    "event": ("EVENT",),
    **dict.fromkeys(("procedure", "function", "package", "package body"), ("CREATE ROUTINE", "ALTER ROUTINE")),
}


def examine_target(
    connection: ConnectionInfo, manifest: Manifest, options: LoadOptions, *, replace: bool
) -> TargetExamination:
    """See ``Engine.examine_target``.

    :raises Refused: what shall be replaced is referred to by other databases.
    :raises TargetNotEmpty: tables that are asked for are there already.
    """
    check_name(connection.database)
    _refuse_unavailable(manifest, options, replace=replace)
    with session_for(connection, "examine", database="") as session:
        server = describe_server(session, connection)
        _require_server(server, manifest, connection)
        find_client_tool(server.flavour, server.flavour.client_names)
        find_client_tool(server.flavour, server.flavour.dump_names)
        exists = character_set(session, connection.database) is not None
        on_target = read_privileges(session, connection.database, server.flavour)
        beside = replace or not exists
        _refuse_obstacles(session, connection, manifest, options, exists=exists, replace=replace)
        _require_privileges(session, server, manifest, connection, beside=beside, replace=replace)
        warnings = [
            *_about_server(session, server, connection),
            *(_about_replacing(session, connection, on_target) if replace and exists else ()),
        ]
        occupancy = _occupancy(session, connection.database, on_target) if exists else None
    return TargetExamination(server.info, occupancy, tuple(warnings))


def _refuse_unavailable(manifest: Manifest, options: LoadOptions, *, replace: bool) -> None:
    if replace and manifest.type is BackupType.DATA:
        raise FeatureNotAvailable(
            f"{manifest.id} holds rows alone, and cannot replace a database.",
            hint="Restore a full backup, or load the rows into tables that are empty.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    if not options.tables:
        return
    if manifest.type is not BackupType.FULL:
        raise FeatureNotAvailable(
            f"Single tables are restored from full backups, and {manifest.id} is a {manifest.type} backup.",
            hint="Name a full backup, or restore all of this one.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    known = {table.name for table in manifest.inventory.tables}
    for name in options.tables:
        if name not in known:
            raise UsageError(
                f"{manifest.id} holds no table '{name}'.",
                hint=did_you_mean(nearest(name, known)) or "Name tables as the backup's inventory does.",
                database=manifest.entry,
                backup_id=manifest.id,
            )


def _require_server(server: Server, manifest: Manifest, connection: ConnectionInfo) -> None:
    if server.flavour != manifest.server.flavour:
        raise SourceUnsupported(
            f"{manifest.id} is of a {manifest.server.flavour} server, and '{connection.address}' is "
            f"{server.flavour}: what one prints, the other does not take in whole.",
            hint=f"Restore it to a {manifest.server.flavour} server of version {manifest.server.major} or newer.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    if server.version[:2] < version_numbers(manifest.server.version)[:2]:
        raise SourceUnsupported(
            f"{manifest.id} is of {manifest.server.flavour} {manifest.server.major}, and '{connection.address}' is "
            f"{server.info.major}: an older server does not know everything that a newer one prints.",
            hint=f"Restore it to a server of version {manifest.server.major} or newer.",
            database=manifest.entry,
            backup_id=manifest.id,
        )


def _occupancy(session: Session, database: str, privileges: Privileges) -> Occupancy:
    """Triggers belong to their tables, and are not counted."""
    query(session, f"USE {identifier(database)}")
    code = [name for kind, name in code_items(session, database) if kind not in {"TRIGGER", "PACKAGE BODY"}]
    objects = [*stored_tables(session, database), *code]
    size = query(session, _SIZE, (database,))[0][0]
    return Occupancy(
        objects=len(objects),
        rows=any(filled_tables(session, [table]) for table in read_tables(session, database)),
        examples=tuple(objects[:_EXAMPLES]),
        sessions=len(other_sessions(session, database)) if privileges.on_all("PROCESS") else None,
        size_bytes=int(size or 0),
    )


def _refuse_obstacles(
    session: Session,
    connection: ConnectionInfo,
    manifest: Manifest,
    options: LoadOptions,
    *,
    exists: bool,
    replace: bool,
) -> None:
    database = connection.database
    there = stored_tables(session, database) if exists else []
    if manifest.type is BackupType.DATA:
        _require_tables({table.name for table in manifest.inventory.tables} - set(there), connection, manifest)
    if replace and exists:
        refuse_outside_keys(session, connection)
    elif options.tables:
        views = [name for kind, name in (code_items(session, database) if exists else ()) if kind == "VIEW"]
        if taken := sorted({*there, *views} & set(options.tables)):
            raise TargetNotEmpty(
                f"The database at {connection.address} has {some(taken)} already; nothing was changed.",
                hint="Rename or drop them first, or restore the tables into a new database.",
                database=manifest.entry,
                backup_id=manifest.id,
            )


def _require_tables(missing: set[str], connection: ConnectionInfo, manifest: Manifest) -> None:
    if missing:
        raise LoadFailed(
            f"The database at {connection.address} has no {some(sorted(missing))}, and {manifest.id} has rows for it.",
            hint="Restore the structure of the same database there first.",
            database=manifest.entry,
            backup_id=manifest.id,
        )


def _require_privileges(
    session: Session, server: Server, manifest: Manifest, connection: ConnectionInfo, *, beside: bool, replace: bool
) -> None:
    """On the target, and on the databases that are made beside it."""
    database = connection.database
    places = [database]
    if beside:
        places.append(replacement_name(database))
    if replace:
        places.append(replaced_name(database))
    kinds = {item.kind for item in manifest.inventory.objects}
    if replace:  # what is there is made again when it cannot be replaced
        kinds |= {kind.lower() for kind, _ in code_items(session, database)}
    wanted = dict.fromkeys((*_TABLES_TAKE, *(name for kind in sorted(kinds) for name in _KINDS_TAKE.get(kind, ()))))
    if manifest.type is BackupType.DATA:
        wanted = dict.fromkeys((*_TABLES_TAKE, "TRIGGER"))
    for place in places:
        privileges = read_privileges(session, place, server.flavour)
        if lacking := [name for name in wanted if not privileges.holds(name)]:
            raise PrivilegeMissing(
                f"The user '{connection.login}' lacks {', '.join(lacking)} on the database '{place}', which a restore "
                f"to '{connection.address}' takes; nothing was changed.",
                hint=f"GRANT {', '.join(lacking)} ON {identifier(place)}.* TO {account_of(connection)};",
            )
    if kinds & _LOGGED_BY_SUPER and manifest.type is not BackupType.DATA:
        _require_trust(session, server, connection)
    if replace:
        _require_all_code(session, server, connection, read_privileges(session, database, server.flavour))


def _require_trust(session: Session, server: Server, connection: ConnectionInfo) -> None:
    """With a binlog, SUPER makes triggers and functions; others where the server trusts everybody (1419)."""
    if not server.binlog or query(session, "SELECT @@log_bin_trust_function_creators")[0][0]:
        return
    if not read_privileges(session, connection.database, server.flavour).on_all("SUPER"):
        raise PrivilegeMissing(
            f"The user '{connection.login}' lacks SUPER, without which the server of '{connection.address}', which has "
            "a binlog, takes in neither triggers nor functions; nothing was changed.",
            hint=f"GRANT SUPER ON *.* TO {account_of(connection)}; or set log_bin_trust_function_creators = 1 for the "
            "time of the restore.",
        )


def _require_all_code(session: Session, server: Server, connection: ConnectionInfo, privileges: Privileges) -> None:
    """To see it, and to make it again under the names of its definers."""
    if not privileges.sees_all_routines(server.flavour, server.version):
        raise PrivilegeMissing(
            f"The user '{connection.login}' cannot see all stored routines of the database '{connection.database}', "
            "and could not replace them; nothing was changed.",
            hint=f"{routine_grant(server, f'{identifier(connection.database)}.*')} TO {account_of(connection)};",
        )
    others = {str(name) for (name,) in query(session, _SET_ASIDE, (connection.database,) * 2)}
    others.discard(str(query(session, "SELECT CURRENT_USER()")[0][0]))
    if others and not any(privileges.on_all(name) for name in _MAY_NAME_DEFINERS):
        privilege = "SET USER" if server.flavour is Flavour.MARIADB else "SET_USER_ID"
        raise PrivilegeMissing(
            f"The user '{connection.login}' may not make the triggers and events of '{connection.address}' again, "
            f"should the restore not come into its place: their definers are {some(sorted(others))}; nothing was "
            "changed.",
            hint=f"GRANT {privilege} ON *.* TO {account_of(connection)};",
        )


def _about_server(session: Session, server: Server, connection: ConnectionInfo) -> Iterator[str]:
    if read_replica(session, server.flavour, server.version) is not None:
        yield (
            f"The server of '{connection.address}' is a replica: what is restored there is not on its source, and "
            "replication into it may stop."
        )


def _about_replacing(session: Session, connection: ConnectionInfo, privileges: Privileges) -> Iterator[str]:
    if not (privileges.on_all("CONNECTION ADMIN") or privileges.on_all("SUPER")):
        yield (
            f"The user '{connection.login}' may end its own connections only (CONNECTION ADMIN is not granted): stop "
            "the application first, or the database may be found in use when its turn comes."
        )
    if character_set(session, replaced_name(connection.database)) is not None:
        yield (
            f"An earlier restore was interrupted while it took its place: '{replaced_name(connection.database)}' holds "
            "what it had set aside. This restore begins with putting that in order."
        )
    if _counted(session, _ROUTINE_GRANTS, connection.database):
        yield "Grants on single routines (EXECUTE ON PROCEDURE …) go with the routines that are replaced."


def _counted(session: Session, statement: str, database: str) -> int:
    try:
        return int(query(session, statement, (database,))[0][0])
    except pymysql.err.MySQLError as error:
        if error_code(error) in _MAY_NOT_SEE:
            return 0
        raise
