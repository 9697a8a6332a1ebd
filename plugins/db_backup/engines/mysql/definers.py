"""Accounts for a scratch server: the definers that a dump names, so that its views and routines work there.

Without them a view over another view, or one that calls a function, cannot even be created (error 1449). Only scratch
servers get accounts; a real one's are its administrator's.
"""

from __future__ import annotations

import re

from db_backup.engines.mysql.connecting import Session, query
from db_backup.engines.mysql.dump_parser import unquoted
from db_backup.model import ConnectionInfo

_QUOTED = rb"`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\""
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


def _role(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
