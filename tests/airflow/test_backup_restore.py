"""The real ``backup_restore`` where nobody has to be asked, its approval by itself, and ``RestoreOperator``."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from db_backup.catalog import Catalog
from db_backup.jobs.restore import RestorePlan
from db_backup.model import ConnectionInfo
from support.dag_runs import Run, dag_named
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow

DAG_ID = "backup_restore"
ProjectOf = Callable[..., Project]
RunOf = Callable[..., Run]


class Instance:
    """What the operators use of a running task instance."""

    dag_id, task_id, map_index, try_number = DAG_ID, "task", -1, 1

    def __init__(self, run_id: str = "manual__1") -> None:
        self.run_id = run_id
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def context(by: str | None = "anna", run_id: str = "manual__1") -> Any:
    return {"ti": Instance(run_id), "dag_run": SimpleNamespace(run_type="manual", triggering_user_name=by, conf={})}


@pytest.fixture
def shop(tmp_path: Path) -> ConnectionInfo:
    return sqlite_database(tmp_path, "shop")


@pytest.fixture
def made(project: ProjectOf, shop: ConnectionInfo) -> Project:
    return project(shop=shop)


@pytest.fixture
def backup_id(made: Project) -> str:
    return str(made.json("create", "--no-cleanup")["backups"][0]["id"])


def rows(path: str | Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM orders").fetchone()[0])


def lose_rows(shop: ConnectionInfo) -> None:
    with closing(sqlite3.connect(shop.database)) as connection, connection:
        connection.execute("DELETE FROM orders")


def configure(project: Project, **keys: Any) -> None:
    config = yaml.safe_load(project.config.read_text())
    config["databases"]["shop"].update(keys)
    project.config.write_text(yaml.safe_dump(config))


def restore(where: Any, **arguments: Any) -> Any:
    from db_backup.operators import RestoreOperator

    operator = RestoreOperator(task_id="restore", **arguments)
    operator.render_template_fields(where)
    return type(operator).execute.__wrapped__(operator, where)


def plan_of(made: Project, **asked: Any) -> dict[str, Any]:
    """A plan as the task before the approval leaves it."""
    from db_backup.jobs.restore import RestoreRequest, plan_restore
    from db_backup.jobs.workspace import Workspace

    with Workspace.open() as workspace:
        return plan_restore(workspace, RestoreRequest(**asked)).model_dump(mode="json")


def answered(plan: dict[str, Any], option: str | None, *, by: str, asked_by: str | None = "anna") -> Instance:
    """Resume the approval as Airflow does: with this answer, or with none when the time is up."""
    from db_backup.operators.approval import RestoreApprovalOperator

    operator = RestoreApprovalOperator(task_id="approval", plan=plan, expires_after=timedelta(hours=24))
    where = {**context(asked_by), "task": operator}
    event: dict[str, Any] = {"error": "timeout", "error_type": "timeout"}
    if option is not None:
        event = {
            "chosen_options": [option],
            "params_input": {},
            "responded_at": datetime(2026, 1, 31, 12, 0, tzinfo=UTC),
            "responded_by_user": {"id": by, "name": by},
            "timedout": False,
        }
    try:
        operator.execute_complete(where, event)
    except Exception as error:
        error.instance = where["ti"]  # type: ignore[attr-defined]
        raise
    return where["ti"]  # type: ignore[no-any-return]


def acts(project: Project, act: str) -> list[tuple[str, str, str]]:
    trail = project.json("audit")["acts"]
    return [(one["actor"], one["outcome"], one["detail"]) for one in trail if one["act"] == act]


# The DAG


def test_the_form_asks_for_what_a_restore_needs_in_sections(made: Project) -> None:
    params = dag_named(DAG_ID).params
    sections = {name: params.get_param(name).schema["section"] for name in params}
    assert sections == {
        "database": "What",
        "backup": "What",
        "to_time": "What",
        "source_database": "What",
        "tables": "What",
        "to": "Where",
        "new_name": "Where",
        "test": "Where",
        "force": "How",
        "safety_backup": "How",
        "with_owners": "How",
        "from_storage": "How",
        "jobs": "How",
    }
    assert params.get_param("database").schema["examples"] == ["shop"]
    assert params.get_param("from_storage").schema["examples"] == ["local"]
    params.validate()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backup", "../shop"),
        ("database", "Shop!"),
        ("to", "postgres://me:secret@host/db"),
        ("new_name", ""),
        ("new_name", "a\nb"),
        ("tables", "orders"),
        ("tables", ["orders", "orders"]),
        ("to_time", "yesterday"),
        ("to_time", "2026-01-31"),
        ("force", "yes"),
        ("jobs", 0),
    ],
)
def test_what_does_not_fit_the_form_is_refused(made: Project, name: str, value: object) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    params = dag_named(DAG_ID).params
    with pytest.raises(ParamValidationError, match=name):
        params[name] = value


def test_it_has_no_schedule_and_a_run_that_waits_holds_back_no_other(made: Project) -> None:
    dag = dag_named(DAG_ID)
    assert dag.timetable.can_be_scheduled is False
    assert dag.max_active_runs > 1
    assert dag.get_task("restore").pool == "backup_restore"
    assert dag.get_task("restore").execution_timeout is None
    assert dag.get_task("approval").response_timeout == timedelta(hours=24)


def test_a_new_database_is_made_without_anybody_being_asked(
    made: Project, run: RunOf, backup_id: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.sqlite"
    ended = run(DAG_ID, conf={"database": "shop", "new_name": str(copy), "jobs": 2})

    assert ended.state == "success"
    assert {ended.task(name).state for name in ("before_restore", "after_restore")} == {"skipped"}
    report = ended.xcoms["restore", -1, "return_value"]
    assert (report["backup_id"], report["way"], report["approved_by"]) == (backup_id, "new", "")
    assert rows(copy) > 0
    assert ended.xcoms["report", -1, "return_value"]["report"] == report
    with Catalog.open(made.catalog) as catalog:
        assert catalog.leases() == [], "the last task lets the backup go"


def test_a_test_restores_into_scratch_and_touches_nothing_else(made: Project, run: RunOf, backup_id: str) -> None:
    before = made.files()
    ended = run(DAG_ID, conf={"backup": backup_id, "test": True})

    assert ended.state == "success"
    assert ended.xcoms["restore", -1, "return_value"]["way"] == "scratch"
    assert made.files() == before


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"database": "shpo"}, "Did you mean 'shop'?"),
        ({"database": "shop", "forse": True}, "Did you mean 'force'?"),
        ({}, "Nobody said which backup to restore"),
        ({"database": "shop"}, "is not empty"),
        ({"database": "shop", "test": True, "from_storage": "locl"}, "no storage called 'locl'. Did you mean 'local'?"),
        ({"database": "shop", "to_time": "2020-01-31 03:00"}, "The nearest that can be restored: after it"),
    ],
)
def test_what_cannot_be_is_refused_by_the_plan_and_the_run_is_red(
    made: Project, run: RunOf, backup_id: str, conf: dict[str, Any], said: str
) -> None:
    ended = run(DAG_ID, conf=conf)

    assert ended.state == "failed"
    assert ended.task("plan").state == ended.task("report").state == "failed"
    assert ended.task("restore").state == "upstream_failed"
    outcome = ended.xcoms["plan", -1, "outcome"]
    assert said in f"{outcome['reason']} {outcome['hint']}"


def test_the_backup_stays_reserved_when_the_restore_fails_only_until_the_run_ends(
    made: Project, run: RunOf, backup_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from db_backup.operators.restore_run import RestoreOutcomeOperator

    leases: list[str] = []
    let_go = RestoreOutcomeOperator.work

    def look(self: Any, job: Any) -> Any:
        leases.extend(str(lease) for lease in job.workspace.catalog.leases() if lease.backup_id == backup_id)
        return let_go(self, job)

    monkeypatch.setattr(RestoreOutcomeOperator, "work", look)
    content = bytearray(made.artefact(backup_id).read_bytes())
    content[len(content) // 2] ^= 1
    made.artefact(backup_id).write_bytes(content)

    ended = run(DAG_ID, conf={"backup": backup_id, "new_name": str(tmp_path / "copy.sqlite")})

    assert ended.state == "failed"
    assert ended.task("restore").state == "failed"
    (reserved,) = leases
    assert "has planned, reserved until" in reserved
    with Catalog.open(made.catalog) as catalog:
        assert catalog.leases() == []


# A moment


class Chain:
    """A full, an increment that has lost half the orders, and one that has lost the rest; their ids and moments."""

    def __init__(self, made: Project, shop: ConnectionInfo) -> None:
        configure(made, types=["full", "incremental"])
        self._made = made
        self.ids, self.moments = [], []  # type: ignore[var-annotated]
        self.back_up("full")
        for last in (100, 0):
            with closing(sqlite3.connect(shop.database)) as connection, connection:
                connection.execute("DELETE FROM orders WHERE id >= ?", (last,))
            self.back_up("incremental")

    def back_up(self, backup_type: str) -> None:
        (backup,) = self._made.json("create", "shop", "--type", backup_type, "--no-cleanup")["backups"]
        self.ids.append(backup["id"])
        self.moments.append(datetime.fromisoformat(backup["recovery_point"]))


@pytest.fixture
def chain(made: Project, shop: ConnectionInfo) -> Chain:
    return Chain(made, shop)


def test_a_moment_of_the_configured_zone_is_restored_and_all_that_it_takes_is_reserved_until_then(
    made: Project, run: RunOf, chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from db_backup.operators.restore_run import RestoreOutcomeOperator

    reserved: list[str] = []
    let_go = RestoreOutcomeOperator.work

    def look(self: Any, job: Any) -> Any:
        reserved.extend(lease.backup_id for lease in job.workspace.catalog.leases())
        return let_go(self, job)

    monkeypatch.setattr(RestoreOutcomeOperator, "work", look)
    monkeypatch.setenv("BACKUP_TIMEZONE", "Asia/Kathmandu")
    copy = tmp_path / "copy.sqlite"
    typed = chain.moments[1].astimezone(ZoneInfo("Asia/Kathmandu")).strftime("%Y-%m-%d %H:%M:%S.%f")

    ended = run(DAG_ID, conf={"database": "shop", "to_time": typed, "new_name": str(copy)})

    assert ended.state == "success"
    assert rows(copy) == 100
    planned = ended.xcoms["plan", -1, "return_value"]["recovery"]
    assert typed in planned["asked"]
    assert chain.moments[1].strftime("%Y-%m-%d %H:%M:%S.%f UTC") in planned["asked"]
    report = ended.xcoms["restore", -1, "return_value"]
    assert report["recovered"]["links"] == planned["links"] == chain.ids[:2]
    assert sorted(reserved) == sorted(chain.ids[:2])
    with Catalog.open(made.catalog) as catalog:
        assert catalog.leases() == []


@pytest.mark.parametrize(("last", "left"), [(0, 200), (1, 100)])
def test_a_moment_between_two_backups_of_a_file_is_restored_as_it_was_approved(
    made: Project, run: RunOf, chain: Chain, tmp_path: Path, last: int, left: int
) -> None:
    copy = tmp_path / "copy.sqlite"
    between = chain.moments[last] + (chain.moments[last + 1] - chain.moments[last]) / 2

    ended = run(DAG_ID, conf={"database": "shop", "to_time": between.isoformat(), "new_name": str(copy)})

    assert ended.state == "success"
    plan = ended.xcoms["plan", -1, "return_value"]
    assert plan["backup_id"] == ended.xcoms["restore", -1, "return_value"]["backup_id"] == chain.ids[last]
    assert datetime.fromisoformat(plan["recovery_point"]) == chain.moments[last]
    assert rows(copy) == left


def test_what_was_approved_is_restored_although_the_chain_has_grown(
    made: Project, chain: Chain, shop: ConnectionInfo
) -> None:
    from db_backup.manifest import RunInfo
    from db_backup.operators.approval import approval_text
    from db_backup.recovery import Point

    moment = chain.moments[1].isoformat()
    plan = plan_of(made, database="shop", point=Point(time=chain.moments[1]), force=True)
    text = approval_text(RestorePlan.model_validate(plan), RunInfo(origin="airflow", actor="anna"), timedelta(hours=24))
    assert f"as it was at {chain.moments[1].strftime('%Y-%m-%d %H:%M:%S')}" in text
    yes = answered(plan, "Approve", by="bob").xcoms["answer"]
    chain.back_up("incremental")

    summary = restore(context(), plan=plan, approval=yes, database="shop", to_time=moment, force=True)

    assert (summary["backup_id"], summary["approved_by"]) == (chain.ids[1], "bob")
    assert rows(shop.database) == 100


# The approval


def test_the_approval_shows_the_plan_as_text_that_no_name_can_turn_into_markup(made: Project, backup_id: str) -> None:
    from db_backup.manifest import RunInfo
    from db_backup.operators.approval import approval_text

    plan = RestorePlan.model_validate(plan_of(made, backup=backup_id, force=True, from_storage="local"))
    plan = plan.model_copy(update={"warnings": ("![x](http://evil)<b>`",)})
    text = approval_text(plan, RunInfo(origin="airflow", actor="anna"), timedelta(hours=24))

    assert "**anna** asks for this restore." in text
    assert "expires after 24 hours" in text
    assert f"- {backup_id}: a full backup of 'shop'" in text
    assert "It is read from the storage 'local' and from no other." in text
    assert "A safety backup of 'shop' is made first" in text
    assert r"!\[x\](http://evil)\<b\>\`" in text


def test_an_answer_is_audited_under_the_name_of_who_gave_it(made: Project, backup_id: str) -> None:
    plan = plan_of(made, backup=backup_id, force=True)

    instance = answered(plan, "Approve", by="bob")

    assert instance.xcoms["answer"] == {"approved": True, "by": "bob", "at": "2026-01-31T12:00:00+00:00"}
    (actor, outcome, detail), _ = acts(made, "approval")
    assert (actor, outcome) == ("bob", "done")
    assert detail.startswith(f"approved the restore to {plan['target_address']} (replace), which anna asked for; mark ")


def test_a_run_that_was_cleared_asks_nobody_again_under_the_text_of_an_earlier_plan(
    made: Project, backup_id: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from db_backup.operators.approval import RestoreApprovalOperator

    plan = plan_of(made, backup=backup_id, force=True)
    operator = RestoreApprovalOperator(task_id="approval", plan=plan, expires_after=timedelta(hours=24))
    where = context()
    where["ti"].try_number = 2
    with pytest.raises(AirflowFailException, match="Start a new run"):
        type(operator).execute.__wrapped__(operator, where)


def test_when_nobody_answers_in_time_the_run_ends_red_with_the_reason(made: Project, backup_id: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"Nobody answered within 24 hours.*Nothing was changed") as raised:
        answered(plan_of(made, backup=backup_id, force=True), None, by="")

    assert raised.value.instance.xcoms["outcome"]["state"] == "failed"  # type: ignore[attr-defined]
    assert acts(made, "approval")[0][1] == "refused"


def test_with_four_eyes_nobody_approves_their_own_restore(
    made: Project, backup_id: str, shop: ConnectionInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv("BACKUP_RESTORE_FOUR_EYES", "true")
    lose_rows(shop)
    plan = plan_of(made, backup=backup_id, force=True)
    with pytest.raises(AirflowFailException, match="wants two people"):
        answered(plan, "Approve", by="Anna")
    with pytest.raises(AirflowFailException, match="nobody knows who asked"):
        answered(plan, "Approve", by="bob", asked_by=None)
    yes = answered(plan, "Approve", by="bob").xcoms["answer"]

    with pytest.raises(AirflowFailException, match="nobody knows who approved it"):
        answered(plan, "Approve", by="")
    with pytest.raises(AirflowFailException, match="wants two people"):
        restore(context("bob"), plan=plan, approval={**yes, "by": "carla"}, force=True)
    with pytest.raises(AirflowFailException, match="nobody has approved"):
        restore(context(), backup=backup_id, force=True)
    assert rows(shop.database) == 0, "nothing was changed"

    assert restore(context(), plan=plan, approval=yes, force=True)["approved_by"] == "bob"
    assert rows(shop.database) > 0


# What a yes is good for


def replaced_once(made: Project, backup_id: str, shop: ConnectionInfo) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plan and the yes of a restore that was approved, not carried out yet; the rows are lost."""
    lose_rows(shop)
    plan = plan_of(made, backup=backup_id, force=True)
    return plan, answered(plan, "Approve", by="bob").xcoms["answer"]


