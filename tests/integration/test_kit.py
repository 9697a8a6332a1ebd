"""`db-backup kit` and `--kit`: exported where Airflow still runs, used where nothing else is left."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyrage
import pytest
import yaml

from db_backup.jobs.kit import Kit, open_by_kit
from db_backup.model import ConnectionInfo, EngineName
from db_backup.stream.process import child_environment
from support import quick_age
from support.lab_postgres import PostgresLab
from support.moto_server import S3Server
from support.project import Project, connection_variable
from support.shop_database import sqlite_database
from support.terminal import TerminalSession

pytestmark = pytest.mark.integration

PASSPHRASE = "correct horse battery staple"
PASSWORD = "s3cret pa'ss\\word#$"


@pytest.fixture(autouse=True)
def quick_sealing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files as age makes them, without its work factor; they are opened by the real thing."""
    monkeypatch.setattr(pyrage.passphrase, "encrypt", quick_age.encrypt)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)
    with_replica(made)
    (made.folder / "passphrase").write_text(f"{PASSPHRASE}\n")
    return made


def with_replica(project: Project) -> None:
    """A second entry, whose server nobody asks: with a password, a replica, and a certificate that lies here."""
    certificate = project.folder / "ca.pem"
    certificate.write_text("certificate")
    for name, host in (("CRM_DB", "primary"), ("CRM_REPLICA", "replica")):
        info = ConnectionInfo(
            name, EngineName.POSTGRES, host, 5432, "app", PASSWORD, "crm", {"sslrootcert": str(certificate)}
        )
        project.environment[f"AIRFLOW_CONN_{name}"] = connection_variable(info)
    document = yaml.safe_load(project.config.read_text())
    document["databases"]["crm"] = {"conn_id": "crm_db", "read_conn_id": "crm_replica"}
    project.config.write_text(f"# Ours\n{yaml.safe_dump(document)}")


def export(project: Project, *options: str) -> Path:
    done = project.run("kit", "export", "shop.kit", "--passphrase-file", "passphrase", *options)
    assert done.returncode == 0, done.stderr
    return project.folder / "shop.kit"


def elsewhere(project: Project, tmp_path: Path) -> Project:
    """The same command line where none of the project's settings and connections are: a clean HOME and no Airflow."""
    home = tmp_path / "home"
    home.mkdir()
    other = Project(tmp_path / "elsewhere", {}, as_process=False)
    kept = {name: value for name, value in other.environment.items() if not name.startswith(("BACKUP_", "AIRFLOW"))}
    other.environment = {**kept, "HOME": str(home)}
    shutil.copy(project.folder / "passphrase", other.folder)
    shutil.copy(project.folder / "shop.kit", other.folder)
    return other


