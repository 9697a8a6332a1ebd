"""Backups in cold storage: whether a copy can be read now, asking for it to be thawed, and waiting until it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from db_backup import naming
from db_backup.catalog import AuditAct
from db_backup.errors import ObjectCold, ObjectMissing, StorageError
from db_backup.frozen import FrozenModel
from db_backup.jobs.acts import audited
from db_backup.jobs.copies import copies_of
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.progress import Cancellation, Progress
from db_backup.storage import Temperature
from db_backup.storage_classes import thaw_time
from db_backup.units import human_duration

#: How often a storage is asked whether something is thawed, which takes it hours.
POLL_SECONDS = 300.0
_MOST_SILENCES = 12  # in a row, of a storage that is asked while somebody waits
#: For how long what was thawed can be read, before it is cold again by itself.
THAWED_DAYS = 7


class ColdCopy(FrozenModel):
    """A copy that cannot be read now. ``thawing``: all that is cold of it was asked for already."""

    backup_id: str
    storage: str
    storage_class: str
    thawing: bool = False

    def __str__(self) -> str:
        took = thaw_time(self.storage_class)
        usually = f", which usually takes {took}" if took else ""
        return (
            f"{self.backup_id} lies in the class {self.storage_class} of '{self.storage}' and must be thawed{usually}"
        )


class ThawReport(FrozenModel):
    """What was cold, and how long it took until it could be read."""

    copies: tuple[ColdCopy, ...] = ()
    waited_seconds: float = 0.0


def cold_copy(located: Located) -> ColdCopy | None:
    """Asks the storage, which also knows what was moved there by the bucket's own rules; None: it can be read.

    :raises StorageError: the storage does not say.
    """
    cold = [temperature for _, temperature in _cold_parts(located)]
    if not cold:
        return None
    return ColdCopy(
        backup_id=located.manifest.id,
        storage=located.storage.name,
        storage_class=cold[0].storage_class,
        thawing=all(temperature.thawing for temperature in cold),
    )


def known_cold(located: Located) -> ColdCopy | None:
    """As :func:`cold_copy`; but a storage that does not say is left to whoever reads it."""
    try:
        return cold_copy(located)
    except StorageError:
        return None


def warmest(workspace: Workspace, located: Located) -> Located:
    """Another copy of the same backup that can be read now, where this one cannot; or else this one."""
    if known_cold(located) is None:
        return located
    others = (copy for copy in copies_of(workspace, located.manifest.id) if copy.storage.name != located.storage.name)
    warm = next((copy for copy in others if copy.manifest == located.manifest and known_cold(copy) is None), None)
    return located if warm is None else replace(located, storage=warm.storage)


def request_thaw(workspace: Workspace, needed: Sequence[Located], *, run: RunInfo) -> tuple[ColdCopy, ...]:
    """Ask for all of these that are cold, for ``THAWED_DAYS``; audited. What was asked for already is not again.

    :return: the copies that cannot be read yet.
    :raises StorageError: a storage does not take the request.
    """
    found = []
    for located in needed:
        if known_cold(located) is None:
            continue
        parts = list(_cold_parts(located))
        if any(not temperature.thawing for _, temperature in parts):
            manifest = located.manifest
            with audited(workspace, AuditAct.THAW, run, entry=manifest.entry, backup_id=manifest.id) as act:
                for key, _ in parts:
                    located.storage.thaw(key, days=THAWED_DAYS)
                act.detail = f"from '{located.storage.name}', for {THAWED_DAYS} days"
        if (cold := cold_copy(located)) is not None:
            found.append(cold)
    return tuple(found)


def thaw(
    workspace: Workspace,
    needed: Sequence[Located],
    *,
    wait: bool,
    run: RunInfo,
    progress: Progress,
    cancellation: Cancellation,
) -> ThawReport:
    """See that all of these can be read: ask for what is cold, and wait until it is there.

    :param wait: False: only ask.
    :raises ObjectCold: something is cold, was asked for now, and nobody wants to wait.
    :raises StorageError, Interrupted: what was asked for is on its way all the same.
    """
    cold = request_thaw(workspace, needed, run=run)
    if not cold:
        return ThawReport()
    if not wait:
        raise ObjectCold(
            f"{'; '.join(map(str, cold))}. That was asked for.",
            hint="Run it again when it is there; without --no-wait it waits.",
            backup_id=cold[0].backup_id,
        )
    began = time.monotonic()
    progress.stage(f"{cold[0]}{f', and {len(cold) - 1} more' if len(cold) > 1 else ''}; asked for, and waiting")
    _wait_for([located for located in needed if located.manifest.id in {one.backup_id for one in cold}], cancellation)
    waited = time.monotonic() - began
    progress.stage(f"thawed after {human_duration(waited)}")
    return ThawReport(copies=cold, waited_seconds=round(waited, 3))


def _wait_for(waiting: list[Located], cancellation: Cancellation) -> None:
    """:raises StorageError: it did not answer for an hour. :raises Interrupted:"""
    stopped = threading.Event()
    silences = 0
    with cancellation.on_cancel(stopped.set):
        while waiting:
            cancellation.check()
            try:
                waiting = [located for located in waiting if cold_copy(located) is not None]
                silences = 0
            except StorageError:
                silences += 1
                if silences > _MOST_SILENCES:
                    raise
            if waiting:
                stopped.wait(POLL_SECONDS)


def _cold_parts(located: Located) -> Iterator[tuple[str, Temperature]]:
    if not located.storage.archive_classes:
        return
    for part in located.manifest.parts:
        try:
            temperature = _temperature(located, part.path)
        except ObjectMissing:
            continue  # whoever reads it says so
        if not temperature.readable:
            yield naming.part_key(part.path), temperature


def _temperature(located: Located, part: str) -> Temperature:
    return located.storage.temperature(naming.part_key(part))
