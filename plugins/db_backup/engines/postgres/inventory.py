"""What the system catalogue says a database holds: independent of what pg_dump writes, in the same snapshot.

A list that is taken of a database and of its restored copy must be the same. So it leaves out what a restore names
anew or brings along by itself: members of extensions, the copies of triggers and constraints on partitions, NOT NULL
constraints, array and row types, the ``public`` schema and plpgsql (a new database has both).
"""

# ruff: noqa: S608 - every query is put together from constants of ours; values go beside it
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from db_backup.engines.postgres.contents import LARGE_OBJECTS, TableName, root
from db_backup.engines.postgres.session import Connection, rows, value
from db_backup.manifest import DatabaseObject, Inventory, TableInventory

_LARGE_OBJECTS = "large objects"
UNTRUSTED = "untrusted "  # routines outside the database's own rules
# Kinds that only a superuser can create, as far as it can be told from the kind.
SUPERUSER_KINDS = frozenset(
    {
        "access method",
        "base type",
        "cast",
        "event trigger",
        "foreign data wrapper",
        "language",
        "operator class",
        "operator family",
        "publication",
        "subscription",
        "text search parser",
        "text search template",
        "transform",
        "foreign server",
    }
)

# User schemas, and what belongs to an extension.
PREAMBLE = """
WITH schemas AS (
    SELECT oid, nspname FROM pg_catalog.pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), members AS (
    SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'
), internal AS (
    SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'i'
)
"""

# What belongs to something else that is listed, and what people install and do not make.
_NOT_MADE = frozenset({"index", "constraint", "domain constraint", "trigger", "rule", "policy", "extension"})
_TABLE_KINDS = ("table", "partitioned table", "partition")

TABLE_OWNERS = (
    PREAMBLE
    + """SELECT DISTINCT pg_catalog.pg_get_userbyid(c.relowner)::text FROM pg_catalog.pg_class c
    JOIN schemas n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'S')"""
)


def _free(catalogue: str, alias: str) -> str:
    """A condition: the object is no extension's."""
    return (
        f"NOT EXISTS (SELECT FROM members WHERE classid = 'pg_catalog.{catalogue}'::pg_catalog.regclass "
        f"AND objid = {alias}.oid)"
    )


def _not_internal(catalogue: str, alias: str) -> str:
    """A condition: it did not come with another object, as a range type's constructor does."""
    return _free(catalogue, alias).replace("members", "internal")


def _in_schema(kind: str, catalogue: str, prefix: str, *, name: str = "", where: str = "true") -> str:
    """A query for objects of one catalogue that live in schemas, as (kind, name)."""
    shown = name or f"o.{prefix}name"
    return (
        f"SELECT {kind}, n.nspname || '.' || {shown} FROM pg_catalog.{catalogue} o "
        f"JOIN schemas n ON n.oid = o.{prefix}namespace WHERE {_free(catalogue, 'o')} AND ({where})"
    )


def _on_table(kind: str, catalogue: str, prefix: str, relation: str, where: str = "true") -> str:
    """A query for objects that belong to a table, as (kind, schema.table.name)."""
    return (
        f"SELECT '{kind}', n.nspname || '.' || c.relname || '.' || o.{prefix}name FROM pg_catalog.{catalogue} o "
        f"JOIN pg_catalog.pg_class c ON c.oid = o.{relation} JOIN schemas n ON n.oid = c.relnamespace "
        f"WHERE {_free('pg_class', 'c')} AND {_free(catalogue, 'o')} AND ({where})"
    )


def _global(kind: str, catalogue: str, name: str, where: str = "true") -> str:
    """A query for objects outside schemas, as (kind, name)."""
    return f"SELECT '{kind}', ({name})::text FROM pg_catalog.{catalogue} o WHERE {_free(catalogue, 'o')} AND ({where})"


_RELATION_KIND = """CASE o.relkind WHEN 'r' THEN CASE WHEN o.relispartition THEN 'partition' ELSE 'table' END
    WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
    WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'composite type' END"""
_ROUTINE_KIND = f"""CASE WHEN o.prokind = 'a' OR NOT o.proleakproof
    AND (SELECT l.lanpltrusted FROM pg_catalog.pg_language l WHERE l.oid = o.prolang) THEN '' ELSE '{UNTRUSTED}' END
    || CASE o.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' WHEN 'w' THEN 'window function'
    ELSE 'function' END"""
_USER_OBJECT = "o.oid >= 16384"  # FirstNormalObjectId: what initdb made has lower oids

