"""What is asked before a dump: who the server is, what pg_dump would fail at or leave out, what a restore will need."""

# ruff: noqa: S608 - every query is put together from constants of ours; values go beside it
from __future__ import annotations

from collections.abc import Iterator, Sequence

from db_backup.engines.postgres import standby
from db_backup.engines.postgres.formats import Container, DumpFormat
from db_backup.engines.postgres.inventory import PREAMBLE, UNTRUSTED
from db_backup.engines.postgres.session import Connection, rows, value
from db_backup.engines.postgres.toc import NEWEST_SERVER_MAJOR
from db_backup.engines.postgres.tools import Tool
from db_backup.errors import ConfigurationError, PrivilegeMissing, SourceUnsupported
from db_backup.manifest import ServerInfo
from db_backup.model import BackupType, ConnectionInfo, EngineName

OLDEST_SERVER_MAJOR = 13
_SHOWN = 5

_OWN = (
    """NOT EXISTS (SELECT FROM members WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objid = c.oid)"""
)
_RELATIONS = (
    PREAMBLE
    + f"""SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c
    JOIN schemas n ON n.oid = c.relnamespace WHERE {_OWN} AND """
)
_UNREADABLE = """c.relkind IN ('r', 'p', 'S') AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND
    CASE c.relkind WHEN 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
    ELSE pg_catalog.has_table_privilege(c.oid, 'SELECT') END) ORDER BY 1"""
_FILTERED = "c.relrowsecurity AND pg_catalog.row_security_active(c.oid) ORDER BY 1"
_UNREADABLE_LARGE_OBJECTS = """SELECT o.oid::text FROM pg_catalog.pg_largeobject_metadata o
    WHERE pg_catalog.current_setting('lo_compat_privileges') = 'off'
    AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
    AND NOT pg_catalog.pg_has_role(o.lomowner, 'USAGE')
    AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(o.lomacl) a WHERE a.privilege_type = 'SELECT'
        AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE'))) ORDER BY o.oid"""
_INVALID_INDEXES = (
    PREAMBLE
    + """SELECT n.nspname || '.' || i.relname FROM pg_catalog.pg_index x
    JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
    JOIN schemas n ON n.oid = i.relnamespace
    WHERE NOT (x.indisready AND (x.indisvalid OR c.relkind = 'p')) ORDER BY 1"""
)
_MONEY = (
    _RELATIONS
    + """c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid
    AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'pg_catalog.money'::pg_catalog.regtype) ORDER BY 1"""
)
_ROLES = """SELECT DISTINCT r.rolname FROM pg_catalog.pg_shdepend d JOIN pg_catalog.pg_roles r ON r.oid = d.refobjid
    WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
    AND d.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    AND r.rolname !~ '^pg_' ORDER BY 1"""
_DATABASE_SETTINGS = """SELECT pg_catalog.unnest(s.setconfig) FROM pg_catalog.pg_db_role_setting s
    WHERE s.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"""
_SUBSCRIPTIONS = """SELECT subname FROM pg_catalog.pg_subscription
    WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) ORDER BY 1"""
# A restore with owners reads the names out of it again: they are nowhere else in a manifest.
ROLES_SENTENCE = "Roles are not in the backup, and these own or may use something in it: {names}."

_QUESTIONS_OF_DEFINITIONS = (
    (
        "SELECT extname FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' ORDER BY 1",
        "These extensions must be installed where this backup is restored: {names}.",
    ),
    (_ROLES, ROLES_SENTENCE),
    (_DATABASE_SETTINGS, "Settings of the database itself are not restored: {names}."),
    (_INVALID_INDEXES, "Invalid indexes are not in the backup: {names}."),
    (_SUBSCRIPTIONS, "Subscriptions are not in the backup, for only a superuser may dump them: {names}."),
    (
        "SELECT srvname || ' for ' || usename FROM pg_catalog.pg_user_mappings ORDER BY 1",
        "User mappings restore only where their roles exist, and may lack their passwords: {names}.",
    ),
    (
        _RELATIONS + "c.reltablespace <> 0 ORDER BY 1",
        "These lie in tablespaces of their own, and are restored into the default one: {names}.",
    ),
)
_QUESTIONS_OF_DATA = (
    (
        _RELATIONS + "c.relkind = 'm' ORDER BY 1",
        "Materialized views are not in the backup; refresh them when its rows are loaded: {names}.",
    ),
)
_REFUSALS_FOR_ROWS = [
    (
        _RELATIONS + _FILTERED,
        "sees only the rows of {names} that row-level security shows it",
        "Give the user BYPASSRLS (ALTER ROLE … BYPASSRLS), or use the tables' owner.",
    ),
    (
        _UNREADABLE_LARGE_OBJECTS,
        "may not read the large objects {names}",
        "Grant SELECT ON LARGE OBJECT for each, or use their owner or a superuser.",
    ),
]


def describe_server(connection: Connection, info: ConnectionInfo, *, entry: str | None = None) -> ServerInfo:
    """Version, identity, encoding.

    :raises SourceUnsupported: something that only speaks PostgreSQL's protocol, or an old version.
    """
    banner = value(connection, "SELECT version()")
    number = connection.info.server_version
    major, minor = divmod(number, 10_000)
    if not banner.startswith("PostgreSQL") or "Redshift" in banner or major < OLDEST_SERVER_MAJOR:
        raise SourceUnsupported(
            f"The server at {info.address} is '{banner.partition(' on ')[0]}'; "
            f"PostgreSQL {OLDEST_SERVER_MAJOR} and newer can be backed up.",
            hint="Upgrade the server, or use its vendor's own backup.",
            database=entry,
        )
    encoding, collation, character_type = rows(
        connection,
        "SELECT pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype "
        "FROM pg_catalog.pg_database WHERE datname = current_database()",
    )[0]
    return ServerInfo(
        engine=EngineName.POSTGRES,
        flavour="PostgreSQL",
        version=f"{major}.{minor}",
        identity=_identity(connection),
        address=info.address,
        encoding=encoding,
        collation=collation,
        character_type=character_type,
    )


