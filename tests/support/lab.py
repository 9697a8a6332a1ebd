"""What the engine conformance suite needs of an engine: a real server, sample databases, and ways to break things.

One subclass per engine: ``lab_sqlite``, ``lab_postgres``, ``lab_mysql``. A *database* is what
``ConnectionInfo.database`` holds: a name, or for SQLite a file path.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from db_backup.engines import engine_for
from db_backup.engines.base import Engine, EngineOptions
from db_backup.manifest import Inventory
from db_backup.model import BackupType, ConnectionInfo, EngineName

_SERIAL = itertools.count(1)  # one for all labs: several may share a server


class ToolBehaviour(StrEnum):
    """What a fake dump tool does with the output of the real one."""

    TRUNCATES = "the first two thirds, status 0"
    FAILS = "everything, status 1"
    HANGS = "the first third, then nothing for ever"


class EngineLab(ABC):
    """One engine's real server, which the test session has started.

    Every sample database (``create_sample``) holds at least these tables, beside whatever is awkward in that engine:

    - ``marks (id, word)``: three rows, the second with the word ``doomed``;
    - ``left_side (id)`` and ``right_side (id)``: empty; a writer adds to both in one transaction, so that a dump that
      is one moment of the database has as many rows in one as in the other;
    - ``empty_table``: no rows;
    - ``orders``, with a foreign key to ``customers`` and a trigger that writes a row into ``log`` for every row that is
      inserted; ``log`` has no rows, for the trigger came after them.

    :param folder: a private folder for whatever the lab writes.
    """

    engine_name: ClassVar[EngineName]
    dump_tool: ClassVar[str | None] = None  # the client tool that dumps; None: the engine needs none
    types_that_leave_tables_out: ClassVar[frozenset[BackupType]] = frozenset({BackupType.FULL, BackupType.DATA})
    # Of the nasty database, by type: words of the warnings that name what no stock tool carries.
    not_carried: ClassVar[Mapping[BackupType, tuple[str, ...]]] = {}
    password: str = ""  # what must never show; "" where the engine knows no passwords

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = self.private_options(folder)

    @abstractmethod
    def connection(self, database: str) -> ConnectionInfo:
        """A connection with every right that a full backup needs."""

    @abstractmethod
    def unreachable(self, database: str) -> ConnectionInfo:
        """The same connection, to a place where nothing listens."""

    @abstractmethod
    def create_sample(self) -> str:
        """A new database as the class describes it."""

    @abstractmethod
    def create_nasty(self) -> str:
        """A new database with one of everything that this engine names, types and stores oddly."""

    @abstractmethod
    def create_empty(self) -> str:
        """A new database without a single object."""

    @abstractmethod
    def fill(self, database: str, megabytes: int) -> None:
        """Add a table ``filler`` whose dump is at least that large."""

    @abstractmethod
    def execute(self, database: str, *statements: str) -> None:
        """Run the statements in one committed transaction."""

    @abstractmethod
    def counts(self, database: str) -> dict[str, int]:
        """``select count(*)`` of every table of the database; keys are as the engine's inventory names tables."""

    def own_counts(self, database: str) -> dict[str, int]:
        """``counts`` without the tables that the engine keeps for itself."""
        return self.counts(database)

    def counts_of_structure(self, database: str) -> dict[str, int]:
        """``own_counts`` of a new database that has the definitions of this one and no rows."""
        return dict.fromkeys(self.own_counts(database), 0)

    def comparable(self, inventory: Inventory) -> Inventory:
        """A full backup's inventory without what may differ when structure and data are restored apart."""
        return inventory

    @abstractmethod
    def stock_dump(self, database: str) -> str:
        """Definitions and rows as the engine's stock tool writes them, without the moment and names of its making."""

    @abstractmethod
    def exists(self, database: str) -> bool:
        """Whether the database is there; asked of the server, not of the engine under test."""

    @abstractmethod
    def drop(self, database: str) -> None:
        """Remove the database if it is there, without the engine under test."""

    @abstractmethod
    def break_one_row(self, plain: bytes) -> bytes:
        """The dump without the row ``doomed`` of ``marks``, otherwise well formed."""

    @abstractmethod
    def stock_environment(self, home: Path) -> Mapping[str, str]:
        """What a person's shell holds to reach the server with stock tools; option files lie in ``home``."""

    def real_dump_tool(self) -> Path:
        """The dump tool that belongs to the server."""
        raise NotImplementedError(f"{self.engine_name} has no dump tool")

    def engine(self, database: str, options: EngineOptions | None = None) -> Engine:
        return engine_for(self.connection(database), options or self.options)

    def private_options(self, folder: Path) -> EngineOptions:
        """Options whose temporary files lie in ``folder``, which unprivileged servers can pass through."""
        options = EngineOptions(staging_path=folder / "staging", scratch_path=folder / "scratch")
        for path in (options.staging_path, options.scratch_path):
            path.mkdir(mode=0o755, exist_ok=True)
        return options

    def fresh_name(self) -> str:
        """A database that does not exist yet."""
        return f"lab_{os.getpid()}_{next(_SERIAL)}"

    def restored_database(self, folder: Path) -> str:
        """What the stock commands, run in ``folder``, have rebuilt."""
        return "restored"

    def scratch_database(self, scratch: ConnectionInfo, database: str) -> str:
        """The name under which a backup of ``database`` is loaded into a scratch server: its own."""
        return database

    def wrong_password(self, database: str) -> ConnectionInfo:
        return dataclasses.replace(self.connection(database), password="not-the-password")

    def table(self, short_name: str) -> str:
        """A table of the sample as the inventory names it."""
        return short_name

    def fake_dump_tool(self, folder: Path, behaviour: ToolBehaviour) -> Path:
        """A folder to put first on PATH: its dump tool runs the real one and misbehaves with what that printed."""
        assert self.dump_tool is not None
        return fake_tool(folder, self.dump_tool, self.real_dump_tool(), behaviour)


def awkward_script(engine_name: EngineName) -> str:
    """The statements that make the nasty database."""
    return (Path(__file__).parent / f"awkward_{engine_name}.sql").read_text()


def fake_tool(folder: Path, name: str, real: Path, behaviour: ToolBehaviour) -> Path:
    """Write a script ``name`` into ``folder`` that wraps ``real``; ``--version`` is passed through."""
    endings = {
        ToolBehaviour.TRUNCATES: 'head -c $((size * 2 / 3)) "$whole"; exit 0',
        ToolBehaviour.FAILS: 'cat "$whole"; echo "fake: something broke at the end" >&2; exit 1',
        ToolBehaviour.HANGS: 'head -c $((size / 3)) "$whole"; sleep 1000000',
    }
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / name
    script.write_text(
        "#!/bin/bash\n"
        f"real={shlex.quote(str(real))}\n"
        'for argument; do case "$argument" in --version|-V) exec "$real" "$@";; esac; done\n'
        f"whole=$(mktemp {shlex.quote(str(folder))}/whole.XXXXXX)\n"
        '"$real" "$@" > "$whole" || exit 99\n'
        'size=$(stat -c %s "$whole")\n'
        f"{endings[behaviour]}\n"
    )
    script.chmod(0o755)
    return folder
