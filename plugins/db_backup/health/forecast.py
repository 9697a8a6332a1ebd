"""How fast a storage fills, and when it is full: from what it really held day by day.

What is retained is measured, not derived from expiry dates: backups that are pinned, or that cleanup had to leave
alone, stay longer than their days, and that is when disks fill up. A steady state does not grow.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db_backup.units import human_bytes, human_duration

TREND = timedelta(days=30)
"""How far back growth is looked for."""

LEAST_HISTORY = timedelta(days=7)
"""Of less nothing is said: a week's backups are not alike, and the first days of a storage only ever add."""

_LEAST_FIGURES = 4
_FARTHEST = timedelta(days=3650)  # beyond it a date is no forecast
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Level:
    """What there was at one moment."""

    at: datetime
    size_bytes: int


@dataclass(frozen=True)
class Growth:
    """``bytes_per_day``: of the straight line that fits best; None where there is too little to tell.

    ``over``: how far back the figures reach; ``figures``: how many there are.
    """

    bytes_per_day: float | None = None
    over: timedelta = timedelta(0)
    figures: int = 0

    def __str__(self) -> str:
        if self.bytes_per_day is None:
            there = f"{self.figures} of {_LEAST_FIGURES} figures, over {_words(self.over)} of {_words(LEAST_HISTORY)}"
            return f"how fast it grows cannot be told yet ({there})"
        pace = human_bytes(abs(self.bytes_per_day))
        verb = "grows" if self.bytes_per_day >= 0 else "shrinks"
        return f"it {verb} by {pace} a day (over the last {_words(self.over)})"


def growth(history: Sequence[Level], now: datetime) -> Growth:
    """Of the figures of the last ``TREND``, in any order, the present one among them."""
    recent = [level for level in history if level.at >= now - TREND]
    over = now - min((level.at for level in recent), default=now)
    if over < LEAST_HISTORY or len(recent) < _LEAST_FIGURES:
        return Growth(None, over, len(recent))
    days = [(level.at - now) / _DAY for level in recent]
    line = statistics.linear_regression(days, [level.size_bytes for level in recent])
    return Growth(line.slope, over, len(recent))


@dataclass(frozen=True)
class Room:
    """What limits a storage.

    :param what: for people: "the disk", "its quota".
    :param used_bytes: of ``limit_bytes``: of a disk by whoever uses it, of a quota by our copies.
    """

    what: str
    used_bytes: int
    limit_bytes: int

    @property
    def share(self) -> float:
        """How much of it is used, 1 when it is full."""
        return self.used_bytes / self.limit_bytes if self.limit_bytes else 1.0

    @property
    def left_bytes(self) -> int:
        return max(self.limit_bytes - self.used_bytes, 0)

    def full_in(self, pace: Growth) -> timedelta | None:
        """If it goes on like this; None where it does not grow, not in ten years, or nobody can tell."""
        if not self.left_bytes:
            return timedelta(0)
        if pace.bytes_per_day is None or pace.bytes_per_day <= 0:
            return None
        days = self.left_bytes / pace.bytes_per_day
        return timedelta(days=days) if days <= _FARTHEST / _DAY else None

    def __str__(self) -> str:
        return f"{human_bytes(self.used_bytes)} of {human_bytes(self.limit_bytes)} of {self.what}, {self.share:.0%}"


def forecast(room: Room, pace: Growth) -> str:
    """In words."""
    due = room.full_in(pace)
    if not room.left_bytes:
        when = "there is no room left"
    elif due is not None:
        when = f"at this pace it is full in {_days(due)}"
    elif pace.bytes_per_day is None:
        return f"{room}; {pace}"
    else:
        when = "at this pace it does not fill up"
    return f"{room}; {pace}; {when}"


def _days(duration: timedelta) -> str:
    """A forecast is no more exact than that."""
    days = int(duration / _DAY)
    return "less than a day" if not days else f"{days} days" if days > 1 else "a day"


def _words(duration: timedelta) -> str:
    return human_duration(duration.total_seconds())
