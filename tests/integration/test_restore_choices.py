"""Which backup is restored and where to, who has to say yes, and what is needed for it: nothing but the storage."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup.catalog import Catalog
from db_backup.jobs.restore import carrying_out
from db_backup.model import ConnectionInfo, EngineName
from support.lab import EngineLab
from support.project import Project, connection_variable
from support.shop_database import sqlite_database
from support.terminal import TerminalSession

pytestmark = pytest.mark.integration


@pytest.fixture
def shop(tmp_path: Path) -> ConnectionInfo:
    return sqlite_database(tmp_path, "shop")


@pytest.fixture
def project(tmp_path: Path, shop: ConnectionInfo) -> Project:
    return Project(tmp_path / "project", {"shop": shop}, as_process=False)


def create(project: Project, *arguments: str) -> str:
    return str(project.json("create", "shop", *arguments)["backups"][0]["id"])


def configure(project: Project, *, targets: Mapping[str, str] | None = None, **keys: object) -> None:
    document: dict[str, Any] = {"version": 1, "databases": {"shop": {"conn_id": "shop_db", **keys}}}
    if targets:
        document["restore_targets"] = {name: {"conn_id": conn_id} for name, conn_id in targets.items()}
    project.config.write_text(yaml.safe_dump(document))


def ask(database: str | Path, query: str) -> Any:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchone()[0]


def execute(database: str | Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)


def tables(database: str | Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def refused(project: Project, *arguments: str, exit_code: int, words: tuple[str, ...]) -> str:
    done = project.run("restore", *arguments)
    assert done.returncode == exit_code, done.stderr
    for word in words:
        assert word in done.stderr
    return done.stderr


# Which backup


def test_the_newest_good_full_is_chosen_and_what_was_passed_over_is_told(project: Project, tmp_path: Path) -> None:
    good, unverified = create(project), create(project, "--no-verify")
    create(project, "--type", "structure")
    for arguments in (("latest", "--database", "shop"), ("--database", "shop")):
        report = project.json("restore", *arguments, "--as", str(tmp_path / f"{len(arguments)}.sqlite"))
        assert report["backup_id"] == good
        assert f"{unverified} is newer and was passed over: it is not verified." in report["warnings"]


def test_what_is_dated_in_the_future_is_not_the_latest(project: Project, tmp_path: Path) -> None:
    """A clock was wrong, or somebody who can write into the storage wants to be believed."""
    good, planted = create(project), "backup_shop_full_2098-01-01_00-00-00"
    for path in [path for path in project.storage.rglob(f"{good}.*") if path.is_file()]:
        content = path.read_bytes().replace(good.encode(), planted.encode())
        path.with_name(path.name.replace(good, planted)).write_bytes(content)
    report = project.json("restore", "--database", "shop", "--as", str(tmp_path / "copy.sqlite"))
    assert report["backup_id"] == good
    assert f"{planted} is dated in the future and was passed over." in report["warnings"]
    assert project.json("restore", planted, "--test")["backup_id"] == planted

    for path in project.storage.rglob(f"{good}.*"):
        path.unlink()
    assert project.json("restore", "--database", "shop", "--test")["backup_id"] == planted


def test_where_none_is_good_the_newest_is_taken_with_a_warning(project: Project, tmp_path: Path) -> None:
    create(project, "--no-verify")
    newest = create(project, "--no-verify")
    report = project.json("restore", "--database", "shop", "--as", str(tmp_path / "copy.sqlite"))
    assert report["backup_id"] == newest
    assert report["warnings"] == [
        f"No full backup of 'shop' stands as good: {newest} is taken, not verified.",
    ]


def test_a_safety_backup_is_never_the_latest_however_well_it_is_proved(
    project: Project, shop: ConnectionInfo, tmp_path: Path
) -> None:
    good = create(project)
    safety = project.json("restore", good, "--force")["safety_backup_id"]
    assert project.json("verify", safety)["proofs"][0]["result"] == "passed"
    assert project.manifest(safety)["safety"] is True

    report = project.json("restore", "latest", "--database", "shop", "--as", str(tmp_path / "copy.sqlite"))
    assert (report["backup_id"], report["warnings"]) == (good, [])
    assert f"{safety} " in project.run("restore", "--list").stdout


def test_a_safety_backup_has_the_rows_that_ordinary_ones_leave_out(project: Project, shop: ConnectionInfo) -> None:
    configure(project, exclude_tables=["orders"])
    good = create(project, "--type", "structure")
    safety = project.json("restore", good, "--force")["safety_backup_id"]
    manifest = project.manifest(safety)
    assert manifest["excluded_tables"] == []
    assert sum(table["rows"] for table in manifest["inventory"]["tables"]) > 0


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        ((), 2, ("restore --list",)),
        (("latest",), 2, ("--database",)),
        (("--database", "shpo"), 2, ("shpo", "Did you mean 'shop'?")),
        (("--database", "shop"), 2, ("no full backup of 'shop'",)),
        (("backup_shop_full_2020-01-01_00-00-00",), 2, ("backup_shop_full_2020-01-01_00-00-00",)),
        (("--list", "backup_shop_full_2020-01-01_00-00-00"), 2, ("--database",)),
        (("--list", "--database", "shpo"), 2, ("Did you mean 'shop'?",)),
    ],
)
def test_what_is_not_there_is_refused_by_name(
    project: Project, arguments: tuple[str, ...], exit_code: int, words: tuple[str, ...]
) -> None:
    create(project, "--type", "structure", "--no-verify")
    refused(project, *arguments, exit_code=exit_code, words=words)


def test_a_backup_of_another_database_is_refused(project: Project, tmp_path: Path) -> None:
    backup = create(project)
    copy = str(tmp_path / "copy.sqlite")
    refused(project, backup, "--database", "crm", "--as", copy, exit_code=2, words=("is a backup of 'shop'",))
    words = ("does not hold a database 'crm'", "It holds: shop")
    refused(project, backup, "--source-database", "crm", "--as", copy, exit_code=2, words=words)
    assert not Path(copy).exists()


def test_restorable_backups_are_listed_with_age_size_type_and_proof(project: Project) -> None:
    good, structure = create(project), create(project, "--type", "structure", "--no-verify")

    listed = project.run("restore", "--list").stdout.splitlines()

    assert listed[0].split() == ["BACKUP", "DATABASE", "AGE", "SIZE", "TYPE", "STATUS", "PROOF"]
    assert [line.split()[0] for line in listed[1:]] == [structure, good]
    assert listed[1].split()[-3:] == ["structure", "unverified", "-"]
    assert listed[2].split()[-3:] == ["full", "good", "restore"]
    document = project.json("restore", "--list", "--database", "shop")
    assert [backup["id"] for backup in document["backups"]] == [structure, good]


# Where to


def test_a_restore_target_and_a_connections_id_lead_to_another_database(
    project: Project, shop: ConnectionInfo, tmp_path: Path
) -> None:
    backup = create(project)
    configure(project, targets={"staging": "staging_db"})
    for to in ("staging", "staging_db"):
        there = tmp_path / f"{to}.sqlite"
        other = ConnectionInfo("staging_db", EngineName.SQLITE, database=str(there))
        project.environment["AIRFLOW_CONN_STAGING_DB"] = connection_variable(other)
        report = project.json("restore", backup, "--to", to)
        assert (report["target"], report["differences"]) == (str(there), [])
        assert tables(there) == tables(shop.database)


def test_an_address_with_a_password_is_refused_and_not_repeated(project: Project) -> None:
    backup = create(project)
    for address in ("mysql://root:hunter2@db/shop", "root:hunter2@db"):
        said = refused(project, backup, "--to", address, exit_code=2, words=("the id of a connection",))
        assert "hunter2" not in said
    assert "hunter2" not in project.run("audit", "--json").stdout


def test_an_unknown_target_names_the_nearest_one(project: Project) -> None:
    backup = create(project)
    configure(project, targets={"staging": "staging_db"})
    refused(project, backup, "--to", "stagign", exit_code=2, words=("stagign", "Did you mean 'staging'?"))


def test_a_target_of_another_engine_is_refused(
    project: Project, labs: Mapping[EngineName, EngineLab], shop: ConnectionInfo
) -> None:
    backup = create(project)
    elsewhere = labs[EngineName.POSTGRES].connection("postgres")
    project.environment["AIRFLOW_CONN_OTHER"] = connection_variable(elsewhere)
    refused(project, backup, "--to", "other", exit_code=2, words=("sqlite backup", "leads to a postgres database"))


def test_an_entry_that_is_gone_from_the_configuration_is_restored_elsewhere(project: Project, tmp_path: Path) -> None:
    backup = create(project)
    document = {"version": 1, "databases": {"crm": {"conn_id": "crm_db"}}}
    project.config.write_text(yaml.safe_dump(document))
    there = ConnectionInfo("", EngineName.SQLITE, database=str(tmp_path / "there.sqlite"))
    project.environment["AIRFLOW_CONN_THERE"] = connection_variable(there)
    refused(project, backup, exit_code=2, words=("'shop' is not configured any more", "--to"))
    assert project.json("restore", backup, "--to", "there")["differences"] == []
    assert project.json("restore", "--database", "shop", "--as", str(tmp_path / "b.sqlite"))["differences"] == []


def test_nobodys_database_is_replaced_only_without_a_safety_backup(project: Project, tmp_path: Path) -> None:
    backup = create(project)
    other = tmp_path / "other.sqlite"
    execute(other, "CREATE TABLE precious (id)")
    words = ("no entry's own database", "--no-safety-backup")
    refused(project, backup, "--as", str(other), "--force", exit_code=4, words=words)
    assert tables(other) == ["precious"]
    report = project.json("restore", backup, "--as", str(other), "--force", "--no-safety-backup")
    assert (report["way"], report["safety_backup_id"]) == ("replace", None)
    assert "precious" not in tables(other)


def test_an_entrys_own_database_is_known_by_whatever_path_it_is_reached(
    project: Project, shop: ConnectionInfo, tmp_path: Path
) -> None:
    backup = create(project)
    link = tmp_path / "link.sqlite"
    link.symlink_to(shop.database)
    report = project.json("restore", backup, "--as", str(link), "--force")
    assert report["safety_backup_id"]


def test_no_restore_goes_into_the_catalogue_the_storage_or_airflows_own_database(project: Project) -> None:
    backup = create(project)
    airflow = project.folder / "no-airflow" / "airflow.db"
    airflow.parent.mkdir(exist_ok=True)
    execute(airflow, "CREATE TABLE dag (id)")
    before = tables(project.catalog)
    for place, words in (
        (project.catalog, "catalogue"),
        (project.storage / "database" / "copy.sqlite", "storage 'local'"),
        (airflow, "Airflow's own database"),
    ):
        arguments = (backup, "--as", str(place), "--force", "--no-safety-backup")
        refused(project, *arguments, exit_code=4, words=(words, "Nothing was changed"))
    assert tables(project.catalog) == before
    assert tables(airflow) == ["dag"]
    assert not (project.storage / "database" / "copy.sqlite").exists()


@pytest.mark.parametrize("option", ["--as", "--to", "--source-database", "--table", "--database"])
def test_an_empty_name_is_no_name(project: Project, shop: ConnectionInfo, option: str) -> None:
    backup = create(project)
    execute(shop.database, "CREATE TABLE newer (id)")
    refused(project, backup, option, "", exit_code=2, words=("is empty",))
    assert "newer" in tables(shop.database)


def test_a_database_of_two_entries_is_restored_by_neither_while_the_other_is_backed_up(
    project: Project, shop: ConnectionInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = create(project)
    two_entries(project)
    monkeypatch.setattr(carrying_out, "_LOCK_WAIT_SECONDS", 0.0)
    arguments = (backup, "--force", "--confirm", "shop.sqlite")
    for entry in ("shop", "shopro"):
        with Catalog.open(project.catalog) as catalog, catalog.entry_lock(entry, "full backup"):
            refused(project, *arguments, exit_code=1, words=(f"'{entry}' is at work already: full backup",))
    assert project.json("restore", *arguments)["in_place"]


# Who says yes


def two_entries(project: Project, **keys: object) -> None:
    """`shop`, and the protected `shopro` with the same database."""
    databases = {"shop": {"conn_id": "shop_db"}, "shopro": {"conn_id": "shop_db", "protected": True, **keys}}
    project.config.write_text(yaml.safe_dump({"version": 1, "databases": databases}))


def test_a_database_is_protected_if_any_of_its_entries_is(project: Project, shop: ConnectionInfo) -> None:
    backup = create(project)
    two_entries(project)
    execute(shop.database, "CREATE TABLE newer (id)")
    project.environment["AIRFLOW_CONN_ANOTHER"] = connection_variable(shop)
    for arguments in ((), ("--to", "another"), ("--as", shop.database)):
        refused(project, backup, "--force", *arguments, exit_code=4, words=("is protected", "--confirm shop.sqlite"))
    assert "newer" in tables(shop.database)


def test_what_may_be_a_protected_database_counts_as_one(project: Project, shop: ConnectionInfo, tmp_path: Path) -> None:
    backup = create(project)
    two_entries(project, conn_id="lost_db")
    other = tmp_path / "other.sqlite"
    execute(other, "CREATE TABLE precious (id)")
    arguments = (backup, "--as", str(other), "--force", "--no-safety-backup")
    words = ("is protected", "database of the protected 'shopro' cannot be told", "lost_db")
    refused(project, *arguments, exit_code=4, words=words)
    assert tables(other) == ["precious"]
    assert project.json("restore", *arguments, "--confirm", "other.sqlite")["in_place"]
    assert project.json("restore", backup, "--as", str(tmp_path / "new.sqlite"))["way"] == "new"


def test_a_server_that_cannot_be_asked_may_be_the_protected_one(
    tmp_path: Path, labs: Mapping[EngineName, EngineLab]
) -> None:
    lab = labs[EngineName.POSTGRES]
    database = lab.create_empty()
    connection = lab.connection(database)
    project = Project(tmp_path / "server", {"shop": connection}, as_process=False)
    backup = create(project, "--no-verify")
    lab.execute(database, "CREATE TABLE precious (id integer)")
    nobody = dataclasses.replace(connection, host="127.0.0.1", port=9)
    project.environment["AIRFLOW_CONN_LOST_DB"] = connection_variable(nobody)
    two_entries(project, conn_id="lost_db")
    refused(project, backup, "--force", exit_code=4, words=("is protected", "protected 'shopro' cannot be told"))
    lab.drop(database)


def test_a_protected_database_wants_its_name_where_nobody_can_type(project: Project, shop: ConnectionInfo) -> None:
    backup = create(project)
    configure(project, protected=True)
    execute(shop.database, "CREATE TABLE newer (id)")
    refused(project, backup, "--force", exit_code=4, words=("is protected", "--confirm shop.sqlite"))
    refused(project, backup, "--force", "--confirm", "shpo", exit_code=4, words=("'shpo' is not the name",))
    assert "newer" in tables(shop.database)
    assert project.json("restore", backup, "--force", "--confirm", "shop.sqlite")["in_place"]
    assert "newer" not in tables(shop.database)


@pytest.mark.parametrize(("answer", "exit_code"), [("shop.sqlite\n", 0), ("yes\n", 4), (None, 130)])
def test_at_a_terminal_the_name_is_typed(
    project: Project, shop: ConnectionInfo, answer: str | None, exit_code: int
) -> None:
    backup = create(project)
    execute(shop.database, "CREATE TABLE newer (id)")

    command = [sys.executable, "-m", "db_backup", "restore", backup, "--force"]
    with TerminalSession(command, project.environment, columns=160) as session:
        session.wait_for("Type 'shop.sqlite' to replace it")
        if answer is None:
            interrupt(session.process)
        else:
            session.type(answer)
        shown = session.screen
        code, printed = session.finish()

    assert "REPLACES" in shown
    assert code == exit_code
    assert ("newer" not in tables(shop.database)) is (exit_code == 0)
    assert ("are as the manifest says" in printed) is (exit_code == 0)


@pytest.mark.parametrize(("keys", "exit_code"), [("full\r", 0), ("\x1b", 130)], ids=["Enter", "Esc"])
def test_at_a_terminal_the_backup_is_chosen_from_a_list(
    project: Project, shop: ConnectionInfo, tmp_path: Path, keys: str, exit_code: int
) -> None:
    full = create(project)
    create(project, "--type", "structure", "--no-verify")
    copy = tmp_path / "copy.sqlite"

    command = [sys.executable, "-m", "db_backup", "restore", "--as", str(copy), "--json"]
    with TerminalSession(command, project.environment, columns=160) as session:
        session.wait_for("Esc gives up")
        session.type(keys)
        code, printed = session.finish()

    assert code == exit_code
    assert copy.exists() is (exit_code == 0)
    assert exit_code or json.loads(printed)["backup_id"] == full


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, again if it came in the moment before the answer was waited for, which takes no notice of it."""
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)


