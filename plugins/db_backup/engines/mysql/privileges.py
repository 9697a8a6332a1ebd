"""What the user may do, from ``SHOW GRANTS``: the tools leave out in silence what it may not see."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import pymysql

from db_backup.engines.mysql.connecting import Session, error_code, query
from db_backup.engines.mysql.flavour import Flavour, Version

_GRANT = re.compile(
    r"^(?P<verb>GRANT|REVOKE) (?P<privileges>.+?) ON (?:TABLE )?(?P<database>\*|`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\")"
    r"\.(?P<table>\*|`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\") (?:TO|FROM) "
)
_SKIPPED_GRANT_TABLES = {1290, 1141}


@dataclass(frozen=True)
class Privileges:
    """The privileges that hold on the whole server, on one database, and on single tables of ``mysql``."""

    on_server: frozenset[str]
    on_database: frozenset[str]
    on_system_tables: frozenset[str] = field(default_factory=frozenset)  # "SELECT proc"
    unlimited: bool = False  # the server runs without grant tables

    def on_all(self, privilege: str) -> bool:
        """Whether it holds for the whole server."""
        return self.unlimited or bool({"ALL PRIVILEGES", privilege} & self.on_server)

    def holds(self, privilege: str) -> bool:
        """Whether it holds for every object of the database."""
        return self.on_all(privilege) or bool({"ALL PRIVILEGES", privilege} & self.on_database)

    def reads_system_table(self, table: str) -> bool:
        return self.on_all("SELECT") or f"SELECT {table}" in self.on_system_tables

    def sees_all_routines(self, flavour: Flavour, version: Version) -> bool:
        """Whether the bodies of all routines of the database are shown."""
        if flavour is Flavour.MARIADB:
            newer = version >= (11, 3, 0) and self.holds("SHOW CREATE ROUTINE")
            return newer or self.reads_system_table("proc")
        if version >= (8, 0, 20):
            return self.on_all("SELECT") or self.on_all("SHOW_ROUTINE")
        return self.reads_system_table("proc")


def read_privileges(session: Session, database: str, flavour: Flavour) -> Privileges:
    """The current user's privileges, those of its enabled roles included."""
    try:
        lines = [str(row[0]) for row in query(session, _show_grants(session, flavour))]
    except pymysql.err.MySQLError as error:
        if error_code(error) in _SKIPPED_GRANT_TABLES:
            return Privileges(frozenset(), frozenset(), unlimited=True)
        raise
    return parse_grants(lines, database)


def _show_grants(session: Session, flavour: Flavour) -> str:
    if flavour is Flavour.MARIADB:
        return "SHOW GRANTS"  # lists the current role's grants too
    try:
        roles = str(query(session, "SELECT CURRENT_ROLE()")[0][0])
    except pymysql.err.MySQLError:
        return "SHOW GRANTS"  # before 8.0 there are no roles
    return "SHOW GRANTS" if roles == "NONE" else f"SHOW GRANTS FOR CURRENT_USER() USING {roles}"


def parse_grants(lines: Iterable[str], database: str) -> Privileges:
    """What ``SHOW GRANTS`` printed, for one database."""
    server: set[str] = set()
    here: set[str] = set()
    system: set[str] = set()
    revoked: set[str] = set()
    for line in lines:
        match = _GRANT.match(line)
        if match is None:
            continue
        privileges = {name.strip().upper() for name in re.sub(r"\([^)]*\)", "", match["privileges"]).split(",")}
        granted, table = _name(match["database"]), _name(match["table"])
        if match["verb"] == "REVOKE":  # MySQL's partial revokes: all but this database
            revoked |= privileges if granted == database else set()
        elif granted == "*":
            server |= privileges
        elif table == "*" and _pattern(granted).fullmatch(database):
            here |= privileges
        if granted == "mysql" and match["verb"] == "GRANT" and ({"SELECT", "ALL PRIVILEGES"} & privileges):
            system |= {f"SELECT {name}" for name in (("proc", "user", "global_priv") if table == "*" else (table,))}
    return Privileges(frozenset(server - revoked), frozenset(here), frozenset(system))


def _name(quoted: str) -> str:
    return quoted if quoted == "*" else quoted[1:-1].replace(quoted[0] * 2, quoted[0])


def _pattern(granted: str) -> re.Pattern[str]:
    """A grant's database name, in which ``%`` and ``_`` are wildcards unless a backslash precedes them."""
    wild = {"%": ".*", "_": "."}
    tokens = re.findall(r"\\[%_\\]|.", granted, re.DOTALL)
    return re.compile(
        "".join(re.escape(token[1:]) if len(token) > 1 else wild.get(token, re.escape(token)) for token in tokens),
        re.DOTALL | re.IGNORECASE,
    )
