"""What breaks at the source while a dump runs: its tool, its server, its tables."""

from __future__ import annotations

import json
import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from db_backup.encryption.key_file import generate_secret
from db_backup.model import EngineName
from support.aftermath import assert_all_is_well, failure_of
from support.encrypted import put_key
from support.forks import Command, Forks
from support.gate import Gate
from support.lab import EngineLab
from support.lab_mysql import MysqlLab
from support.lab_postgres import PostgresLab
from support.mysql_server import MariaDbServer
from support.mysql_server import missing_binaries as missing_mysql
from support.postgres_server import PostgresServer
from support.postgres_server import missing_binaries as missing_postgres
from support.project import Project

pytestmark = pytest.mark.integration

WITH_A_TOOL = [EngineName.POSTGRES, EngineName.MYSQL]
FILLER_MEGABYTES = 12


@dataclass
class MidDump:
    """A `create` whose dump stands in the middle of its largest table."""

    lab: EngineLab
    database: str
    project: Project
    earlier: str
    gate: Gate
    command: Command
    tool: int

    def end(self) -> int:
        """Let the dump go on to whatever end; the command's exit code."""
        self.gate.open()
        return self.command.wait()

    def failure(self) -> dict[str, str]:
        """It ended with exit code 1; what it said of the database."""
        assert self.end() == 1, self.command.said
        document = self.command.said[self.command.said.index("{") : self.command.said.rindex("\n}") + 2]
        return failure_of(json.loads(document), entry="shop")

    def assert_all_is_well(self) -> str:
        return assert_all_is_well(self.project, entry="shop", earlier=[self.earlier])


@contextmanager
def in_the_middle(
    lab: EngineLab, folder: Path, make_project: Callable[..., Project], forks: Forks, **environment: str
) -> Iterator[MidDump]:
    database = lab.create_sample()
    lab.fill(database, FILLER_MEGABYTES)
    project = make_project(shop=lab.connection(database))
    (earlier,) = project.json("create", "shop", "--no-verify")["backups"]
    gate = Gate(folder / "gate", lab)
    command = forks.start(project, "create", "shop", "--no-verify", "--json", PATH=gate.path, **environment)
    try:
        tool = gate.wait_until_reached()
        yield MidDump(lab, database, project, earlier["id"], gate, command, tool)
    finally:
        gate.open()
        command.wait()
        lab.drop(database)


@pytest.mark.parametrize(("engine", "encrypt"), [*((engine, "false") for engine in WITH_A_TOOL), ("mysql", "true")])
def test_a_dump_tool_killed_in_mid_stream_fails_the_backup(
    labs: dict[EngineName, EngineLab],
    engine: EngineName,
    encrypt: str,
    tmp_path: Path,
    make_project: Callable[..., Project],
    forks: Forks,
) -> None:
    put_key(tmp_path / "keys", generate_secret("default"))
    encryption = {"BACKUP_ENCRYPT": encrypt, "BACKUP_KEYS_PATH": str(tmp_path / "keys")}
    with in_the_middle(labs[EngineName(engine)], tmp_path, make_project, forks, **encryption) as dump:
        os.kill(dump.tool, signal.SIGKILL)
        failure = dump.failure()
        assert str(labs[EngineName(engine)].dump_tool) in failure["error"]
        assert not [name for name in dump.project.files() if ".enc" in name]
        dump.assert_all_is_well()


@pytest.fixture(params=WITH_A_TOOL)
def own_lab(request: pytest.FixtureRequest, lab_folder: Path) -> Iterator[EngineLab]:
    """Over a server that no other test uses."""
    folder = lab_folder / f"own-{request.param}"
    folder.mkdir(mode=0o755, exist_ok=True)
    if reason := {EngineName.POSTGRES: missing_postgres, EngineName.MYSQL: missing_mysql}[request.param]():
        pytest.skip(reason)
    if request.param is EngineName.POSTGRES:
        with PostgresServer.start() as postgres:
            yield PostgresLab(folder, postgres)
    else:
        with MariaDbServer.start() as mariadb:
            yield MysqlLab(folder, mariadb)


def test_a_server_that_crashes_in_the_middle_of_the_dump_fails_the_backup(
    own_lab: PostgresLab | MysqlLab, tmp_path: Path, make_project: Callable[..., Project], forks: Forks
) -> None:
    with in_the_middle(own_lab, tmp_path, make_project, forks) as dump:
        own_lab.server.stop()
        failure = dump.failure()
        assert "shop" in failure["error"]
        own_lab.server.start_again()
        dump.assert_all_is_well()