# What is needed


def only_the_storage(project: Project) -> None:
    """The catalogue and all of Airflow are gone; connections come from AIRFLOW_CONN_… variables."""
    project.catalog.unlink()
    shutil.rmtree(project.folder / "no-airflow", ignore_errors=True)


def test_without_catalogue_and_airflow_the_storage_is_enough(project: Project, shop: ConnectionInfo) -> None:
    backup = create(project)
    execute(shop.database, "DELETE FROM orders")
    only_the_storage(project)
    report = project.json("restore", "latest", "--database", "shop", "--force")
    assert (report["backup_id"], report["differences"]) == (backup, [])
    assert ask(shop.database, "SELECT count(*) FROM orders") > 0
    only_the_storage(project)
    assert [one["id"] for one in project.json("restore", "--list")["backups"]] == [report["safety_backup_id"], backup]
    only_the_storage(project)
    assert project.json("restore", backup, "--test")["differences"] == []


@pytest.mark.parametrize("lost", ["damaged", "unreachable", "unknown"])
def test_a_catalogue_that_cannot_be_opened_stops_no_restore(
    project: Project, shop: ConnectionInfo, tmp_path: Path, lost: str
) -> None:
    backup = create(project)
    environment = {}
    if lost == "damaged":
        project.catalog.write_bytes(b"rubbish" * 1000)
    else:
        environment["BACKUP_CATALOG_CONN_ID"] = "team"
    if lost == "unreachable":
        nobody = ConnectionInfo("team", EngineName.POSTGRES, host="127.0.0.1", port=9, login="a", database="b")
        environment["AIRFLOW_CONN_TEAM"] = connection_variable(nobody)

    copy = tmp_path / "copy.sqlite"
    done = project.run("restore", backup, "--as", str(copy), "--json", **environment)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["differences"] == []
    assert "It goes on without" in done.stderr
    lines = [json.loads(line) for path in (project.storage / "audit").iterdir() for line in path.open()]
    assert (lines[-1]["act"], lines[-1]["outcome"], lines[-1]["backup_id"]) == ("restore", "done", backup)
    assert project.run("restore", "--list", **environment).returncode == 0
    assert project.run("list", **environment).returncode != 0


