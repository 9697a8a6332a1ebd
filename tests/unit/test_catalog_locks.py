"""Locks, leases, attempts and the audit trail."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, select, update

from db_backup.catalog import AttemptOutcome, AuditRecord, Catalog, tables
from db_backup.catalog.heartbeat import LIFETIME, Heartbeat
from db_backup.errors import CatalogError, EntryLocked, Interrupted, Refused
from db_backup.holder import Holder
from db_backup.manifest import RunInfo
from db_backup.model import BackupType, utc_now
from db_backup.progress import Cancellation
from support.catalog_places import CatalogPlace, catalog_place
from support.factories import MORNING

pytestmark = pytest.mark.unit
__all__ = ["catalog_place"]

RUN = RunInfo(origin="airflow", actor="ada", host="tower", dag_id="backup_daily", run_id="r1", map_index=0)
BACKUP = "backup_shop_full_2026-01-31_03-00-00"


@pytest.fixture
def place(catalog_place: CatalogPlace) -> CatalogPlace:
    return catalog_place


@pytest.fixture
def catalog(place: CatalogPlace) -> Iterator[Catalog]:
    with place.open(host="tower") as opened:
        yield opened


def set_columns(place: CatalogPlace, table: Table, **values: Any) -> None:
    """Change every row of a table behind the catalogue's back."""
    database = place.database()
    with database.write() as connection:
        connection.execute(update(table).values(**values))


def column(place: CatalogPlace, table: Table, name: str) -> list[Any]:
    with place.database().read() as connection:
        return list(connection.scalars(select(table.c[name])))