def _identity(connection: Connection) -> str:
    """The cluster's system identifier, where this user may ask for it."""
    if not value(connection, "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"):
        return ""
    return str(value(connection, "SELECT system_identifier FROM pg_catalog.pg_control_system()"))


def check_container(name: str) -> Container:
    """What ``PGSQL_BACKUP_FORMAT`` asks for.

    :raises ConfigurationError: pg_dump knows no such format.
    """
    if name not in set(Container):
        raise ConfigurationError(
            f"PGSQL_BACKUP_FORMAT={name} is no format of pg_dump's.", hint=f"Set it to one of {', '.join(Container)}."
        )
    return Container(name)


def refuse_what_would_fail(connection: Connection, server: ServerInfo, dump_format: DumpFormat, entry: str) -> None:
    """:raises PrivilegeMissing, SourceUnsupported: pg_dump would stop, or leave rows out in silence."""
    if dump_format.is_archive and int(server.major) > NEWEST_SERVER_MAJOR:
        raise SourceUnsupported(
            f"'{entry}' lies on PostgreSQL {server.version}, whose archives this program cannot prove yet.",
            hint="Set PGSQL_BACKUP_FORMAT=plain.",
            database=entry,
        )
    refuse_unreadable(connection, dump_format.type, f"'{entry}' was not backed up", entry)


def refuse_unreadable(connection: Connection, backup_type: BackupType, outcome: str, entry: str) -> None:
    """:param outcome: what comes of it, as the beginning of the message.
    :raises PrivilegeMissing: pg_dump would not see everything.
    """
    refusals = [
        (
            _RELATIONS + _UNREADABLE,  # a structure backup locks them too, which takes the same right
            "may not read {names}",
            "Grant SELECT on them and USAGE on their schemas, or membership in pg_read_all_data.",
        )
    ]
    if backup_type is not BackupType.STRUCTURE:
        refusals += _REFUSALS_FOR_ROWS
    for query, what, hint in refusals:
        if names := _first_column(connection, query):
            user = value(connection, "SELECT current_user::text")
            raise PrivilegeMissing(
                f"{outcome}: the user '{user}' {what.format(names=some(names))}.",
                hint=hint,
                database=entry,
            )


def warnings(connection: Connection, server: ServerInfo, tool: Tool, backup_type: BackupType) -> tuple[str, ...]:
    """What a person should know about this backup before the day of the restore."""
    found: list[str] = list(standby.warnings(connection)) if standby.is_standby(connection) else []
    if backup_type is not BackupType.STRUCTURE:
        found += _warnings_of_rows(connection)
    if backup_type is BackupType.DATA:
        found += _answers(connection, _QUESTIONS_OF_DATA)
    else:
        found += _answers(connection, _QUESTIONS_OF_DEFINITIONS)
    if _minor(tool.version) < _minor(server.version):
        found.append(
            f"pg_dump is {tool.version}, older than the server ({server.version}); install its newest minor version."
        )
    return tuple(found)


def _warnings_of_rows(connection: Connection) -> Iterator[str]:
    questions = (
        (
            _RELATIONS + "c.relkind = 'f' ORDER BY 1",
            "The rows behind foreign tables are not in the backup: {names}.",
        ),
        (
            _RELATIONS + "c.relkind = 'r' AND c.relpersistence = 'u' ORDER BY 1",
            "Unlogged tables cannot be read on a standby; their rows are not in the backup: {names}."
            if standby.is_standby(connection)
            else "Unlogged tables lose their rows when the server crashes; the backup holds them: {names}.",
        ),
        (
            _MONEY,
            "Columns of type money read right only where lc_monetary is "
            f"'{value(connection, 'SHOW lc_monetary')}': {{names}}.",
        ),
    )
    yield from _answers(connection, questions)
    if count := value(connection, "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata"):
        yield f"The backup holds {count} large objects; they keep their numbers when they are restored."


def _answers(connection: Connection, questions: Sequence[tuple[str, str]]) -> Iterator[str]:
    for query, sentence in questions:
        if names := _first_column(connection, query):
            yield sentence.format(names=", ".join(names) if sentence is ROLES_SENTENCE else some(names))


def estimated_bytes(connection: Connection) -> int:
    """The database's files without its indexes: about what the dump will be."""
    size = value(
        connection,
        """SELECT pg_catalog.pg_database_size(current_database()) - (SELECT pg_catalog.sum(relpages::bigint)
           * pg_catalog.current_setting('block_size')::bigint FROM pg_catalog.pg_class WHERE relkind = 'i')""",
    )
    return max(int(size), 0)


def is_untrusted(kind: str) -> bool:
    """Whether a catalogue object's kind says that it runs outside the database's own rules."""
    return kind.startswith(UNTRUSTED)


def some(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _first_column(connection: Connection, query: str) -> list[str]:
    return [str(row[0]) for row in rows(connection, query)]


def _minor(version: str) -> int:
    digits = version.partition(".")[2]
    return int(digits) if digits.isdigit() else 0