def test_a_safety_backup_is_read_back_before_its_original_goes(project: Project) -> None:
    backup = create(project)
    safety = project.json("restore", backup, "--force")["safety_backup_id"]
    state = json.loads((project.storage / "metadata" / f"{safety}.state.json").read_text())
    assert [(proof["level"], proof["result"]) for proof in state["proofs"]] == [("archive", "passed")]


def test_a_report_says_that_what_was_written_after_the_safety_backup_is_lost(project: Project) -> None:
    backup = create(project)
    done = project.run("restore", backup, "--force")
    assert "is in neither: let nothing write to it" in done.stderr
    assert "is neither in it nor in the safety backup" in done.stderr
    (warning,) = project.json("restore", backup, "--force")["warnings"]
    assert warning.startswith("What was written to ")


def test_what_an_earlier_restore_left_is_named_before_it_is_dropped(
    project: Project, shop: ConnectionInfo, tmp_path: Path
) -> None:
    backup = create(project)
    configure(project, checks=[{"sql": "select 0", "expect": True}])
    done = project.run("restore", backup, "--force")
    assert done.returncode == 3
    assert "the next restore to it drops that" in done.stdout
    left = project.json("restore", backup, "--force", exit_code=3)["restored_to"]
    again = project.run("restore", backup, "--force")
    assert f"{left}, which an earlier restore left, is dropped first" in again.stderr

    new = tmp_path / "new.sqlite"
    done = project.run("restore", backup, "--as", str(new), "--force")
    assert f"{new} was not made: what was restored differs" in done.stdout


