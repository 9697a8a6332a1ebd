"""Loading rows into tables that exist: what must be true of them, and how nothing fires meanwhile.

In the replication role ``replica`` neither triggers nor foreign keys are looked at (PostgreSQL manual,
"session_replication_role"), and no table is changed for it; ``pg_restore --disable-triggers`` would switch triggers on
again that were off before.
"""

# ruff: noqa: S608 - every query is put together from constants of ours; values go beside it
from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from psycopg import sql

from db_backup.engines.postgres.contents import LARGE_OBJECTS, TableName
from db_backup.engines.postgres.inventory import PREAMBLE, filled_tables, read_catalogue
from db_backup.engines.postgres.preflight import some
from db_backup.engines.postgres.session import Connection, connected, rows, value
from db_backup.errors import BackupError, LoadFailed, TargetNotEmpty
from db_backup.manifest import Manifest
from db_backup.model import BackupType, ConnectionInfo

NO_TRIGGERS = "-c session_replication_role=replica"
_TRIGGERS = (
    PREAMBLE
    + """SELECT g.tgname || ' of ' || n.nspname || '.' || c.relname FROM pg_catalog.pg_trigger g
    JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid JOIN schemas n ON n.oid = c.relnamespace
    WHERE NOT g.tgisinternal AND c.relkind IN ('r', 'p') AND g.tgenabled = ANY (%(states)s) ORDER BY 1"""
)
# pg_dump copies rows that users have put into some of these, such as PostGIS' spatial_ref_sys.
_TABLES_OF_EXTENSIONS = (
    PREAMBLE
    + """SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN schemas n ON n.oid = c.relnamespace
    JOIN members m ON m.objid = c.oid AND m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    WHERE c.relkind = 'r'"""
)
_RELATIONS = (
    PREAMBLE + "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN schemas n ON n.oid = c.relnamespace"
)
_SEQUENCE = sql.SQL("SELECT last_value, is_called FROM {}")
_LOCK_WAIT_SECONDS = 60
_SequenceValue = tuple[tuple[str, str], int, bool]
_FIRES_ALWAYS = ["A", "R"]  # pg_trigger.tgenabled: whatever the role; in the role replica alone
_FIRES = ["A", "O"]


def refuse_these_tables(link: Connection, connection: ConnectionInfo, tables: Collection[str]) -> None:
    """:raises TargetNotEmpty: one of them is there."""
    there = {f"{schema}.{name}" for schema, name in rows(link, _RELATIONS)}
    if taken := sorted(there.intersection(tables)):
        raise TargetNotEmpty(
            f"The database at {connection.address} has {some(taken)} already; nothing was changed.",
            hint="Rename or drop what is there first, or restore into a new database and copy the rows from there.",
        )


def refuse_other_tables(link: Connection, connection: ConnectionInfo, manifest: Manifest) -> None:
    """:raises LoadFailed: a table that has rows in the backup is not there."""
    catalogue = read_catalogue(link)
    members = {".".join(name) for name in rows(link, _TABLES_OF_EXTENSIONS)}
    there = {".".join(name) for name in catalogue.roots} | {LARGE_OBJECTS} | members
    if missing := sorted({table.name for table in manifest.inventory.tables} - there):
        raise _failed(
            f"The database at {connection.address} has no {some(missing)}, and {manifest.id} has rows for it",
            "Restore the structure of the same database there first.",
            manifest,
        )


def refuse_filled_tables(link: Connection, connection: ConnectionInfo, manifest: Manifest) -> None:
    """:raises TargetNotEmpty: there are rows already."""
    if filled := filled_tables(link, read_catalogue(link)):
        raise TargetNotEmpty(
            f"The database at {connection.address} has rows in {some(filled)} already; nothing was changed.",
            hint="Load the rows into a database whose tables are empty.",
            database=manifest.entry,
            backup_id=manifest.id,
        )


def without_triggers(link: Connection, connection: ConnectionInfo, manifest: Manifest) -> ConnectionInfo:
    """The connection to load rows through.

    A user without the right to set triggers aside can still load rows where there are none: pg_dump writes tables in
    the order of their foreign keys.

    :raises LoadFailed: a trigger would fire.
    """
    allowed = _may_set_triggers_aside(link)
    if firing := [name for (name,) in rows(link, _TRIGGERS, states=_FIRES_ALWAYS if allowed else _FIRES)]:
        raise _failed(
            f"The rows of {manifest.id} were not loaded into {connection.address}, for triggers would fire: "
            f"{some(firing)}",
            "Disable them, load the rows, and enable them as they were (ALTER TABLE … ENABLE ALWAYS TRIGGER …)."
            if allowed
            else "Load the rows as a superuser, who may set triggers aside.",
            manifest,
        )
    if not allowed:
        return connection
    options = f"{connection.extra.get('options') or ''} {NO_TRIGGERS}".strip()
    return dataclasses.replace(connection, extra={**connection.extra, "options": options})


