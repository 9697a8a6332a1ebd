"""Replaying a chain's WAL over its base in a private server, up to a position, and what came of it.

PostgreSQL manual, "Recovery Target". The server stops the replay there and goes on as one of its own (a new
timeline); then it is stopped, so that what follows begins from a clean state.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from db_backup.engines.postgres import tools
from db_backup.engines.postgres.chain.base_tar import WAL_FOLDER
from db_backup.engines.postgres.chain.position import format_lsn, parse_lsn
from db_backup.engines.postgres.chain.stop import Stop
from db_backup.engines.postgres.scratch import SETTINGS, options, running
from db_backup.engines.postgres.session import one_line
from db_backup.engines.scratch_home import ids
from db_backup.errors import LoadFailed, ScratchUnavailable, StorageFull
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess

_POLL_SECONDS = 0.05
_READY_LINE = 7  # of postmaster.pid: LOCK_FILE_LINE_PM_STATUS, src/include/utils/pidfile.h, counted from 0
_NOT_REACHED = "recovery ended before configured recovery target was reached"
_LAST_COMMIT = re.compile(r"last completed transaction was at log time (\S+ \S+)")
# What says that this machine cannot run the server, and nothing of the backup.
_NOT_HERE = re.compile(
    r"incompatible with server|could not create shared memory|Cannot allocate memory|could not access file|"
    r"resource manager with ID \d+ not registered"
)
_CONFIGURATION = {"postgresql.conf": "", "pg_hba.conf": "local all all trust\n", "pg_ident.conf": ""}
_FILES = {"config_file": "postgresql.conf", "hba_file": "pg_hba.conf", "ident_file": "pg_ident.conf"}
_PRIVATE = {
    **SETTINGS,
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "lc_messages": "C",
    "archive_mode": "off",
    "max_logical_replication_workers": "0",  # its subscriptions would take what is meant for the source
    "max_replication_slots": "1000",  # of the origins that the source replicates from
    "checkpoint_timeout": "1d",
    "min_wal_size": "2GB",  # at least two segments, which may be as large as 1 GB
    "max_wal_size": "8GB",
    "wal_recycle": "off",
}
_REPLAYING = {
    "hot_standby": "off",  # on, it would ask for all the source's limits
    "restore_command": "false",  # it must have one; all there is lies in pg_wal
    "recovery_target_timeline": "current",
    "recovery_target_action": "promote",
    "max_prepared_transactions": "1000",
    "max_locks_per_transaction": "64",
}


# For single-user mode: each line is a statement of its own.
_NEW_SUPERUSER = """SET default_transaction_read_only = off
CREATE ROLE {name} SUPERUSER LOGIN
UPDATE pg_catalog.pg_database SET datallowconn = true WHERE datname = 'template1'
"""


@dataclass(frozen=True)
class Replayed:
    """:param lsn: where the last record that was replayed ends.
    :param last_commit: when the last transaction in what was replayed ended; None: there was none.
    :param stopped: where it was to, not at the end of the WAL.
    """

    lsn: int
    last_commit: datetime | None
    stopped: bool


class PrivateServer:
    """The data folder ``home / "data"`` with a configuration of ours, which nothing of the source's can change."""

    def __init__(
        self, postgres: tools.Tool, home: Path, user: pwd.struct_passwd | None, cancellation: Cancellation
    ) -> None:
        self._postgres = postgres
        self._home = home
        self._user = user
        self._cancellation = cancellation
        self._data = home / "data"
        for name, content in _CONFIGURATION.items():
            self._write(home / name, content)

    def replay(self, stop: Stop | None) -> Replayed:
        """Up to there, or to the end of the WAL where that comes first.

        :raises LoadFailed, ScratchUnavailable, StorageFull, Interrupted:
        """
        words = self._replay(_target(stop))
        stopped = stop is not None and _NOT_REACHED not in words
        if _NOT_REACHED in words:
            words = self._replay({})
        said = _LAST_COMMIT.search(words)  # but for the one after which it stopped
        last_commit = datetime.fromisoformat(said[1]).astimezone(UTC) if said else None
        return Replayed(self._end(), (stop and stop.time) or last_commit, stopped)

    def make_superuser(self) -> str:
        """A role of ours, whatever the source's are called and whoever may log in; its name."""
        name = f"db_backup_scratch_{secrets.token_hex(4)}"
        arguments = [
            *(str(self._postgres.path), "--single", "-D", str(self._data)),
            *options({**self._settings(), "max_prepared_transactions": "1000"}),
            "template1",
        ]
        with ChildProcess(
            arguments,
            cancellation=self._cancellation,
            stdin=True,
            stdout=False,
            user=ids(self._user),
            cwd=self._home,
        ) as process:
            with contextlib.suppress(BrokenPipeError):
                process.write(_NEW_SUPERUSER.format(name=name).encode())
                process.close_stdin()
            status = process.wait()
            self._cancellation.check()
            if status:
                raise self._failure(process.last_words)
        return name

    def serving(self) -> contextlib.AbstractContextManager[ChildProcess]:
        """The running server; ``wait_until_ready`` waits for it."""
        # A transaction that was prepared and not ended needs its place until it is rolled back.
        prepared = sum(1 for _ in (self._data / "pg_twophase").iterdir())
        settings = {**self._settings(), "max_prepared_transactions": str(prepared)}
        return running(self._postgres, self._home, self._user, self._cancellation, settings)

    def wait_until_ready(self, process: ChildProcess) -> None:
        """:raises LoadFailed, ScratchUnavailable, StorageFull, Interrupted: it does not come up."""
        if not self._comes_up(process):
            raise self._failure(process.last_words)

    def _settings(self) -> dict[str, str]:
        settings = {**_PRIVATE, **{setting: str(self._home / name) for setting, name in _FILES.items()}}
        if int(self._postgres.major) >= 17:
            settings["event_triggers"] = "off"  # one may fire at every login
        return settings

    def _replay(self, target: Mapping[str, str]) -> str:
        """The server's last words, of a replay that went well or did not reach its target."""
        self._write(self._data / "recovery.signal", "")
        settings = {**self._settings(), **_REPLAYING, **target}
        with running(self._postgres, self._home, self._user, self._cancellation, settings) as process:
            came_up = self._comes_up(process)
            if came_up:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGINT)  # a fast shutdown, which writes everything down
            process.wait()
            self._cancellation.check()
            words = process.last_words
        if not came_up and _NOT_REACHED not in words:
            raise self._failure(words)
        return words

    def _comes_up(self, process: ChildProcess) -> bool:
        """Whether it is ready for connections at last; otherwise it has ended."""
        lock_file = self._data / "postmaster.pid"
        while process.poll() is None:
            self._cancellation.check()
            with contextlib.suppress(OSError):
                lines = lock_file.read_text(errors="replace").splitlines()
                if len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready":
                    return True
            time.sleep(_POLL_SECONDS)
        process.wait()
        self._cancellation.check()
        return False

    def _end(self) -> int:
        """Where the server's own timeline begins: its history's last line says it."""
        history = max((self._data / WAL_FOLDER).glob("*.history"))
        lines = [line for line in history.read_text().splitlines() if line.strip()]  # of a target an empty one follows
        return parse_lsn(lines[-1].split()[1])

    def _failure(self, words: str) -> LoadFailed | ScratchUnavailable | StorageFull:
        said = one_line(words)
        if "No space left on device" in words:
            return StorageFull(
                f"The place of scratch servers, {self._home.parent}, was filled by a chain that was replayed there.",
                hint="Make room there, or set BACKUP_SCRATCH_PATH to a larger place.",
            )
        if _NOT_HERE.search(words):
            return ScratchUnavailable(
                f"The server cannot be rebuilt on this machine: {said}.",
                hint="Install what it names here, or rebuild it on a machine like the source's.",
            )
        return LoadFailed(
            f"The server could not be rebuilt from its chain: {said}.",
            hint="Verify the chain's backups; an older chain may be whole.",
        )

    def _write(self, path: Path, content: str) -> None:
        path.write_text(content)
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)


def _target(stop: Stop | None) -> dict[str, str]:
    if stop is None:
        return {}
    return {
        "recovery_target_lsn": format_lsn(stop.lsn),
        "recovery_target_inclusive": "on" if stop.inclusive else "off",
    }
