"""What belongs to a database itself, and is in no dump of it: owner, grants, settings, connection limit, comment."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
from psycopg import sql

from db_backup.engines.postgres.session import Connection, one_line, rows
from db_backup.manifest import Manifest, ServerInfo
from db_backup.model import BackupType

_DATABASE = """SELECT d.oid, pg_catalog.pg_get_userbyid(d.datdba)::text, d.datconnlimit, d.datacl IS NOT NULL,
    pg_catalog.shobj_description(d.oid, 'pg_database')
    FROM pg_catalog.pg_database d WHERE d.datname = %(name)s"""
_GRANTS = """SELECT a.privilege_type, a.is_grantable,
    CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END
    FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a WHERE d.oid = %(oid)s"""
_SETTINGS = """SELECT r.rolname::text, setting FROM pg_catalog.pg_db_role_setting s
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole, pg_catalog.unnest(s.setconfig) setting
    WHERE s.setdatabase = %(oid)s ORDER BY 1, 2"""
# Lists of names, each of which is quoted apart (``variable_is_guc_list_quote`` in pg_dump's source).
_LISTS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)
_LIST_ITEM = re.compile(r'"((?:[^"]|"")*)"|([^\s,"]+)')


def other_locale(server: ServerInfo, manifest: Manifest) -> Iterator[str]:
    """Warnings, where a database takes rows of another encoding, or sorts them otherwise than the one of the backup.

    :param server: with the database's own encoding and locale.
    """
    source = manifest.server
    for what, here, there in (
        ("encoding", server.encoding, source.encoding),
        ("collation", server.collation, source.collation),
        ("character type", server.character_type, source.character_type),
    ):
        if manifest.type is not BackupType.DATA and there and here != there:
            yield f"The database at {server.address} has the {what} '{here}', and the backup's has '{there}'."


def carry_over(link: Connection, old: str, new: str) -> list[str]:
    """Give one database what belongs to the other, inside the caller's transaction; returns warnings.

    What this user may not carry over, such as a setting that only a superuser may make, is warned of.
    """
    ((oid, owner, limit, has_grants, comment),) = rows(link, _DATABASE, name=old)
    database = sql.Identifier(new)
    statements = [
        sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, sql.Identifier(owner)),
        sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, sql.Literal(limit)),
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(comment)),
    ]
    if has_grants:
        statements += _grants(link, oid, database, owner)
    for statement in statements:
        link.execute(statement)
    return list(_carry_over_settings(link, oid, database))


def _grants(link: Connection, oid: int, database: sql.Identifier, owner: str) -> Iterator[sql.Composed]:
    yield sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(database, sql.Identifier(owner))
    for privilege, grantable, grantee in rows(link, _GRANTS, oid=oid):
        yield sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
            sql.SQL(privilege),
            database,
            sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee),
            sql.SQL(" WITH GRANT OPTION" if grantable else ""),
        )


def _carry_over_settings(link: Connection, oid: int, database: sql.Identifier) -> Iterator[str]:
    for role, setting in rows(link, _SETTINGS, oid=oid):
        name, _, text = setting.partition("=")
        whose = (
            sql.SQL("ALTER DATABASE {}").format(database)
            if role is None
            else sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(role), database)
        )
        values = _items(text) if name.lower() in _LISTS else [text]
        statement = sql.SQL("{} SET {} TO {}").format(
            whose, sql.Identifier(name), sql.SQL(", ").join(map(sql.Literal, values))
        )
        try:
            with link.transaction():
                link.execute(statement)
        except (
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.UndefinedObject,
            psycopg.errors.InvalidParameterValue,
        ) as error:
            whom = f" of the role {role}" if role else ""
            yield f"The setting {name}{whom} in this database could not be carried over: {one_line(error)}."


def _items(text: str) -> list[str]:
    """The names in a list, without their quotes."""
    return [
        bare or quoted.replace('""', '"') for quoted, bare in (match.groups("") for match in _LIST_ITEM.finditer(text))
    ]
