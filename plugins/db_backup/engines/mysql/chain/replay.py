"""The increments of a chain as the binlog files that they were, and these replayed in a scratch server."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from db_backup.engines.mysql.chain.archive import Span
from db_backup.engines.mysql.chain.events import Event, Head
from db_backup.engines.mysql.chain.moments import Stop
from db_backup.engines.mysql.chain.position import Place
from db_backup.engines.mysql.chain.silencing import Silencer
from db_backup.engines.mysql.client import complaints, running_client
from db_backup.engines.mysql.flavour import Flavour
from db_backup.errors import LoadFailed, ScratchUnavailable, ToolMissing
from db_backup.manifest import Manifest
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess

_BLOCK_BYTES = 1 << 18
_RESERVE_BYTES = 32 << 20  # MyISAM and Aria wait for somebody to make room
_END_MARKER = b"# End of log file"
_TAIL_BYTES = 4096
_DEFINER = re.compile(rb"\bDEFINER\s*=\s*(?:`(?:[^`]|``)+`|'[^']*')(?:@(?:`(?:[^`]|``)*`|'[^']*'))?", re.IGNORECASE)


class Reassembly:
    """A ``reading.Reader`` that puts the files of increments together again, each event at its true offset.

    ``definers``: what statements say of those in whose name what they create will run.
    """

    def __init__(self, folder: Path, stop: Stop) -> None:
        self.files: list[Path] = []
        self.definers: set[bytes] = set()
        self._folder = folder
        self._stop = stop
        self._silencer = Silencer()
        self._open = ExitStack()
        self._descriptor = -1

    def begin(self, span: Span, head: Head) -> None:
        path = self._folder / span.file
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._open.callback(os.close, self._descriptor)
        if path not in self.files:
            self.files.append(path)
            _write_at(self._descriptor, head.content, 0)
        self._stop.begin(span.file)

    def take(self, offset: int, content: memoryview) -> None:
        _write_at(self._descriptor, content, offset)

    def see(self, event: Event) -> None:
        self._stop.see(event)
        for patch in self._silencer.see(event):
            _write_at(self._descriptor, patch.content, patch.offset)
        if (statement := event.statement) is not None and (definer := _DEFINER.search(statement)) is not None:
            self.definers.add(definer[0])

    def end(self, span: Span) -> None:
        self._stop.end(span)
        self.close()

    def close(self) -> None:
        """To be called in any case."""
        self._open.close()


def _write_at(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


@dataclass(frozen=True)
class Replay:
    """What is replayed: the binlog from ``start`` to ``stop``, which is not replayed itself."""

    files: Sequence[Path]
    start: Place
    stop: Place


def replay(connection: ConnectionInfo, last: Manifest, work: Replay, cancellation: Cancellation) -> None:
    """All files in one run of the stock tools, for temporary tables and prepared transactions go from one to the next.

    :param last: of the increments, for messages.
    :raises ToolMissing, ToolVersionMismatch:
    :raises LoadFailed: one of the tools failed.
    :raises ScratchUnavailable: the scratch server's disk is full.
    """
    tool = shutil.which("mariadb-binlog")
    if tool is None:
        raise ToolMissing(
            "The tool 'mariadb-binlog' is not installed on this machine.",
            hint="Install the package mariadb-server of the server's release; its service need not run.",
        )
    with (
        ChildProcess(_arguments(tool, work), cancellation=cancellation) as reader,
        running_client(connection, Flavour.MARIADB, cancellation) as (_, client),
    ):
        tail = b""
        try:
            while block := os.read(reader.stdout.fileno(), _BLOCK_BYTES):
                cancellation.check()
                _require_room(work.files[0].parent, last)
                client.write(block)
                tail = (tail + block)[-_TAIL_BYTES:]
        except BrokenPipeError:
            status = client.wait()
            cancellation.check()
            raise _failed(last, f"the client stopped reading with status {status}", client.last_words) from None
        status = reader.wait()
        cancellation.check()
        if status or _END_MARKER not in tail:
            raise _failed(last, f"mariadb-binlog ended with status {status}: {reader.last_words}", "")
        client.close_stdin()
        status = client.wait()
        cancellation.check()
        if status or complaints(client.last_words):
            raise _failed(last, f"the client ended with status {status}", client.last_words)


def _arguments(tool: str, work: Replay) -> list[str]:
    names = [path.name for path in work.files]
    files = work.files[: names.index(work.stop.file) + 1]
    return [
        tool,
        "--no-defaults",
        "--skip-print-row-count",
        "--skip-print-row-event-positions",
        "--skip-annotate-row-events",
        f"--local-load={files[0].parent}",
        f"--start-position={work.start.offset}",  # in the first file
        f"--stop-position={work.stop.offset}",  # in the last one
        *map(str, files),
    ]


def _require_room(folder: Path, last: Manifest) -> None:
    if (free := shutil.disk_usage(folder).free) < _RESERVE_BYTES:
        raise ScratchUnavailable(
            f"The scratch server's disk is full: {free >> 20} MB are free, and the chain to {last.id} is not replayed "
            "yet.",
            hint="Make room there, or set BACKUP_SCRATCH_PATH to a larger place.",
            backup_id=last.id,
        )


def _failed(last: Manifest, what: str, words: str) -> LoadFailed:
    said = complaints(words)
    return LoadFailed(
        f"The chain to {last.id} could not be replayed: {what}" + (f": {said}" if said else "."),
        hint="Restore to an earlier moment, or from another chain; see what the message names.",
        database=last.entry,
        backup_id=last.id,
    )
