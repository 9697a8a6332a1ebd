"""Dumps in tests: read to their ends in memory, described by a manifest, loaded again; and writers beside them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from db_backup.engines import engine_for
from db_backup.engines.base import Dump, DumpRequest, DumpStream, Engine, EngineOptions
from db_backup.manifest import Manifest, Part
from db_backup.model import BackupType, Compression, ConnectionInfo
from db_backup.progress import Cancellation
from support.factories import make_manifest
from support.lab import EngineLab
from support.project import Project

REQUEST = DumpRequest(entry="shop")
_BLOCK_BYTES = 100_003  # no power of two: rows and pages do not end where blocks end


@dataclass(frozen=True)
class Dumped:
    """A whole dump in memory, by its streams, and the manifest that a backup of it would have."""

    streams: tuple[bytes, ...]
    manifest: Manifest

    @property
    def plain(self) -> bytes:
        """The only stream's bytes."""
        (plain,) = self.streams
        return plain

    def read(self) -> list[Iterator[bytes]]:
        """As a restore gets them."""
        return [blocks(plain) for plain in self.streams]


def read_to_end(stream: DumpStream) -> bytes:
    """What the pipeline does: read the descriptor, show every block."""
    pieces = []
    buffer = bytearray(_BLOCK_BYTES)
    while count := os.readv(stream.fileno(), [buffer]):
        stream.observe(memoryview(buffer)[:count])
        pieces.append(bytes(buffer[:count]))
    return b"".join(pieces)


def finish(engine: Engine, dump: Dump, backup_type: BackupType = BackupType.FULL) -> Dumped:
    """Read the streams to their ends and describe what came."""
    with ThreadPoolExecutor(len(dump.streams)) as pool:
        streams = tuple(pool.map(read_to_end, dump.streams))
    summary = dump.complete()
    manifest = make_manifest(
        engine=engine.name,
        type=backup_type,
        databases=(engine.connection.database,),
        format=dump.format,
        server=dump.preflight.server,
        tools=dump.preflight.tools,
        consistency=summary.consistency,
        recovery_point=summary.recovery_point,
        inventory=summary.inventory,
        excluded_tables=summary.excluded_tables,
        warnings=(*dump.preflight.warnings, *summary.warnings),
        parts=tuple(part_of(stream, plain) for stream, plain in zip(dump.streams, streams, strict=True)),
    )
    return Dumped(streams, Manifest.from_json(manifest.to_json(), source="the test"))


def part_of(stream: DumpStream, plain: bytes) -> Part:
    digest = hashlib.sha256(plain).hexdigest()
    return Part(
        path=f"{stream.name}.{stream.suffix}",
        stream=stream.name,
        stored_bytes=len(plain),
        stored_sha256=digest,
        plain_bytes=len(plain),
        plain_sha256=digest,
        compression=Compression.NONE,
    )


def dump_of(
    engine: Engine,
    cancellation: Cancellation | None = None,
    *,
    backup_type: BackupType = BackupType.FULL,
    exclude: tuple[str, ...] = (),
    jobs: int = 1,
) -> Dumped:
    request = DumpRequest("shop", backup_type, exclude, jobs)
    with engine.open_backup(request, cancellation or Cancellation()) as dump:
        return finish(engine, dump, backup_type)


def before_loading(engine: Engine, backup_type: BackupType) -> tuple[Dumped, ...]:
    """What must be loaded first: rows need their tables."""
    return (dump_of(engine, backup_type=BackupType.STRUCTURE),) if backup_type is BackupType.DATA else ()


def blocks(plain: bytes) -> Iterator[bytes]:
    for start in range(0, len(plain), _BLOCK_BYTES):
        yield plain[start : start + _BLOCK_BYTES]


def load(engine: Engine, name: str, *dumps: Dumped) -> Engine:
    """Into a new database, one after the other."""
    target = engine.create_database(name)
    for dumped in dumps:
        target.load(dumped.read(), dumped.manifest, Cancellation())
    return target


def without_connection(lab: EngineLab, options: EngineOptions | None = None) -> Engine:
    return engine_for(ConnectionInfo(conn_id="", engine=lab.engine_name), options or lab.options)


@contextmanager
def writing(lab: EngineLab, database: str) -> Iterator[Writer]:
    writer = Writer(lab, database)
    writer.thread.start()
    try:
        writer.wait_for_more()
        yield writer
    finally:
        writer.stopping.set()
        writer.thread.join()
    if writer.failure is not None:
        raise writer.failure


class Writer:
    """Commits a row to ``left_side`` and one to ``right_side``, together, again and again."""

    def __init__(self, lab: EngineLab, database: str) -> None:
        self.lab = lab
        self.database = database
        self.stopping = threading.Event()
        self.failure: Exception | None = None
        self.committed = 0
        self._more = threading.Condition()
        self.thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        try:
            while not self.stopping.is_set():
                number = self.committed + 1
                self.lab.execute(
                    self.database,
                    f"INSERT INTO left_side (id) VALUES ({number})",
                    f"INSERT INTO right_side (id) VALUES ({number})",
                )
                with self._more:
                    self.committed = number
                    self._more.notify_all()
        except Exception as error:  # noqa: BLE001 - it is raised again in the test's thread
            self.failure = error
            with self._more:
                self._more.notify_all()

    def wait_for_more(self, count: int = 3) -> None:
        """Until the writer has committed so many more transactions."""
        with self._more:
            goal = self.committed + count
            assert self._more.wait_for(lambda: self.committed >= goal or self.failure is not None, timeout=60)


def files_in(folder: Path, *, but: Path | None = None) -> list[Path]:
    """Every file in the folder, and every folder that is not there from the start."""
    expected = {folder / "temporary", folder / "staging", folder / "scratch"}
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path not in expected and not (but is not None and path.is_relative_to(but))
    ]


def with_a_hole(plain: bytes) -> bytes:
    """A tenth of it, in the middle, is zeros."""
    start, length = len(plain) // 2, len(plain) // 10
    return plain[:start] + bytes(length) + plain[start + length :]


def rebuild_by_stock_tools(project: Project, backup_id: str, lab: EngineLab) -> str:
    """Run the commands that the manifest itself holds, where the parts lie; the database that they fill.

    Its name is the commands' own, and other tests rebuild under it too: what they left is taken away, unless it is
    rows alone that go into it.
    """
    folder = project.storage / "database"
    if project.manifest(backup_id)["type"] != "data":
        lab.drop(lab.restored_database(folder))
    for step in project.manifest(backup_id)["stock_restore"]:
        run_in_a_plain_shell(step["command"], folder, lab)
    return lab.restored_database(folder)


def run_in_a_plain_shell(command: str, folder: Path, lab: EngineLab) -> None:
    """As a person would: bash, the system's tools, an option file; none of our code and none of our environment."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-e", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **lab.stock_environment(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(home)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
