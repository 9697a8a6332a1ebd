"""The private MariaDB of a proof: what it may do, and when there is none."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from db_backup.comparison import compare
from db_backup.engines.mysql import MysqlEngine, open_scratch
from db_backup.engines.mysql.connecting import connect, query
from db_backup.errors import ScratchUnavailable
from db_backup.manifest import ServerInfo
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation
from support import processes
from support.dumps import blocks, dump_of, load
from support.lab_mysql import MysqlLab
from support.mysql_server import MariaDbServer, missing_binaries

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(missing_binaries()), reason=missing_binaries()),
    pytest.mark.usefixtures("real_setup"),
]

PLUGINS = Path(__file__).parents[2] / "plugins"
MARIADB = ServerInfo(engine=EngineName.MYSQL, flavour="MariaDB", version="10.11.6", encoding="latin1")


@pytest.fixture
def folder(mysql_lab: MysqlLab) -> Path:
    return mysql_lab.options.scratch_path


def test_it_listens_nowhere_runs_as_nobody_special_and_touches_no_files(folder: Path) -> None:
    with open_scratch(MARIADB, folder, Cancellation()) as connection:
        session = connect(connection)
        ((networking, local_infile, files, events, binlog, charset, pid_file),) = query(
            session,
            "SELECT @@skip_networking, @@local_infile, @@secure_file_priv, @@event_scheduler, @@log_bin, "
            "@@character_set_server, @@pid_file",
        )
        assert (networking, local_infile, events, binlog, charset) == (1, 0, "OFF", 0, "latin1")
        assert str(files).startswith(str(folder))
        socket_folder = Path(str(connection.extra["unix_socket"])).parent
        assert socket_folder.stat().st_mode & 0o077 == 0
        status = Path(f"/proc/{Path(str(pid_file)).read_text().strip()}/status").read_text()
        assert "\nUid:\t0\t" not in status
        session.close()
    assert not list(folder.iterdir())


def test_definers_that_only_the_source_has_work_there(mysql_server: MariaDbServer, mysql_lab: MysqlLab) -> None:
    database = mysql_lab.create_sample()
    mysql_server.create_user("app", f"ALL ON {database}.*")
    mysql_server.run(
        "CREATE DEFINER = app@'%' VIEW of_app AS SELECT * FROM marks",
        "CREATE DEFINER = app@'%' FUNCTION one() RETURNS int DETERMINISTIC RETURN 1",
        "CREATE DEFINER = app@'%' VIEW a_first AS SELECT id, one() AS one FROM of_app",
        database=database,
    )
    source = MysqlEngine(mysql_lab.connection(database), mysql_lab.options)
    dumped = dump_of(source)
    with open_scratch(dumped.manifest.server, mysql_lab.options.scratch_path, Cancellation()) as scratch:
        target = load(MysqlEngine(scratch, source.options), database, dumped)
        assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
    mysql_lab.drop(database)


def test_two_at_once_keep_out_of_each_others_way(folder: Path) -> None:
    with (
        open_scratch(MARIADB, folder, Cancellation()) as first,
        open_scratch(MARIADB, folder, Cancellation()) as second,
    ):
        assert first.extra["unix_socket"] != second.extra["unix_socket"]
        for connection in (first, second):
            connect(connection).close()


def test_when_we_are_killed_the_server_dies_and_the_next_one_sweeps(folder: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from db_backup.engines.mysql import open_scratch\n"
        "from db_backup.manifest import ServerInfo\n"
        "from db_backup.progress import Cancellation\n"
        "server = ServerInfo.model_validate_json(sys.argv[1])\n"
        "with open_scratch(server, Path(sys.argv[2]), Cancellation()) as scratch:\n"
        "    print(next(Path(sys.argv[2]).glob('*/pid')).read_text(), flush=True)\n"
        "    time.sleep(1000)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, MARIADB.model_dump_json(), str(folder)],
        env={**os.environ, "PYTHONPATH": str(PLUGINS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        server = int(child.stdout.readline())
        running = {process for process in processes.family() if process[0] == server}
        assert running
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert processes.still_alive(running) == set()

    (left,) = folder.iterdir()
    with open_scratch(MARIADB, folder, Cancellation()):
        assert not left.exists()


def test_a_folder_deeper_than_a_socket_may_lie_is_no_obstacle(folder: Path) -> None:
    deep = folder / ("x" * 100)
    deep.mkdir(mode=0o755)
    with open_scratch(MARIADB, deep, Cancellation()) as connection:
        connect(connection).close()
    assert not list(deep.iterdir())
    deep.rmdir()


@pytest.mark.parametrize(
    ("flavour", "version", "said"),
    [("MySQL", "8.0.36", "Scratch servers of MySQL"), ("MariaDB", "11.4.2", "no MariaDB 11.4 server")],
)
def test_another_flavour_or_major_version_is_unavailable(folder: Path, flavour: str, version: str, said: str) -> None:
    server = ServerInfo(engine=EngineName.MYSQL, flavour=flavour, version=version)
    with (
        pytest.raises(ScratchUnavailable, match=said) as caught,
        open_scratch(server, folder, Cancellation()),
    ):
        pytest.fail("there is no such server")
    assert caught.value.hint


def test_a_full_disk_is_said_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: real._replace(free=1 << 20))
    with (
        pytest.raises(ScratchUnavailable, match="1 MB are free"),
        open_scratch(MARIADB, folder, Cancellation()),
    ):
        pytest.fail("there is no room")
    assert not list(folder.iterdir())


def test_a_cancellation_ends_the_server(folder: Path) -> None:
    cancellation = Cancellation()
    with open_scratch(MARIADB, folder, cancellation) as connection:
        home = str(connection.extra["unix_socket"])
        cancellation.cancel("the test says so")
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert home not in running
    assert not list(folder.iterdir())


def test_a_server_that_is_killed_while_it_loads_proves_nothing(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, folder: Path
) -> None:
    database = mysql_lab.create_sample()
    mysql_lab.fill(database, 20)
    source = mysql_lab.engine(database)
    dumped = dump_of(source)
    with open_scratch(dumped.manifest.server, folder, Cancellation()) as connection:
        server = _server_process(connection)

        def killing() -> Iterator[bytes]:
            for number, block in enumerate(blocks(dumped.plain)):
                if number == 100:
                    os.kill(server, signal.SIGKILL)
                yield block

        target = MysqlEngine(connection, source.options).create_database(database)
        with pytest.raises(ScratchUnavailable, match="is full or has stopped") as caught:
            target.load([killing()], dumped.manifest, Cancellation())
        assert caught.value.hint
        with pytest.raises(ScratchUnavailable, match="is full or has stopped"):
            target.take_inventory(dumped.manifest, Cancellation())
    mysql_lab.drop(database)


@pytest.mark.parametrize("storage_engine", ["InnoDB", "MyISAM"])
def test_a_full_disk_while_it_loads_proves_nothing(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, small_disk: Path, storage_engine: str
) -> None:
    database = mysql_lab.create_empty()
    mysql_lab.fill(database, 20)
    mysql_server.run(f"ALTER TABLE filler ENGINE = {storage_engine}", database=database)
    source = mysql_lab.engine(database)
    dumped = dump_of(source)
    with open_scratch(dumped.manifest.server, small_disk, Cancellation()) as connection:
        target = MysqlEngine(connection, source.options).create_database(database)
        free = shutil.disk_usage(small_disk).free
        with (small_disk / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - (40 << 20))
        with pytest.raises(ScratchUnavailable, match="is full or has stopped"):
            target.load([blocks(dumped.plain)], dumped.manifest, Cancellation())
    mysql_lab.drop(database)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="disk-") as name:
        mount = ["mount", "-t", "tmpfs", "-o", "size=600m,mode=755", "tmpfs", name]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a small tmpfs")
        yield Path(name)
        subprocess.run(["umount", "--lazy", name], check=True)


def _server_process(connection: ConnectionInfo) -> int:
    session = connect(connection)
    ((pid_file,),) = query(session, "SELECT @@pid_file")
    session.close()
    return int(Path(str(pid_file)).read_text())
