"""What is written down of backups' lives: attempts with their errors and Airflow's coordinates, and audited acts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from db_backup import naming
from db_backup.catalog import Attempt, AuditAct, AuditOutcome, AuditRecord, Catalog
from db_backup.frozen import FrozenModel
from db_backup.manifest import RunInfo
from db_backup.units import human_duration

_OVERLAP = timedelta(minutes=1)  # several hosts write down by their own clocks


class LogEvent(FrozenModel):
    """One thing that happened. ``run``: the Airflow task or the terminal that did it; ``detail``: errors included."""

    at: datetime
    event: str
    outcome: str
    database: str | None
    backup_id: str | None
    run: str
    detail: str
    key: str


class Logbook:
    """The events of an entry, of a backup, or of all, in the order in which they happened.

    :param backup: an id or a file name. The backup need not exist any more: what was written down of it does.
    """

    def __init__(self, catalog: Catalog, *, database: str | None = None, backup: str | None = None) -> None:
        self._catalog = catalog
        self._backup_id: str | None = None
        self._database = database
        self._began: datetime | None = None
        if backup is not None:
            name = naming.parse_backup_id(naming.backup_id_of_file(backup.rpartition("/")[2]))
            self._backup_id, self._database = str(name), name.entry
            self._began = name.moment - _OVERLAP  # the attempt began before its id was made

    def read(self, *, since: datetime | None = None, limit: int) -> list[LogEvent]:
        """The newest ``limit`` events, oldest first."""
        since = max(filter(None, (since, self._began)), default=None)
        attempts = self._catalog.attempts(self._database, since, limit=None if self._backup_id else limit)
        if self._backup_id:
            attempts = [attempt for attempt in attempts if attempt.backup_id == self._backup_id]
        acts = self._catalog.audit_trail(since=since, limit=limit, entry=self._database, backup_id=self._backup_id)
        dead = {attempt.id for attempt in self._catalog.abandoned_attempts()}
        told = {(attempt.entry, attempt.error) for attempt in attempts}
        events = [event for attempt in attempts for event in _of_attempt(attempt, attempt.id in dead)]
        events += [_of_act(act) for act in acts if not _is_told(act, told)]
        return sorted(events, key=lambda event: (event.at, event.key))[-limit:]

    def follow(self, seen: list[LogEvent], *, limit: int) -> Iterator[list[LogEvent]]:
        """What has happened since ``seen``, each time it is asked; an empty list when nothing did."""
        known = {event.key: event.at for event in seen}
        while True:
            newest = max(known.values(), default=None)
            began = [attempt.started_at for attempt in self._catalog.attempts(self._database) if not attempt.outcome]
            since = min([*began, newest - _OVERLAP]) if newest else None
            new = [event for event in self.read(since=since, limit=limit) if event.key not in known]
            known |= {event.key: event.at for event in new}
            yield new


def _of_attempt(attempt: Attempt, dead: bool) -> Iterator[LogEvent]:
    fields = {
        "event": f"{attempt.type} backup",
        "database": attempt.entry,
        "backup_id": attempt.backup_id,
        "run": f"{run_words(attempt.run)}, process {attempt.pid} on {attempt.host}",
    }
    detail = "its process is gone" if dead else ""
    yield LogEvent(at=attempt.started_at, outcome="started", detail=detail, key=f"{attempt.id} started", **fields)
    if attempt.outcome is not None and attempt.finished_at is not None:
        took = f"took {human_duration(attempt.duration_seconds or 0)}"
        detail = f"{took}: {attempt.error}" if attempt.error else took
        key = f"{attempt.id} {attempt.outcome}"
        yield LogEvent(at=attempt.finished_at, outcome=attempt.outcome.value, detail=detail, key=key, **fields)


def _is_told(act: AuditRecord, told: set[tuple[str, str]]) -> bool:
    """An attempt says of the same backup the same and more; only what kept one from beginning is the act's alone."""
    if act.act is not AuditAct.CREATE:
        return False
    return act.outcome in {AuditOutcome.STARTED, AuditOutcome.DONE} or (act.entry, act.detail) in told


def _of_act(act: AuditRecord) -> LogEvent:
    return LogEvent(
        at=act.at,
        event=act.act.value,
        outcome=act.outcome.value,
        database=act.entry,
        backup_id=act.backup_id,
        run=f"{act.origin.value}: {act.actor or 'nobody named'} on {act.host}",
        detail=act.detail,
        key=f"{act.at.isoformat()} {act.act} {act.outcome} {act.backup_id} {act.actor} {act.host}",
    )


def run_words(run: RunInfo) -> str:
    """Who made a backup: ``airflow: backup_daily, run …, task protect.backup[2], try 1``."""
    if run.dag_id is None:
        return f"{run.origin}: {run.actor or 'nobody named'}"
    mapped = f"[{run.map_index}]" if run.map_index is not None else ""
    return f"{run.origin}: {run.dag_id}, run {run.run_id}, task {run.task_id}{mapped}, try {run.try_number}"
