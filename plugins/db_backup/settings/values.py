"""The kinds of value that settings take beside plain numbers, texts and booleans."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator

from db_backup.model import ENTRY_PATTERN, LOCAL_STORAGE
from db_backup.settings.addresses import StorageAddress, StorageKind
from db_backup.settings.problems import WrongValue, nearest


class Weekday(StrEnum):
    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


class PostgresFormat(StrEnum):
    CUSTOM = "custom"
    PLAIN = "plain"
    TAR = "tar"
    DIRECTORY = "directory"


@dataclass(frozen=True)
class HourWindow:
    """Full hours of a day, both ends included: 9 to 18 means ten runs."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first:02d}-{self.last:02d}"


def _time_of_day(value: object) -> time:
    text = str(value).strip()
    if isinstance(value, time):
        return value
    if re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        return time.fromisoformat(text)
    raise WrongValue("a time of day as HH:MM, from 00:00 to 23:59", _nearest_time(text))


def _nearest_time(text: str) -> str | None:
    match = re.fullmatch(r"(\d{1,2})(?:[:.h](\d{1,2}))?(?::\d+)?\s*([ap]m)?", text.lower())
    if match is None:
        return None
    hour = int(match[1]) % 12 + 12 * (match[3] == "pm") if match[3] else int(match[1])
    if hour > 23:
        return "23:59"
    return f"{hour:02d}:{min(int(match[2] or 0), 59):02d}"


def _hour_window(value: object) -> HourWindow:
    if isinstance(value, HourWindow):
        return value
    match = re.fullmatch(r"(\d{1,2})(?::00)?\s*-\s*(\d{1,2})(?::00)?", str(value).strip())
    suggestion = None
    if match:
        first, last = sorted(min(int(hour), 23) for hour in match.groups())
        suggestion = str(HourWindow(first, last))
        if suggestion == value:
            return HourWindow(first, last)
    raise WrongValue("a window of full hours as HH-HH, the first before the last, such as 09-18", suggestion)


def _time_zone(value: object) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(str(value))
    except (KeyError, ValueError, OSError):
        raise WrongValue(
            "a time zone's name, such as UTC or Europe/Berlin", nearest(str(value), available_timezones())
        ) from None


def _words(value: object) -> object:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


_STORAGE_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,47}$")


def _storage_name(value: object) -> object:
    if isinstance(value, str) and not _STORAGE_NAME.fullmatch(value):
        raise WrongValue("the name of a storage: local, s3, gcs, azure or one that backup.yaml lists")
    return value


_KEY_NAME = re.compile(ENTRY_PATTERN)


def _key_names(value: object) -> object:
    names = _words(value)
    if isinstance(names, tuple) and not all(_KEY_NAME.fullmatch(name) for name in names):
        raise WrongValue(
            "names of keys, separated by commas: lower-case letters, digits, - and _ (the key itself belongs elsewhere)"
        )
    return names


def _cloud_name(value: object) -> object:
    if value == LOCAL_STORAGE:
        raise WrongValue("the name of a cloud storage: s3, gcs, azure or one that backup.yaml lists", "s3")
    return _storage_name(value)


def _cloud_url(value: object) -> object:
    if isinstance(value, str) and value and StorageAddress.parse(value).kind is StorageKind.DISK:
        raise WrongValue("the address of an object storage, such as s3://bucket/prefix")
    return value


TimeOfDay = Annotated[time, BeforeValidator(_time_of_day)]
Hours = Annotated[HourWindow, BeforeValidator(_hour_window)]
TimeZone = Annotated[ZoneInfo, BeforeValidator(_time_zone)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
KeyNames = Annotated[tuple[str, ...], BeforeValidator(_key_names)]
StorageName = Annotated[str, BeforeValidator(_storage_name)]
CloudName = Annotated[str, BeforeValidator(_cloud_name)]
CloudUrl = Annotated[str, BeforeValidator(_cloud_url)]