def open_files() -> list[str]:
    """Files and sockets of this process."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(link.readlink()) for link in links]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def test_an_entry_is_locked_for_one_and_free_afterwards(catalog: Catalog, place: CatalogPlace) -> None:
    with (
        place.open(host="tower") as second,
        catalog.entry_lock("shop", "full backup"),
        pytest.raises(EntryLocked) as refusal,
        second.entry_lock("shop", "incremental backup"),
    ):
        pytest.fail("two hold one lock")

    assert f"'shop' is at work already: full backup, process {os.getpid()} on tower, since 20" in refusal.value.message
    assert refusal.value.database == "shop"
    with place.open() as second, second.entry_lock("shop", "again"):
        pass


def test_other_entries_are_not_locked(catalog: Catalog) -> None:
    with catalog.entry_lock("shop", "backup"), catalog.entry_lock("crm", "backup"):
        assert not catalog.sweep().locks


def test_a_lock_is_released_when_its_work_fails(catalog: Catalog) -> None:
    with pytest.raises(KeyboardInterrupt), catalog.entry_lock("shop", "backup"):
        raise KeyboardInterrupt

    with catalog.entry_lock("shop", "again"):
        pass


def test_who_waits_gets_the_lock_when_it_is_released(catalog: Catalog) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with catalog.entry_lock("shop", "first"):
            entered.set()
            leave.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait()
    threading.Timer(0.3, leave.set).start()

    with catalog.entry_lock("shop", "second", wait_seconds=60):
        assert leave.is_set()
    holder.join()


def test_who_waits_in_vain_is_told_who_has_it(catalog: Catalog) -> None:
    with (
        catalog.entry_lock("shop", "first"),
        pytest.raises(EntryLocked, match="first, process"),
        catalog.entry_lock("shop", "second", wait_seconds=0.3),
    ):
        pytest.fail("two hold one lock")


def test_waiting_ends_when_a_stop_is_asked_for(catalog: Catalog) -> None:
    cancellation = Cancellation()
    threading.Timer(0.2, cancellation.cancel, args=("by ada",)).start()

    with (
        catalog.entry_lock("shop", "first"),
        pytest.raises(Interrupted, match="by ada"),
        catalog.entry_lock("shop", "second", wait_seconds=3600, cancellation=cancellation),
    ):
        pytest.fail("two hold one lock")


def test_the_lock_of_a_process_whose_pid_was_given_to_another_is_taken_over(
    catalog: Catalog, place: CatalogPlace
) -> None:
    with catalog.entry_lock("shop", "first"):
        set_columns(place, tables.locks, process_started=1)

        with catalog.entry_lock("shop", "second"):
            assert column(place, tables.locks, "purpose") == ["second"]

        assert column(place, tables.locks, "purpose") == []


def test_the_lock_from_before_a_reboot_is_taken_over(catalog: Catalog, place: CatalogPlace) -> None:
    with catalog.entry_lock("shop", "first"):
        set_columns(place, tables.locks, boot_id="another boot")

        with catalog.entry_lock("shop", "second"):
            pass


@pytest.mark.parametrize(
    "elsewhere", [{"host": "mill"}, {"pid_namespace": "pid:[1]"}], ids=["another host", "a container of the same name"]
)
def test_a_lock_from_elsewhere_is_taken_over_only_when_its_heartbeat_has_ended(
    catalog: Catalog, place: CatalogPlace, elsewhere: dict[str, str]
) -> None:
    with catalog.entry_lock("shop", "first"):
        set_columns(place, tables.locks, process_started=1, **elsewhere)
        with pytest.raises(EntryLocked), catalog.entry_lock("shop", "second"):
            pytest.fail("a live lock was taken")

        set_columns(place, tables.locks, expires_at=utc_now() - timedelta(seconds=1))
        with catalog.entry_lock("shop", "second"):
            pass


def test_a_local_lock_stays_while_its_process_lives_however_late_its_heartbeat(
    catalog: Catalog, place: CatalogPlace
) -> None:
    with catalog.entry_lock("shop", "first"):
        set_columns(place, tables.locks, expires_at=utc_now() - timedelta(days=1))

        assert not catalog.sweep().locks
        with pytest.raises(EntryLocked), catalog.entry_lock("shop", "second"):
            pytest.fail("a live lock was taken")


def test_a_sweep_releases_what_the_dead_held_and_says_so(catalog: Catalog, place: CatalogPlace) -> None:
    with catalog.entry_lock("shop", "backup"), catalog.lease(BACKUP, "restore"):
        set_columns(place, tables.locks, process_started=1)
        set_columns(place, tables.leases, process_started=1)
        assert catalog.leases() == []
        with catalog.entry_lock("crm", "backup"), catalog.lease(BACKUP, "download"):
            report = catalog.sweep()

            assert [(lock.entry, lock.purpose) for lock in report.locks] == [("shop", "backup")]
            assert [(lease.backup_id, lease.purpose) for lease in report.leases] == [(BACKUP, "restore")]
            assert [lease.purpose for lease in catalog.leases()] == ["download"]
            assert column(place, tables.locks, "entry") == ["crm"]


def test_a_reservation_outlives_the_process_that_made_it_and_keeps_the_backup_from_deletion(
    place: CatalogPlace,
) -> None:
    with place.open(host="tower") as maker:
        maker.reserve(BACKUP, "restore that waits for approval", lasting=timedelta(hours=24))

    with place.open(host="mill") as catalog:
        assert catalog.sweep().leases == ()
        (lease,) = catalog.leases(BACKUP)
        assert lease.until is not None
        assert timedelta(hours=23) < lease.until - utc_now() <= timedelta(hours=24)
        assert str(lease) == f"restore that waits for approval, reserved until {lease.until:%Y-%m-%d %H:%M:%S} UTC"
        with pytest.raises(Refused, match="restore that waits for approval, reserved until"), catalog.deletion(BACKUP):
            pytest.fail("a reserved backup was deleted")


def test_a_reservation_ends_when_it_is_released_by_whatever_process(place: CatalogPlace) -> None:
    with place.open(host="tower") as maker:
        reservation = maker.reserve(BACKUP, "restore", lasting=timedelta(hours=24))
        other = maker.reserve(BACKUP, "another restore", lasting=timedelta(hours=24))

    with place.open(host="mill") as catalog:
        catalog.release(reservation)
        catalog.release(reservation)
        assert [lease.purpose for lease in catalog.leases()] == ["another restore"]
        catalog.release(other)
        with catalog.deletion(BACKUP):
            pass


def test_a_reservation_whose_time_is_up_holds_nothing_back_and_is_swept(catalog: Catalog, place: CatalogPlace) -> None:
    catalog.reserve(BACKUP, "restore", lasting=timedelta(hours=24))
    set_columns(place, tables.leases, expires_at=utc_now() - timedelta(seconds=1))

    assert catalog.leases() == []
    with catalog.deletion(BACKUP):
        pass
    assert [lease.purpose for lease in catalog.sweep().leases] == ["restore"]
    assert column(place, tables.leases, "token") == []


def test_a_backup_that_is_being_deleted_cannot_be_reserved(catalog: Catalog) -> None:
    with catalog.deletion(BACKUP), pytest.raises(Refused, match="is being deleted"):
        catalog.reserve(BACKUP, "restore", lasting=timedelta(hours=1))


def test_releasing_takes_no_lease_from_a_process(catalog: Catalog, place: CatalogPlace) -> None:
    with catalog.lease(BACKUP, "download"):
        catalog.release(column(place, tables.leases, "token")[0])
        assert [lease.purpose for lease in catalog.leases()] == ["download"]


def test_a_chain_is_leased_as_a_whole_or_not_at_all(catalog: Catalog) -> None:
    chain = [BACKUP, "b2", "b3"]
    with catalog.lease_all(chain, "restore"):
        assert sorted(lease.backup_id for lease in catalog.leases()) == sorted(chain)
        for link in chain:
            with pytest.raises(Refused, match="is in use"), catalog.deletion(link):
                pytest.fail("a leased link was deleted")
    assert catalog.leases() == []

    with catalog.deletion("b2"), pytest.raises(Refused, match="b2 is being deleted"), catalog.lease_all(chain, "r"):
        pytest.fail("a chain with a link that is being deleted was leased")
    assert catalog.leases() == []


def test_any_number_of_leases_stand_on_one_backup(catalog: Catalog) -> None:
    with catalog.lease(BACKUP, "restore"), catalog.lease(BACKUP, "download"), catalog.lease("other", "restore"):
        assert sorted(lease.purpose for lease in catalog.leases(BACKUP)) == ["download", "restore"]
        assert len(catalog.leases()) == 3
    assert catalog.leases() == []


def test_the_heartbeat_moves_the_end_of_a_claim_ahead(place: CatalogPlace) -> None:
    database = place.database()
    heartbeat = Heartbeat(database, interval_seconds=0.02)
    with place.open() as catalog:
        catalog.begin_attempt("shop", BackupType.FULL, RUN)
    (token,) = column(place, tables.attempts, "token")
    set_columns(place, tables.attempts, expires_at=MORNING)

    heartbeat.keep(tables.attempts, token)
    eventually(lambda: column(place, tables.attempts, "expires_at")[0] > utc_now() + LIFETIME / 2)

    heartbeat.stop()
    set_columns(place, tables.attempts, expires_at=MORNING)
    heartbeat.stop()
    assert column(place, tables.attempts, "expires_at") == [MORNING]


def test_work_is_stopped_when_its_lock_was_taken_away(catalog: Catalog, place: CatalogPlace) -> None:
    cancellation = Cancellation()
    with catalog.entry_lock("shop", "first", cancellation=cancellation):
        set_columns(place, tables.locks, process_started=1)
        catalog.sweep()

        catalog._heartbeat.beat()

        with pytest.raises(Interrupted, match="the lock on 'shop' was lost"):
            cancellation.check()


def test_a_beat_that_fails_is_forgiven_until_others_may_take_the_claim_for_dead(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_reach() -> None:
        raise CatalogError("The catalogue was busy.")

    cancellation = Cancellation()
    with catalog.entry_lock("shop", "first", cancellation=cancellation):
        with monkeypatch.context() as patch:
            patch.setattr(catalog._database, "write", out_of_reach)
            catalog._heartbeat.beat()
            assert not cancellation.requested

            patch.setattr(catalog._heartbeat, "_last_beat", time.monotonic() - LIFETIME.total_seconds() - 1)
            catalog._heartbeat.beat()
        assert cancellation.requested


def in_a_forked_child(work: Callable[[], None]) -> int:
    """The exit status of a child that does only this: 0 when nothing was raised."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_does_not_have_its_parents_lock(catalog: Catalog) -> None:
    def work() -> None:
        with pytest.raises(EntryLocked), catalog.entry_lock("shop", "the child's"):
            pytest.fail("two hold one lock")

    with catalog.entry_lock("shop", "the parent's"):
        assert in_a_forked_child(work) == 0