_OBJECTS = (
    _global("schema", "pg_namespace", "o.nspname", "o.oid IN (SELECT oid FROM schemas) AND o.nspname <> 'public'"),
    _in_schema(_RELATION_KIND, "pg_class", "rel", where="o.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')"),
    # The condition is pg_dump's own: it leaves invalid indexes out.
    """SELECT 'index', n.nspname || '.' || i.relname FROM pg_catalog.pg_index x
       JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
       JOIN schemas n ON n.oid = i.relnamespace
       WHERE x.indisready AND (x.indisvalid OR c.relkind = 'p') AND """
    + _free("pg_class", "c")
    + " AND "
    + _free("pg_class", "i"),
    _on_table(
        "constraint",
        "pg_constraint",
        "con",
        "conrelid",
        "o.contype IN ('c', 'p', 'u', 'f', 'x') AND o.conparentid = 0 AND NOT (o.contype = 'c' AND o.coninhcount > 0)",
    ),
    """SELECT 'domain constraint', n.nspname || '.' || t.typname || '.' || o.conname FROM pg_catalog.pg_constraint o
       JOIN pg_catalog.pg_type t ON t.oid = o.contypid JOIN schemas n ON n.oid = t.typnamespace
       WHERE o.contype = 'c' AND """
    + _free("pg_type", "t"),
    _on_table("trigger", "pg_trigger", "tg", "tgrelid", "NOT o.tgisinternal AND o.tgparentid = 0"),
    _on_table("rule", "pg_rewrite", "rule", "ev_class", "o.rulename <> '_RETURN'"),
    _on_table("policy", "pg_policy", "pol", "polrelid"),
    _in_schema(
        _ROUTINE_KIND,
        "pg_proc",
        "pro",
        name="o.proname || '(' || pg_catalog.pg_get_function_identity_arguments(o.oid) || ')'",
        where=_not_internal("pg_proc", "o"),
    ),
    _in_schema(
        "CASE o.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type' ELSE 'base type' END",
        "pg_type",
        "typ",
        where="o.typtype IN ('e', 'd', 'r') OR (o.typtype = 'b' AND NOT EXISTS "
        "(SELECT FROM pg_catalog.pg_type element WHERE element.typarray = o.oid))",
    ),
    _in_schema(
        "'operator'",
        "pg_operator",
        "opr",
        name="o.oprname || '(' || pg_catalog.format_type(o.oprleft, NULL) || ',' "
        "|| pg_catalog.format_type(o.oprright, NULL) || ')'",
        where="o.oprcode <> 0",
    ),
    _in_schema("'operator class'", "pg_opclass", "opc"),
    _in_schema("'operator family'", "pg_opfamily", "opf"),
    _in_schema("'collation'", "pg_collation", "coll"),
    _in_schema("'conversion'", "pg_conversion", "con"),
    _in_schema("'statistics'", "pg_statistic_ext", "stx"),
    _in_schema("'text search configuration'", "pg_ts_config", "cfg"),
    _in_schema("'text search dictionary'", "pg_ts_dict", "dict"),
    _in_schema("'text search parser'", "pg_ts_parser", "prs"),
    _in_schema("'text search template'", "pg_ts_template", "tmpl"),
    _global("extension", "pg_extension", "o.extname", "o.extname <> 'plpgsql'"),
    _global("event trigger", "pg_event_trigger", "o.evtname"),
    _global("language", "pg_language", "o.lanname", _USER_OBJECT),
    _global("access method", "pg_am", "o.amname", _USER_OBJECT),
    _global("foreign data wrapper", "pg_foreign_data_wrapper", "o.fdwname"),
    _global("foreign server", "pg_foreign_server", "o.srvname"),
    _global("publication", "pg_publication", "o.pubname"),
    # pg_dump leaves subscriptions out unless a superuser runs it.
    _global(
        "subscription",
        "pg_subscription",
        "o.subname",
        "(SELECT d.datname FROM pg_catalog.pg_database d WHERE d.oid = o.subdbid) = current_database() "
        "AND (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)",
    ),
    _global(
        "cast",
        "pg_cast",
        "pg_catalog.format_type(o.castsource, NULL) || ' as ' || pg_catalog.format_type(o.casttarget, NULL)",
        f"{_USER_OBJECT} AND {_not_internal('pg_cast', 'o')}",
    ),
    _global("transform", "pg_transform", "o.trftype::pg_catalog.regtype", _USER_OBJECT),
)


@dataclass(frozen=True)
class CatalogueTable:
    """A table whose rows a dump must hold."""

    name: TableName
    unlogged: bool