def with_kit(project: Project, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return project.run("--kit", "shop.kit", "--passphrase-file", "passphrase", *arguments, **environment)


def assert_no_secret(project: Project, *texts: str) -> None:
    """In what was printed, in the audit trail, the catalogue and the storage."""
    files = [path for path in (*project.storage.rglob("*"), *project.folder.glob("catalog*")) if path.is_file()]
    for content in (*(text.encode() for text in texts), *(path.read_bytes() for path in files)):
        for secret in (PASSWORD, json.dumps(PASSWORD)[1:-1], PASSPHRASE):
            assert secret.encode() not in content


def test_a_kit_is_private_and_tells_what_is_in_it_without_a_secret(project: Project) -> None:
    report = project.json("kit", "export", "shop.kit", "--passphrase-file", "passphrase")

    kit = project.folder / "shop.kit"
    assert report["path"] == str(kit)
    assert report["connections"] == ["crm_db", "crm_replica", "shop_db"]
    assert "BACKUP_LOCAL_PATH" in report["settings"]
    assert "BACKUP_CONFIG" not in report["settings"]
    assert report["keys"] == []
    assert any("ca.pem" in warning for warning in report["warnings"])
    assert stat.S_IMODE(kit.stat().st_mode) == 0o600
    assert sorted(path.name for path in project.folder.glob(".*")) == []
    assert_no_secret(project, json.dumps(report))


def test_an_existing_file_is_replaced_only_by_force(project: Project) -> None:
    before = export(project).read_bytes()

    refused = project.run("kit", "export", "shop.kit", "--passphrase-file", "passphrase")
    assert refused.returncode == 4
    assert "--force" in refused.stderr
    assert (project.folder / "shop.kit").read_bytes() == before
    assert export(project, "--force").read_bytes() != before


def test_export_and_import_are_in_the_audit_trail(project: Project, tmp_path: Path) -> None:
    project.json("create", "shop")
    export(project)
    project.run("kit", "export", "shop.kit", "--passphrase-file", "passphrase")

    acts = [(act["act"], act["outcome"]) for act in project.json("audit")["acts"] if act["act"] == "kit_export"]
    assert acts == [
        ("kit_export", "refused"),
        ("kit_export", "started"),
        ("kit_export", "done"),
        ("kit_export", "started"),
    ]
    target = tmp_path / "import"
    project.run("kit", "import", "shop.kit", "--into", str(target), "--passphrase-file", "passphrase")
    trail = "".join(path.read_text() for path in (project.storage / "audit").iterdir())
    done = [json.loads(line)["act"] for line in trail.splitlines() if json.loads(line)["outcome"] == "done"]
    assert [act for act in done if act.startswith("kit")] == ["kit_export", "kit_import"]
    assert_no_secret(project, trail)


def test_a_connection_that_is_not_there_is_named_and_no_kit_is_written(project: Project) -> None:
    del project.environment["AIRFLOW_CONN_CRM_REPLICA"]

    done = project.run("kit", "export", "shop.kit", "--passphrase-file", "passphrase")

    assert done.returncode == 2
    assert "'crm_replica'" in done.stderr
    assert not (project.folder / "shop.kit").exists()
    assert_no_secret(project, done.stdout, done.stderr)


@pytest.mark.parametrize("value", [f"postgres://app:{PASSWORD}@[primary", f'{{"password": "{PASSWORD}"', PASSWORD])
def test_a_connection_that_makes_no_sense_is_named_without_a_piece_of_it(project: Project, value: str) -> None:
    project.environment["AIRFLOW_CONN_CRM_DB"] = value
    done = project.run("kit", "export", "shop.kit", "--passphrase-file", "passphrase")
    assert done.returncode == 2
    assert "CRM_DB" in done.stderr
    assert_no_secret(project, done.stdout, done.stderr)


def test_connections_that_differ_in_capitals_alone_are_refused(project: Project) -> None:
    project.config.write_text("databases: {a: {conn_id: shop_db}, b: {conn_id: SHOP_DB}}\n")
    done = project.run("kit", "export", "shop.kit", "--passphrase-file", "passphrase")
    assert done.returncode == 2
    assert "'shop_db' and 'SHOP_DB'" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"), [("short\n", "12 at least"), ("\n", "no passphrase"), ("", "no passphrase")]
)
def test_a_passphrase_that_will_not_do_is_refused(project: Project, content: str, words: str) -> None:
    (project.folder / "passphrase").write_text(content)
    done = project.run("kit", "export", "shop.kit", "--passphrase-file", "passphrase")
    assert done.returncode == 2
    assert words in done.stderr
    assert not (project.folder / "shop.kit").exists()


def test_nobody_is_asked_where_there_is_no_terminal(project: Project) -> None:
    done = project.run_process([sys.executable, "-m", "db_backup", "kit", "export", "shop.kit"])
    assert done.returncode == 2
    assert "--passphrase-file" in done.stderr


