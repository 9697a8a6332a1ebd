"""What every test may use: one real server of each kind for the whole session, and the engine labs over them."""

from __future__ import annotations

import compileall
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    "conformance.chain_contract",
    "conformance.codec_contract",
    "conformance.engine_contract",
    "conformance.object_storage_contract",
    "conformance.restore_contract",
    "conformance.storage_contract",
    "support.chain_lab",
    "support.chains",
    "support.dumps",
)

import db_backup  # noqa: E402
from db_backup.model import EngineName  # noqa: E402
from support import azurite_server as azurite_support  # noqa: E402
from support import mysql_server as mysql_support  # noqa: E402
from support import properties, quick_tools  # noqa: E402
from support.azurite_server import AzuriteServer  # noqa: E402
from support.gcs_server import GcsServer  # noqa: E402
from support.lab import EngineLab  # noqa: E402
from support.lab_mysql import MysqlLab  # noqa: E402
from support.lab_postgres import PostgresDirectoryLab, PostgresLab, PostgresTarLab  # noqa: E402
from support.lab_sqlite import CompactedSqliteLab, SqliteLab  # noqa: E402
from support.moto_server import S3Server  # noqa: E402
from support.mysql_server import MariaDbServer  # noqa: E402
from support.places import choose_temporary_folder  # noqa: E402
from support.postgres_server import PostgresServer, postgres_server  # noqa: E402

__all__ = ["postgres_server"]

quick_tools.put_first(choose_temporary_folder())
properties.settle()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background with Ctrl-C ignored, and every child of ours would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the project once: where PYTHONDONTWRITEBYTECODE is set, every process of a test would do it again."""
    if not hasattr(config, "workerinput"):  # once, not in each of pytest-xdist's workers
        compileall.compile_dir(Path(db_backup.__file__).parent, quiet=2)


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MariaDbServer]:
    """One MariaDB without a binary log; every test makes databases of its own."""
    if reason := mysql_support.missing_binaries():
        pytest.skip(reason)
    with MariaDbServer.start() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One moto; every test makes buckets of its own."""
    with S3Server.start() as server:
        yield server


@pytest.fixture(scope="session")
def given_s3_server() -> Iterator[S3Server]:
    """Another S3, which the environment names."""
    with S3Server.given() as server:
        yield server


@pytest.fixture(scope="session")
def azurite_server() -> Iterator[AzuriteServer]:
    """One Azurite; every test makes containers of its own."""
    if reason := azurite_support.missing_program():
        pytest.skip(reason)
    with AzuriteServer.start() as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GcsServer]:
    """One Google Cloud Storage of our own; every test makes buckets of its own."""
    with GcsServer.start() as server:
        yield server


@pytest.fixture
def real_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are set up by the tools that this machine's ``PATH`` leads to."""
    monkeypatch.setenv("PATH", quick_tools.real_path())


@pytest.fixture(scope="session")
def lab_folder() -> Iterator[Path]:
    """For labs: unlike pytest's own folders, unprivileged servers can pass through it."""
    with tempfile.TemporaryDirectory(prefix="labs-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that takes everything temporary; unprivileged servers can pass through it."""
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "temporary").mkdir(mode=0o1777)
        (folder / "temporary").chmod(0o1777)
        monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
        yield folder


@pytest.fixture(scope="session")
def sqlite_lab(lab_folder: Path) -> SqliteLab:
    return SqliteLab(_subfolder(lab_folder, "sqlite"))


@pytest.fixture(scope="session")
def compacted_sqlite_lab(lab_folder: Path) -> CompactedSqliteLab:
    return CompactedSqliteLab(_subfolder(lab_folder, "compacted-sqlite"))


@pytest.fixture(scope="session")
def postgres_lab(lab_folder: Path, postgres_server: PostgresServer) -> PostgresLab:
    return PostgresLab(_subfolder(lab_folder, "postgres"), postgres_server)


@pytest.fixture(scope="session")
def postgres_tar_lab(lab_folder: Path, postgres_server: PostgresServer) -> PostgresTarLab:
    return PostgresTarLab(_subfolder(lab_folder, "postgres-tar"), postgres_server)


@pytest.fixture(scope="session")
def postgres_directory_lab(lab_folder: Path, postgres_server: PostgresServer) -> PostgresDirectoryLab:
    return PostgresDirectoryLab(_subfolder(lab_folder, "postgres-directory"), postgres_server)


@pytest.fixture(scope="session")
def mysql_lab(lab_folder: Path, mysql_server: MariaDbServer) -> MysqlLab:
    return MysqlLab(_subfolder(lab_folder, "mysql"), mysql_server)


@pytest.fixture(scope="session")
def labs(sqlite_lab: SqliteLab, mysql_lab: MysqlLab, postgres_lab: PostgresLab) -> dict[EngineName, EngineLab]:
    return {lab.engine_name: lab for lab in (sqlite_lab, mysql_lab, postgres_lab)}


def _subfolder(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir(mode=0o755)
    return path