@dataclass(frozen=True)
class Catalogue:
    """The independent list. ``objects`` are sorted; ``large_objects`` are counted.

    ``tables`` are those that hold rows themselves, ``partitioned`` those whose partitions do; ``parents``: of every
    partition, the table that it is a part of.
    """

    objects: tuple[DatabaseObject, ...]
    tables: tuple[CatalogueTable, ...]
    partitioned: tuple[TableName, ...]
    parents: Mapping[TableName, TableName]
    large_objects: int

    @property
    def definitions(self) -> tuple[DatabaseObject, ...]:
        """The objects that a structure backup brings back."""
        return tuple(item for item in self.objects if item.kind != _LARGE_OBJECTS)

    @property
    def roots(self) -> tuple[TableName, ...]:
        """Every table that is no partition."""
        names = (*(table.name for table in self.tables), *self.partitioned)
        return tuple(sorted(name for name in names if name not in self.parents))

    def root(self, table: TableName) -> TableName:
        return root(table, self.parents)

    def branch(self, table: TableName) -> list[TableName]:
        """The table, and what it is a part of, from the bottom up."""
        branch = [table]
        while (parent := self.parents.get(branch[-1])) is not None:
            branch.append(parent)
        return branch


def read_catalogue(connection: Connection) -> Catalogue:
    """Everything that a user made in this database, as the connection's snapshot has it.

    Names are qualified whatever the user's search path is: the session's is emptied.
    """
    connection.execute("SELECT pg_catalog.set_config('search_path', '', false)")
    found = sorted((kind, name) for kind, name in rows(connection, PREAMBLE + " UNION ALL ".join(_OBJECTS)))
    tables = rows(
        connection,
        PREAMBLE
        + f"""SELECT n.nspname, c.relname, c.relpersistence = 'u' FROM pg_catalog.pg_class c
        JOIN schemas n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND {_free("pg_class", "c")}""",
    )
    partitioned = rows(
        connection,
        PREAMBLE
        + f"""SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
        JOIN schemas n ON n.oid = c.relnamespace WHERE c.relkind = 'p' AND {_free("pg_class", "c")}""",
    )
    parts = rows(
        connection,
        PREAMBLE
        + """SELECT n.nspname, c.relname, pn.nspname, p.relname FROM pg_catalog.pg_inherits i
        JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid JOIN schemas n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_class p ON p.oid = i.inhparent JOIN schemas pn ON pn.oid = p.relnamespace
        WHERE c.relispartition AND c.relkind IN ('r', 'p', 'f')""",
    )
    large_objects = value(connection, "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata")
    objects = [DatabaseObject(kind=kind, name=name) for kind, name in found]
    if large_objects:
        objects.append(DatabaseObject(kind=_LARGE_OBJECTS, name=str(large_objects)))
    return Catalogue(
        objects=tuple(objects),
        tables=tuple(CatalogueTable((schema, table), unlogged) for schema, table, unlogged in tables),
        partitioned=tuple(partitioned),
        parents={(schema, part): (parent_schema, parent) for schema, part, parent_schema, parent in parts},
        large_objects=large_objects,
    )


def occupants(catalogue: Catalogue) -> list[str]:
    """The names of what people made in a database, tables first; none of an empty one."""
    made = [item for item in catalogue.objects if item.kind not in _NOT_MADE]
    made.sort(key=lambda item: item.kind not in _TABLE_KINDS)
    return [f"{item.name} {item.kind}" if item.kind == _LARGE_OBJECTS else item.name for item in made]


def count_structure(connection: Connection) -> Inventory:
    """The inventory of a database that a structure backup was restored to: rows that should not be there show."""
    catalogue = read_catalogue(connection)
    counts = dict.fromkeys(catalogue.roots, 0)
    for table in catalogue.tables:  # through a partitioned table, the rows behind foreign tables would be counted, too
        query = sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}").format(sql.Identifier(*table.name))
        ((count,),) = connection.execute(query).fetchall()
        counts[catalogue.root(table.name)] += count
    tables = [TableInventory(name=".".join(name), rows=count) for name, count in counts.items()]
    return Inventory(tables=tuple(sorted(tables, key=lambda table: table.name)), objects=catalogue.definitions)


def filled_tables(connection: Connection, catalogue: Catalogue) -> list[str]:
    """The tables that hold rows, and the large objects."""
    filled = []
    for table in catalogue.tables:
        query = sql.SQL("SELECT FROM ONLY {} LIMIT 1").format(sql.Identifier(*table.name))
        if connection.execute(query).rowcount:
            filled.append(".".join(table.name))
    return [*sorted(filled), *([LARGE_OBJECTS] if catalogue.large_objects else [])]
