"""What a restore will do, decided from what was asked for and what the target holds."""

from __future__ import annotations

from typing import Any

import pytest

from db_backup.engines.base import Occupancy
from db_backup.errors import TargetNotEmpty, UsageError
from db_backup.jobs.restore import (
    PlannedRecovery,
    RestorePlan,
    RestoreRequest,
    Way,
    database_name,
    needs_confirmation,
    plan_lines,
)
from db_backup.jobs.restore.planning import choose_way, holding, refuse_contradictions, what_changed
from db_backup.jobs.restore.validation import restored_part
from db_backup.manifest import DatabaseObject, Inventory, TableInventory
from db_backup.model import BackupStatus, BackupType, EngineName
from support.factories import MORNING, make_manifest

pytestmark = pytest.mark.unit

FULL = make_manifest()
STRUCTURE = make_manifest(type=BackupType.STRUCTURE)
DATA = make_manifest(type=BackupType.DATA)
FILLED = Occupancy(objects=3, rows=True, examples=("orders", "users"), size_bytes=12_500_000)
TABLES_WITHOUT_ROWS = Occupancy(objects=3, rows=False, examples=("orders",))
EMPTY = Occupancy()
WHERE = "db:5432/shop"


def a_plan(**fields: Any) -> RestorePlan:
    """Onto the entry's own database, which holds something."""
    values = {
        "backup_id": FULL.id,
        "entry": "shop",
        "type": BackupType.FULL,
        "engine": EngineName.POSTGRES,
        "status": BackupStatus.GOOD,
        "created_at": MORNING,
        "recovery_point": MORNING,
        "size_bytes": 4096,
        "plain_bytes": 16384,
        "rows": 127,
        "way": Way.REPLACE,
        "target_conn_id": "shop_db",
        "target_address": WHERE,
        "target_database": "shop",
        "target_server": "PostgreSQL 15.20",
        "source_address": WHERE,
        "same_server": True,
        "holds": 3,
        "examples": ("orders", "users"),
        "safety_backup_of": "shop",
    }
    return RestorePlan.model_validate({**values, **fields})


def told(plan: RestorePlan, *, triggers_dags: bool = False) -> str:
    return "\n".join(plan_lines(plan, triggers_dags=triggers_dags))


@pytest.mark.parametrize(
    ("manifest", "asked", "occupancy", "way"),
    [
        (FULL, {}, None, Way.NEW),
        (FULL, {"force": True}, None, Way.NEW),
        (FULL, {}, EMPTY, Way.EMPTY),
        (FULL, {"force": True}, EMPTY, Way.EMPTY),
        (FULL, {"force": True}, FILLED, Way.REPLACE),
        (STRUCTURE, {"force": True}, FILLED, Way.REPLACE),
        (FULL, {"tables": ("public.orders",)}, None, Way.NEW),
        (FULL, {"tables": ("public.orders",)}, FILLED, Way.TABLES),
        (DATA, {}, TABLES_WITHOUT_ROWS, Way.ROWS),
    ],
)
def test_the_way_follows_from_what_the_target_holds(
    manifest: Any, asked: dict[str, Any], occupancy: Occupancy | None, way: Way
) -> None:
    assert choose_way(RestoreRequest(**asked), manifest, WHERE, occupancy) is way


@pytest.mark.parametrize("occupancy", [FILLED, TABLES_WITHOUT_ROWS], ids=["rows", "tables"])
def test_what_holds_something_is_not_replaced_unless_a_person_insists(occupancy: Occupancy) -> None:
    with pytest.raises(TargetNotEmpty, match="holds 3 objects \\(orders") as refusal:
        choose_way(RestoreRequest(), FULL, WHERE, occupancy)
    assert refusal.value.exit_code == 4
    assert "--force" in refusal.value.hint
    assert "--as" in refusal.value.hint


@pytest.mark.parametrize("force", [False, True])
def test_rows_are_never_loaded_over_rows(force: bool) -> None:
    with pytest.raises(TargetNotEmpty, match="has rows already"):
        choose_way(RestoreRequest(force=force), DATA, WHERE, FILLED)


def test_rows_alone_need_a_database_that_has_their_tables() -> None:
    with pytest.raises(UsageError, match="holds rows and no tables") as refusal:
        choose_way(RestoreRequest(), DATA, WHERE, None)
    assert "structure backup of 'shop'" in refusal.value.hint