def test_a_forked_child_beats_for_its_own_claims_alone(catalog: Catalog) -> None:
    def work() -> None:
        with catalog.entry_lock("crm", "the child's"):
            assert len(catalog._heartbeat._claims) == 1

    with catalog.entry_lock("shop", "the parent's"):
        assert in_a_forked_child(work) == 0


def test_a_forked_child_that_leaves_its_parents_block_releases_nothing(catalog: Catalog, place: CatalogPlace) -> None:
    lock = catalog.entry_lock("shop", "the parent's")
    lock.__enter__()

    def leave() -> None:
        lock.__exit__(None, None, None)

    assert in_a_forked_child(leave) == 0

    assert column(place, tables.locks, "purpose") == ["the parent's"]
    lock.__exit__(None, None, None)
    assert column(place, tables.locks, "purpose") == []


def test_no_connection_stays_open_that_a_forked_child_could_share(catalog: Catalog, place: CatalogPlace) -> None:
    before = set(open_files())
    catalog.begin_attempt("shop", BackupType.FULL, RUN)

    assert [link for link in open_files() if link not in before] == []


def test_a_process_is_dead_when_it_is_a_zombie() -> None:
    released, release = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(release)
        os.read(released, 1)
        os._exit(0)
    me = Holder.this_process("tower")
    started = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[19])
    holder = Holder("tower", me.boot_id, me.pid_namespace, child, started)

    def dead() -> bool:
        return holder.is_dead(seen_from=me, expires_at=MORNING, now=utc_now())

    assert not dead()
    os.write(release, b"!")
    eventually(dead)  # not waited for yet
    os.waitpid(child, 0)
    assert dead()
    os.close(released)
    os.close(release)


