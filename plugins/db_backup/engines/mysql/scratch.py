"""A private MariaDB server of the same major version, for as long as a proof needs it.

It runs as an unprivileged user in 0700 folders, listens on a socket in one of them only, runs no events, reads and
writes no files for SQL, and never syncs to disk. It is killed and removed however the block is left; when this process
is killed, the kernel kills the server with it.
"""

from __future__ import annotations

import pwd
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from db_backup.engines.mysql.connecting import connect
from db_backup.engines.mysql.flavour import Flavour, Tool, inspect_tool
from db_backup.engines.scratch_home import ids, scratch_home, unprivileged_user
from db_backup.errors import AccessDenied, ScratchUnavailable, ServerUnreachable
from db_backup.manifest import ServerInfo
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess

_PURPOSE = "scratch-mysql"
_SERVER_FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/libexec:/usr/local/mysql/bin"
_NEEDED_BYTES = 512 << 20  # an empty data folder, its logs, and room to breathe
_START_SECONDS = 60
_PAGE_SIZE = "--innodb-page-size="  # which is settled when the server is set up


@contextmanager
def open_scratch(
    server: ServerInfo, folder: Path, cancellation: Cancellation, options: Sequence[str] = ()
) -> Iterator[ConnectionInfo]:
    """A new server without user databases, to which the connection leads with every right.

    :param server: whose flavour, major version and default character set it gets.
    :param folder: where its own folder is made; the unprivileged user must be able to enter it.
    :param options: more of the server's.
    :raises ScratchUnavailable: no server of that kind is installed, there is no room, or it does not start.
    """
    binary = _find_server(server)
    user = unprivileged_user("mysql", "nobody")
    with scratch_home(folder, user, purpose=_PURPOSE, longest_socket_name="s", needed_bytes=_NEEDED_BYTES) as home:
        _initialise(home, user, cancellation, [option for option in options if option.startswith(_PAGE_SIZE)])
        arguments = [*_server_arguments(binary, home, server), *options]
        with ChildProcess(arguments, cancellation=cancellation, stdout=False, user=ids(user), cwd=home) as process:
            connection = ConnectionInfo(
                conn_id="scratch",
                engine=EngineName.MYSQL,
                host="localhost",
                login="root",
                extra={"unix_socket": str(_socket(home))},
                scratch=True,
            )
            _wait_until_ready(process, connection, cancellation)
            yield connection


def _find(name: str) -> Path | None:
    path = shutil.which(name) or shutil.which(name, path=_SERVER_FOLDERS)
    return Path(path) if path else None


def _find_server(server: ServerInfo) -> Tool:
    if server.flavour != Flavour.MARIADB:
        raise ScratchUnavailable(
            f"Scratch servers of {server.flavour} are not there yet.",
            hint="Prove this backup by restoring it to a server of your own.",
        )
    path = _find("mariadbd") or _find("mysqld")
    tool = inspect_tool(path) if path is not None else None
    if tool is None or tool.flavour is not Flavour.MARIADB or tool.version[:2] != _series(server):
        found = f"; {tool.path} is {tool.flavour} {tool.info.version}" if tool else ""
        raise ScratchUnavailable(
            f"There is no MariaDB {server.major} server on this machine for a scratch restore{found}.",
            hint=f"Install the package mariadb-server of release {server.major}; its service need not run.",
        )
    return tool


def _series(server: ServerInfo) -> tuple[int, ...]:
    return tuple(int(piece) for piece in server.major.split("."))


def _socket(home: Path) -> Path:
    return (home / "socket").resolve() / "s"


def _initialise(home: Path, user: pwd.struct_passwd | None, cancellation: Cancellation, options: Sequence[str]) -> None:
    tool = _find("mariadb-install-db") or _find("mysql_install_db")
    if tool is None:
        raise ScratchUnavailable(
            "mariadb-install-db, which sets a scratch server up, is not installed on this machine.",
            hint="Install the package mariadb-server; its service need not run.",
        )
    arguments = [
        str(tool),
        "--no-defaults",
        f"--datadir={home / 'data'}",
        f"--tmpdir={home}",
        "--auth-root-authentication-method=normal",  # no password: the socket lies in a folder of this user's alone
        "--skip-test-db",
        "--skip-log-bin",
        "--innodb-flush-method=nosync",
        "--innodb-log-file-size=16M",
        *options,
    ]
    with ChildProcess(arguments, cancellation=cancellation, stdout=False, user=ids(user), cwd=home) as process:
        if process.wait() == 0:
            return
        cancellation.check()
        raise ScratchUnavailable(
            f"A scratch server could not be set up in {home.parent}: {process.last_words}",
            hint="Mend what mariadb-install-db names, or set BACKUP_SCRATCH_PATH to another place.",
        )


def _server_arguments(binary: Tool, home: Path, server: ServerInfo) -> list[str]:
    return [
        str(binary.path),
        "--no-defaults",
        f"--datadir={home / 'data'}",
        f"--socket={_socket(home)}",
        f"--pid-file={home / 'pid'}",
        f"--tmpdir={home}",
        "--skip-networking",
        "--skip-log-bin",
        "--event-scheduler=OFF",  # DISABLED, which --skip-grant-tables implies, refuses CREATE EVENT (1577)
        "--local-infile=0",
        f"--secure-file-priv={home / 'data'}",
        "--innodb-doublewrite=0",
        "--innodb-flush-method=nosync",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-log-file-size=256M",
        "--innodb-buffer-pool-size=256M",
        "--max-allowed-packet=1G",
        "--skip-name-resolve",
        *([f"--character-set-server={server.encoding}"] if server.encoding else []),
        *([f"--collation-server={server.collation}"] if server.collation else []),
    ]


def _wait_until_ready(process: ChildProcess, connection: ConnectionInfo, cancellation: Cancellation) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        cancellation.check()
        try:
            connect(connection).close()
        except (ServerUnreachable, AccessDenied) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise ScratchUnavailable(
                    f"The scratch server did not start: {process.last_words or error.message}",
                    hint="Mend what it names, or set BACKUP_SCRATCH_PATH to another place.",
                ) from error
            time.sleep(0.05)
        else:
            return
