"""PostgreSQL's own programs, of the server's major version."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from db_backup.engines.postgres.session import one_line
from db_backup.errors import ToolMissing, ToolVersionMismatch
from db_backup.manifest import ToolInfo
from db_backup.stream.process import ChildProcess, version_text

_VERSIONED_FOLDER = "/usr/lib/postgresql/{major}/bin"  # Debian's and Ubuntu's packages
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(\S*)")
_QUOTATION = re.compile(r"Command was:|CONTEXT:|DETAIL:|STATEMENT:|QUERY:|LINE \d+:")
_PACKAGES = dict.fromkeys(("postgres", "initdb", "pg_waldump"), "postgresql-{major}")


@dataclass(frozen=True)
class Tool:
    """A program that was asked for its version: "15.20"."""

    path: Path
    version: str

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]

    @property
    def info(self) -> ToolInfo:
        return ToolInfo(name=self.path.name, version=self.version)


def package(name: str, major: str) -> str:
    """The Debian package that holds a program."""
    return _PACKAGES.get(name, "postgresql-client-{major}").format(major=major)


def find(name: str, major: str, *, database: str | None = None) -> Tool:
    """The first of PATH and the versioned folder whose major version is this one.

    pg_dump of a newer major can write what that server's own tools cannot read, an older one refuses the server.

    :raises ToolVersionMismatch: there are only others.
    :raises ToolMissing: there is none at all.
    """
    hint = f"Install the package {package(name, major)}."
    others = []
    for path in _candidates(name, major):
        tool = Tool(path, _ask_version(path))
        if re.match(r"\d*", tool.version)[0] == major:  # type: ignore[index]  # \d* always matches
            return tool
        others.append(f"{tool.version or 'of unknown version'} ({path})")
    if others:
        raise ToolVersionMismatch(
            f"{name} {major} is needed for a PostgreSQL {major} server, and {name} here is {', '.join(others)}.",
            hint=hint,
            database=database,
        )
    raise ToolMissing(f"The tool '{name}' is not installed on this machine.", hint=hint, database=database)


def complaint(tool: ChildProcess) -> str:
    """What a tool said, without the statements and rows that it quotes: they may hold data, or a password."""
    kept, quoting = [], False
    for line in tool.last_words.splitlines():
        quoting = bool(_QUOTATION.match(line)) or (quoting and not line.startswith(f"{tool.name}:"))
        if line.strip() and not quoting:
            kept.append(line.strip())
    return one_line(" ".join(kept))


def remarks(tool: ChildProcess) -> tuple[str, ...]:
    """The warnings among its words."""
    return tuple(line for line in tool.last_words.splitlines() if "warning:" in line.lower())


def _candidates(name: str, major: str) -> Iterator[Path]:
    for folder in (None, _VERSIONED_FOLDER.format(major=major)):
        if (found := shutil.which(name, path=folder)) is not None:
            yield Path(found)


def _ask_version(path: Path) -> str:
    """ "15.20"; empty when it does not say."""
    match = _VERSION.search(version_text(path))
    return match[1] + match[2] if match else ""
