"""What a server says of its binlog: where it stands, which files it keeps, and how it writes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pymysql
from pymysql.cursors import DictCursor

from db_backup.engines.mysql.chain.position import Place
from db_backup.engines.mysql.chain.unreplayable import xid_text
from db_backup.engines.mysql.connecting import Session, error_code, query
from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.mysql.server import Server

SYSTEM_DATABASES = frozenset({"mysql", "information_schema", "performance_schema", "sys"})
_NO_DATABASE = "#mysql50#"  # a folder whose name is none that the server gives, such as lost+found
_NO_SUCH_STATEMENT = {1064, 1193}
_FILTERS = ("Binlog_Do_DB", "Binlog_Ignore_DB")


def user_databases(session: Session) -> tuple[str, ...]:
    """Every database that is not the server's own."""
    names = (str(name) for (name,) in query(session, "SHOW DATABASES"))
    return tuple(
        sorted(name for name in names if name.lower() not in SYSTEM_DATABASES and not name.startswith(_NO_DATABASE))
    )


@dataclass(frozen=True)
class Standing:
    """Where a binlog ends. ``filtered``: databases that it holds alone, or leaves out."""

    place: Place
    filtered: str


def read_standing(session: Session) -> Standing | None:
    """None where the server writes no binlog."""
    for statement in ("SHOW MASTER STATUS", "SHOW BINARY LOG STATUS"):  # the second is MySQL's since 8.4
        try:
            rows = _rows(session, statement)
        except pymysql.err.MySQLError as error:
            if error_code(error) not in _NO_SUCH_STATEMENT:
                raise
            continue
        if not rows:
            return None
        filtered = ", ".join(str(rows[0][name]) for name in _FILTERS if rows[0].get(name))
        return Standing(Place(str(rows[0]["File"]), int(rows[0]["Position"])), filtered)
    return None


def read_files(session: Session) -> dict[str, int]:
    """The size of each binlog file that the server keeps, in their order."""
    return {str(row["Log_name"]): int(row["File_size"]) for row in _rows(session, "SHOW BINARY LOGS")}


def read_now(session: Session) -> datetime:
    now: datetime = query(session, "SELECT UTC_TIMESTAMP(6)")[0][0]
    return now.replace(tzinfo=UTC)


def gtids_at(session: Session, server: Server, place: Place) -> str | None:
    """What was logged by then: MariaDB's last GTID of each domain; of MySQL, which cannot say it of a place, the set
    that it has executed. None: MariaDB knows no such place."""
    if server.flavour is Flavour.MARIADB:
        found = query(session, "SELECT BINLOG_GTID_POS(%s, %s)", (place.file, place.offset))[0][0]
        return None if found is None else str(found)
    return "".join(str(query(session, "SELECT @@global.gtid_executed")[0][0]).split())


def server_ids(session: Session, flavour: Flavour) -> tuple[int, int]:
    """``server_id`` and, of MariaDB, ``gtid_domain_id``."""
    domain = "@@global.gtid_domain_id" if flavour is Flavour.MARIADB else "0"
    server, number = query(session, f"SELECT @@global.server_id, {domain}")[0]
    return int(server), int(number)


def undecided(session: Session, flavour: Flavour) -> tuple[str, ...]:
    """XA transactions that are prepared and not decided, as the binlog names them; MySQL takes a privilege for it."""
    if flavour is not Flavour.MARIADB:
        return ()
    return tuple(
        xid_text(int(number), int(length), data if isinstance(data, bytes) else str(data).encode())
        for number, length, _, data in query(session, "XA RECOVER")
    )


def variable(session: Session, name: str) -> str | None:
    """A global variable; None where this server has none of that name."""
    rows = query(session, "SHOW GLOBAL VARIABLES LIKE %s", (name.replace("_", r"\_"),))
    return str(rows[0][1]) if rows else None


def _rows(session: Session, statement: str) -> list[dict[str, Any]]:
    with session.cursor(DictCursor) as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
