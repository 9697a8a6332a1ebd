"""A point in time, a GTID or a position, found among the transactions of a chain: where a replay must stop. Pure.

What tells when something was committed, measured on MariaDB 10.11: events carry whole seconds of the session's clock. A
GTID event, and the XID event that ends its transaction, carry the second in which COMMIT was said, or in which a
statement began that commits by itself; the events of rows carry that of their own statement. Statements that are
logged as such tell in seconds how long they took. Nothing is finer, and nothing tells how long a statement that changed
rows took before it committed by itself.

So a moment is taken to its second, and all that was committed in this second belongs to it. The binlog is in the order
of commits, and a replay stops before the first transaction that says a later second: nothing later is there. What
follows it and says an earlier second was committed after it (or the clock was set back): it is counted, and told of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from db_backup.engines.mysql.chain.archive import Span
from db_backup.engines.mysql.chain.events import BETWEEN_GROUPS, Event
from db_backup.engines.mysql.chain.position import Place

_SLACK_SECONDS = 1  # between the moment that an increment is taken at and the place that it ends at


@dataclass
class Group:
    """A transaction, or a statement that commits by itself. ``seconds``: since 1970, when it was committed as far as it
    says so."""

    file: str
    start: int
    end: int
    gtid: str | None
    seconds: int


class Stop:
    """Where a replay stops: shown every event of the increments in order, it says where. This one: at their end.

    ``place``: None as long as it is not known. ``last``: the newest transaction that is replayed.
    """

    def __init__(self) -> None:
        self.place: Place | None = None
        self.last: Group | None = None
        self._file = ""
        self._group: Group | None = None

    def begin_increment(self, recovery_point: datetime) -> None:
        """:param recovery_point: of the increment that comes next."""

    def begin(self, file: str) -> None:
        self._file = file

    def see(self, event: Event) -> None:
        if event.begins_group or event.header.type in BETWEEN_GROUPS:
            self._end_group()
        self._meet(event.offset, self._group)
        if event.begins_group:
            self._group = Group(self._file, event.offset, event.end, event.gtid, event.ended_at)
        elif self._group is not None:
            self._group.end = event.end
            self._group.seconds = max(self._group.seconds, event.ended_at)

    def end(self, span: Span) -> None:
        self._end_group()
        self._meet(span.end, None)

    def _end_group(self) -> None:
        group, self._group = self._group, None
        if group is not None and self._includes(group):
            self.last = group

    def _includes(self, group: Group) -> bool:
        return self.place is None

    def _meet(self, offset: int, group: Group | None) -> None:
        """An event begins here, inside of ``group``; or the file ends."""


class StopAtPosition(Stop):
    """Before the event that begins there; before its transaction, where it stands inside of one."""

    def __init__(self, wanted: Place) -> None:
        super().__init__()
        self._wanted = wanted

    def _meet(self, offset: int, group: Group | None) -> None:
        if self.place is None and Place(self._file, offset) == self._wanted:
            self.place = self._wanted if group is None else Place(self._file, group.start)


class StopAfterGtid(Stop):
    """After the transaction of this GTID."""

    def __init__(self, gtid: str) -> None:
        super().__init__()
        self._gtid = gtid

    def _includes(self, group: Group) -> bool:
        included = self.place is None
        if included and group.gtid == self._gtid:
            self.place = Place(group.file, group.end)
        return included


class StopAtTime(Stop):
    """Before the first transaction of a later second. ``later``: how many after it say a second that is not later."""

    def __init__(self, moment: datetime) -> None:
        super().__init__()
        self.later = 0
        self._second = int(moment.timestamp())
        self._latest = 0

    def begin_increment(self, recovery_point: datetime) -> None:
        self._latest = int(recovery_point.timestamp())

    def _includes(self, group: Group) -> bool:
        # Sessions may set their own clocks: what says that it was committed after its increment was taken says nothing.
        is_later = self._second < group.seconds <= self._latest + _SLACK_SECONDS and self._second < self._latest
        if self.place is None and is_later:
            self.place = Place(group.file, group.start)
        elif self.place is not None and not is_later:
            self.later += 1
        return self.place is None


def time_of(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def gtid_parts(text: str) -> tuple[int, int, int]:
    """Domain, server and number of a GTID of MariaDB.

    :raises ValueError: it is none.
    """
    domain, server, number = (int(part) for part in text.split("-"))
    return domain, server, number


def gtids_of(text: str) -> Iterator[tuple[int, int, int]]:
    """Of a list of them, such as a position has."""
    for item in filter(None, text.split(",")):
        yield gtid_parts(item)
