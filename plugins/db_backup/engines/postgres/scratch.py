"""A private PostgreSQL server of the same major version, for as long as a proof needs it.

It runs as an unprivileged user in 0700 folders, listens on a socket in one of them only, and never syncs to disk. It is
stopped and removed however the block is left. When this process is killed, the kernel kills the server with it, and the
next scratch server removes the folders: a lock file that nobody holds says that they are nobody's.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from db_backup.engines.postgres import tools
from db_backup.engines.postgres.session import connected
from db_backup.engines.scratch_home import ids, scratch_home, unprivileged_user
from db_backup.errors import ScratchUnavailable, ToolError
from db_backup.manifest import ServerInfo
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess

_PURPOSE = "scratch-postgres"
_SUPERUSER = "postgres"
PORT = 5432  # names the socket's file only
NEEDED_BYTES = 256 << 20  # an empty cluster, its write-ahead log, and room to breathe
_START_SECONDS = 60
_STOP_SECONDS = 10
SETTINGS = {
    "cluster_name": "db-backup scratch",  # in process lists
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "20",
    "max_locks_per_transaction": "1024",
    "autovacuum": "off",
    "dynamic_shared_memory_type": "mmap",  # inside the folder: nothing of it stays behind in /dev/shm
    "timezone": "UTC",
}


@contextmanager
def open_scratch(server: ServerInfo, folder: Path, cancellation: Cancellation) -> Iterator[ConnectionInfo]:
    """A new server, empty but for ``template1``, to which the connection leads as superuser.

    :param server: whose major version and encoding it gets.
    :param folder: where its own folder is made; the unprivileged user must be able to enter it.
    :raises ScratchUnavailable: no server of that version is installed, there is no room, or it does not start.
    """
    try:
        initdb, postgres = (tools.find(name, server.major) for name in ("initdb", "postgres"))
    except ToolError as error:
        raise ScratchUnavailable(
            f"There is no PostgreSQL {server.major} server on this machine for a scratch restore: {error.message}",
            hint=error.hint,
        ) from error
    user = unprivileged_user("postgres", "nobody")
    with scratch_home(
        folder, user, purpose=_PURPOSE, longest_socket_name=f".s.PGSQL.{PORT}.lock", needed_bytes=NEEDED_BYTES
    ) as home:
        _initialise(initdb, home, server, user, cancellation)
        with running(postgres, home, user, cancellation) as process:
            connection = ConnectionInfo(
                conn_id="scratch",
                engine=EngineName.POSTGRES,
                host=str((home / "socket").resolve()),
                port=PORT,
                login=_SUPERUSER,
                database="template1",
                scratch=True,
            )
            _wait_until_ready(process, connection, cancellation)
            yield connection


def _initialise(
    initdb: tools.Tool, home: Path, server: ServerInfo, user: pwd.struct_passwd | None, cancellation: Cancellation
) -> None:
    """With the source's encoding and locale; where this machine lacks the locale, with its encoding and "C"."""
    encoding = server.encoding or "UTF8"
    collation, character_type = server.collation or "C", server.character_type or "C"
    complaint = ""
    for collate, ctype in dict.fromkeys([(collation, character_type), ("C", "C")]):
        arguments = [
            str(initdb.path),
            f"--pgdata={home / 'data'}",
            f"--username={_SUPERUSER}",
            "--auth=trust",  # the socket lies in a folder that only this user can enter
            f"--encoding={encoding}",
            f"--lc-collate={collate}",
            f"--lc-ctype={ctype}",
            "--no-locale" if collate == "C" else "--lc-messages=C",
            "--no-sync",
        ]
        with ChildProcess(arguments, cancellation=cancellation, stdout=False, user=ids(user), cwd=home) as process:
            if process.wait() == 0:
                return
            cancellation.check()
            complaint = process.last_words
    raise ScratchUnavailable(
        f"A scratch server could not be set up in {home.parent}: {complaint}.",
        hint="Mend what initdb names, or set BACKUP_SCRATCH_PATH to another place.",
    )


@contextmanager
def running(
    postgres: tools.Tool,
    home: Path,
    user: pwd.struct_passwd | None,
    cancellation: Cancellation,
    settings: Mapping[str, str] = SETTINGS,
) -> Iterator[ChildProcess]:
    """The server of ``home / "data"`` while the block runs, at ``home / "socket"``; stopped at once, its shared memory
    given back, also on cancellation."""
    arguments = [
        *(str(postgres.path), "-D", str(home / "data"), "-p", str(PORT)),
        *options({**settings, "unix_socket_directories": str((home / "socket").resolve())}),
    ]
    # Its own Cancellation: SIGKILL, which ChildProcess sends, would leave shared memory behind.
    with ChildProcess(arguments, cancellation=Cancellation(), stdout=False, user=ids(user), cwd=home) as process:

        def stop() -> None:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGQUIT)

        try:
            with cancellation.on_cancel(stop):
                yield process
        finally:
            stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)


def options(settings: Mapping[str, str]) -> list[str]:
    """Settings as ``postgres`` takes them."""
    return [word for name, text in settings.items() for word in ("-c", f"{name}={text}")]


def _wait_until_ready(process: ChildProcess, connection: ConnectionInfo, cancellation: Cancellation) -> None:
    """Until it answers; then every name but the templates' is free for the database to restore."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with connected(connection) as link:
                link.execute("DROP DATABASE postgres")
        except ScratchUnavailable as error:
            cancellation.check()  # a stop ends the server
            if process.poll() is not None or time.monotonic() > deadline:
                raise ScratchUnavailable(
                    f"The scratch server did not start: {process.last_words or error.message}",
                    hint="Mend what it names, or set BACKUP_SCRATCH_PATH to another place.",
                ) from error
            time.sleep(0.05)
        else:
            return
