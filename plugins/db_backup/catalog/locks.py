"""Locks on entries and leases on backups: held by processes, released by themselves when their holder dies.

A reservation is a lease that no process holds: it ends when it is released, or when its time is up.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, insert, select
from sqlalchemy.exc import IntegrityError

from db_backup.catalog.database import Database
from db_backup.catalog.heartbeat import Heartbeat, next_expiry
from db_backup.catalog.records import Lease, Lock, SweepReport
from db_backup.catalog.tables import backups, leases, locks
from db_backup.errors import CatalogError, EntryLocked, Refused
from db_backup.holder import Holder
from db_backup.model import BackupStatus
from db_backup.progress import Cancellation

DELETION = "deletion"  # the purpose of the one lease that suffers no other beside it

_LOOK_AGAIN_SECONDS = 0.25


class Claims:
    """What the processes of this catalogue hold."""

    def __init__(self, database: Database, heartbeat: Heartbeat, host: str) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._host = host

    @contextmanager
    def entry_lock(
        self, entry: str, purpose: str, wait_seconds: float, cancellation: Cancellation | None
    ) -> Iterator[None]:
        token = uuid.uuid4().hex
        deadline = time.monotonic() + wait_seconds
        while (held := self._take(entry, purpose, token)) is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise EntryLocked(
                    f"'{entry}' is at work already: {held}.",
                    hint="Wait for it to end. The lock of a process that died is released by itself.",
                    database=entry,
                )
            _pause(min(left, _LOOK_AGAIN_SECONDS), cancellation)
        lost = f"the lock on '{entry}' was lost to another process"
        on_lost = functools.partial(cancellation.cancel, lost) if cancellation else None
        with self._holding(locks, token, on_lost=on_lost):
            yield

    @contextmanager
    def lease(self, backup_ids: Sequence[str], purpose: str) -> Iterator[None]:
        tokens = {uuid.uuid4().hex: backup_id for backup_id in backup_ids}
        with self._database.write() as connection:
            for token, backup_id in tokens.items():
                self._refuse_if_deleting(connection, backup_id)
                self._insert_lease(connection, backup_id, token, purpose)
        with self._holding(leases, *tokens):
            yield

    def reserve(self, backup_id: str, purpose: str, lasting: timedelta) -> str:
        token = uuid.uuid4().hex
        with self._database.write() as connection:
            self._refuse_if_deleting(connection, backup_id)
            now = self._database.now(connection)
            connection.execute(
                insert(leases).values(
                    backup_id=backup_id,
                    token=token,
                    purpose=purpose,
                    since=now,
                    expires_at=now + lasting,
                    **Holder.nobody().columns(),
                )
            )
        return token

    def release(self, token: str) -> None:
        nobody = Holder.nobody()
        with self._database.write() as connection:
            # Never a process's lease: that is released by its own process.
            connection.execute(delete(leases).where(leases.c.token == token, leases.c.host == nobody.host))

    @contextmanager
    def deletion(self, backup_id: str, cancellation: Cancellation | None) -> Iterator[None]:
        token = uuid.uuid4().hex
        with self._database.write() as connection:
            if held := self._live_leases(connection, backup_id):
                raise Refused(
                    f"{backup_id} is in use: {held[0]}.",
                    hint="Wait for it to end. The claim of a process that died is released by itself.",
                    backup_id=backup_id,
                )
            self._insert_lease(connection, backup_id, token, DELETION)
        lost = f"the claim on {backup_id} was lost to another process"
        on_lost = functools.partial(cancellation.cancel, lost) if cancellation else None
        with self._holding(leases, token, on_lost=on_lost):
            yield

    def leases(self, backup_id: str | None) -> list[Lease]:
        with self._database.read() as connection:
            return self._live_leases(connection, backup_id)

    def locks(self) -> list[Lock]:
        with self._database.read() as connection:
            now = self._database.now(connection)
            held = connection.execute(select(locks).order_by(locks.c.since)).all()
            return [_lock(row) for row in held if not self.is_dead(row, now)]

    def sweep(self) -> SweepReport:
        with self._database.write() as connection:
            return SweepReport(
                locks=tuple(_lock(row) for row in self._release_dead(connection, locks)),
                leases=tuple(_lease(row) for row in self._release_dead(connection, leases)),
            )

    def is_dead(self, row: Row[Any], now: datetime) -> bool:
        """Whether the process that holds this row has certainly ended; ``now`` by the catalogue's clock."""
        return Holder.of(row._mapping).is_dead(
            seen_from=Holder.this_process(self._host), expires_at=row.expires_at, now=now
        )

    def _take(self, entry: str, purpose: str, token: str) -> Lock | None:
        """Take the lock, from a dead process if need be; or say who has it."""
        while True:
            try:
                with self._database.write() as connection:
                    held = connection.execute(select(locks).where(locks.c.entry == entry)).one_or_none()
                    if held is not None and not self.is_dead(held, self._database.now(connection)):
                        return _lock(held)
                    if held is not None:
                        connection.execute(delete(locks).where(locks.c.token == held.token))
                    connection.execute(insert(locks).values(entry=entry, **self._claim(connection, token, purpose)))
            except IntegrityError:
                continue  # where writers do not wait for each other: somebody took it just now; look who it was
            return None

    def _live_leases(self, connection: Connection, backup_id: str | None) -> list[Lease]:
        wanted = select(leases).order_by(leases.c.since)
        if backup_id is not None:
            wanted = wanted.where(leases.c.backup_id == backup_id)
        now = self._database.now(connection)
        return [_lease(row) for row in connection.execute(wanted).all() if not self.is_dead(row, now)]

    def _refuse_if_deleting(self, connection: Connection, backup_id: str) -> None:
        """:raises Refused: the deletion of this backup has begun."""
        status = connection.scalar(select(backups.c.status).where(backups.c.id == backup_id))
        deletions = [held for held in self._live_leases(connection, backup_id) if held.purpose == DELETION]
        if deletions or status == BackupStatus.DELETING:
            raise _being_deleted(backup_id, deletions)

    def _insert_lease(self, connection: Connection, backup_id: str, token: str, purpose: str) -> None:
        claim = self._claim(connection, token, purpose)
        connection.execute(insert(leases).values(backup_id=backup_id, **claim))

    def _claim(self, connection: Connection, token: str, purpose: str) -> dict[str, Any]:
        now = self._database.now(connection)
        holder = Holder.this_process(self._host)
        return {
            "token": token,
            "purpose": purpose,
            "since": now,
            "expires_at": next_expiry(now),
            **holder.columns(),
        }

    @contextmanager
    def _holding(self, table: Table, *tokens: str, on_lost: functools.partial[None] | None = None) -> Iterator[None]:
        for token in tokens:
            self._heartbeat.keep(table, token, on_lost)
        try:
            yield
        except BaseException:
            # What went wrong matters more than a claim that cannot be released, and that ends with this process.
            with contextlib.suppress(CatalogError):
                self._release(table, tokens)
            raise
        self._release(table, tokens)

    def _release(self, table: Table, tokens: Iterable[str]) -> None:
        held = [token for token in tokens if self._heartbeat.drop(token)]  # never a forked child its parent's
        if held:
            with self._database.write() as connection:
                for token in held:
                    connection.execute(delete(table).where(table.c.token == token))

    def _release_dead(self, connection: Connection, table: Table) -> list[Row[Any]]:
        now = self._database.now(connection)
        dead = [row for row in connection.execute(select(table)).all() if self.is_dead(row, now)]
        # One that showed a sign of life since it was read stays.
        return [
            row
            for row in dead
            if connection.execute(
                delete(table).where(table.c.token == row.token, table.c.expires_at == row.expires_at)
            ).rowcount
        ]


def _pause(seconds: float, cancellation: Cancellation | None) -> None:
    """:raises Interrupted: a stop was asked for."""
    if cancellation is None:
        time.sleep(seconds)
        return
    stopped = threading.Event()
    with cancellation.on_cancel(stopped.set):
        stopped.wait(seconds)
    cancellation.check()


def _being_deleted(backup_id: str, deletions: list[Lease]) -> Refused:
    by = f": {deletions[0]}" if deletions else ""
    return Refused(
        f"{backup_id} is being deleted{by}.",
        hint="Choose another backup; `db-backup cleanup` finishes a deletion that was interrupted.",
        backup_id=backup_id,
    )


def _lock(row: Row[Any]) -> Lock:
    return Lock(entry=row.entry, purpose=row.purpose, since=row.since, host=row.host, pid=row.pid)


def _lease(row: Row[Any]) -> Lease:
    until = row.expires_at if Holder.of(row._mapping) == Holder.nobody() else None
    return Lease(backup_id=row.backup_id, purpose=row.purpose, since=row.since, host=row.host, pid=row.pid, until=until)