def test_a_yes_that_only_an_xcom_tells_of_is_none(made: Project, backup_id: str, shop: ConnectionInfo) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    lose_rows(shop)
    plan = plan_of(made, backup=backup_id, force=True)
    forged = {"approved": True, "by": "bob", "at": datetime.now(UTC).isoformat()}
    with pytest.raises(AirflowFailException, match="nobody has approved"):
        restore(context(), plan=plan, approval=forged, force=True)
    answered(plan, "Reject", by="bob")
    with pytest.raises(AirflowFailException, match="bob rejected"):
        restore(context(), plan=plan, approval=forged, force=True)
    assert rows(shop.database) == 0


def test_a_yes_is_for_its_own_run_and_plan(made: Project, backup_id: str, shop: ConnectionInfo) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    plan, yes = replaced_once(made, backup_id, shop)
    with pytest.raises(AirflowFailException, match="nobody has approved"):
        restore(context(run_id="manual__2"), plan=plan, approval=yes, force=True)
    with pytest.raises(AirflowFailException, match="nobody has approved"):
        restore(context(), plan={**plan, "warnings": ["nobody saw this one"]}, approval=yes, force=True)
    assert rows(shop.database) == 0
    assert restore(context(), plan=plan, approval=yes, force=True)["approved_by"] == "bob"


