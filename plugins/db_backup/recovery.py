"""What can be recovered from chains of backups, and to which moment: pure, without clock, disk or network."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Point:
    """Where the replay of a chain stops: at most one of these is given; none of them: at the chain's end.

    :param time: aware; what was committed up to and at this moment is there, and nothing later.
    :param lsn: PostgreSQL's log sequence number, ``0/16B3748``: up to and with the record that ends there.
    :param gtid: of MariaDB ``0-1-4711``, of MySQL ``uuid:4711``: up to and with this transaction.
    :param position: of a binlog, ``mariadb-bin.000003:4711``: up to the event that begins there, and without it.
    """

    time: datetime | None = None
    lsn: str | None = None
    gtid: str | None = None
    position: str | None = None
