"""The operators themselves: templates, errors, stopping, progress, and what Airflow finds of the package."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from db_backup.model import BackupType
from support.lab import ToolBehaviour
from support.lab_postgres import PostgresLab
from support.project import Project
from support.shop_database import sqlite_database, unreachable

pytestmark = pytest.mark.airflow

ProjectOf = Callable[..., Project]


class Instance:
    """What the operators use of a running task instance."""

    dag_id, run_id, task_id, map_index, try_number = "by_hand", "manual__1", "task", -1, 1

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def context(**more: Any) -> Any:
    """A task's context, as far as the operators use it."""
    from airflow.sdk.execution_time.context import OutletEventAccessors

    return {
        "ti": Instance(),
        "dag_run": SimpleNamespace(run_type="manual", triggering_user_name="anna"),
        "outlet_events": OutletEventAccessors(),
        **more,
    }


def run(operator: Any, with_context: Any) -> Any:
    operator.render_template_fields(with_context)
    return type(operator).execute.__wrapped__(operator, with_context)


def test_every_argument_of_a_backup_is_templated(tmp_path: Path, project: ProjectOf) -> None:
    from db_backup.operators import BackupOperator

    made = project(shop=sqlite_database(tmp_path, "shop"))
    asked = {"name": "shop", "codec": "zstd", "level": "3", "days": 60, "nothing": None}
    operator = BackupOperator(
        task_id="backup",
        database="{{ params.name }}",
        type="{{ params.nothing }}",
        compression="{{ params.codec }}",
        level="{{ params.level }}",
        retention_days="{{ params.days }}",
        storage="{{ ['local'] | join(',') }}",
        wait_seconds="{{ 0 }}",
    )

    summary = run(operator, context(params=asked))

    manifest = made.manifest(summary["id"])
    assert (manifest["type"], manifest["retention_days"]) == (BackupType.FULL, 60)
    assert (manifest["parts"][0]["compression"], manifest["parts"][0]["level"]) == ("zstd", 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"database": "shop", "compression": "zip"}, "gzip, bzip2, zstd"),
        ({"database": "shop", "type": "whole"}, "full, incremental"),
        ({"database": "shop", "level": "high"}, "whole number"),
        ({"database": "shpo"}, "shop"),
        ({"database": ""}, "no database"),
    ],
)
def test_an_argument_that_cannot_be_fails_without_a_retry(
    tmp_path: Path, project: ProjectOf, arguments: dict[str, Any], said: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from db_backup.operators import BackupOperator

    project(shop=sqlite_database(tmp_path, "shop"))
    with pytest.raises(AirflowFailException, match=said):
        run(BackupOperator(task_id="backup", **arguments), context())


def test_an_unreachable_server_may_be_retried_and_the_reason_is_kept(project: ProjectOf) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    from db_backup.operators import BackupOperator

    project(gone=unreachable())
    where = context()
    with pytest.raises(AirflowException) as raised:
        run(BackupOperator(task_id="backup", database="gone"), where)

    assert not isinstance(raised.value, AirflowFailException)
    assert where["ti"].xcoms["outcome"]["state"] == "failed"
    assert "127.0.0.1" in where["ti"].xcoms["outcome"]["reason"]


def test_an_entry_at_which_another_backup_works_is_skipped_with_the_reason(tmp_path: Path, project: ProjectOf) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from db_backup.jobs.workspace import Workspace
    from db_backup.operators import BackupOperator
    from db_backup.progress import Cancellation

    project(shop=sqlite_database(tmp_path, "shop"))
    where = context()
    with (
        Workspace.open() as other,
        other.catalog.entry_lock("shop", "full backup", wait_seconds=0, cancellation=Cancellation()),
        pytest.raises(AirflowSkipException, match="shop"),
    ):
        run(BackupOperator(task_id="backup", database="shop", wait_seconds=0), where)

    assert where["ti"].xcoms["outcome"]["state"] == "skipped"


def test_a_failed_proof_fails_the_task_and_updates_no_asset(tmp_path: Path, project: ProjectOf) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from db_backup.operators import BackupOperator, VerifyOperator

    made = project(shop=sqlite_database(tmp_path, "shop"))
    backup_id = run(BackupOperator(task_id="backup", database="shop"), context())["id"]
    artefact = made.artefact(backup_id)
    content = bytearray(artefact.read_bytes())
    content[len(content) // 2] ^= 1
    artefact.write_bytes(content)

    where = context()
    with pytest.raises(AirflowFailException, match=backup_id):
        run(VerifyOperator(task_id="verify", backup_id=backup_id), where)

    assert where["ti"].xcoms["outcome"]["state"] == "failed"
    assert len(where["outlet_events"]) == 0


def test_a_proof_below_the_required_level_updates_no_asset(tmp_path: Path, project: ProjectOf) -> None:
    from db_backup.operators import BackupOperator, VerifyOperator

    project(shop=sqlite_database(tmp_path, "shop"))
    backup_id = run(BackupOperator(task_id="backup", database="shop"), context())["id"]

    where = context()
    proof = run(VerifyOperator(task_id="verify", backup_id=backup_id, level="checksum"), where)

    assert (proof["result"], proof["verified"]) == ("passed", False)
    assert len(where["outlet_events"]) == 0


def test_an_increment_over_an_unproven_full_updates_no_asset(tmp_path: Path, project: ProjectOf) -> None:
    from db_backup.operators import BackupOperator, VerifyOperator

    made = project(shop=sqlite_database(tmp_path, "shop"))
    made.config.write_text("databases: {shop: {conn_id: shop_db, types: [full, incremental]}}")
    full, increment = (
        run(BackupOperator(task_id="backup", database="shop", type="incremental"), context())["id"] for _ in "ab"
    )

    unproven, proven = context(), context()
    assert run(VerifyOperator(task_id="verify", backup_id=increment), unproven)["verified"]
    run(VerifyOperator(task_id="verify", backup_id=full), context())
    assert run(VerifyOperator(task_id="verify", backup_id=increment), proven)["verified"]

    assert (len(unproven["outlet_events"]), len(proven["outlet_events"])) == (0, 1)


def test_the_health_score_is_returned_whatever_it_is(tmp_path: Path, project: ProjectOf) -> None:
    from db_backup.operators import HealthScoreOperator

    project(shop=sqlite_database(tmp_path, "shop"))

    document = run(
        HealthScoreOperator(task_id="health", fail_when="{{ params.nothing }}"), context(params={"nothing": None})
    )

    assert (document["score"], document["status"]) == (20, "critical")
    assert [entry["database"] for entry in document["databases"]] == ["shop"]
    assert json.loads(json.dumps(document)) == document


def test_the_health_score_fails_the_task_when_it_is_as_bad_as_said(tmp_path: Path, project: ProjectOf) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from db_backup.operators import BackupOperator, HealthScoreOperator

    project(shop=sqlite_database(tmp_path, "shop"))
    where = context(params={"worst": "critical"})
    critical = HealthScoreOperator(task_id="health", fail_when="{{ params.worst }}")
    with pytest.raises(AirflowFailException, match=r"20 of 100, critical; 'shop' is the lowest"):
        run(critical, where)
    assert where["ti"].xcoms["outcome"]["state"] == "failed"

    run(BackupOperator(task_id="backup", database="shop"), context())  # unverified: 61, a warning
    assert run(critical, context(params={"worst": "critical"}))["status"] == "warning"
    with pytest.raises(AirflowFailException, match="warning"):
        run(HealthScoreOperator(task_id="health", fail_when="good"), context())


def test_a_status_that_is_none_is_refused(tmp_path: Path, project: ProjectOf) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from db_backup.operators import HealthScoreOperator

    project(shop=sqlite_database(tmp_path, "shop"))
    with pytest.raises(AirflowFailException, match="excellent, good, warning, critical"):
        run(HealthScoreOperator(task_id="health", fail_when="poor"), context())


@pytest.fixture
def own_sigterm() -> Iterator[None]:
    """The handler that was there is put back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_on_kill_stops_a_backup_that_waits_and_leaves_nothing(
    tmp_path: Path, project: ProjectOf, own_sigterm: None
) -> None:
    """As Airflow does it: ``on_kill`` in a signal handler of the thread that works, and nothing is raised there."""
    from airflow.sdk.exceptions import AirflowException

    from db_backup.jobs.workspace import Workspace
    from db_backup.operators import BackupOperator
    from db_backup.progress import Cancellation

    made = project(shop=sqlite_database(tmp_path, "shop"))
    operator = BackupOperator(task_id="backup", database="shop", wait_seconds=240)
    where = context()
    signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    with (
        Workspace.open() as other,
        other.catalog.entry_lock("shop", "full backup", wait_seconds=0, cancellation=Cancellation()),
    ):
        killer = when(
            lambda: operator._cancellation is not None,  # which its work begins with
            lambda: os.kill(os.getpid(), signal.SIGTERM),
        )
        with pytest.raises(AirflowException, match="Airflow stopped the task"):
            run(operator, where)
        killer.join()

    assert not made.storage.exists() or made.files() == set()
    assert run(BackupOperator(task_id="backup", database="shop", wait_seconds=0), context())["id"]


def children(program: str) -> set[int]:
    """The processes of this machine whose command line names that path."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if program.encode() in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found


@pytest.fixture
def hanging_dump(
    tmp_path: Path, project: ProjectOf, postgres_lab: PostgresLab, monkeypatch: pytest.MonkeyPatch
) -> tuple[Project, Path]:
    """A project whose entry's pg_dump hangs for ever after a third of its output, and that program's folder."""
    made = project(post=postgres_lab.connection(postgres_lab.create_sample()))
    programs = postgres_lab.fake_dump_tool(tmp_path / "programs", ToolBehaviour.HANGS)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return made, programs


def when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Calls ``act`` from a thread a second after that holds."""

    def watch() -> None:
        pause = threading.Event()
        while not condition():
            pause.wait(0.05)
        pause.wait(1.0)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def hangs(programs: Path) -> bool:
    """Whether the dump tool has begun to."""
    return bool(list(programs.glob("whole.*")) and children(str(programs)))


def test_on_kill_stops_a_dump_that_hangs_and_leaves_nothing(
    hanging_dump: tuple[Project, Path], own_sigterm: None
) -> None:
    from airflow.sdk.exceptions import AirflowException

    from db_backup.operators import BackupOperator

    made, programs = hanging_dump
    operator = BackupOperator(task_id="backup", database="post")
    signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    killer = when(lambda: hangs(programs), lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        run(operator, context())
    killer.join()

    assert children(str(programs)) == set()
    assert made.files() == set()


def test_an_execution_timeout_stops_a_dump_that_hangs_and_leaves_nothing(hanging_dump: tuple[Project, Path]) -> None:
    """``AirflowTaskTimeout`` is a BaseException that Airflow raises from SIGALRM, in the middle of anything."""
    from airflow.sdk.exceptions import AirflowTaskTimeout
    from airflow.sdk.execution_time.timeout import timeout

    from db_backup.operators import BackupOperator

    made, programs = hanging_dump
    operator = BackupOperator(task_id="backup", database="post")
    with pytest.raises(AirflowTaskTimeout), timeout(8):
        run(operator, context())

    assert children(str(programs)) == set()
    assert made.files() == set()


def test_progress_is_logged_in_human_units_and_kept_in_the_state_store() -> None:
    from db_backup.operators.progress import TaskProgress

    lines: list[str] = []
    kept: list[dict[str, Any]] = []
    clock = iter(range(0, 1000, 2))
    log = SimpleNamespace(info=lambda text, *values: lines.append(text % values), warning=lines.append)
    store = SimpleNamespace(set=lambda key, value: kept.append(value))
    progress = TaskProgress(log, store, clock=lambda: float(next(clock)))

    progress.stage("dumping shop", 40_000_000)
    for _ in range(10):
        progress.advance(4_000_000)

    assert lines[0] == "dumping shop (about 40.0 MB)"
    assert lines[1] == "dumping shop: 4.0 MB of about 40.0 MB (10 %), 2.0 MB/s"
    assert lines[-1].startswith("dumping shop: 40.0 MB of about 40.0 MB (100 %)")
    assert kept[-1] == {
        "stage": "dumping shop",
        "done_bytes": 40_000_000,
        "total_bytes": 40_000_000,
        "bytes_per_second": 2_000_000,
    }


def test_progress_of_an_unknown_size_is_not_logged_at_every_step() -> None:
    from db_backup.operators.progress import TaskProgress

    lines: list[str] = []
    clock = iter(tenths / 10 for tenths in range(1000))
    log = SimpleNamespace(info=lambda text, *values: lines.append(text % values), warning=lines.append)
    progress = TaskProgress(log, None, clock=lambda: next(clock))

    progress.stage("dumping shop")
    for _ in range(120):
        progress.advance(1000)

    assert len(lines) == 3, "one for the stage, and one for each of two times five seconds"


def test_the_pools_are_made_once_and_left_as_people_set_them(airflow_database: None) -> None:
    from airflow.models.pool import Pool

    from db_backup.operators import pools

    class Job:
        """As Airflow's scheduler is when it calls the listeners."""

    pools.on_starting(Job())
    for name in ("backup", "backup_critical", "backup_restore", "backup_scratch"):
        assert Pool.get_pool(name) is not None

    Pool.create_or_update_pool("backup", slots=7, description="ours", include_deferred=False)
    pools.on_starting(Job())
    assert Pool.get_pool("backup").slots == 7


def test_airflow_finds_the_plugin_and_nothing_of_it_is_broken(airflow_database: None) -> None:
    from airflow import plugins_manager

    plugins, errors = plugins_manager._get_plugins()
    assert errors == {}
    assert "db_backup" in {plugin.name for plugin in plugins}


def test_airflow_backup_passes_everything_to_the_command_line() -> None:
    """The entry point is found only where the project is installed, as ``make setup`` does."""
    version = subprocess.run(
        [sys.executable, "-m", "airflow", "backup", "--version"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert version.returncode == 0, version.stderr
    assert "db-backup" in version.stdout


def test_airflow_backup_list_prints_one_json_document_and_keeps_the_exit_code(
    tmp_path: Path, project: ProjectOf
) -> None:
    project(shop=sqlite_database(tmp_path, "shop"))
    command = [sys.executable, "-m", "airflow", "backup"]

    listing = subprocess.run([*command, "list", "--json"], capture_output=True, text=True, timeout=120, check=False)
    assert listing.returncode == 0, listing.stderr
    assert json.loads(listing.stdout)["backups"] == []

    wrong = subprocess.run([*command, "create", "shpo"], capture_output=True, text=True, timeout=120, check=False)
    assert wrong.returncode == 2
    assert "shop" in wrong.stderr


def test_the_end_of_a_run_tells_which_backups_were_made_without_a_copy() -> None:
    from db_backup.operators.outcome import EntryEnd, TaskEnd

    made = {"missing_copies": ["s3", "nas"], "instead_of": "incremental", "warnings": ["The chain was broken."]}
    proven = TaskEnd("success", {"result": "passed"})

    assert EntryEnd("shop", TaskEnd("success", made), proven).remarks == [
        "shop: The chain was broken.",
        "shop: it was made without a copy in 's3', 'nas'.",
    ]
    assert EntryEnd("shop", TaskEnd("success", {"missing_copies": []}), proven).remarks == []
    assert EntryEnd("shop", TaskEnd("failed"), TaskEnd("upstream_failed")).remarks == []