@pytest.mark.parametrize(
    ("manifest", "asked", "words"),
    [
        (STRUCTURE, {"tables": ("orders",)}, "full backups"),
        (DATA, {"tables": ("orders",)}, "full backups"),
        (FULL, {"tables": ("orders",), "force": True}, "replaces a whole one"),
        (FULL, {"scratch": True, "to": "staging"}, "scratch server"),
        (FULL, {"scratch": True, "new_name": "copy"}, "scratch server"),
        (FULL, {"scratch": True, "force": True}, "scratch server"),
    ],
)
def test_requests_that_contradict_themselves_are_refused(manifest: Any, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        refuse_contradictions(RestoreRequest(**asked), manifest)


@pytest.mark.parametrize(
    ("occupancy", "words"),
    [
        (FILLED, "3 objects (orders, users, …) and rows, 12.5 MB"),
        (Occupancy(objects=1, examples=("orders",)), "1 object (orders)"),
        (Occupancy(rows=True), "0 objects and rows"),
    ],
)
def test_what_a_target_holds_is_told_in_words(occupancy: Occupancy, words: str) -> None:
    assert holding(occupancy) == words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"backup_id": "backup_shop_full_2026-02-01_03-00-00"}, "the backup: "),
        ({"target_address": "other:5432/shop"}, "the target: db:5432/shop before, now other:5432/shop"),
        ({"from_storage": "s3"}, "the storage that it is read from: none before, now s3"),
        ({"way": Way.NEW}, "what happens to the target: replace before, now new"),
        ({"safety_backup_of": None}, "the safety backup: shop before, now none"),
        ({"with_owners": True}, "whether owners are restored: no before, now yes"),
        ({"before_dag": "stop_shop"}, "the DAG that runs before: none before, now stop_shop"),
        ({"protected": True}, "whether the target is protected: no before, now yes"),
        ({"holds": 41}, "how many objects the target holds: 3 before, now 41"),
        ({"status": BackupStatus.FAILED_VERIFICATION}, "the backup's status: good before, now failed_verification"),
    ],
)
def test_a_plan_that_changed_since_it_was_approved_says_in_what(fields: dict[str, Any], words: str) -> None:
    (changed,) = what_changed(a_plan(), a_plan(**fields))
    assert changed.startswith(words)


def test_sessions_that_came_and_a_backup_that_was_proved_change_no_plan() -> None:
    later = a_plan(sessions=7, estimated_seconds=3.0, leftover="shop_restore", warnings=("something",))
    assert what_changed(a_plan(status=BackupStatus.UNVERIFIED), later) == ()


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, True),
        ({"protected": True}, True),
        ({"way": Way.TABLES}, False),
        ({"way": Way.TABLES, "protected": True}, True),
        ({"way": Way.EMPTY, "protected": True}, True),
        ({"way": Way.NEW, "protected": True}, False),
        ({"way": Way.SCRATCH}, False),
    ],
)
def test_a_yes_is_needed_where_something_is_replaced_or_protected(fields: dict[str, Any], asked: bool) -> None:
    assert needs_confirmation(a_plan(**fields)) is asked


def test_a_file_is_confirmed_by_its_name_without_the_folder() -> None:
    assert database_name(a_plan()) == "shop"
    assert database_name(a_plan(engine=EngineName.SQLITE, target_database="/srv/data/app.sqlite")) == "app.sqlite"


def test_a_plan_that_replaces_says_what_goes_and_what_is_saved() -> None:
    text = told(a_plan(sessions=2, protected=True, checks=("select 1",), estimated_seconds=185))
    for words in (
        "a full backup of 'shop' as it was at 2026-01-31 03:00:00 UTC, 127 rows",
        "REPLACES db:5432/shop (PostgreSQL 15.20), which holds 3 objects, such as orders, users",
        "safety backup of 'shop' is made first",
        "2 at present",
        "protected",
        "1 check of the configuration",
        "3m 05s",
    ):
        assert words in text
    assert "another server" not in text


def test_a_plan_without_a_safety_backup_says_that_nothing_can_be_brought_back() -> None:
    assert "cannot be brought back" in told(a_plan(safety_backup_of=None))


def test_a_plan_says_that_what_is_written_after_the_safety_backup_is_lost() -> None:
    assert "is in neither: let nothing write to it" in told(a_plan())
    assert "is in neither" not in told(a_plan(safety_backup_of=None))


def test_programs_that_have_a_file_open_are_told_what_becomes_of_them() -> None:
    text = told(a_plan(engine=EngineName.SQLITE, sessions=None))
    assert "Programs that have the file open go on in the restored database" in text
    assert "ended" not in text


def test_a_plan_names_a_server_that_is_not_the_backups_own() -> None:
    text = told(a_plan(same_server=False, source_address="old:5432/shop"))
    assert "another server than the backup was taken of (old:5432/shop)" in text


