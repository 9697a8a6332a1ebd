"""Hours of the week, ``Mon-Fri 09:00-18:00``: when a stricter objective holds (SPEC §9)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Self

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_FORM = re.compile(r"([a-z][a-z,\s-]*?)\s+(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", re.IGNORECASE)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class WeeklyWindow:
    """Where ``closes`` is not later than ``opens``, it closes on the next day. Both are since midnight.

    :param days: on which it opens; Monday is 0.
    :param text: as it was written.
    """

    days: frozenset[int]
    opens: timedelta
    closes: timedelta
    text: str

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Self:
        """:raises ValueError: it is no such window."""
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not of the form 'Mon-Fri 09:00-18:00'")
        opens, closes = (_since_midnight(match[hour], match[hour + 1]) for hour in (2, 4))
        if opens == closes or opens >= _DAY:
            raise ValueError(f"{text!r} never opens")
        return cls(frozenset(_days(match[1])), opens, closes, text.strip())

    def opened(self, moment: datetime) -> datetime | None:
        """When it opened, in the zone of this aware moment; None where it is closed then.

        One that closes at midnight and opens again goes on, through a week at most.
        """
        opening = self._opening(moment.replace(tzinfo=None))
        for _ in _DAYS:
            before = opening and self._opening(opening - timedelta(microseconds=1))
            opening = before or opening
        return opening and opening.replace(tzinfo=moment.tzinfo)

    def _opening(self, wall: datetime) -> datetime | None:
        for day in (wall.date(), wall.date() - _DAY):
            midnight = datetime.combine(day, time.min)
            closing = midnight + self.closes + (_DAY if self.closes <= self.opens else timedelta(0))
            if day.weekday() in self.days and midnight + self.opens <= wall < closing:
                return midnight + self.opens
        return None


def _since_midnight(hours: str, minutes: str) -> timedelta:
    found = timedelta(hours=int(hours), minutes=int(minutes))
    if int(minutes) > 59 or found > _DAY:
        raise ValueError(f"{hours}:{minutes} is no time of day")
    return found


def _days(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = _day(first), _day(last or first)
        yield from (day % 7 for day in range(begin, end + 1 if end >= begin else end + 8))


def _day(text: str) -> int:
    """By its first three letters or its whole name."""
    name = text.strip().capitalize()
    for number, day in enumerate(_DAYS):
        if name in {day, day[:3]}:
            return number
    raise ValueError(f"{text.strip()!r} is no day of the week")
