"""A replica: how far it is behind the server that it replicates."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pymysql
from pymysql.cursors import DictCursor

from db_backup.engines.mysql.connecting import Session, query
from db_backup.engines.mysql.flavour import Flavour, Version

_FIRST_SHOW_REPLICA: Version = (8, 0, 22)
_LAG = ("Seconds_Behind_Master", "Seconds_Behind_Source")


@dataclass(frozen=True)
class Replica:
    """``replicated_until``: what its sources had committed by then is here; None when replication has stopped."""

    replicated_until: datetime | None

    @property
    def warnings(self) -> Iterator[str]:
        if self.replicated_until is None:
            yield (
                "Replication into this server has stopped: the backup may be older than its recovery point says. "
                "Start it (START SLAVE), or dump its source."
            )


def read_replica(session: Session, flavour: Flavour, version: Version) -> Replica | None:
    """None where the server replicates nothing, or where this user may not ask (REPLICA MONITOR is not granted)."""
    with contextlib.suppress(pymysql.err.OperationalError), session.cursor(DictCursor) as cursor:
        now = query(session, "SELECT UTC_TIMESTAMP(6)")[0][0]
        cursor.execute(_statement(flavour, version))
        lags = [next(row[name] for name in _LAG if name in row) for row in cursor.fetchall()]
        if not lags:
            return None
        if None in lags:
            return Replica(None)
        # Whole seconds, rounded down.
        return Replica(now.replace(tzinfo=UTC) - timedelta(seconds=max(map(int, lags)) + 1 if any(lags) else 0))
    return None


def _statement(flavour: Flavour, version: Version) -> str:
    if flavour is Flavour.MARIADB:
        return "SHOW ALL SLAVES STATUS"
    return "SHOW REPLICA STATUS" if version >= _FIRST_SHOW_REPLICA else "SHOW SLAVE STATUS"