def test_dags_are_triggered_by_airflow_and_not_from_a_terminal() -> None:
    plan = a_plan(before_dag="stop_shop", after_dag="start_shop")
    assert "NOT run from here: 'stop_shop' before, 'start_shop' afterwards" in told(plan)
    assert "DAGs are triggered: 'stop_shop' before, 'start_shop' afterwards." in told(plan, triggers_dags=True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"way": Way.NEW, "holds": 0}, "becomes a new database: db:5432/shop"),
        ({"way": Way.EMPTY, "holds": 0}, "there and is empty"),
        ({"way": Way.ROWS}, "empty tables of db:5432/shop"),
        ({"way": Way.TABLES, "tables": ("a", "b")}, "Of it a, b are added to db:5432/shop"),
        ({"way": Way.SCRATCH, "target_address": "a scratch server"}, "nothing else is touched"),
        ({"way": Way.NEW, "tables": ("a",)}, "Only these tables are restored: a."),
        ({"warnings": ("the moon is full.",)}, "Warning: the moon is full."),
    ],
)
def test_each_way_is_told(fields: dict[str, Any], words: str) -> None:
    assert words in told(a_plan(**fields))


def test_of_picked_tables_only_these_are_compared() -> None:
    found = Inventory(
        tables=(
            TableInventory(name="public.orders", rows=120, checksum="00000000000000aa"),
            TableInventory(name="public.other", rows=1),
        ),
        objects=(DatabaseObject(kind="view", name="public.another"),),
    )
    part = restored_part(found, FULL.inventory, Way.TABLES, ("public.orders",))
    assert [table.name for table in part.tables] == ["public.orders"]
    assert part.objects == ()


def test_rows_are_compared_where_the_backup_has_some_and_nowhere_else() -> None:
    expected = Inventory(tables=(TableInventory(name="orders", rows=2),))
    found = Inventory(
        tables=(TableInventory(name="orders", rows=2), TableInventory(name="newer_than_the_backup", rows=0)),
        objects=(DatabaseObject(kind="view", name="sums"),),
    )
    assert restored_part(found, expected, Way.ROWS, ()) == expected
    assert restored_part(found, expected, Way.NEW, ()) == found


# A moment

MOMENT = MORNING.replace(minute=5)
LINKS = (FULL.id, "backup_main_incremental_2026-01-31_03-10-00", "backup_main_incremental_2026-01-31_03-20-00")


def a_recovery(**fields: Any) -> PlannedRecovery:
    values = {
        "asked": "2026-01-31 03:05:00 UTC (2026-01-31 04:05:00 Europe/Berlin)",
        "time": MOMENT,
        "source": "main",
        "source_database": "shop",
        "links": LINKS,
        "scratch_bytes": 3_400_000_000,
    }
    return PlannedRecovery.model_validate({**values, **fields})


def test_the_plan_of_a_moment_tells_it_in_both_times_with_what_it_takes() -> None:
    text = told(a_plan(recovery=a_recovery()))
    assert text.startswith(
        "The database 'shop' of 'main' as it was at 2026-01-31 03:05:00 UTC (2026-01-31 04:05:00 Europe/Berlin), by "
        f"{FULL.id} and the 2 increments up to {LINKS[-1]}: "
    )
    assert "All of 'main' is rebuilt in a scratch server in BACKUP_SCRATCH_PATH first" in text
    assert "about 3.4 GB" in text
    assert "127 rows" not in text, "nobody knows yet"


@pytest.mark.parametrize(
    ("links", "words"), [(LINKS[:1], f"by {FULL.id}: "), (LINKS[:2], f"by {FULL.id} and the increment {LINKS[1]}: ")]
)
def test_the_plan_of_a_moment_counts_its_increments(links: tuple[str, ...], words: str) -> None:
    assert words in told(a_plan(recovery=a_recovery(links=links)))


def test_of_a_file_the_plan_says_what_is_not_in_it() -> None:
    recovery = a_recovery(leads_to=MORNING, source="shop")
    text = told(a_plan(engine=EngineName.SQLITE, recovery=recovery))
    assert "made at 2026-01-31 03:00:00 UTC: what was written from then to the moment asked for is not in it" in text
    assert "scratch server" not in text


def test_of_a_binlog_the_plan_says_that_it_has_whole_seconds() -> None:
    assert "A binlog tells whole seconds" in told(a_plan(engine=EngineName.MYSQL, recovery=a_recovery()))
    assert "whole seconds" not in told(a_plan(recovery=a_recovery()))


@pytest.mark.parametrize(
    "fields", [{"links": LINKS[:2]}, {"asked": "another moment"}, {"source_database": "other"}], ids=str
)
def test_another_moment_or_another_way_to_it_is_another_plan(fields: dict[str, Any]) -> None:
    approved = a_plan(recovery=a_recovery())
    (changed,) = what_changed(approved, a_plan(recovery=a_recovery(**fields)))
    assert changed.startswith("what is rebuilt: ")
    assert what_changed(approved, a_plan(recovery=a_recovery(scratch_bytes=1))) == ()
    assert what_changed(approved, a_plan()) == (changed.partition(" before, now ")[0] + " before, now nothing",)
