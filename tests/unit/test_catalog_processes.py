"""Several processes with one catalogue: real ones, as Airflow's tasks are."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from db_backup.catalog import AttemptOutcome, BackupQuery
from db_backup.errors import EntryLocked
from db_backup.manifest import RunInfo
from support.catalog_places import CatalogPlace, catalog_place

pytestmark = pytest.mark.unit
__all__ = ["catalog_place"]

TESTS = Path(__file__).parents[1]
PROLOGUE = f"""
import sys, time
from datetime import timedelta
from pathlib import Path
sys.path.insert(0, {str(TESTS)!r})
from db_backup.catalog import AttemptOutcome, BackupQuery, Catalog
from db_backup.errors import EntryLocked
from db_backup.manifest import RunInfo
from db_backup.model import BackupType
from support.catalog_places import place_from_json
from support.factories import MORNING, make_manifest, make_proof, make_state
place, number = place_from_json(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def place(catalog_place: CatalogPlace) -> CatalogPlace:
    return catalog_place


@contextmanager
def processes(program: str, place: CatalogPlace, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Python processes that have all loaded the catalogue's code and wait for ``go``; killed in the end."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + program, place.to_json(), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()


def go(running: list[subprocess.Popen[str]]) -> None:
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def results(running: list[subprocess.Popen[str]]) -> list[str]:
    ended = [(process.communicate(timeout=120), process.returncode) for process in running]
    assert [(error, code) for (_, error), code in ended] == [("", 0)] * len(running)
    return [output.strip() for (output, _), _ in ended]


def test_processes_that_meet_no_catalogue_make_one_together(place: CatalogPlace) -> None:
    program = """
with place.open() as catalog:
    manifest = make_manifest(entry=f"db{number}")
    catalog.record(manifest, make_state(manifest))
"""
    with processes(program, place, 4) as running:
        go(running)
        results(running)

    with place.open() as catalog:
        assert sorted(item.database for item in catalog.page(BackupQuery()).items) == ["db0", "db1", "db2", "db3"]


def test_four_processes_write_at_once_and_nothing_is_lost(place: CatalogPlace) -> None:
    place.open().close()
    program = """
run = RunInfo(origin="airflow", host="tower")
with place.open() as catalog:
    for hour in range(10):
        attempt = catalog.begin_attempt(f"db{number}", BackupType.FULL, run)
        manifest = make_manifest(entry=f"db{number}", created_at=MORNING + timedelta(hours=hour))
        with catalog.entry_lock(f"db{number}", "backup"), catalog.lease(manifest.id, "verification"):
            catalog.record(manifest, make_state(manifest))
            catalog.record(manifest, make_state(manifest, make_proof()))
            assert len(catalog.page(BackupQuery(database=f"db{number}"), limit=100).items) == hour + 1
        catalog.finish_attempt(attempt, AttemptOutcome.SUCCEEDED, backup_id=manifest.id)
"""
    with processes(program, place, 4) as running:
        go(running)
        results(running)

    with place.open() as catalog:
        statistics = catalog.statistics(BackupQuery())
        assert statistics.total.backups == 40
        assert {name: tally.backups for name, tally in statistics.by_database.items()} == {
            f"db{number}": 10 for number in range(4)
        }
        assert statistics.attempts.succeeded == 40
        assert catalog.leases() == []


def test_of_many_processes_one_at_a_time_has_the_lock(place: CatalogPlace, tmp_path: Path) -> None:
    place.open().close()
    inside = tmp_path / "inside"
    program = f"""
inside = Path({str(inside)!r})
with place.open() as catalog:
    for _ in range(5):
        with catalog.entry_lock("shop", f"worker {{number}}", wait_seconds=100):
            inside.mkdir()  # fails if another is inside
            time.sleep(0.01)
            inside.rmdir()
"""
    with processes(program, place, 4) as running:
        go(running)
        results(running)


HOLD = """
with place.open() as catalog:
    catalog.begin_attempt("shop", BackupType.FULL, RunInfo(origin="airflow", host="tower"))
    with catalog.entry_lock("shop", "full backup"), catalog.lease("b1", "verification"):
        print("holding", flush=True)
        sys.stdin.readline()
"""


def test_what_a_killed_process_held_is_free_at_once(place: CatalogPlace) -> None:
    with place.open() as catalog, processes(HOLD, place, 1) as running:
        (holder,) = running
        go(running)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        with (
            pytest.raises(EntryLocked, match=f"full backup, process {holder.pid} on "),
            catalog.entry_lock("shop", "x"),
        ):
            pytest.fail("two hold one lock")
        assert [lease.pid for lease in catalog.leases("b1")] == [holder.pid]
        assert catalog.abandoned_attempts() == []
        assert catalog.sweep().locks == ()

        holder.send_signal(signal.SIGKILL)
        holder.wait()

        with catalog.entry_lock("shop", "the next backup"):
            (abandoned,) = catalog.abandoned_attempts()
            assert (abandoned.entry, abandoned.pid) == ("shop", holder.pid)
            assert catalog.leases("b1") == []
            report = catalog.sweep()
            assert [lease.backup_id for lease in report.leases] == ["b1"]
        catalog.finish_attempt(abandoned.id, AttemptOutcome.INTERRUPTED, error="Its process is gone.")
        assert catalog.abandoned_attempts() == []


def test_a_catalogue_survives_a_writer_that_is_killed_in_the_middle(place: CatalogPlace) -> None:
    place.open().close()
    program = """
with place.open() as catalog:
    catalog.replace_index((make_manifest(serial=n), make_state(make_manifest(serial=n))) for n in range(1, 4))
    print("written", flush=True)
    with catalog._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM backups")
        print("deleted, not committed", flush=True)
        sys.stdin.readline()
"""
    with processes(program, place, 1) as running:
        (writer,) = running
        go(running)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        assert writer.stdout.readline() == "deleted, not committed\n"
        with place.open() as catalog:
            assert len(list(catalog.ids())) == 3, "a reader does not wait for a writer, and sees nothing half-done"
        writer.send_signal(signal.SIGKILL)
        writer.wait()

    with place.open() as catalog:
        assert len(list(catalog.ids())) == 3
        catalog.begin_attempt("shop", catalog.page(BackupQuery()).items[0].type, RunInfo(origin="cli"))
