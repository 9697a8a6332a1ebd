"""What can be known of a restore's target before anything is changed: what is in it, what it lacks, what is refused."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import psycopg
from psycopg import sql

from db_backup.engines.base import EngineOptions, LoadOptions, Occupancy, TargetExamination
from db_backup.engines.postgres import tools
from db_backup.engines.postgres.belongings import other_locale
from db_backup.engines.postgres.contents import LARGE_OBJECTS
from db_backup.engines.postgres.creating import missing_locale
from db_backup.engines.postgres.filling import refuse_other_tables, refuse_these_tables, without_triggers
from db_backup.engines.postgres.formats import Container, DumpFormat
from db_backup.engines.postgres.inventory import Catalogue, occupants, read_catalogue
from db_backup.engines.postgres.maintenance import beside
from db_backup.engines.postgres.owners import missing_roles, roles_in_manifest
from db_backup.engines.postgres.preflight import describe_server, some
from db_backup.engines.postgres.replacing import leftover, refuse_irreplaceable
from db_backup.engines.postgres.restore import check_extensions, loads_in_parallel, needs_superuser
from db_backup.engines.postgres.session import Connection, MissingDatabase, connected, rows, value
from db_backup.engines.postgres.staged import refuse_without_staging_room
from db_backup.engines.postgres.standby import is_standby
from db_backup.errors import FeatureNotAvailable, LoadFailed, PrivilegeMissing, SourceUnsupported, UsageError
from db_backup.manifest import Manifest, ServerInfo
from db_backup.model import BackupType, ConnectionInfo

_EXAMPLES = 5
_PATIENCE_SECONDS = 10
_IS_SUPERUSER = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
_MAY_CREATE = "SELECT rolcreatedb OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
_MAY_MAKE_ROLES = "SELECT rolcreaterole OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
_OWNS_DATABASE = """SELECT pg_catalog.pg_has_role(datdba, 'USAGE') FROM pg_catalog.pg_database
    WHERE datname = current_database()"""
# pg_stat_activity hides the kind of other users' sessions from an ordinary user, and never whose they are.
_SESSIONS = """SELECT count(*) FROM pg_catalog.pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_catalog.pg_backend_pid() AND usesysid IS NOT NULL
    AND coalesce(backend_type, 'client backend') IN ('client backend', 'walsender')"""
_SESSIONS_OUT_OF_REACH = """SELECT DISTINCT a.usename::text FROM pg_catalog.pg_stat_activity a
    JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
    WHERE a.datname = current_database() AND NOT pg_catalog.pg_has_role(a.usesysid, 'USAGE')
    AND (r.rolsuper OR NOT pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')) ORDER BY 1"""
_HAS_PAGES = """SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND pg_catalog.pg_relation_size(c.oid) > 0 ORDER BY pg_catalog.pg_relation_size(c.oid)"""
_MAY_DEFINE = """SELECT pg_catalog.has_database_privilege(current_database(), 'CREATE') OR EXISTS (
    SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'public' AND pg_catalog.has_schema_privilege(oid, 'CREATE'))"""
_TABLESPACE = """SELECT t.spcname::text FROM pg_catalog.pg_database d
    JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
    WHERE d.datname = current_database() AND t.spcname <> 'pg_default'"""


def examine_target(
    connection: ConnectionInfo, options: EngineOptions, manifest: Manifest, wanted: LoadOptions, *, replace: bool
) -> TargetExamination:
    """See ``Engine.examine_target``.

    :raises Refused: what shall be replaced cannot be.
    :raises StorageFull: ``wanted.jobs`` needs more room than BACKUP_STAGING_PATH has.
    """
    refuse_unavailable(manifest, wanted, replace=replace)
    try:
        with connected(connection, entry=manifest.entry) as link:
            return _examine_existing(link, connection, options, manifest, wanted, replace=replace)
    except MissingDatabase:
        with beside(connection, connection.database) as link:
            return _examine_new(link, connection, options, manifest, wanted)


def refuse_unavailable(manifest: Manifest, wanted: LoadOptions, *, replace: bool) -> None:
    """What no server is needed to know.

    :raises FeatureNotAvailable, UsageError:
    """
    dump_format = DumpFormat.parse(manifest.format)
    if replace and manifest.type is BackupType.DATA:
        raise _unavailable(manifest, "holds rows alone, and cannot replace a database", "Restore a full backup.")
    if not wanted.tables:
        return
    if manifest.type is not BackupType.FULL:
        raise _unavailable(
            manifest, f"is a {manifest.type} backup, and tables are taken out of full ones", "Choose a full backup."
        )
    if not dump_format.is_archive:
        raise _unavailable(
            manifest,
            "is a plain SQL script, out of which pg_restore cannot take tables",
            "Restore all of it into a new database, and copy the tables from there.",
        )
    known = [table.name for table in manifest.inventory.tables if table.name != LARGE_OBJECTS]
    for name in wanted.tables:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            raise UsageError(
                f"{manifest.id} holds no table '{name}'.",
                hint=f"Did you mean {nearest[0]}?" if nearest else f"It holds {some(known) or 'no tables'}.",
                database=manifest.entry,
                backup_id=manifest.id,
            )


def _examine_existing(
    link: Connection,
    connection: ConnectionInfo,
    options: EngineOptions,
    manifest: Manifest,
    wanted: LoadOptions,
    *,
    replace: bool,
) -> TargetExamination:
    server = _server(link, connection, manifest)
    if replace:
        _refuse_without_right_to_create(link, connection, manifest)
        refuse_irreplaceable(link, connection.database, connection.address)
        _refuse_without_right_to_replace(link, connection, manifest)
    elif manifest.type is not BackupType.DATA:
        _refuse_without_right_to_define(link, connection, manifest)
    if wanted.tables and not replace:
        refuse_these_tables(link, connection, wanted.tables)
    _refuse_what_is_missing(link, options, manifest, wanted, server)
    _refuse_without_right_to_make_roles(link, connection, manifest, wanted)
    if manifest.type is BackupType.DATA:
        refuse_other_tables(link, connection, manifest)
        without_triggers(link, connection, manifest)
    warnings = [*other_locale(server, manifest), *_warnings(link, options, manifest, wanted)]
    if replace:
        warnings += [
            f"The database lies in the tablespace {name}; the one in its place will lie in the server's default one."
            for (name,) in rows(link, _TABLESPACE)
        ]
        warnings += leftover(link, connection.database, connection.address)
    return TargetExamination(server, _occupancy(link), tuple(warnings))


def _examine_new(
    link: Connection, connection: ConnectionInfo, options: EngineOptions, manifest: Manifest, wanted: LoadOptions
) -> TargetExamination:
    if manifest.type is BackupType.DATA:
        raise LoadFailed(
            f"There is no database at {connection.address}, and {manifest.id} holds rows and no tables.",
            hint=f"Restore a structure backup of '{manifest.entry}' there first.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    server = _server(link, connection, manifest)
    _refuse_without_right_to_create(link, connection, manifest)
    _refuse_what_is_missing(link, options, manifest, wanted, server)
    _refuse_without_right_to_make_roles(link, connection, manifest, wanted)
    warnings = [
        *missing_locale(link, manifest.server, connection.address),
        *_warnings(link, options, manifest, wanted),
    ]
    return TargetExamination(server, None, tuple(warnings))


def _server(link: Connection, connection: ConnectionInfo, manifest: Manifest) -> ServerInfo:
    """:raises SourceUnsupported: the server cannot take this backup."""
    server = describe_server(link, connection, entry=manifest.entry)
    source = manifest.server
    problem, hint = "", "Restore to a server of the same or a newer version."
    if server.flavour != source.flavour:
        problem, hint = f"is {server.flavour}", f"Restore to a {source.flavour} server."
    elif int(server.major) < int(source.major):
        problem = f"is {server.flavour} {server.version}"
    elif is_standby(link):
        problem, hint = "is a standby, which nothing can be written to", "Restore to its primary."
    if problem:
        raise SourceUnsupported(
            f"{manifest.id} was made on {source.flavour} {source.version}, and the server at {connection.address} "
            f"{problem}; nothing was changed.",
            hint=hint,
            database=manifest.entry,
            backup_id=manifest.id,
        )
    return server


def _refuse_without_right_to_create(link: Connection, connection: ConnectionInfo, manifest: Manifest) -> None:
    if not value(link, _MAY_CREATE):
        raise _missing_right(
            connection, manifest, "create a database", "ALTER ROLE … CREATEDB, or use a connection that has the right."
        )


def _refuse_without_right_to_replace(link: Connection, connection: ConnectionInfo, manifest: Manifest) -> None:
    if not value(link, _OWNS_DATABASE):
        raise _missing_right(connection, manifest, "replace this database", "Use its owner, or a superuser.")
    with beside(connection, connection.database):  # a database is renamed from another one, which must be in reach
        pass
    if value(link, _IS_SUPERUSER):
        return
    if users := [name for (name,) in rows(link, _SESSIONS_OUT_OF_REACH)]:
        raise _missing_right(
            connection,
            manifest,
            f"end the sessions of {some(users)}",
            "GRANT pg_signal_backend, stop those sessions first, or use a superuser.",
        )


def _refuse_without_right_to_define(link: Connection, connection: ConnectionInfo, manifest: Manifest) -> None:
    if not value(link, _MAY_DEFINE):
        raise _missing_right(
            connection, manifest, "create anything in this database", "GRANT CREATE ON DATABASE, or use its owner."
        )


def _refuse_without_right_to_make_roles(
    link: Connection, connection: ConnectionInfo, manifest: Manifest, wanted: LoadOptions
) -> None:
    """Of chosen tables it is not known yet which roles they name."""
    if not wanted.with_owners or wanted.tables or value(link, _MAY_MAKE_ROLES):
        return
    if missing := missing_roles(link, roles_in_manifest(manifest)):
        raise _missing_right(
            connection,
            manifest,
            f"make the roles {some(missing)}, which the backup's owners and grants need,",
            "Create them first, or use a connection that has CREATEROLE.",
        )


def _missing_right(connection: ConnectionInfo, manifest: Manifest, what: str, hint: str) -> PrivilegeMissing:
    return PrivilegeMissing(
        f"The user '{connection.login}' may not {what} at {connection.address}; nothing was changed.",
        hint=hint,
        database=manifest.entry,
        backup_id=manifest.id,
    )


def _unavailable(manifest: Manifest, what: str, hint: str) -> FeatureNotAvailable:
    return FeatureNotAvailable(f"{manifest.id} {what}.", hint=hint, database=manifest.entry, backup_id=manifest.id)


def _refuse_what_is_missing(
    link: Connection, options: EngineOptions, manifest: Manifest, wanted: LoadOptions, server: ServerInfo
) -> None:
    """:raises ToolMissing, ToolVersionMismatch, LoadFailed, StorageFull:"""
    dump_format = DumpFormat.parse(manifest.format)
    names = {"pg_restore"} if dump_format.is_archive else {"psql"}
    for name in sorted(names | ({"psql"} if wanted.tables else set())):
        tools.find(name, server.major, database=manifest.entry)
    if not wanted.tables:
        check_extensions(link, manifest, scratch=False)
    if loads_in_parallel(dump_format, wanted):
        refuse_without_staging_room(manifest, options.staging_path)


def _occupancy(link: Connection) -> Occupancy:
    catalogue = read_catalogue(link)
    names = occupants(catalogue)
    return Occupancy(
        objects=len(names),
        rows=_has_rows(link, catalogue),
        examples=tuple(names[:_EXAMPLES]),
        sessions=value(link, _SESSIONS),
        size_bytes=value(link, "SELECT pg_catalog.pg_database_size(current_database())"),
    )


def _has_rows(link: Connection, catalogue: Catalogue) -> bool:
    """Whether a table has any; also where this user may not look, or somebody holds its lock, and it has pages."""
    if catalogue.large_objects:
        return True
    made = {table.name for table in catalogue.tables}
    for name in rows(link, _HAS_PAGES):
        if name in made:
            try:
                with link.transaction():
                    link.execute(f"SET LOCAL lock_timeout = '{_PATIENCE_SECONDS}s'")
                    link.execute(f"SET LOCAL statement_timeout = '{_PATIENCE_SECONDS}s'")
                    found = link.execute(sql.SQL("SELECT FROM ONLY {} LIMIT 1").format(sql.Identifier(*name)))
                    if found.rowcount:
                        return True
            except (
                psycopg.errors.InsufficientPrivilege,
                psycopg.errors.LockNotAvailable,
                psycopg.errors.QueryCanceled,
            ):
                return True
    return False


def _warnings(link: Connection, options: EngineOptions, manifest: Manifest, wanted: LoadOptions) -> Iterator[str]:
    if left_out := sorted(set(wanted.tables).intersection(manifest.excluded_tables)):
        yield f"The rows of {some(left_out)} were left out of this backup."
    if not wanted.tables and not value(link, _IS_SUPERUSER) and needs_superuser(link, manifest):
        yield "The backup holds something that only a superuser may create, and this user is none."
    if wanted.with_owners:
        yield from _of_owners(link, manifest)
    elif manifest.type is not BackupType.DATA and options.postgres_no_owner:
        user = value(link, "SELECT current_user::text")
        unless = "before they are granted it" if options.postgres_no_privileges else "except by the backup's grants"
        if others := sorted(roles_in_manifest(manifest) - {user}):
            yield (
                f"All that is restored will belong to '{user}', and {some(others)} may not use it "
                f"{unless}, unless the restore is asked for owners and grants (--with-owners)."
            )


def _of_owners(link: Connection, manifest: Manifest) -> Iterator[str]:
    if manifest.type is BackupType.DATA:
        yield "A backup of rows alone names no owners."
        return
    if DumpFormat.parse(manifest.format).container is Container.PLAIN:
        yield (
            "A plain dump names owners and grants only where PGSQL_BACKUP_NO_OWNER and PGSQL_BACKUP_NO_PRIVILEGES were "
            "false when it was made."
        )
    if missing := missing_roles(link, roles_in_manifest(manifest)):
        yield f"These roles are missing there, and are made without login where the backup names them: {some(missing)}."