def test_a_table_that_is_named_twice_is_one_table(project: Project, tmp_path: Path) -> None:
    backup = create(project)
    arguments = ("--table", "orders", "--table", "orders", "--as", str(tmp_path / "orders.sqlite"))
    done = project.run("restore", backup, *arguments)
    assert "Only these tables are restored: orders." in done.stderr


def test_a_lost_database_has_its_hooks_by_whatever_path_it_is_named(project: Project, shop: ConnectionInfo) -> None:
    backup = create(project)
    configure(project, hooks={"before_restore": {"trigger_dag": "stop_shop"}})
    Path(shop.database).unlink()
    assert "'stop_shop' before" in project.run("restore", backup, "--as", shop.database).stderr


def test_a_report_is_printed_though_the_audit_line_could_not_be_written(project: Project, tmp_path: Path) -> None:
    backup = create(project)
    shutil.rmtree(project.storage / "audit")
    (project.storage / "audit").write_text("no folder")
    done = project.run("restore", backup, "--as", str(tmp_path / "copy.sqlite"), "--json")
    assert done.returncode == 1
    assert "audit line could not be written" in done.stderr
    assert json.loads(done.stdout)["differences"] == []


def test_what_a_restore_did_is_in_the_audit_trail(project: Project) -> None:
    backup = create(project)
    project.run("restore", backup)
    report = project.json("restore", backup, "--force")
    acts = [act for act in project.json("audit")["acts"] if act["act"] == "restore"]
    assert [act["outcome"] for act in reversed(acts)] == ["started", "refused", "started", "done"]
    assert (
        acts[0]["detail"] == f"replace {report['target']}; no differences; safety backup {report['safety_backup_id']}"
    )