def test_a_kit_restores_where_nothing_else_is_left(project: Project, tmp_path: Path) -> None:
    backup = project.json("create", "shop")["backups"][0]["id"]
    export(project)
    (project.folder / "catalog.sqlite").unlink()
    other = elsewhere(project, tmp_path)

    listed = with_kit(other, "list", "--json")
    assert [item["id"] for item in json.loads(listed.stdout)["backups"]] == [backup]
    shown = with_kit(other, "databases", "--json")
    assert [item["conn_id"] for item in json.loads(shown.stdout)["databases"]] == ["crm_db", "shop_db"]
    restored = with_kit(other, "restore", backup, "--as", str(tmp_path / "copy.sqlite"), "--json")
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["differences"] == []
    with sqlite3.connect(tmp_path / "copy.sqlite") as copy:
        assert copy.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,)
    copy.close()
    assert with_kit(other, "download", backup, "-o", str(tmp_path / "dump")).returncode == 0
    assert with_kit(other, "verify", "--latest", "--level", "checksum").returncode == 0


def test_a_kit_leaves_no_secret_behind(project: Project, tmp_path: Path) -> None:
    backup = project.json("create", "shop")["backups"][0]["id"]
    export(project)
    other = elsewhere(project, tmp_path)

    done = with_kit(other, "restore", backup, "--as", str(tmp_path / "copy.sqlite"))

    assert done.returncode == 0
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path != other.folder / "passphrase"]
    left.remove(project.folder / "passphrase")
    for path in left:
        content = path.read_bytes()
        assert PASSPHRASE.encode() not in content, path
        assert PASSWORD.encode() not in content, path
        assert json.dumps(PASSWORD)[1:-1].encode() not in content, path
    assert_no_secret(project, done.stdout, done.stderr)


def test_the_environment_wins_over_the_kit(project: Project, tmp_path: Path) -> None:
    project.json("create", "shop")
    export(project)
    other = elsewhere(project, tmp_path)
    copy = tmp_path / "copy of the storage"
    shutil.copytree(project.storage, copy)
    shutil.rmtree(project.storage)

    gone = with_kit(other, "list")
    assert gone.returncode == 1
    assert str(project.storage) in gone.stderr
    assert len(json.loads(with_kit(other, "list", "--json", BACKUP_LOCAL_PATH=str(copy)).stdout)["backups"]) == 1


def test_a_catalogue_that_others_share_is_left_as_it_is(project: Project, tmp_path: Path) -> None:
    export(project)
    known = project.json("create", "shop")["backups"][0]["id"]
    kit_of_another = elsewhere(project, tmp_path)
    shutil.rmtree(project.storage / "metadata")

    listed = with_kit(kit_of_another, "list", "--json", BACKUP_CATALOG_PATH=str(project.catalog))

    assert [item["id"] for item in json.loads(listed.stdout)["backups"]] == [known]


def test_a_kit_is_used_without_a_trace_in_the_environment(project: Project, tmp_path: Path) -> None:
    before = dict(os.environ)
    kit = Kit.unseal(export(project).read_bytes(), PASSPHRASE, source="shop.kit")

    with open_by_kit(kit, indexed=True, own={"AIRFLOW_HOME": str(tmp_path / "home")}) as workspace:
        assert workspace.connection("crm_db").password == PASSWORD
        assert dict(os.environ) == before
        seen = subprocess.run(["env"], env=child_environment(), capture_output=True, text=True, check=True).stdout
    assert "AIRFLOW_CONN" not in seen
    assert PASSWORD not in seen


@pytest.mark.parametrize("command", [["create"], ["health"], ["kit", "export", "x"], ["cleanup"]])
def test_commands_that_need_more_than_a_kit_refuse_it(project: Project, command: Sequence[str]) -> None:
    (project.folder / "shop.kit").write_text("")
    done = with_kit(project, *command)
    assert done.returncode == 2
    assert "does not take --kit" in done.stderr


def test_a_wrong_passphrase_ends_with_1_and_shows_nothing(project: Project) -> None:
    export(project)
    (project.folder / "passphrase").write_text("another horse battery\n")
    done = with_kit(project, "list")
    assert done.returncode == 1
    assert "passphrase does not open" in done.stderr
    assert "another horse" not in done.stderr


