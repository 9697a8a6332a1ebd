"""A throwaway real PostgreSQL for tests: its own data folder and port, an unprivileged user, passwords, always stopped.

with PostgresServer.start() as server:
    server.run("CREATE DATABASE shop")
    connection = server.connection("shop")
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db_backup.engines.scratch_home import unprivileged_user
from db_backup.model import ConnectionInfo, EngineName
from support import processes
from support.ports import free_port

START_SECONDS = 60
SUPERUSER = "postgres"


def binaries() -> Path | None:
    """The newest installed server's programs, or None."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    with_server = [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]
    return with_server[-1] if with_server else None


def missing_binaries() -> str:
    """Why no server can be started here; empty when one can. For ``pytest.mark.skipif``."""
    return "" if binaries() is not None else "needs a PostgreSQL server (Debian package postgresql)"


@dataclass
class PostgresServer:
    """One running server; ``password`` opens its superuser over TCP."""

    folder: Path
    bin: Path
    port: int
    password: str = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)

    @classmethod
    @contextmanager
    def start(cls, *, bin_folder: Path | None = None, options: Sequence[str] = ()) -> Iterator[PostgresServer]:
        """A new, empty server on a free port of 127.0.0.1.

        :param bin_folder: another version's programs.
        :param options: more options of ``postgres``.
        """
        programs = bin_folder or binaries()
        assert programs is not None, missing_binaries()
        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        user = unprivileged_user("postgres", "nobody")
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        server = None
        try:
            password = secrets.token_hex(8) + " :'\\\"=$"  # what passfiles, conninfo strings and SQL trip over
            _initialise(folder, programs, user, password)
            server = cls._launch(folder, programs, user, password, options)
            yield server
        finally:
            if server is not None:
                server.stop()
            shutil.rmtree(folder)

    @contextmanager
    def standby(self) -> Iterator[PostgresServer]:
        """A streaming replica of this server, caught up."""
        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        user = unprivileged_user("postgres", "nobody")
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        replica = None
        try:
            subprocess.run(
                [str(self.bin / "pg_basebackup"), "-D", str(folder / "data"), "-c", "fast", "-X", "stream", "-R"],
                env={**os.environ, **self.environment()},
                check=True,
                **_as_user(user),
            )
            replica = self._launch(folder, self.bin, user, self.password, ())
            yield replica
        finally:
            if replica is not None:
                replica.stop()
            shutil.rmtree(folder)

    @classmethod
    def _launch(
        cls, folder: Path, programs: Path, user: pwd.struct_passwd | None, password: str, options: Sequence[str]
    ) -> PostgresServer:
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "full_page_writes": "off",
            "timezone": "Asia/Kathmandu",  # neither UTC nor this machine's
        }
        process = subprocess.Popen(
            [
                str(programs / "postgres"),
                *("-D", str(folder / "data")),
                *("-p", str(port)),
                *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
                *options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=(folder / "log").open("wb"),
            start_new_session=True,
            **_as_user(user),
        )
        server = cls(folder, programs, port, password, process)
        server._wait_until_ready()
        return server

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with self.connect():
                    return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    log = (self.folder / "log").read_text(errors="replace")[-2000:]
                    self.stop()
                    raise AssertionError(f"PostgreSQL did not start:\n{log}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop it at once: the data folder goes with it. A second call does nothing."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        """After ``stop``: the same data, the same port."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.process.args,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                **_as_user(unprivileged_user("postgres", "nobody")),
            )
        self._wait_until_ready()

    def freeze(self) -> None:
        """All its processes stand still; connections stay open and say nothing."""
        processes.signal_all(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        processes.signal_all(self.process.pid, signal.SIGCONT)

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """A connection as the superuser (or as ``user=``, ``password=``), autocommitting."""
        account = {"user": SUPERUSER, "password": self.password, "autocommit": True, **options}
        return psycopg.connect(host="127.0.0.1", port=self.port, dbname=database, **account)

    def run(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run the statements as the superuser; the rows of the last one, if it has any."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def create_database(self, *script: str, options: str = "") -> str:
        """A new database under a name of its own, in which the statements were run."""
        name = f"test_{secrets.token_hex(4)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
        if script:
            self.run(*script, database=name)
        return name

    def run_script(self, script: Path, database: str = "postgres") -> None:
        """Feed a file to ``psql``."""
        subprocess.run(
            [str(self.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", str(script)],
            env={**os.environ, **self.environment()},
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def environment(self) -> dict[str, str]:
        """With which the stock tools reach this server."""
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": SUPERUSER, "PGPASSWORD": self.password}

    def connection(
        self,
        database: str,
        *,
        user: str = SUPERUSER,
        password: str | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> ConnectionInfo:
        return ConnectionInfo(
            conn_id="test_postgres",
            engine=EngineName.POSTGRES,
            host="127.0.0.1",
            port=self.port,
            login=user,
            password=self.password if password is None else password,
            database=database,
            extra=extra or {},
        )

    def create_user(self, attributes: str = "") -> tuple[str, str]:
        """A new role that may log in: its name and password."""
        name, password = f"user_{secrets.token_hex(4)}", secrets.token_hex(8)
        self.run(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' {attributes}")
        return name, password


def _initialise(folder: Path, programs: Path, user: pwd.struct_passwd | None, password: str) -> None:
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o644)
    subprocess.run(
        [
            str(programs / "initdb"),
            *("-D", str(folder / "data")),
            *("-U", SUPERUSER),
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        **_as_user(user),
    )
    secret.unlink()


def _as_user(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"} if user else {"cwd": "/"}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the whole session; every test makes databases of its own."""
    if reason := missing_binaries():
        pytest.skip(reason)
    with PostgresServer.start() as server:
        yield server
