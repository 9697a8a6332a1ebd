"""Back to a moment: databases of real servers, and files, as they were at any time that a chain of backups leads to.

Each engine has one scene: a server (or a file) of its own, a full backup, and increments between which rows were
written, each at a known time. The tests share its chain, and restore out of it to places of their own.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyrage
import pytest
import yaml

from db_backup.model import EngineName
from support import quick_age
from support.aftermath import assert_no_process_is_left
from support.lab import EngineLab
from support.lab_mysql import MysqlLab
from support.lab_postgres import PostgresLab
from support.lab_sqlite import SqliteLab
from support.mysql_server import MariaDbServer
from support.postgres_server import PostgresServer
from support.project import Project, connection_variable

pytestmark = pytest.mark.integration

SERVERS = [EngineName.MYSQL, EngineName.POSTGRES]
ZONE = ZoneInfo("Asia/Kathmandu")  # 05:45 ahead: no mistake of hours goes unnoticed


@dataclass
class Scene:
    """``shop`` is the database of an entry that names its server ``main``, ``other`` one that no entry names.

    ``written``: when which row of ``marks`` was committed in ``shop``, as the server's clock had it.
    """

    engine: EngineName
    lab: EngineLab
    project: Project
    shop: str
    other: str = ""
    written: list[tuple[datetime, int]] = field(default_factory=list)
    backups: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)  # of the log, by option, after the row 112

    @property
    def chain_entry(self) -> str:
        return "shop" if self.engine is EngineName.SQLITE else "main"

    @property
    def marks(self) -> str:
        return self.lab.table("marks")

    def write(self, row: int) -> None:
        """One transaction in each database."""
        for database in filter(None, (self.shop, self.other)):
            self.lab.execute(database, f"INSERT INTO marks VALUES ({row}, 'written')")
        self.written.append((datetime.now(UTC), row))

    def remember_place(self) -> None:
        if isinstance(self.lab, PostgresLab):
            ((lsn,),) = self.lab.server.run("SELECT pg_current_wal_insert_lsn()::text")
            self.places = {"--to-lsn": lsn}
        elif isinstance(self.lab, MysqlLab):
            (status,) = self.lab.server.run("SHOW MASTER STATUS")
            ((gtid,),) = self.lab.server.run("SELECT @@gtid_binlog_pos")
            self.places = {"--to-gtid": gtid, "--to-position": f"{status[0]}:{status[1]}"}

    @property
    def between(self) -> datetime:
        """A whole second between the rows 112 and 113, which are both in the second increment."""
        return self.written[2][0].replace(microsecond=0)

    def back_up(self, backup_type: str) -> dict[str, Any]:
        (made,) = self.project.json("create", self.chain_entry, "--type", backup_type, "--no-cleanup", "--no-verify")[
            "backups"
        ]
        self.backups.append(made["id"])
        found: dict[str, Any] = made
        return found

    def rows(self, database: str) -> list[int]:
        """The ids of what ``write`` wrote."""
        query = "SELECT id FROM marks WHERE id > 100 ORDER BY id"
        if isinstance(self.lab, MysqlLab | PostgresLab):
            return [row for (row,) in self.lab.server.run(query, database=database)]
        with closing(sqlite3.connect(database)) as connection:
            return [row for (row,) in connection.execute(query)]

    @contextmanager
    def new_database(self) -> Iterator[str]:
        name = self.lab.fresh_name()
        try:
            yield name
        finally:
            self.lab.drop(name)


@contextmanager
def opened(engine: EngineName, folder: Path, lab_folder: Path) -> Iterator[Scene]:
    """A source of its own, with samples in it."""
    home = lab_folder / f"moments-{engine}"
    home.mkdir(mode=0o755)
    with ExitStack() as stack:
        lab: EngineLab
        if engine is EngineName.MYSQL:
            lab = MysqlLab(home, stack.enter_context(MariaDbServer.start(binlog=True)))
        elif engine is EngineName.POSTGRES:
            lab = PostgresLab(home, stack.enter_context(PostgresServer.start()))
        else:
            lab = SqliteLab(home)
        shop = lab.create_sample()
        other = "" if engine is EngineName.SQLITE else lab.create_sample()
        project = Project(folder / "project", {"shop": lab.connection(shop)}, as_process=False)
        configure(project, lab)
        yield Scene(engine, lab, project, shop, other)


def configure(project: Project, lab: EngineLab) -> None:
    document = yaml.safe_load(project.config.read_text())
    if isinstance(lab, SqliteLab):
        document["databases"]["shop"]["types"] = ["full", "incremental"]
    else:
        document["servers"] = {"main": {"conn_id": "main_db", "types": ["full", "incremental"]}}
        document["databases"]["shop"]["server"] = "main"
        project.environment["AIRFLOW_CONN_MAIN_DB"] = connection_variable(lab.connection(""))
    project.config.write_text(yaml.safe_dump(document))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, lab_folder: Path) -> Iterator[Scenes]:
    """Those that were opened; kept until the module ends."""
    with ExitStack() as stack:
        yield Scenes(stack, tmp_path_factory, lab_folder)


class Scenes(dict[EngineName, Scene]):
    """Each is set when it is first asked for: a full, an increment with one row, and one with two."""

    def __init__(self, stack: ExitStack, folders: pytest.TempPathFactory, lab_folder: Path) -> None:
        super().__init__()
        self._stack, self._folders, self._lab_folder = stack, folders, lab_folder

    def __missing__(self, engine: EngineName) -> Scene:
        scene = self._stack.enter_context(opened(engine, self._folders.mktemp("moments"), self._lab_folder))
        scene.back_up("full")
        scene.write(102)
        scene.back_up("incremental")
        scene.write(112)
        scene.remember_place()
        time.sleep(1.1)
        scene.written.append((datetime.now(UTC), 0))  # nothing
        time.sleep(1.1)
        scene.write(113)
        scene.back_up("incremental")
        self[engine] = scene
        return scene


@pytest.fixture
def scene(request: pytest.FixtureRequest, scenes: Scenes) -> Scene:
    return scenes[request.param]


def of_servers(test: Any) -> Any:
    return pytest.mark.parametrize("scene", SERVERS, indirect=True, ids=str)(test)


def of_all(test: Any) -> Any:
    return pytest.mark.parametrize("scene", list(EngineName), indirect=True, ids=str)(test)


@of_servers
def test_a_second_inside_an_increment_has_exactly_what_was_committed_by_then(scene: Scene) -> None:
    with scene.new_database() as name:
        done = scene.project.run(
            *("restore", "--database", "shop", "--to-time", as_typed(scene.between, ZONE), "--as", name),
            BACKUP_TIMEZONE=str(ZONE),
        )

        assert done.returncode == 0, done.stderr
        assert scene.rows(name) == [102, 112]
        told = f"{as_typed(scene.between)} UTC ({as_typed(scene.between, ZONE)} {ZONE})"
        assert told in done.stderr
        assert told in done.stdout
        assert scene.backups[0] in done.stderr
        assert "in BACKUP_SCRATCH_PATH first" in done.stderr
    assert scene.rows(scene.shop) == [102, 112, 113]


@of_servers
def test_any_database_of_a_server_comes_back_and_the_report_tells_from_what(scene: Scene) -> None:
    with scene.new_database() as name:
        report = scene.project.json(
            *("restore", "--database", "main", "--source-database", scene.other),
            *("--to-time", scene.between.isoformat(), "--as", name),
        )

        assert scene.rows(name) == [102, 112]
    recovered = report["recovered"]
    assert recovered["links"] == scene.backups[:3]
    assert (recovered["source"], recovered["source_database"]) == ("main", scene.other)
    assert datetime.fromisoformat(recovered["time"]) == scene.between
    assert datetime.fromisoformat(recovered["reached"]) <= scene.between + timedelta(seconds=1)
    assert recovered["position"]
    assert report["differences"] == []
    assert (report["backup_id"], report["restored_to"]) == (scene.backups[2], name)


@of_servers
def test_a_place_in_the_log_has_what_was_committed_by_then(scene: Scene) -> None:
    assert scene.places
    for option, place in scene.places.items():
        with scene.new_database() as name:
            scene.project.json("restore", "--database", "shop", option, place, "--as", name)
            assert scene.rows(name) == [102, 112], option


@of_all
def test_the_name_of_an_increment_means_its_end(scene: Scene) -> None:
    with scene.new_database() as name:
        named = ("--database", "shop") if scene.other else ()
        report = scene.project.json("restore", scene.backups[1], *named, "--as", name)
        assert scene.rows(name) == [102]
    assert report["recovered"]["links"] == scene.backups[:2]


@of_all
def test_a_database_is_replaced_by_what_it_was_and_its_safety_backup_holds_what_it_had(scene: Scene) -> None:
    before = scene.rows(scene.shop)
    moment = moment_of(scene, scene.backups[1])
    report = scene.project.json("restore", "--database", "shop", "--to-time", moment, "--force")
    assert scene.rows(scene.shop) == [102]
    assert (report["way"], report["differences"]) == ("replace", [])

    scene.project.json("restore", report["safety_backup_id"], "--force", "--no-safety-backup")
    assert scene.rows(scene.shop) == before


def moment_of(scene: Scene, backup_id: str) -> str:
    moment: str = scene.project.manifest(backup_id)["recovery_point"]
    return moment


@of_all
def test_a_table_alone_comes_back_as_it_was(scene: Scene) -> None:
    before = scene.rows(scene.shop)
    scene.lab.execute(scene.shop, "CREATE TABLE kept AS SELECT * FROM marks", "DROP TABLE marks")
    arguments = ("restore", "--database", "shop", "--to-time", moment_of(scene, scene.backups[1]), "--no-safety-backup")

    missing = scene.project.run(*arguments, "--table", scene.lab.table("no_such_table"))
    assert missing.returncode == 2, missing.stderr
    assert "holds no table" in missing.stderr
    report = scene.project.json(*arguments, "--table", scene.marks)

    assert report["way"] == "tables"
    assert scene.rows(scene.shop) == [102]
    scene.lab.execute(scene.shop, "DELETE FROM marks", "INSERT INTO marks SELECT * FROM kept", "DROP TABLE kept")
    assert scene.rows(scene.shop) == before


@of_all
def test_a_test_touches_nothing(scene: Scene) -> None:
    before = scene.rows(scene.shop)
    report = scene.project.json(
        "restore", "--database", "shop", "--to-time", moment_of(scene, scene.backups[1]), "--test"
    )
    assert (report["way"], report["differences"]) == ("scratch", [])
    assert report["recovered"]["links"][0] == scene.backups[0]
    assert scene.rows(scene.shop) == before
    assert list(scene.project.scratch.iterdir()) == []


@of_servers
def test_of_a_whole_server_one_database_has_to_be_named(scene: Scene) -> None:
    unnamed = scene.project.run("restore", scene.backups[0], "--test")
    assert unnamed.returncode == 2
    assert "--source-database" in unnamed.stderr
    assert scene.shop in unnamed.stderr
    assert scene.other in unnamed.stderr

    unknown = scene.project.run("restore", scene.backups[0], "--source-database", f"{scene.shop}x", "--test")
    assert unknown.returncode == 2
    assert f"Did you mean '{scene.shop}'?" in unknown.stderr

    contrary = scene.project.run("restore", scene.backups[0], "--database", "shop", "--source-database", scene.other)
    assert contrary.returncode == 2
    assert "Leave out --source-database" in contrary.stderr


@of_all
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_moment_that_no_backup_leads_to_is_refused_with_the_nearest(scene: Scene, where: str) -> None:
    typed = {"before": "2020-01-31 03:00:00", "after": "2150-01-31 03:00:00"}[where]
    refused = scene.project.run("restore", "--database", "shop", "--to-time", typed)
    assert refused.returncode == 1
    assert f"leads to {typed} UTC" in refused.stderr
    nearest = datetime.fromisoformat(moment_of(scene, scene.backups[0 if where == "before" else 2]))
    assert as_typed(nearest) in refused.stderr


@of_servers
def test_a_moment_that_clocks_show_twice_is_refused(scene: Scene) -> None:
    refused = scene.project.run(
        "restore", "--database", "shop", "--to-time", "2025-10-26 02:30:00", BACKUP_TIMEZONE="Europe/Berlin"
    )
    assert refused.returncode == 2
    assert "comes twice" in refused.stderr


@of_all
def test_a_damaged_link_shows_before_anything_is_changed(scene: Scene) -> None:
    damaged = scene.backups[1]
    artefact = scene.project.artefact(damaged)
    content = artefact.read_bytes()
    damage = bytearray(content)
    damage[len(damage) // 2] ^= 0xFF
    before = scene.rows(scene.shop)
    try:
        artefact.write_bytes(damage)
        refused = scene.project.run(
            "restore", "--database", "shop", "--to-time", moment_of(scene, scene.backups[2]), "--force"
        )
    finally:
        artefact.write_bytes(content)

    assert refused.returncode == 3, refused.stderr
    assert damaged in refused.stderr
    assert "is as it was" in refused.stderr
    assert scene.rows(scene.shop) == before


@of_all
def test_a_link_that_is_gone_is_named_and_nothing_is_rebuilt(scene: Scene) -> None:
    path = scene.project.manifest_path(scene.backups[1])
    kept = path.read_bytes()
    last = moment_of(scene, scene.backups[2])
    path.unlink()
    try:
        named = ("--database", "shop") if scene.other else ()
        for arguments in ([scene.backups[2], *named], ["--database", "shop", "--to-time", last]):
            refused = scene.project.run("restore", *arguments, "--test")
            assert refused.returncode == 1, refused.stderr
            assert "rebuilding" not in refused.stderr
        listed = scene.project.run("list", "--recovery", "--database", "shop")
        assert f"{scene.backups[1]} is gone" in listed.stdout
        assert scene.backups[1] in scene.project.run("restore", scene.backups[2], *named, "--test").stderr
    finally:
        path.write_bytes(kept)


def test_a_link_whose_file_is_gone_or_cut_ends_what_can_be_recovered(scenes: Scenes) -> None:
    scene = scenes[EngineName.SQLITE]
    artefact = scene.project.artefact(scene.backups[1])
    content = artefact.read_bytes()
    last = moment_of(scene, scene.backups[2])
    try:
        for what in (f"{artefact.name} has ", f"{artefact.name} is gone"):
            artefact.write_bytes(content[:-1]) if what.endswith("has ") else artefact.unlink()
            (listed,) = scene.project.json("list", "--recovery")["databases"]
            (window,) = listed["windows"]
            assert window["last_id"] == scene.backups[0]
            assert window["ended_by"].startswith(f"{scene.backups[1]} is damaged: {what}")
            refused = scene.project.run("restore", "--database", "shop", "--to-time", last, "--test")
            assert refused.returncode == 1
            assert "No backup of 'shop' leads to" in refused.stderr
    finally:
        artefact.write_bytes(content)


@of_servers
def test_the_windows_are_read_from_the_storage_alone(scene: Scene) -> None:
    broken = scene.project.folder / "no-catalogue"
    broken.write_text("this is no database")
    document = scene.project.json("list", "--recovery", BACKUP_CATALOG_PATH=str(broken), BACKUP_TIMEZONE=str(ZONE))

    found = {one["database"]: one for one in document["databases"]}
    assert document["timezone"] == str(ZONE)
    (window,) = found["shop"]["windows"]
    assert found["main"]["windows"] == found["shop"]["windows"]
    assert (found["shop"]["source"], found["shop"]["source_database"]) == ("main", scene.shop)
    assert (window["base_id"], window["last_id"], window["increments"]) == (scene.backups[0], scene.backups[2], 2)
    assert window["continuous"]
    assert window["first"] == moment_of(scene, scene.backups[0])
    assert datetime.fromisoformat(window["last_local"]) == datetime.fromisoformat(window["last"])
    assert window["last_local"].endswith("+05:45")
    shown = scene.project.run("list", "--recovery", "--database", "shop", BACKUP_CATALOG_PATH=str(broken)).stdout
    assert f"{scene.backups[0]} + 2 increments" in shown

    (unsure,) = scene.project.json("list", "--recovery", "--database", "shop", AIRFLOW_CONN_SHOP_DB="")["databases"]
    assert [one["base_id"] for one in unsure["windows"]] == [scene.backups[0]]
    assert unsure["note"].startswith("Whether 'main' holds it cannot be told: ")
    unknown = scene.project.run("list", "--recovery", "--database", "shpo")
    assert unknown.returncode == 2
    assert "Did you mean 'shop'?" in unknown.stderr


def test_a_rebuild_that_is_killed_leaves_nothing_once_the_next_has_begun(scenes: Scenes) -> None:
    scene = scenes[EngineName.MYSQL]
    arguments = ["restore", "--database", "shop", "--to-time", scene.between.isoformat(), "--test"]
    with subprocess.Popen(
        [sys.executable, "-m", "db_backup", *arguments],
        env=scene.project.environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as killed:
        assert killed.stderr is not None
        for line in killed.stderr:
            if line.startswith(b"taking "):
                break
        killed.kill()
    assert any(scene.project.scratch.iterdir()), "what was rebuilt lay there"
    assert_no_process_is_left(scene.project)

    done = scene.project.run(*arguments)

    assert done.returncode == 0, done.stderr
    assert list(scene.project.scratch.iterdir()) == []


def test_a_kit_is_enough_where_airflow_and_the_catalogue_are_gone(
    scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scenes[EngineName.MYSQL]
    monkeypatch.setattr(pyrage.passphrase, "encrypt", quick_age.encrypt)
    kit, passphrase = tmp_path / "shop.kit", tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    exported = scene.project.run("kit", "export", str(kit), "--passphrase-file", str(passphrase))
    assert exported.returncode == 0, exported.stderr
    elsewhere = Project(tmp_path / "elsewhere", {}, as_process=False)
    kept = {name: value for name, value in elsewhere.environment.items() if not name.startswith(("BACKUP_", "AIRFLOW"))}
    elsewhere.environment = {**kept, "HOME": str(tmp_path), "BACKUP_SCRATCH_PATH": str(elsewhere.scratch)}
    by_kit = ("--kit", str(kit), "--passphrase-file", str(passphrase))

    with scene.new_database() as name:
        listed = elsewhere.run(*by_kit, "list", "--recovery", "--database", "shop")
        assert scene.backups[0] in listed.stdout, listed.stderr
        moment = scene.between.isoformat()
        done = elsewhere.run(*by_kit, "restore", "--database", "shop", "--to-time", moment, "--as", name)
        assert done.returncode == 0, done.stderr
        assert scene.rows(name) == [102, 112]
        assert "A binlog tells whole seconds" in done.stderr


def test_a_file_goes_back_to_its_last_backup_before_the_moment_and_says_so(scenes: Scenes) -> None:
    scene = scenes[EngineName.SQLITE]
    with scene.new_database() as name:
        done = scene.project.run(
            "restore", "--database", "shop", "--to-time", scene.written[1][0].isoformat(), "--as", name
        )
        assert done.returncode == 0, done.stderr
        assert scene.rows(name) == [102]
        assert "what was written from then to the moment asked for is not in it" in done.stderr
    (listed,) = scene.project.json("list", "--recovery")["databases"]
    (window,) = listed["windows"]
    assert window["moments"] == [moment_of(scene, backup) for backup in scene.backups[:3]]
    assert not window["continuous"]


def test_the_full_of_a_database_that_its_server_s_chain_holds_too_is_restored_to_its_moment_by_its_name(
    scenes: Scenes,
) -> None:
    """As ``backup_restore`` does it, which carries out by the name of what its plan has found."""
    project = scenes[EngineName.MYSQL].project
    (full,) = project.json("create", "shop", "--type", "full", "--no-cleanup", "--no-verify")["backups"]
    for named in ([full["id"]], [full["id"], "--database", "shop"]):
        done = project.json("restore", *named, "--to-time", full["recovery_point"], "--test")
        assert done["backup_id"] == full["id"]
    refused = project.run("restore", full["id"], "--database", "main", "--to-time", full["recovery_point"], "--test")
    assert refused.returncode == 2
    assert "is a backup of 'shop', not of 'main'" in refused.stderr


@of_servers
def test_a_chain_goes_on_after_a_restore_in_place_and_holds_that_too(scene: Scene) -> None:
    """One of the last two: it goes on with the chain."""
    moment = moment_of(scene, scene.backups[1])
    scene.project.json("restore", "--database", "shop", "--to-time", moment, "--force", "--no-safety-backup")
    scene.write(115)
    end = scene.back_up("incremental")
    assert end["type"] == "incremental"
    with scene.new_database() as name:
        scene.project.json("restore", end["id"], "--database", "shop", "--as", name)
        assert scene.rows(name) == scene.rows(scene.shop) == [102, 115]


@of_servers
def test_history_that_is_lost_leaves_a_gap_that_the_windows_show(scene: Scene) -> None:
    """The last of them: it goes on with another chain."""
    last = scene.backups[-1]
    lose_history(scene)
    made = scene.back_up("incremental")

    assert made["type"] == "full"
    reason = made["warnings"][0]
    assert reason.startswith("A full was made instead")
    scene.write(120)
    scene.back_up("incremental")
    listed = scene.project.json("list", "--recovery", "--database", "shop")["databases"][0]
    assert [window["base_id"] for window in listed["windows"]] == [scene.backups[0], made["id"]]
    (gap,) = listed["gaps"]
    assert gap["after"] == moment_of(scene, last)
    assert gap["before"] == moment_of(scene, made["id"])
    assert reason.removesuffix(".") in gap["reason"]
    shown = scene.project.run("list", "--recovery", "--database", "shop").stdout
    assert f"because {gap['reason']}." in shown
    assert "nothing" in shown
    in_gap = datetime.fromisoformat(gap["after"]) + timedelta(microseconds=1000)
    refused = scene.project.run("restore", "--database", "shop", "--to-time", in_gap.isoformat(), "--test")
    assert refused.returncode == 1
    assert "before it" in refused.stderr
    assert "after it" in refused.stderr
    with scene.new_database() as name:
        moment = moment_of(scene, scene.backups[-1])
        scene.project.json("restore", "--database", "shop", "--to-time", moment, "--as", name)
        assert scene.rows(name)[-1] == 120


def lose_history(scene: Scene) -> None:
    if isinstance(scene.lab, MysqlLab):
        server = scene.lab.server
        server.run("FLUSH BINARY LOGS")
        deadline = time.monotonic() + 30
        while len(server.run("SHOW BINARY LOGS")) > 1:  # the file before is kept until a checkpoint was written
            assert time.monotonic() < deadline
            (status,) = server.run("SHOW MASTER STATUS")
            server.run(f"PURGE BINARY LOGS TO '{status[0]}'")
            time.sleep(0.05)
    elif isinstance(scene.lab, PostgresLab):
        scene.lab.server.run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def as_typed(moment: datetime, zone: ZoneInfo | None = None) -> str:
    """To the second, in a zone that is not told."""
    return moment.astimezone(zone or UTC).strftime("%Y-%m-%d %H:%M:%S")
