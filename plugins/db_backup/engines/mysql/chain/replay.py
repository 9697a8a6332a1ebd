"""The increments of a chain as the binlog files that they were, and these replayed in a scratch server."""

from __future__ import annotations

import os
import re
import shutil
from collections import deque
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
_BLOCKS = 16  # more than the client and the pipe to it hold
_EVENT = re.compile(rb"#\d{6} .* end_log_pos (\d+) .*?\t(\w+)(?: to (\S+))?")
_ROTATION = re.compile(rb"^#.*\tRotate to (\S+)  pos: ", re.MULTILINE)
_LINE = re.compile(r" at line (\d+)")
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
        script = _Script(work.start.file)
        try:
            while block := os.read(reader.stdout.fileno(), _BLOCK_BYTES):
                cancellation.check()
                _require_room(work.files[0].parent, last)
                script.pass_by(block)
                client.write(block)
        except BrokenPipeError:
            status = client.wait()
            cancellation.check()
            raise _failed(last, f"the client stopped reading with status {status}", client, script) from None
        status = reader.wait()
        cancellation.check()
        if status or not script.has_ended:
            raise LoadFailed(
                f"The binlog of the chain to {last.id} could not be read: mariadb-binlog ended with status {status}: "
                f"{reader.last_words}",
                hint="Restore to an earlier moment, or from another chain.",
                database=last.entry,
                backup_id=last.id,
            )
        client.close_stdin()
        status = client.wait()
        cancellation.check()
        if status or complaints(client.last_words):
            raise _failed(last, f"the client ended with status {status}", client, script)


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


def _failed(last: Manifest, what: str, client: ChildProcess, script: _Script) -> LoadFailed:
    said = complaints(client.last_words)
    place = script.place_of(said)
    return LoadFailed(
        f"The chain to {last.id} could not be replayed{f' at {place}' if place else ''}: {what}"
        + (f": {said}" if said else "."),
        hint=f"Restore to the position {place} or an earlier one, or from another chain."
        if place
        else "Restore to an earlier moment, or from another chain.",
        database=last.entry,
        backup_id=last.id,
    )


class _Script:
    """What mariadb-binlog printed last: the client names lines of it, and a person needs places of the binlog."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._line = 1
        self._blocks: deque[tuple[int, str, bytes]] = deque(maxlen=_BLOCKS)  # first line, file in which it begins

    def pass_by(self, block: bytes) -> None:
        self._blocks.append((self._line, self._file, block))
        self._line += block.count(b"\n")
        if rotations := _ROTATION.findall(block):
            self._file = rotations[-1].decode()

    @property
    def has_ended(self) -> bool:
        """Whether its end marker went by."""
        return _END_MARKER in b"".join(block for _, _, block in list(self._blocks)[-2:])[-_TAIL_BYTES:]

    def place_of(self, complaint: str) -> str:
        """Where the transaction begins that the client complains of; nothing, where that is not known any more."""
        named = _LINE.search(complaint)
        if named is None or not self._blocks or int(named[1]) < self._blocks[0][0]:
            return ""
        first, file, _ = self._blocks[0]
        lines = b"".join(block for _, _, block in self._blocks).split(b"\n")
        place, end = "", ""
        for line in lines[: int(named[1]) - first + 1]:
            if (event := _EVENT.match(line)) is None:
                continue
            if event[2] == b"GTID":
                place = f"{file}:{end}" if end else ""
            elif event[2] == b"Rotate":
                file = event[3].decode()
            end = event[1].decode()
        return place
