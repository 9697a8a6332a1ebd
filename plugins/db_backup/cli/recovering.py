"""`db-backup list --recovery`: the moments that databases can be restored to, and the gaps between them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

import click

from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import moment, print_json, print_table, say

if TYPE_CHECKING:  # `list` without --recovery loads none of it
    from db_backup.jobs.recovery import DatabaseRecovery, RecoverableWindow

_MOST_POINTS = 5  # full backups by themselves that are told one by one, the newest


def list_recovery(database: str | None, *, each_moment: bool, as_json: bool) -> None:
    """Print what every database can be restored to, in UTC and in BACKUP_TIMEZONE.

    :param database: only this one.
    :param each_moment: tell every moment where there is nothing between them, instead of how many there are.
    :raises UnknownDatabase, StorageError:
    """
    from db_backup.jobs.recovery import recovery_windows

    with opened_workspace(indexed=False, needs_catalogue=False) as workspace:
        found = recovery_windows(workspace, database)
        zone = workspace.settings.backup_timezone
    if as_json:
        print_json({"databases": [_document(one, zone) for one in found], "timezone": str(zone)})
        return
    rows = [row for one in found for row in _rows(one, zone, each_moment)]
    if not rows:
        click.echo("Nothing can be recovered: there are no full backups.")
        return
    columns = ("DATABASE", "WHAT", "FROM (UTC)", "TO (UTC)", f"FROM ({zone})", f"TO ({zone})", "BY")
    if str(zone) == "UTC":
        print_table((*columns[:4], columns[-1]), [(*row[:4], row[-1]) for row in rows], blocks=True)
    else:
        print_table(columns, rows, blocks=True)
    for one in found:
        for line in _remarks(one, each_moment):
            say(line)


def _document(one: DatabaseRecovery, zone: tzinfo) -> dict[str, Any]:
    document = one.model_dump(mode="json")
    for shown, window in zip(document["windows"], one.windows, strict=True):
        shown |= {"first_local": _local(window.first, zone), "last_local": _local(window.last, zone)}
    for shown, gap in zip(document["gaps"], one.gaps, strict=True):
        shown |= {"after_local": _local(gap.after, zone), "before_local": _local(gap.before, zone)}
    for shown, point in zip(document["points"], one.points, strict=True):
        shown |= {"moment_local": _local(point.moment, zone)}
    return document


def _local(value: datetime, zone: tzinfo) -> str:
    return value.astimezone(zone).isoformat()


def _rows(one: DatabaseRecovery, zone: tzinfo, each_moment: bool) -> Iterator[tuple[str, ...]]:
    """By time, chains before the gaps that follow them."""
    found: list[tuple[datetime, int, tuple[str, ...]]] = []
    for window in one.windows:
        for what, first, last, by in _of_window(window, each_moment):
            found.append((first, 0, (what, *_times(first, last, zone), by)))
    for gap in one.gaps:
        found.append((gap.after, 1, ("nothing", *_times(gap.after, gap.before, zone), "-")))
    points = one.points if each_moment else one.points[-_MOST_POINTS:]
    for point in points:
        found.append((point.moment, 0, ("a moment", *_times(point.moment, point.moment, zone), point.backup_id)))
    for _, _, row in sorted(found, key=lambda item: item[:2]):
        yield (one.database, *row)


def _of_window(window: RecoverableWindow, each_moment: bool) -> Iterator[tuple[str, datetime, datetime, str]]:
    increments = f" + {window.increments} increment{'' if window.increments == 1 else 's'}" if window.increments else ""
    by = f"{window.base_id}{increments}"
    if window.continuous:
        yield "any moment" if window.increments else "a moment", window.first, window.last, by
    elif each_moment:
        for single in window.moments:
            yield "a moment", single, single, by
    else:
        count = len(window.moments)
        yield f"{count} moments" if count > 1 else "a moment", window.first, window.last, by


def _times(first: datetime, last: datetime, zone: tzinfo) -> tuple[str, ...]:
    return tuple(moment(value.astimezone(where)) for where in (UTC, zone) for value in (first, last))


def _remarks(one: DatabaseRecovery, each_moment: bool) -> Iterator[str]:
    if not each_moment and len(one.points) > _MOST_POINTS:
        yield f"{one.database}: of {len(one.points)} full backups by themselves, the newest {_MOST_POINTS} are listed."
    for gap in one.gaps:
        yield f"{one.database}: nothing leads to what was after {moment(gap.after)} UTC, because {gap.reason}."
    if one.windows and one.windows[-1].ended_by:
        yield f"{one.database}: its last chain leads no further, because {one.windows[-1].ended_by}."
    if one.note:
        yield f"{one.database}: {one.note}"