@contextmanager
def emptied_after_failure(connection: ConnectionInfo, manifest: Manifest, *, of_several: bool) -> Iterator[None]:
    """Rows that a failed load leaves are taken away again, and sequences, which know no transaction, are set back.

    :param connection: as ``without_triggers`` gave it.
    :param of_several: streams, of which each commits by itself; one alone leaves no rows.
    :raises LoadFailed: that fails too.
    """
    if manifest.type is not BackupType.DATA:
        yield
        return
    with connected(connection, entry=manifest.entry) as link:
        sequences = _read_sequences(link)
    try:
        yield
    except BaseException as error:
        try:
            with connected(connection, entry=manifest.entry) as link:
                _go_back(link, sequences, manifest if of_several else None)
        except BackupError as problem:
            raise _failed(
                f"{error} What had been loaded into {connection.address} by then is still there: {problem.message}",
                "Empty the tables before another attempt.",
                manifest,
            ) from error
        raise


def _read_sequences(link: Connection) -> list[_SequenceValue]:
    names = rows(link, "SELECT schemaname, sequencename FROM pg_catalog.pg_sequences")
    return [
        ((schema, name), *link.execute(_SEQUENCE.format(sql.Identifier(schema, name))).fetchall()[0])
        for schema, name in names
    ]


def _go_back(link: Connection, sequences: Iterable[_SequenceValue], loaded: Manifest | None) -> None:
    """:param loaded: whose rows may be there; None: nobody's."""
    with link.transaction():
        link.execute(f"SET LOCAL lock_timeout = '{_LOCK_WAIT_SECONDS}s'")
        if loaded is not None:
            _empty(link, {table.name for table in loaded.inventory.tables if table.rows})
        for (schema, name), value, called in sequences:
            qualified = sql.Identifier(schema, name).as_string(link)
            rows(
                link,
                "SELECT pg_catalog.setval(%(name)s::pg_catalog.regclass, %(value)s, %(called)s)",
                name=qualified,
                value=value,
                called=called,
            )


def _empty(link: Connection, loaded: Collection[str]) -> None:
    """Take the rows of the tables of these names away; what others have written into other tables stays.

    TRUNCATE wants every table that refers to one of them in the same statement, also those without rows. A partitioned
    table or a parent would take foreign tables along, whose rows are another server's: it is named only where it has
    none, and a parent without its children.
    """
    if LARGE_OBJECTS in loaded:
        rows(link, "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata")
    catalogue = read_catalogue(link)
    if not catalogue.tables:
        return
    everyone = _only(table.name for table in catalogue.tables)
    link.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(everyone))
    filled = set(filled_tables(link, catalogue))
    names = [
        table.name
        for table in catalogue.tables
        if ".".join(table.name) not in filled or ".".join(catalogue.root(table.name)) in loaded
    ]
    others = set(catalogue.parents).difference(names, catalogue.partitioned)
    kept = {name for other in others for name in catalogue.branch(other)}
    partitioned = [sql.Identifier(*name) for name in catalogue.partitioned if name not in kept]
    if names:
        link.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join([_only(names), *partitioned])))


def _only(names: Iterable[TableName]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("ONLY ") + sql.Identifier(*name) for name in names)


def unrefreshed_views(link: Connection) -> tuple[str, ...]:
    """A warning, where materialized views wait for the rows that have been loaded."""
    waiting = [
        name
        for (name,) in rows(
            link, "SELECT schemaname || '.' || matviewname FROM pg_catalog.pg_matviews WHERE NOT ispopulated ORDER BY 1"
        )
    ]
    return (f"These wait for REFRESH MATERIALIZED VIEW: {some(waiting)}.",) if waiting else ()


def _may_set_triggers_aside(link: Connection) -> bool:
    if value(link, "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"):
        return True
    question = "SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET')"
    return link.info.server_version >= 150_000 and bool(value(link, question))


def _failed(message: str, hint: str, manifest: Manifest) -> LoadFailed:
    return LoadFailed(f"{message}.", hint=hint, database=manifest.entry, backup_id=manifest.id)