def test_a_kit_that_is_not_there_is_told_before_anybody_types(project: Project) -> None:
    done = project.run("--kit", "nowhere.kit", "list")
    assert done.returncode == 2
    assert "nowhere.kit cannot be read" in done.stderr


def test_an_imported_kit_is_the_same_configuration(project: Project, tmp_path: Path) -> None:
    project.json("create", "shop")
    project.environment["BACKUP_RETENTION_DAYS"] = "45"
    export(project)
    other = elsewhere(project, tmp_path)
    root = tmp_path / "root"

    done = other.run("kit", "import", "shop.kit", "--into", str(root), "--passphrase-file", "passphrase")

    assert done.returncode == 0, done.stderr
    assert (root / "include" / "backup.yaml").read_text() == project.config.read_text()
    assert stat.S_IMODE((root / ".env").stat().st_mode) == 0o600
    assert_no_secret(project, done.stdout, done.stderr)
    program = """
import json, os, sys
from pathlib import Path
from db_backup.config import load_config
from db_backup.connections import resolve_connection
from db_backup.settings import load_settings
root = Path(sys.argv[1])
settings = load_settings(root=root)
crm = resolve_connection("crm_replica", root=root)
print(json.dumps([settings.backup_retention_days, list(load_config(settings).entries), crm.password, crm.host]))
"""
    read = other.run_process([sys.executable, "-c", program, str(root)])
    assert json.loads(read.stdout) == [45, ["crm", "shop"], PASSWORD, "replica"], read.stderr


def test_an_import_overwrites_nothing(project: Project, tmp_path: Path) -> None:
    export(project)
    root = tmp_path / "root"
    (root / "include").mkdir(parents=True)
    (root / "include" / "backup.yaml").write_text("mine")

    done = project.run("kit", "import", "shop.kit", "--into", str(root), "--passphrase-file", "passphrase")

    assert done.returncode == 4
    assert "exists already" in done.stderr
    assert [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()] == ["include/backup.yaml"]
    assert (root / "include" / "backup.yaml").read_text() == "mine"


def test_health_says_how_old_the_newest_kit_is(project: Project) -> None:
    project.config.write_text("databases: {shop: {conn_id: shop_db}}\n")
    project.json("create", "shop")

    def standing() -> tuple[str, str]:
        (entry,) = project.json("health")["databases"]
        (control,) = [item for item in entry["controls"] if item["name"] == "break-glass kit"]
        return control["result"], control["evidence"]

    assert standing()[0] == "warning"
    export(project)
    result, evidence = standing()
    assert (result, "still the same" in evidence) == ("pass", True)
    project.config.write_text("databases: {shop: {conn_id: shop_db, owner: anna}}\n")
    result, evidence = standing()
    assert (result, "has changed since" in evidence) == ("warning", True)


def test_the_demo_needs_no_kit(tmp_path: Path) -> None:
    from db_backup.jobs.health_report import health_report
    from db_backup.jobs.workspace import Workspace

    demo = {"AIRFLOW_HOME": str(tmp_path), "BACKUP_LOCAL_PATH": str(tmp_path / "backups")}
    with Workspace.open(demo) as workspace:
        if workspace.config.path is not None:
            pytest.skip("this checkout has an include/backup.yaml of its own")
        (entry,) = health_report(workspace).databases
    assert [item.result.value for item in entry.controls if item.name == "break-glass kit"] == ["not_applicable"]


@pytest.fixture
def clean_account() -> Iterator[CleanAccount]:
    """Its home lies outside of pytest's folders, which are closed to others than the user of the tests."""
    if os.getuid() != 0:
        pytest.skip("only root can run a program as another user")
    with tempfile.TemporaryDirectory(prefix="clean-account-") as name:
        account = CleanAccount(Path(name))
        account.home.mkdir(mode=0o700)
        os.chown(account.home, account.user_id, account.user_id)
        account.folder.chmod(0o755)
        yield account


