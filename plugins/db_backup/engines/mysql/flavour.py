"""MySQL or MariaDB: what the server is, which client tools fit it, and the arguments that each flavour's tools take.

Servers are told apart by ``VERSION()`` and ``@@version_comment``, tools by what ``--version`` prints and never by
their name: ``mysqldump`` is often MariaDB's. The MySQL arguments are read from its manual; no MySQL server was there
to run them against.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from db_backup.engines.base import EngineOptions
from db_backup.errors import ToolMissing, ToolVersionMismatch
from db_backup.manifest import ToolInfo
from db_backup.stream.process import version_text

_VERSION = re.compile(r"(?:Distrib |from )?(\d+)\.(\d+)\.(\d+)")
_DISTRIBUTION = re.compile(r"(?:Distrib|from) (\d+)\.(\d+)\.(\d+)")
_SHORT_VERSION = re.compile(r"Ver (\d+)\.(\d+)\.(\d+)")
# The first line of their dumps, "enable the sandbox mode", is an error to clients older than these (by series).
_SANDBOX_SINCE = {
    (10, 5): 25,
    (10, 6): 18,
    (10, 11): 8,
    (11, 0): 6,
    (11, 1): 5,
    (11, 2): 4,
}

Version = tuple[int, int, int]


class Flavour(StrEnum):
    MARIADB = "MariaDB"
    MYSQL = "MySQL"

    @property
    def dump_names(self) -> tuple[str, ...]:
        return ("mariadb-dump", "mysqldump") if self is Flavour.MARIADB else ("mysqldump", "mariadb-dump")

    @property
    def client_names(self) -> tuple[str, ...]:
        return ("mariadb", "mysql") if self is Flavour.MARIADB else ("mysql", "mariadb")

    @property
    def package(self) -> str:
        return "mariadb-client" if self is Flavour.MARIADB else "mysql-client"


def server_flavour(version: str, comment: str) -> Flavour:
    """:param version: ``VERSION()``. :param comment: ``@@version_comment``."""
    return Flavour.MARIADB if "mariadb" in f"{version} {comment}".lower() else Flavour.MYSQL


def version_numbers(text: str) -> Version:
    """The first three-part version in ``VERSION()``; zeros when there is none."""
    # Some proxies and replicas print MariaDB's as "5.5.5-10.11.6-MariaDB".
    match = _VERSION.search(text.removeprefix("5.5.5-"))
    return (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)


@dataclass(frozen=True)
class Tool:
    """A client tool as it was found."""

    path: Path
    flavour: Flavour
    version: Version

    @property
    def info(self) -> ToolInfo:
        return ToolInfo(name=f"{self.path.name} ({self.flavour})", version=".".join(map(str, self.version)))

    @property
    def knows_sandbox(self) -> bool:
        """Whether ``--sandbox`` and the dump's line that asks for it are known."""
        if self.flavour is not Flavour.MARIADB:
            return False
        series = self.version[:2]
        return self.version[2] >= _SANDBOX_SINCE[series] if series in _SANDBOX_SINCE else series >= (11, 4)


def parse_tool(path: Path, printed: str) -> Tool:
    """What a client is, from the line that ``--version`` prints."""
    flavour = Flavour.MARIADB if "mariadb" in printed.removeprefix(str(path)).lower() else Flavour.MYSQL
    match = _DISTRIBUTION.search(printed) or _SHORT_VERSION.search(printed)
    version = (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)
    return Tool(path, flavour, version)


def inspect_tool(path: Path) -> Tool:
    """What a client or server binary says that it is."""
    # The program's own name comes first, and may say anything: mysqldump is often a link to mariadb-dump.
    return parse_tool(path, re.sub(r"^\S+", "", version_text(path), count=1))


def find_client_tool(flavour: Flavour, names: Sequence[str]) -> Tool:
    """The first tool on PATH of these names that belongs to the server's flavour.

    :raises ToolMissing: none of the names is there.
    :raises ToolVersionMismatch: only the other flavour's are.
    """
    found = [inspect_tool(Path(path)) for name in names if (path := shutil.which(name)) is not None]
    for tool in found:
        if tool.flavour is flavour:
            return tool
    install = f"Install the package {flavour.package}, so that {names[0]} is on PATH."
    if not found:
        raise ToolMissing(f"The tool '{names[0]}' is not installed on this machine.", hint=install)
    raise ToolVersionMismatch(
        f"The server is {flavour}, and {found[0].path} is {found[0].flavour}'s: its dumps of this server fail "
        "or leave things out.",
        hint=install,
    )


