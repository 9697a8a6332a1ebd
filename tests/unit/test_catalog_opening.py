"""Opening the catalogue: made where there is none, refused with a reason where it cannot be used."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event

from db_backup.catalog import BackupQuery, Catalog, sqlite, tables
from db_backup.catalog.sqlite import open_sqlite, refuse_network_folder
from db_backup.errors import CatalogError, ConfigurationError
from support.factories import make_manifest, make_state

pytestmark = pytest.mark.unit

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:45 / /mnt/team rw,relatime shared:7 - nfs4 server:/team rw,vers=4.2
31 22 0:46 / /mnt/with\\040space rw - cifs //server/share rw
32 22 0:47 / /run rw,nosuid - tmpfs tmpfs rw
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "catalog.sqlite"


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def sql(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as database:
        rows = [row for statement in statements for row in database.execute(statement).fetchall()]
    database.close()
    return rows


def test_a_new_catalogue_is_private_to_its_user_and_group_whatever_the_umask(path: Path, strict_umask: None) -> None:
    with Catalog.open(path) as catalog:
        manifest = make_manifest()
        catalog.record(manifest, make_state(manifest))

    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


def test_files_that_sqlite_adds_are_as_private(path: Path) -> None:
    with Catalog.open(path):
        held = sqlite3.connect(path)
        held.execute("SELECT count(*) FROM backups").fetchone()
        beside = [file for file in path.parent.iterdir() if file != path]
        assert {stat.S_IMODE(file.stat().st_mode) for file in beside} == {0o640}
        held.close()


def test_a_folder_that_exists_keeps_its_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    Catalog.open(tmp_path / "catalog.sqlite").close()

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_what_is_recorded_is_there_after_opening_again(path: Path) -> None:
    manifest = make_manifest()
    with Catalog.open(path) as catalog:
        catalog.record(manifest, make_state(manifest))

    with Catalog.open(path) as catalog:
        assert [item.id for item in catalog.page(BackupQuery()).items] == [manifest.id]


def test_closing_twice_is_no_error(path: Path) -> None:
    catalog = Catalog.open(path)
    catalog.close()
    catalog.close()


def test_it_is_written_ahead_and_durably(path: Path) -> None:
    Catalog.open(path).close()
    with open_sqlite(path).connect() as opened:
        settings = {
            name: opened.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }

    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_the_migrations_make_exactly_the_tables_of_the_code(path: Path) -> None:
    Catalog.open(path).close()
    with open_sqlite(path).connect() as opened:
        differences = compare_metadata(MigrationContext.configure(opened), tables.metadata)

    assert differences == []


def test_the_schema_that_the_code_expects_is_the_newest_migration() -> None:
    scripts = ScriptDirectory(str(Path(tables.__file__).parent / "migrations"))

    assert scripts.get_current_head() == tables.SCHEMA


def test_a_catalogue_of_a_newer_program_is_refused_and_left_alone(path: Path) -> None:
    Catalog.open(path).close()
    sql(path, "UPDATE alembic_version SET version_num = '0999'")

    with pytest.raises(CatalogError, match=f"schema 0999; this program knows schemas up to {tables.SCHEMA}") as refusal:
        Catalog.open(path)

    assert "newer" in refusal.value.hint
    assert sql(path, "SELECT version_num FROM alembic_version") == [("0999",)]


@pytest.mark.parametrize(
    "others",
    [
        ["CREATE TABLE orders (id)"],
        ["CREATE TABLE alembic_version (version_num)", "INSERT INTO alembic_version VALUES ('29ce7909c52b')"],
        ["CREATE TABLE alembic_version (version_num)", "INSERT INTO alembic_version VALUES ('0001')"],
        ["CREATE TABLE alembic_version (version_num)"],
    ],
    ids=["a shop's", "airflow's", "another alembic project's", "an empty alembic project's"],
)
def test_somebody_elses_database_is_refused_and_left_alone(path: Path, others: list[str]) -> None:
    path.parent.mkdir()
    sql(path, *others)
    before = sql(path, "SELECT name FROM sqlite_master ORDER BY 1")

    with pytest.raises(CatalogError, match="not a catalogue") as refusal:
        Catalog.open(path)

    assert "BACKUP_CATALOG_PATH" in refusal.value.hint
    assert sql(path, "SELECT name FROM sqlite_master ORDER BY 1") == before


def test_a_file_that_is_no_database_is_called_damaged_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all, but long enough to have a header of its own. " * 20)
    before = path.read_bytes()

    with pytest.raises(CatalogError, match="damaged") as refusal:
        Catalog.open(path)

    assert refusal.value.hint == "Delete it and run `db-backup catalog reindex`."
    assert path.read_bytes() == before


def test_a_catalogue_that_was_overwritten_in_the_middle_is_called_damaged(path: Path) -> None:
    with Catalog.open(path) as catalog:
        catalog.replace_index((make_manifest(serial=n), make_state(make_manifest(serial=n))) for n in range(1, 200))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))

    with pytest.raises(CatalogError, match="damaged") as refusal, Catalog.open(path) as catalog:
        catalog.page(BackupQuery())

    assert "catalog reindex" in refusal.value.hint


def test_a_folder_that_cannot_be_made_is_named_with_the_setting() -> None:
    with pytest.raises(CatalogError, match=r"/proc/nowhere/catalog\.sqlite cannot be opened") as refusal:
        Catalog.open(Path("/proc/nowhere/catalog.sqlite"))

    assert "BACKUP_CATALOG_PATH" in refusal.value.hint


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for path in (tmp_path / "file" / "catalog.sqlite", tmp_path / "file" / "deep" / "catalog.sqlite"):
        with pytest.raises(ConfigurationError, match=r"PATH leads through .*/file, which is not a folder"):
            Catalog.open(path)


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be written"):
        Catalog.open(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_this_user_cannot_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "roots"
    folder.mkdir(mode=0o755)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        with pytest.raises(CatalogError, match="Permission denied") as refusal:
            Catalog.open(folder / "catalog.sqlite")
    finally:
        os.seteuid(0)
    assert "Let this user write" in refusal.value.hint


def test_a_full_disk_is_called_by_its_name(path: Path) -> None:
    with Catalog.open(path) as catalog:
        pages = sql(path, "PRAGMA page_count")[0][0]

        def with_no_room(opened: sqlite3.Connection, _record: object) -> None:
            opened.execute(f"PRAGMA max_page_count = {pages}")

        event.listen(catalog._database._place.engine, "connect", with_no_room)
        with pytest.raises(CatalogError, match="No room is left"):
            catalog.replace_index((make_manifest(serial=n), make_state(make_manifest(serial=n))) for n in range(1, 200))
        assert list(catalog.ids()) == []


@pytest.mark.parametrize(("device", "filesystem"), [((0, 45), "nfs4"), ((0, 46), "cifs")])
def test_a_network_folder_is_refused(device: tuple[int, int], filesystem: str) -> None:
    with pytest.raises(CatalogError, match=f"network filesystem \\({filesystem}\\)") as refusal:
        refuse_network_folder(Path("/mnt/team/c.sqlite"), MOUNTS, os.makedev(*device))

    assert "disk of this machine" in refusal.value.hint


@pytest.mark.parametrize("device", [(8, 1), (0, 47), (9, 9)])
def test_a_local_folder_is_not(device: tuple[int, int]) -> None:
    refuse_network_folder(Path("/srv/c.sqlite"), MOUNTS, os.makedev(*device))


def test_opening_looks_at_the_mounts_of_this_machine(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"30 22 {os.major(device)}:{os.minor(device)} / {tmp_path} rw - nfs server:/x rw\n")
    monkeypatch.setattr(sqlite, "_MOUNTS", mounts)

    with pytest.raises(CatalogError, match="network filesystem"):
        Catalog.open(path)
    assert not path.exists()


def test_opening_a_catalogue_that_is_up_to_date_loads_no_migrations(path: Path) -> None:
    Catalog.open(path).close()
    program = """
import sys
from pathlib import Path
from db_backup.catalog import BackupQuery, Catalog
with Catalog.open(Path(sys.argv[1])) as catalog:
    catalog.page(BackupQuery())
print([name for name in ("alembic", "airflow", "sqlalchemy.orm", "mako") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


def test_making_the_catalogue_says_nothing_of_alembic(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Under `airflow backup` the root logger writes to the terminal, from INFO on."""
    caplog.set_level("INFO")
    Catalog.open(path).close()
    assert [record.name for record in caplog.records if record.name.startswith("alembic")] == []
