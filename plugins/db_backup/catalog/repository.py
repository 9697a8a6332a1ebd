"""The catalogue as every other room sees it."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from db_backup.catalog import figures, index, journal, usage
from db_backup.catalog.attempts import Attempts
from db_backup.catalog.database import Database
from db_backup.catalog.heartbeat import Heartbeat
from db_backup.catalog.locks import Claims
from db_backup.catalog.records import (
    Attempt,
    AttemptOutcome,
    AuditAct,
    AuditRecord,
    BackupPage,
    BackupQuery,
    Held,
    HeldByDay,
    Lease,
    Lock,
    Statistics,
    SweepReport,
)
from db_backup.manifest import Manifest, RunInfo, State
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.summary import BackupSummary


class Catalog:
    """An index over manifests and states, and what is only here: attempts, locks, leases, audit, storage roots.

    Use it as a context manager. Any number of processes and threads may have it open; every method may raise
    ``CatalogError``. Every change is durable when its method returns.
    """

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._heartbeat = Heartbeat(database)
        self._claims = Claims(database, self._heartbeat, host)
        self._attempts = Attempts(database, self._heartbeat, self._claims, host)

    @classmethod
    def open(cls, path: Path, *, host: str | None = None) -> Self:
        """Open the embedded catalogue; it is made, or its schema brought up to date, where that is needed.

        :param host: the name under which this process holds locks and leases; None: the machine's.
        :raises CatalogError: it cannot be opened or written, is damaged, is no catalogue, or is of a newer program.
        """
        return cls(Database.open(path), host or socket.gethostname())

    @classmethod
    def open_postgres(cls, connection: ConnectionInfo, *, host: str | None = None) -> Self:
        """Open the catalogue in this PostgreSQL database; its tables are made, or brought up to date, where needed.

        :param host: as in :meth:`open`.
        :raises CatalogError: it cannot be reached or written, is no catalogue, or is of a newer program.
        :raises ConfigurationError: the connection makes no sense.
        """
        return cls(Database.open_postgres(connection), host or socket.gethostname())

    @property
    def name(self) -> str:
        """Where it is, for people: a file, or a database and the connection's id."""
        return self._database.name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop showing signs of life and let the database go. Idempotent."""
        self._heartbeat.stop()
        self._database.close()

    # The index

    def record(self, manifest: Manifest, state: State) -> None:
        """Take in a backup, or what has changed about it."""
        index.record(self._database, manifest, state)

    def forget(self, backup_id: str) -> None:
        """Leave a backup out of the index; one that is not there is no error."""
        index.forget(self._database, backup_id)

    def replace_index(self, pairs: Iterable[tuple[Manifest, State]], *, kept: Iterable[BackupSummary] = ()) -> int:
        """Rebuild the index from these pairs, each backup once, in one transaction; returns their number.

        Pass an iterator that reads as it goes: a backup that is recorded after this call began, and that the
        iterator did not see, stays. An error of the iterator's leaves the index as it was.

        :param kept: backups that stay as they were known, for nobody can look at them now.
        """
        return index.replace(self._database, pairs, kept)

    def knows(self, backup_id: str) -> bool:
        return index.knows(self._database, backup_id)

    def get(self, backup: str) -> BackupSummary:
        """The backup of this id, or of which this is a file, with or without its folder.

        :raises UnknownBackup: names the nearest known one.
        """
        return index.get(self._database, backup)

    def page(self, query: BackupQuery, *, limit: int = 50, cursor: str | None = None) -> BackupPage:
        """At most ``limit`` backups (1 to 1000), newest first; ``cursor`` is the ``next_cursor`` of the page before.

        :raises UsageError: not a cursor, or not a limit.
        """
        return index.page(self._database, query, limit, cursor)

    def newest_first(self, query: BackupQuery) -> Iterator[BackupSummary]:
        """All backups of a query; read as they are asked for."""
        return index.newest_first(self._database, query)

    def newest(
        self, database: str, type: BackupType | None = None, *, verified_only: bool = False
    ) -> BackupSummary | None:
        """The newest backup of an entry that is not being deleted; with ``verified_only``, that stands as good.

        Never a safety backup: what a restore was about to replace is no step in the entry's history of backups.
        """
        return index.newest(self._database, database, type, verified_only=verified_only)

    def statistics(self, query: BackupQuery) -> Statistics:
        """Counts and bytes by database, type, status, storage and day; and how attempts ended."""
        return figures.statistics(self._database, query)

    def held(self) -> list[Held]:
        """What every storage holds of every entry and type, by these names."""
        return usage.held(self._database)

    def note_usage(self) -> bool:
        """Write down for the days to come what the storages hold; once a day. Whether it was not done yet."""
        return usage.note(self._database)

    def usage_by_day(self) -> list[HeldByDay]:
        """What was noted on the last days, the oldest first."""
        return usage.by_day(self._database)

    def ids(self) -> Iterator[str]:
        """Every backup's id, in order; read as they are asked for."""
        return index.ids(self._database)

    def newest_ids(self, beginning: str = "", *, limit: int = 100) -> list[str]:
        """The ids of the newest backups whose id begins so, newest first."""
        return index.newest_ids(self._database, beginning, limit)

    # Storage roots

    def remember_storage(self, name: str, storage_id: str, location: str) -> None:
        """From now on the root with this ``.storage-id`` stands behind this name."""
        journal.remember_storage(self._database, name, storage_id, location)

    def storage_id(self, name: str) -> str | None:
        """The ``.storage-id`` that was remembered for this name."""
        return journal.storage_id(self._database, name)

    # Attempts

    def begin_attempt(self, entry: str, type: BackupType, run: RunInfo) -> str:
        """Write down that a backup is about to be tried; returns the attempt's id."""
        return self._attempts.begin(entry, type, run)

    def finish_attempt(
        self, attempt_id: str, outcome: AttemptOutcome, *, backup_id: str | None = None, error: str = ""
    ) -> None:
        """Write down how it ended; the last word counts.

        :raises CatalogError: there is no such attempt.
        """
        self._attempts.finish(attempt_id, outcome, backup_id, error)

    def abandoned_attempts(self) -> list[Attempt]:
        """Attempts without an end whose process has died: for the caller to finish as interrupted."""
        return self._attempts.abandoned()

    def attempts(
        self, entry: str | None = None, since: datetime | None = None, *, limit: int | None = None
    ) -> list[Attempt]:
        """Attempts that started at ``since`` or later, newest first; the newest ``limit`` of them."""
        return self._attempts.list(entry, since, limit)

    # Locks and leases

    def entry_lock(
        self, entry: str, purpose: str, *, wait_seconds: float = 0.0, cancellation: Cancellation | None = None
    ) -> AbstractContextManager[None]:
        """Nobody else works on this entry while the block runs; a dead process's lock is taken over.

        :param purpose: what for, to show to those who wait ("full backup").
        :param cancellation: ends the waiting; and is cancelled should the lock be lost while the block runs.
        :raises EntryLocked: somebody else has it, still after ``wait_seconds``; names who and since when.
        :raises Interrupted: a stop was asked for while waiting.
        """
        return self._claims.entry_lock(entry, purpose, wait_seconds, cancellation)

    def lease(self, backup_id: str, purpose: str) -> AbstractContextManager[None]:
        """The backup must not be deleted while the block runs. Any number of leases may stand on one backup.

        :raises Refused: it is being deleted.
        """
        return self._claims.lease((backup_id,), purpose)

    def lease_all(self, backup_ids: Sequence[str], purpose: str) -> AbstractContextManager[None]:
        """The same of several, such as a chain's: all of them, or none.

        :raises Refused: one of them is being deleted.
        """
        return self._claims.lease(backup_ids, purpose)

    def reserve(self, backup_id: str, purpose: str, *, lasting: timedelta) -> str:
        """A lease that outlives this process: until it is released, or its time is up by the catalogue's clock.

        :return: what :meth:`release` takes.
        :raises Refused: it is being deleted.
        """
        return self._claims.reserve(backup_id, purpose, lasting)

    def release(self, reservation: str) -> None:
        """End a reservation before its time; one that has ended already is no error."""
        self._claims.release(reservation)

    def deletion(self, backup_id: str, *, cancellation: Cancellation | None = None) -> AbstractContextManager[None]:
        """Nobody gets a lease on this backup while the block runs. A process that dies in it lets the claim go.

        :param cancellation: is cancelled should the claim be lost while the block runs.
        :raises Refused: somebody has a lease on it, or deletes it already; names who and since when.
        """
        return self._claims.deletion(backup_id, cancellation)

    def leases(self, backup_id: str | None = None) -> list[Lease]:
        """The leases that stand, on this backup or on all; deletions and reservations are among them."""
        return self._claims.leases(backup_id)

    def locks(self) -> list[Lock]:
        """The locks on entries that live processes hold."""
        return self._claims.locks()

    def sweep(self) -> SweepReport:
        """Release the locks and leases of processes that have died, and reservations whose time is up; say which."""
        return self._claims.sweep()

    # Audit

    def audit(self, record: AuditRecord) -> None:
        """Write down an act."""
        journal.write_audit(self._database, record)

    def audit_trail(
        self,
        *,
        since: datetime | None = None,
        limit: int = 100,
        entry: str | None = None,
        backup_id: str | None = None,
        act: AuditAct | None = None,
    ) -> list[AuditRecord]:
        """The newest ``limit`` acts at ``since`` or later, newest first; on this entry or backup, if one is named.

        :param act: only of this kind.
        """
        return journal.audit_trail(self._database, since, limit, entry, backup_id, act)

    def acts_marked(self, act: AuditAct, mark: str) -> list[AuditRecord]:
        """Such acts whose detail ends in ``mark``, the last that was written first."""
        return journal.acts_marked(self._database, act, mark)

    def last_done(self, act: AuditAct) -> AuditRecord | None:
        """When this was last done; None: never, as far as this catalogue knows."""
        return journal.last_done(self._database, act)