def test_an_attempt_is_written_down_before_it_ends(catalog: Catalog) -> None:
    attempt_id = catalog.begin_attempt("shop", BackupType.FULL, RUN)

    (running,) = catalog.attempts("shop")
    assert (running.id, running.outcome, running.finished_at, running.run) == (attempt_id, None, None, RUN)
    assert catalog.abandoned_attempts() == []

    catalog.finish_attempt(attempt_id, AttemptOutcome.FAILED, error="The disk is full.")

    (failed,) = catalog.attempts("shop")
    assert (failed.outcome, failed.error, failed.backup_id) == (AttemptOutcome.FAILED, "The disk is full.", None)
    assert failed.finished_at is not None
    assert failed.duration_seconds == (failed.finished_at - failed.started_at).total_seconds()


def test_an_attempt_that_made_a_backup_names_it(catalog: Catalog) -> None:
    attempt_id = catalog.begin_attempt("shop", BackupType.FULL, RUN)

    catalog.finish_attempt(attempt_id, AttemptOutcome.SUCCEEDED, backup_id=BACKUP)

    assert catalog.attempts()[0].backup_id == BACKUP


def test_an_attempt_whose_process_died_is_abandoned_until_somebody_says_so(
    catalog: Catalog, place: CatalogPlace
) -> None:
    dead = catalog.begin_attempt("shop", BackupType.FULL, RUN)
    set_columns(place, tables.attempts, process_started=1)
    catalog.begin_attempt("crm", BackupType.FULL, RUN)

    assert [attempt.id for attempt in catalog.abandoned_attempts()] == [dead]

    catalog.finish_attempt(dead, AttemptOutcome.INTERRUPTED, error="Its process is gone.")
    assert catalog.abandoned_attempts() == []


def test_attempts_are_listed_newest_first_by_entry_and_time(catalog: Catalog) -> None:
    first = catalog.begin_attempt("shop", BackupType.FULL, RUN)
    between = utc_now()
    catalog.begin_attempt("crm", BackupType.FULL, RUN)
    second = catalog.begin_attempt("shop", BackupType.DATA, RUN)

    assert [attempt.id for attempt in catalog.attempts("shop")] == [second, first]
    assert [attempt.id for attempt in catalog.attempts("shop", between)] == [second]
    assert len(catalog.attempts()) == 3


def test_an_attempt_that_nobody_began_cannot_end(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match="no attempt abc"):
        catalog.finish_attempt("abc", AttemptOutcome.FAILED)


def make_audit(hours: int = 0, **overrides: Any) -> AuditRecord:
    fields = {
        "at": MORNING + timedelta(hours=hours),
        "act": "restore",
        "actor": "ada",
        "host": "tower",
        "origin": "cli",
        "entry": "shop",
        "backup_id": BACKUP,
        "outcome": "done",
        "detail": "to shop_copy\nin place",
    }
    return AuditRecord.model_validate({**fields, **overrides})


def test_acts_are_told_back_newest_first_as_they_were_written(catalog: Catalog) -> None:
    acts = [make_audit(hours) for hours in (0, 2, 1)]
    for act in acts:
        catalog.audit(act)

    assert catalog.audit_trail() == [acts[1], acts[2], acts[0]]
    assert catalog.audit_trail(limit=1) == [acts[1]]
    assert catalog.audit_trail(since=MORNING + timedelta(hours=1)) == [acts[1], acts[2]]


def test_of_acts_at_one_moment_the_one_written_last_comes_first(catalog: Catalog) -> None:
    catalog.audit(make_audit(outcome="started"))
    catalog.audit(make_audit(outcome="failed"))

    assert [act.outcome for act in catalog.audit_trail()] == ["failed", "started"]


def test_an_act_is_one_line_of_json() -> None:
    line = make_audit(detail="größer\nals üblich").to_json_line()

    assert "\n" not in line
    assert json.loads(line)["detail"] == "größer\nals üblich"
    assert AuditRecord.model_validate_json(line) == make_audit(detail="größer\nals üblich")


def test_the_root_behind_a_storage_is_remembered(catalog: Catalog) -> None:
    assert catalog.storage_id("local") is None

    catalog.remember_storage("local", "3f2a", "/srv/backups")
    catalog.remember_storage("local", "77aa", "/srv/moved")

    assert catalog.storage_id("local") == "77aa"


def test_a_moment_without_zone_is_never_stored(catalog: Catalog) -> None:
    with pytest.raises(Exception, match="no time zone"):
        catalog.attempts(since=datetime(2026, 1, 31))  # noqa: DTZ001 - the mistake in question
    assert catalog.attempts(since=datetime(2026, 1, 31, tzinfo=UTC)) == []