def test_a_yes_is_not_good_for_longer_than_a_day(
    made: Project, backup_id: str, shop: ConnectionInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from db_backup.operators import answer

    plan, yes = replaced_once(made, backup_id, shop)
    now = datetime.now(UTC)
    monkeypatch.setattr(answer, "utc_now", lambda: now + timedelta(hours=24, minutes=1))
    with pytest.raises(AirflowFailException, match="more than 24 hours ago"):
        restore(context(), plan=plan, approval=yes, force=True)
    assert rows(shop.database) == 0

    monkeypatch.setattr(answer, "utc_now", lambda: now + timedelta(hours=23, minutes=59))
    assert restore(context(), plan=plan, approval=yes, force=True)["differences"] == []


def test_a_yes_is_for_one_restore(made: Project, backup_id: str, shop: ConnectionInfo) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    plan, yes = replaced_once(made, backup_id, shop)
    restore(context(), plan=plan, approval=yes, force=True)
    lose_rows(shop)

    with pytest.raises(AirflowFailException, match="the approval was for one restore") as raised:
        restore(context(), plan=plan, approval=yes, force=True)
    assert "Start a new run" in str(raised.value)
    assert rows(shop.database) == 0
    assert [outcome for _, outcome, _ in acts(made, "carry_out")] == ["done", "started"]


def test_a_yes_is_still_good_after_another_restore_was_at_work_on_the_target(
    made: Project, backup_id: str, shop: ConnectionInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    from db_backup.errors import EntryLocked
    from db_backup.jobs.restore import PlannedRestore

    plan, yes = replaced_once(made, backup_id, shop)

    def locked(*_: Any) -> None:
        raise EntryLocked("A restore onto it is at work already.")

    with monkeypatch.context() as patched:
        patched.setattr(PlannedRestore, "carry_out", locked)
        with pytest.raises(AirflowException, match="at work already") as raised:
            restore(context(), plan=plan, approval=yes, force=True)
    assert not isinstance(raised.value, AirflowFailException), "it is tried again"

    assert restore(context(), plan=plan, approval=yes, force=True)["approved_by"] == "bob"


@pytest.mark.parametrize("approved", [True, False])
def test_a_restore_whose_worker_was_lost_after_the_exchange_is_not_done_twice(
    made: Project, backup_id: str, shop: ConnectionInfo, monkeypatch: pytest.MonkeyPatch, approved: bool
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from db_backup.jobs.restore import PlannedRestore

    plan, yes = replaced_once(made, backup_id, shop)
    asked = {"plan": plan, "approval": yes} if approved else {"backup": backup_id}
    carried_out = PlannedRestore.carry_out

    def lost(*arguments: Any) -> None:
        carried_out(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PlannedRestore, "carry_out", lost)
        with pytest.raises(KeyboardInterrupt):
            restore(context(), force=True, **asked)
    lose_rows(shop)

    with pytest.raises(AirflowFailException, match=r"was stopped: the target may have been replaced already"):
        restore(context(), force=True, **asked)
    assert rows(shop.database) == 0, "the application has been at work on it since"


def test_a_restore_that_was_done_and_could_not_be_audited_is_told_and_not_done_twice(
    made: Project, backup_id: str, shop: ConnectionInfo
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    lose_rows(shop)
    (trail,) = (made.storage / "audit").iterdir()
    trail.unlink()
    trail.mkdir()
    where = context()
    with pytest.raises(AirflowFailException, match="its audit line could not be written"):
        restore(where, backup=backup_id, force=True, safety_backup=False)

    assert rows(shop.database) > 0
    assert where["ti"].xcoms["report"]["backup_id"] == backup_id
    assert where["ti"].xcoms["outcome"]["state"] == "failed"


def test_a_restore_that_failed_when_it_had_begun_is_not_tried_again_by_itself(
    made: Project, backup_id: str, shop: ConnectionInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from db_backup.errors import Interrupted
    from db_backup.jobs.restore import PlannedRestore

    def stopped(*_: Any) -> None:
        raise Interrupted("It was stopped.")

    with monkeypatch.context() as patched:
        patched.setattr(PlannedRestore, "carry_out", stopped)
        with pytest.raises(AirflowFailException, match="It was stopped"):
            restore(context(), backup=backup_id, force=True)
    lose_rows(shop)
    assert restore(context(), backup=backup_id, force=True)["differences"] == [], "a person may try again"


# The hooks

HOOKED = {
    "entry": "shop",
    "backup_id": "b",
    "target_address": "x",
    "before_dag": "stop_shop",
    "after_dag": "start_shop",
}


class After(Instance):
    """The run after these tasks have ended so."""

    def __init__(self, report: dict[str, Any] | None = None, **states: str) -> None:
        super().__init__()
        self.report = report
        self.states = states

    def get_task_states(self, **asked: Any) -> dict[str, dict[str, str]]:
        return {self.run_id: self.states}

    def get_dag(self, dag_id: str) -> Any:
        return SimpleNamespace(is_paused=dag_id == "paused")

    def xcom_pull(self, **place: Any) -> Any:
        return self.report if place.get("key") == "report" else None


def started_after(plan: dict[str, Any] | None, report: dict[str, Any] | None = None, **states: str) -> str:
    """Which DAG the hook after a restore starts, or why none."""
    from airflow.sdk.exceptions import AirflowSkipException, DagRunTriggerException

    from db_backup.operators.hooks import AfterRestoreOperator

    hook = AfterRestoreOperator(task_id="after", plan=plan, before_task_id="before", restore_task_id="restore")
    try:
        type(hook).execute.__wrapped__(hook, {**context(), "ti": After(report, **states)})
    except DagRunTriggerException as started:
        return str(started.trigger_dag_id)
    except AirflowSkipException as skipped:
        return str(skipped)
    return "nothing"


@pytest.mark.parametrize(
    ("states", "started"),
    [
        ({"before": "success", "restore": "success"}, "start_shop"),
        ({"before": "success", "restore": "failed"}, "start_shop"),
        ({"before": "failed", "restore": "upstream_failed"}, "start_shop"),
        ({"before": "skipped", "restore": "success"}, "start_shop"),
        ({"before": "skipped", "restore": "failed"}, "Nothing was stopped"),
        ({"before": "upstream_failed", "restore": "upstream_failed"}, "Nothing was stopped"),
    ],
)
def test_what_was_stopped_is_started_again_also_when_the_restore_failed(states: dict[str, str], started: str) -> None:
    assert started in started_after(HOOKED, **states)


@pytest.mark.parametrize(
    ("report", "started"),
    [
        ({"in_place": True, "differences": []}, "start_shop"),
        ({"in_place": False, "differences": [{}]}, "start_shop"),
        ({"in_place": True, "differences": [{}]}, "'start_shop' was not run"),
    ],
)
def test_an_application_is_not_started_on_a_database_that_differs_from_its_backup(
    report: dict[str, Any], started: str
) -> None:
    state = "failed" if report["differences"] else "success"
    assert started in started_after(HOOKED, report, before="success", restore=state)


def test_without_a_plan_or_a_dag_nothing_is_started() -> None:
    assert "names no DAG" in started_after(None, before="upstream_failed", restore="upstream_failed")
    assert "names no DAG" in started_after({"after_dag": None}, before="skipped", restore="success")


def test_a_dag_that_is_paused_fails_the_hook_instead_of_waiting_for_ever() -> None:
    from airflow.providers.standard.operators.trigger_dagrun import DagIsPaused

    from db_backup.operators.hooks import BeforeRestoreOperator

    plan = {"entry": "shop", "backup_id": "b", "target_address": "x", "before_dag": "paused"}
    hook = BeforeRestoreOperator(task_id="before", plan=plan)
    with pytest.raises(DagIsPaused):
        type(hook).execute.__wrapped__(hook, {**context(), "ti": After()})


# The operator by itself


def test_every_argument_of_a_restore_is_templated(made: Project, backup_id: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    where = context()
    where["params"] = {
        "id": backup_id,
        "name": str(copy),
        "no": None,
        "to": "shop_db",
        "tables": [],
        "storage": "local",
    }

    summary = restore(
        where,
        backup="{{ params.id }}",
        database="{{ params.no }}",
        to="{{ params.to }}",
        new_name="{{ params.name }}",
        source_database="{{ params.no }}",
        to_time=None,
        tables="{{ params.tables | tojson }}",
        with_owners="{{ false }}",
        force="{{ false }}",
        safety_backup="{{ true }}",
        scratch="{{ false }}",
        jobs="{{ 1 }}",
        from_storage="{{ params.storage }}",
    )

    assert (summary["backup_id"], summary["restored_to"], summary["differences"]) == (backup_id, str(copy), [])
    assert where["ti"].xcoms["report"] == summary


def test_a_filled_database_is_replaced_only_with_force_and_a_protected_one_only_with_a_yes(
    made: Project, backup_id: str, shop: ConnectionInfo
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    lose_rows(shop)
    with pytest.raises(AirflowFailException, match="is not empty"):
        restore(context(), backup=backup_id)
    configure(made, protected=True)
    with pytest.raises(AirflowFailException, match="nobody has approved"):
        restore(context(), backup=backup_id, force=True)
    assert rows(shop.database) == 0

    configure(made, protected=False)
    assert restore(context(), backup=backup_id, force=True)["safety_backup_id"].startswith("backup_shop_full_")
    assert rows(shop.database) > 0


def test_what_changed_since_the_approval_is_not_restored(made: Project, backup_id: str, shop: ConnectionInfo) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    plan = plan_of(made, backup=backup_id, force=True)
    yes = answered(plan, "Approve", by="bob").xcoms["answer"]
    lose_rows(shop)
    configure(made, hooks={"before_restore": {"trigger_dag": "stop_shop"}})

    with pytest.raises(AirflowFailException, match=r"not the one that was agreed to.*stop_shop"):
        restore(context(), plan=plan, approval=yes, force=True)
    assert rows(shop.database) == 0


def test_from_where_else_than_was_approved_nothing_is_restored(
    made: Project, backup_id: str, shop: ConnectionInfo
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    lose_rows(shop)
    plan = plan_of(made, backup=backup_id, force=True, from_storage="local")
    yes = answered(plan, "Approve", by="bob").xcoms["answer"]

    with pytest.raises(AirflowFailException, match="read from: local before, now none"):
        restore(context(), plan=plan, approval=yes, force=True)
    assert rows(shop.database) == 0

    summary = restore(context(), plan=plan, approval=yes, force=True, from_storage="local")
    assert summary["read_from"] == {backup_id: "local"}
    assert rows(shop.database) > 0


def test_a_rejected_restore_changes_nothing_even_if_its_task_is_started(
    made: Project, backup_id: str, shop: ConnectionInfo
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    lose_rows(shop)
    plan = plan_of(made, backup=backup_id, force=True)
    for answer in (False, "False", "true", 1):
        no = {"approved": answer, "by": "bob", "at": "2026-01-31T12:00:00+00:00"}
        with pytest.raises(AirflowFailException, match="bob rejected"):
            restore(context(), plan=plan, approval=no, force=True)
    assert rows(shop.database) == 0


@pytest.mark.parametrize("argument", ["new_name", "to", "to_time"])
@pytest.mark.parametrize("lost", ["{{ None }}", "{{ '' }}"])
def test_where_to_that_was_given_and_renders_to_nothing_is_not_the_original(
    made: Project, backup_id: str, shop: ConnectionInfo, argument: str, lost: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    lose_rows(shop)
    with pytest.raises(
        AirflowFailException, match=f"The argument {argument} of RestoreOperator was given and is empty"
    ):
        restore(context(), backup=backup_id, force=True, **{argument: lost})
    assert rows(shop.database) == 0


@pytest.mark.parametrize("tables", ["[oops", "{{ 1 }}"])
def test_arguments_that_cannot_be_fail_without_a_retry(made: Project, backup_id: str, tables: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException):
        restore(context(), backup=backup_id, new_name="copy.sqlite", tables=tables)