class CleanAccount:
    """A user id that nothing here belongs to, with an empty home.

    It can write at ``home`` alone; ``folder``, around it, is for what it may read.
    """

    user_id = 54_321

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`db-backup ARGUMENTS` with no more in its environment than a login gives."""
        return subprocess.run(
            [self._python(), "-m", "db_backup", *arguments],
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(_packages())},
            cwd=self.home,
            user=self.user_id,
            group=self.user_id,
            extra_groups=[],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _python(self) -> str:
        """Ours, or the system's where ours lies in root's own home."""
        wanted = f"import sys; assert sys.version_info[:2] == {sys.version_info[:2]}"
        for program in (sys.executable, "/usr/bin/python3"):
            try:
                subprocess.run(
                    [program, "-c", wanted], user=self.user_id, group=self.user_id, extra_groups=[], cwd="/", check=True
                )
            except (OSError, subprocess.CalledProcessError):
                continue
            return program
        pytest.skip(f"no Python {sys.version_info[:2]} that others than root can run")


def _packages() -> list[str]:
    return [str(Path(__file__).parents[2] / "plugins"), sysconfig.get_path("purelib")]


def test_a_clean_account_restores_with_the_kit_its_passphrase_and_the_storage(
    clean_account: CleanAccount, tmp_path: Path, postgres_lab: PostgresLab
) -> None:
    database = postgres_lab.create_sample()
    project = Project(tmp_path / "project", {"crm": postgres_lab.connection(database)}, as_process=False)
    backup = project.json("create", "crm")["backups"][0]["id"]
    (project.folder / "passphrase").write_text(f"{PASSPHRASE}\n")
    storage = clean_account.folder / "storage"
    kit = clean_account.folder / "shop.kit"
    shutil.move(project.storage, storage)
    project.environment["BACKUP_LOCAL_PATH"] = str(storage)
    shutil.move(export(project), kit)
    os.chown(kit, clean_account.user_id, clean_account.user_id)
    shutil.rmtree(project.folder)
    for path in storage.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    storage.chmod(0o755)
    before = {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()}
    copy = postgres_lab.fresh_name()

    unlocked = ["--kit", str(kit), "--passphrase-file", "-"]
    done = clean_account.run(*unlocked, "restore", backup, "--as", copy, "--json", stdin=f"{PASSPHRASE}\n")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["differences"] == []
    assert postgres_lab.counts(copy) == postgres_lab.counts(database)
    assert "audit trail lacks this act" in done.stderr
    assert {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()} == before
    listed = clean_account.run(*unlocked, "list", "--json", stdin=f"{PASSPHRASE}\n")
    assert [item["id"] for item in json.loads(listed.stdout)["backups"]] == [backup]
    password = postgres_lab.connection(database).password
    left = [path for path in clean_account.home.rglob("*") if path.is_file()]
    for content in (done.stdout.encode(), done.stderr.encode(), *(path.read_bytes() for path in left)):
        assert password.encode() not in content
        assert PASSPHRASE.encode() not in content


def test_a_passphrase_is_typed_twice_and_never_shown(project: Project) -> None:
    command = [sys.executable, "-m", "db_backup", "kit", "export", str(project.folder / "typed.kit"), "--json"]
    with TerminalSession(command, project.environment) as session:
        for attempt in ("a slip of the finger", PASSPHRASE):
            session.wait_for("Passphrase of the kit: ")
            session.type(f"{PASSPHRASE}\n")
            session.wait_for("Repeat for confirmation: ")
            session.type(f"{attempt}\n")
        code, out = session.finish()
        assert PASSPHRASE not in session.screen + session.written
    assert code == 0
    assert json.loads(out)["connections"] == ["crm_db", "crm_replica", "shop_db"]


class TestKeysOfStorages:
    """The connection of an object storage is in the kit, also where only its usual id stands for it."""

    @pytest.fixture
    def in_s3(self, project: Project, s3_server: S3Server) -> Project:
        project.environment |= {
            "BACKUP_CLOUD_URL": f"s3://{s3_server.new_bucket()}/db",
            "AIRFLOW_CONN_AWS_DEFAULT": aws_connection(s3_server),
        }
        return project

    def test_backups_in_a_bucket_are_found_and_restored_elsewhere(self, in_s3: Project, tmp_path: Path) -> None:
        (backup,) = in_s3.json("create", "shop", "--storage", "s3", "--no-verify")["backups"]
        report = in_s3.json("kit", "export", "shop.kit", "--passphrase-file", "passphrase")
        assert "aws_default" in report["connections"]
        assert not [warning for warning in report["warnings"] if "storage" in warning]

        other = elsewhere(in_s3, tmp_path)
        target = tmp_path / "rescued.sqlite"
        done = with_kit(other, "restore", backup["id"], "--as", str(target))
        assert done.returncode == 0, done.stderr
        assert target.exists()

    def test_an_imported_kit_needs_no_airflow_to_reach_the_bucket(self, in_s3: Project, tmp_path: Path) -> None:
        (backup,) = in_s3.json("create", "shop", "--storage", "s3", "--no-verify")["backups"]
        export(in_s3)
        variables = Kit.unseal((in_s3.folder / "shop.kit").read_bytes(), PASSPHRASE, source="shop.kit").variables()
        other = elsewhere(in_s3, tmp_path)
        (other.folder / "backup.yaml").write_text(in_s3.config.read_text())
        own = {"BACKUP_CONFIG": str(other.folder / "backup.yaml"), "AIRFLOW_HOME": str(other.folder)}
        other.environment |= variables | own | {"BACKUP_CATALOG_PATH": str(other.folder / "catalogue.sqlite")}
        other.run("catalog", "reindex")
        assert [found["id"] for found in other.json("list")["backups"]] == [backup["id"]]

    def test_a_connection_that_is_named_and_nowhere_lets_no_kit_be_made(self, project: Project) -> None:
        configure_storages(project, vault={"url": "s3://bucket/db", "conn_id": "vault_conn"})
        done = project.run("kit", "export", "shop.kit", "--passphrase-file", "passphrase")
        assert done.returncode == 2
        assert "There is no connection 'vault_conn'" in done.stderr
        assert not (project.folder / "shop.kit").exists()

    @pytest.mark.parametrize("fields", [None, {"conn_type": "aws", "extra": {"region_name": "eu-central-1"}}])
    def test_credentials_that_are_the_machines_own_are_told_to_be_missing(
        self, project: Project, fields: dict[str, object] | None
    ) -> None:
        configure_storages(project, vault={"url": "s3://bucket/db"})
        if fields is not None:
            project.environment["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(fields)
        report = project.json("kit", "export", "shop.kit", "--passphrase-file", "passphrase")
        (told,) = [warning for warning in report["warnings"] if "vault" in warning]
        assert "set AIRFLOW_CONN_AWS_DEFAULT to a connection with credentials" in told
        assert ("aws_default" in report["connections"]) == (fields is not None)

    def test_the_file_of_a_key_is_told_to_be_missing(self, project: Project) -> None:
        configure_storages(project, vault={"url": "gs://bucket/db"})
        key = project.folder / "key.json"
        key.write_text("{}")
        fields = {"conn_type": "google_cloud_platform", "extra": {"key_path": str(key)}}
        project.environment["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"] = json.dumps(fields)
        report = project.json("kit", "export", "shop.kit", "--passphrase-file", "passphrase")
        assert any(f"names {key} (key_path)" in warning for warning in report["warnings"])


def aws_connection(server: S3Server) -> str:
    extra = {"endpoint_url": server.endpoint, "region_name": server.region}
    return json.dumps({"conn_type": "aws", "login": server.key_id, "password": server.secret, "extra": extra})


def configure_storages(project: Project, **storages: dict[str, str]) -> None:
    document = yaml.safe_load(project.config.read_text())
    project.config.write_text(yaml.safe_dump({**document, "storages": storages}))