def test_a_server_that_freezes_in_the_middle_of_the_dump_is_given_up_at_the_time_limit(
    own_lab: PostgresLab | MysqlLab, tmp_path: Path, make_project: Callable[..., Project], forks: Forks
) -> None:
    with in_the_middle(own_lab, tmp_path, make_project, forks, BACKUP_TIMEOUT_SECONDS="4") as dump:
        own_lab.server.freeze()
        try:
            failure = dump.failure()
        finally:
            own_lab.server.thaw()
        assert "BACKUP_TIMEOUT_SECONDS" in failure["error"]
        dump.assert_all_is_well()


def test_a_question_that_waits_for_a_lock_is_given_up_at_the_time_limit(
    postgres_lab: PostgresLab, make_project: Callable[..., Project]
) -> None:
    """Before there is a dump tool to kill."""
    database = postgres_lab.create_sample()
    project = make_project(shop=postgres_lab.connection(database))
    with postgres_lab.server.connect(database) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE pg_catalog.pg_trigger")
        done = project.run("create", "shop", "--no-verify", "--json", BACKUP_TIMEOUT_SECONDS="2")
    assert done.returncode == 1
    assert "BACKUP_TIMEOUT_SECONDS" in failure_of(json.loads(done.stdout), entry="shop")["error"]
    assert project.json("create", "shop", "--no-verify")["failed"] == []
    postgres_lab.drop(database)


def test_one_dump_tool_of_several_that_fails_is_enough(
    postgres_lab: PostgresLab, tmp_path: Path, make_project: Callable[..., Project]
) -> None:
    """The others have hours of work before them."""
    tool = tmp_path / "pg_dump"
    tool.write_text(
        "#!/bin/bash\n"
        'case "$*" in *--version*) ;; *--section=data*) sleep 1000000;; '
        "*--section=post-data*) echo 'fake: out of memory' >&2; exit 1;; esac\n"
        f'exec {shlex.quote(str(postgres_lab.real_dump_tool()))} "$@"\n'
    )
    tool.chmod(0o755)
    project = make_project(shop=postgres_lab.connection(postgres_lab.create_sample()))

    document = project.json(
        *("create", "shop", "--jobs", "2"),
        exit_code=1,
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        BACKUP_TIMEOUT_SECONDS="20",
    )

    assert "out of memory" in failure_of(document, entry="shop")["error"]
    assert_all_is_well(project, entry="shop", earlier=[])


@pytest.mark.parametrize("engine", WITH_A_TOOL)
def test_a_table_dropped_during_the_dump_is_held_back_until_its_end(
    labs: dict[EngineName, EngineLab],
    engine: EngineName,
    tmp_path: Path,
    make_project: Callable[..., Project],
    forks: Forks,
) -> None:
    lab = labs[engine]
    with in_the_middle(lab, tmp_path, make_project, forks) as dump:
        dropping = threading.Thread(target=lab.execute, args=(dump.database, "DROP TABLE marks"))
        dropping.start()
        dropping.join(1)
        assert dropping.is_alive()
        assert dump.end() == 0, dump.command.said
        dropping.join()
        assert lab.table("marks") not in lab.counts(dump.database)
        (newest, _) = dump.project.json("list")["backups"]
        tables = {table["name"]: table["rows"] for table in dump.project.manifest(newest["id"])["inventory"]["tables"]}
        assert tables[lab.table("marks")] == 3
        dump.assert_all_is_well()


def test_a_table_dropped_where_nothing_may_hold_it_back_fails_the_backup(
    mysql_lab: MysqlLab, tmp_path: Path, make_project: Callable[..., Project], forks: Forks
) -> None:
    """A user without RELOAD cannot block DDL; mariadb-dump then meets a table that its snapshot does not have."""
    server = mysql_lab.server

    class Modest(MysqlLab):
        def connection(self, database: str) -> object:  # type: ignore[override]
            password = server.create_user(
                "modest", f"SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON {database}.*", "SELECT ON mysql.*"
            )
            return server.connection(database, user="modest", password=password)

    with in_the_middle(Modest(mysql_lab.folder, server), tmp_path, make_project, forks) as dump:
        server.run("DROP TABLE marks", database=dump.database)
        assert "marks" in dump.failure()["error"]
        dump.assert_all_is_well()


def test_tables_dropped_while_an_sqlite_image_is_taken_are_in_it_or_not_at_all(
    labs: dict[EngineName, EngineLab], make_project: Callable[..., Project], forks: Forks
) -> None:
    lab = labs[EngineName.SQLITE]
    database = lab.create_sample()
    lab.fill(database, FILLER_MEGABYTES)
    project = make_project(shop=lab.connection(database))
    (earlier,) = project.json("create", "shop", "--no-verify")["backups"]
    command = forks.start(project, "create", "shop", "--json")
    for _ in range(50):
        lab.execute(database, "DROP TABLE marks", "CREATE TABLE marks (id integer, word text)")
    assert command.wait() == 0, command.said
    assert_all_is_well(project, entry="shop", earlier=[earlier["id"]])
    lab.drop(database)