@dataclass(frozen=True)
class DumpPlan:
    """What one dump is asked for, in no flavour's words.

    :param databases: a server's, instead of ``database``: each with its own CREATE and USE; views are then named with
        their database.
    :param definitions: of tables, views, sequences and routines.
    :param tables: these alone; all of the database when there are none.
    :param counters: whether a section of ours follows the tool's output (see ``counters``).
    :param tells_steps: whether the tool says on standard error what it is about to do.
    """

    database: str
    definitions: bool = True
    rows: bool = True
    triggers: bool = True
    events: bool = True
    tables: tuple[str, ...] = ()
    counters: bool = False
    ignored_views: tuple[str, ...] = ()
    tables_without_rows: tuple[str, ...] = ()
    with_position: bool = False
    with_history: bool = False
    tells_steps: bool = False
    databases: tuple[str, ...] = ()


def dump_arguments(tool: Tool, option_file: Path, plan: DumpPlan, options: EngineOptions) -> list[str]:
    """The command that prints ``plan.database`` without its name, so that it restores under any; or several, by name.

    ``--defaults-file``, not the extra one: a ``where`` or ``ignore-table`` in a global ``my.cnf`` would leave rows out.
    """
    single = options.mysql_single_transaction
    arguments = [
        str(tool.path),
        f"--defaults-file={option_file}",
        "--single-transaction" if single else "--lock-tables",
        "--quick",
        *(["--verbose"] if plan.tells_steps else []),
        *([] if plan.definitions else ["--no-create-info"]),
        *([] if plan.rows else ["--no-data"]),
        _switch("routines", plan.definitions and options.mysql_routines),
        _switch("events", plan.events and options.mysql_events),
        _switch("triggers", plan.triggers and options.mysql_triggers),
        "--hex-blob",
        "--skip-add-locks",  # locks around the data make DEFAULT nextval(sequence) fail on restore (1100)
        "--default-character-set=utf8mb4",
        "--max-allowed-packet=1G",
        "--net-buffer-length=1046528",
    ]
    arguments += _mariadb_arguments(plan) if tool.flavour is Flavour.MARIADB else _mysql_arguments(tool, plan)
    if plan.databases:
        arguments += [f"--ignore-table={view}" for view in plan.ignored_views]
        return [*arguments, "--databases", "--", *plan.databases]
    arguments += [f"--ignore-table={plan.database}.{view}" for view in plan.ignored_views]
    return [*arguments, "--", plan.database, *plan.tables]


def _switch(name: str, wanted: bool) -> str:
    return f"--{name}" if wanted else f"--skip-{name}"


def _mariadb_arguments(plan: DumpPlan) -> list[str]:
    return [
        *(["--master-data=2", "--gtid"] if plan.with_position else []),
        *(["--dump-history"] if plan.with_history else []),
        *(f"--ignore-table-data={plan.database}.{table}" for table in plan.tables_without_rows),
    ]


def _mysql_arguments(tool: Tool, plan: DumpPlan) -> list[str]:
    position = "--source-data=2" if tool.version >= (8, 0, 26) else "--master-data=2"
    return [
        "--set-gtid-purged=OFF",  # one database does not hold the whole GTID history
        "--no-tablespaces",  # which would need PROCESS
        *(["--column-statistics=0"] if tool.version >= (8, 0, 0) else []),
        *([position] if plan.with_position else []),
        # It cannot leave out rows alone: the definitions must not be asked for at the same time.
        *(f"--ignore-table={plan.database}.{table}" for table in plan.tables_without_rows),
    ]


def load_arguments(tool: Tool, option_file: Path, database: str) -> list[str]:
    """The command that reads a dump from standard input into ``database``; empty: into those that it names itself."""
    return [
        str(tool.path),
        f"--defaults-file={option_file}",
        "--binary-mode",
        "--comments",  # else the client takes them out, also out of routines, and breaks triggers that hold one early
        "--max-allowed-packet=1G",
        "--default-character-set=utf8mb4",
        *(["--sandbox"] if tool.knows_sandbox else []),  # a dump is code: no shell, no files
        *([f"--database={database}"] if database else []),
    ]
