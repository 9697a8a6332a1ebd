"""A throwaway real MariaDB for tests: its own data folder and port, an unprivileged user, always stopped.

with MariaDbServer.start(tmp_path_factory.mktemp("mariadb")) as server:
    server.run("CREATE DATABASE shop")
    connection = server.connection("shop")
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from db_backup.engines.scratch_home import unprivileged_user
from db_backup.model import ConnectionInfo, EngineName
from support.ports import free_port

START_SECONDS = 60
_PATIENCE_SECONDS = 60
_NO_SUCH_THREAD = 1094  # ER_NO_SUCH_THREAD
_LOCK_WAIT_TIMEOUT = 1205  # ER_LOCK_WAIT_TIMEOUT


def missing_binaries() -> str:
    """Why no server can be started here; empty when one can. For ``pytest.mark.skipif``."""
    absent = [name for name in ("mariadbd", "mariadb-install-db", "mariadb-dump") if _binary(name) is None]
    return f"needs {', '.join(absent)} (Debian package mariadb-server)" if absent else ""


def _binary(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


@dataclass
class MariaDbServer:
    """One running server. ``root_password`` opens ``root`` over TCP and over the socket."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    root_password: str = field(repr=False)

    @property
    def socket_path(self) -> Path:
        return self.folder / "s"

    @classmethod
    @contextmanager
    def start(cls, *, binlog: bool = False, options: Sequence[str] = ()) -> Iterator[MariaDbServer]:
        """A new, empty server.

        :param binlog: whether it writes a binary log (row format).
        :param options: more options of ``mariadbd``.
        """
        folder = Path(tempfile.mkdtemp(prefix="my-"))
        user = unprivileged_user("mysql", "nobody")
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        server = None
        try:
            _install(folder, user)
            server = cls._launch(folder, user, binlog, options)
            yield server
        finally:
            if server is not None:
                server.stop()
            shutil.rmtree(folder)

    @classmethod
    def _launch(
        cls, folder: Path, user: pwd.struct_passwd | None, binlog: bool, options: Sequence[str]
    ) -> MariaDbServer:
        password = secrets.token_hex(8) + " #'\"\\="  # what option files and SQL literals trip over
        port = free_port()
        setup = folder / "init.sql"
        secret = sql_text(password)
        setup.write_text(
            f"ALTER USER root@localhost IDENTIFIED BY {secret};\n"
            f"GRANT ALL ON *.* TO root@127.0.0.1 IDENTIFIED BY {secret} WITH GRANT OPTION;\n"
        )
        setup.chmod(0o644)
        binary = _binary("mariadbd")
        assert binary is not None
        process = subprocess.Popen(
            [
                binary,
                "--no-defaults",
                f"--datadir={folder / 'data'}",
                f"--socket={folder / 's'}",
                f"--pid-file={folder / 'pid'}",
                f"--tmpdir={folder}",  # a server that starts deletes the temporary tables of others in its own
                f"--port={port}",
                "--bind-address=127.0.0.1",
                f"--init-file={setup}",
                "--character-set-server=utf8mb4",
                "--innodb-flush-method=nosync",
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-buffer-pool-size=64M",
                "--skip-name-resolve",
                "--max-allowed-packet=64M",
                *(["--log-bin=bin", "--server-id=1", "--binlog-format=ROW"] if binlog else ["--skip-log-bin"]),
                *options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=(folder / "error.log").open("wb"),
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            start_new_session=True,
        )
        server = cls(folder, port, process, password)
        server._wait_until_ready()
        return server

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    pass
                with self.connect():
                    return
            except (OSError, pymysql.err.OperationalError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    log = (self.folder / "error.log").read_text(errors="replace")[-2000:]
                    self.stop()
                    raise AssertionError(f"MariaDB did not start:\n{log}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Kill it: the data folder goes with it. A second call does nothing."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def start_again(self) -> None:
        """After ``stop``: the same data, the same port."""
        user = unprivileged_user("mysql", "nobody")
        with (self.folder / "error.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.process.args,
                stdout=subprocess.DEVNULL,
                stderr=log,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
                start_new_session=True,
            )
        self._wait_until_ready()

    def freeze(self) -> None:
        """It stands still; connections stay open and say nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def holds_back(self, database: str, statement: str) -> bool:
        """Whether a session that waits for no lock is refused this one; otherwise it is done."""
        try:
            self.run("SET lock_wait_timeout = 0", statement, database=database)
        except pymysql.err.OperationalError as error:
            if error.args[0] != _LOCK_WAIT_TIMEOUT:
                raise
            return True
        return False

    def sessions(self, database: str, command: str = "%") -> list[int]:
        """Those that use this database, and are at this command, like "Sleep"."""
        found = self.run(
            f"SELECT id FROM information_schema.processlist WHERE db = '{database}' AND command LIKE '{command}'"
        )
        return [identity for (identity,) in found]

    def await_sessions(self, database: str, *expected: int) -> None:
        """Until no others use it: a server takes a moment to notice that a client has hung up."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (found := self.sessions(database)) != list(expected):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def kill(self, *sessions: int) -> None:
        """End these sessions; some may have ended since they were listed."""
        for session in sessions:
            try:
                self.run(f"KILL {session}")
            except pymysql.err.MySQLError as error:
                if error.args[0] != _NO_SUCH_THREAD:
                    raise

    def connect(self, database: str | None = None, **options: Any) -> pymysql.connections.Connection[Any]:
        """A connection as root (or as ``user=``, ``password=``), autocommitting."""
        account = {"user": "root", "password": self.root_password, "charset": "utf8mb4", "autocommit": True}
        return pymysql.connect(host="127.0.0.1", port=self.port, database=database, **{**account, **options})

    def run(self, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run the statements as root; the rows of the last one."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def run_script(self, script: str | bytes, database: str | None = None) -> None:
        """Feed a script to the ``mariadb`` client, ``DELIMITER`` and all."""
        with tempfile.NamedTemporaryFile("w", suffix=".cnf", encoding="utf-8") as options:
            options.write(self.option_file())
            options.flush()
            subprocess.run(
                [
                    "mariadb",
                    f"--defaults-extra-file={options.name}",
                    "--default-character-set=utf8mb4",
                    *([database] if database else []),
                ],
                input=script.encode() if isinstance(script, str) else script,
                check=True,
            )

    def option_file(self, user: str = "root", password: str | None = None) -> str:
        """The ``[client]`` section with which the stock tools reach this server."""
        secret = (self.root_password if password is None else password).replace("\\", "\\\\").replace('"', '\\"')
        return f'[client]\nhost=127.0.0.1\nport={self.port}\nuser={user}\npassword="{secret}"\n'

    def connection(
        self,
        database: str,
        *,
        user: str = "root",
        password: str | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> ConnectionInfo:
        return ConnectionInfo(
            conn_id="test_mysql",
            engine=EngineName.MYSQL,
            host="127.0.0.1",
            port=self.port,
            login=user,
            password=self.root_password if password is None else password,
            database=database,
            extra=extra or {},
        )

    def create_user(self, user: str, *grants: str) -> str:
        """A new user with these grants (``"SELECT ON shop.*"``); its password."""
        password = secrets.token_hex(8)
        self.run(
            f"CREATE OR REPLACE USER {user}@'%' IDENTIFIED BY '{password}'",
            *(f"GRANT {grant} TO {user}@'%'" for grant in grants),
        )
        return password


def sql_text(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _install(folder: Path, user: pwd.struct_passwd | None) -> None:
    tool = _binary("mariadb-install-db")
    assert tool is not None
    subprocess.run(
        [
            tool,
            "--no-defaults",
            f"--datadir={folder / 'data'}",
            f"--tmpdir={folder}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
    )
