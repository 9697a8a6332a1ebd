"""Accounts for a scratch server: the definers that a dump names, so that its views and routines work there.

Without them a view over another view, or one that calls a function, cannot even be created (error 1449). Only scratch
servers get accounts; a real one's are its administrator's, who is told which are missing.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import pymysql

from db_backup.engines.mysql.connecting import Session, error_code, query
from db_backup.engines.mysql.dump_parser import unquoted
from db_backup.model import ConnectionInfo

_QUOTED = rb"`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\""
_CREATES = re.compile(rb"(?:/\*!\d+ )?CREATE\b", re.IGNORECASE)
_MAY_NOT_SEE = {1044, 1142, 1143}
_DEFINER = re.compile(rb"\bDEFINER=(%s)(?:@(%s))?" % (_QUOTED, _QUOTED))


def wanted(connection: ConnectionInfo) -> bool:
    return connection.scratch


class Definers:
    """Creates each definer once, locked against logins, just before the statement that needs it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._made: set[bytes] = set()

    def prepare(self, statement: bytes) -> None:
        match = _DEFINER.search(statement)
        if match is None or match[0] in self._made:
            return
        self._made.add(match[0])
        name = unquoted(match[1])
        if match[2] is None:
            query(self._session, f"CREATE ROLE IF NOT EXISTS {_role(name)}")
            query(self._session, f"GRANT ALL ON *.* TO {_role(name)}")
        else:
            account = (name, unquoted(match[2]))
            query(self._session, "CREATE USER IF NOT EXISTS %s@%s ACCOUNT LOCK", account)
            if account != ("root", "localhost"):
                query(self._session, "GRANT ALL ON *.* TO %s@%s WITH GRANT OPTION", account)


def definer_of(statement: bytes) -> str | None:
    """The account, or the role, in whose name what a statement creates will run."""
    match = _DEFINER.search(statement) if _CREATES.match(statement) else None
    if match is None:
        return None
    return unquoted(match[1]) + (f"@{unquoted(match[2])}" if match[2] is not None else "")


def missing_definers(session: Session, definers: Collection[str]) -> list[str]:
    """Those that this server does not have; none where the user may not see its accounts."""
    try:
        rows = query(session, "SELECT user, host FROM mysql.user")
    except pymysql.err.MySQLError as error:
        if error_code(error) in _MAY_NOT_SEE:
            return []
        raise
    known = {f"{user}@{host}" if host else str(user) for user, host in rows}
    return sorted(set(definers) - known)


def _role(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
