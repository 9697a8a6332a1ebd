"""Backups of dumps that no server made, into storages that fail when they are told to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from db_backup.config import load_config
from db_backup.encryption import DataKey, Keyring
from db_backup.engines.base import Dump, DumpRequest, DumpSummary, Preflight
from db_backup.engines.stock import decrypt_commands
from db_backup.errors import StorageError
from db_backup.jobs.contents import plain_streams
from db_backup.jobs.creation import Creation, Made, Plan
from db_backup.jobs.sidecars import Located, read_manifest, read_state
from db_backup.jobs.sources import Source
from db_backup.manifest import Consistency, Inventory, Manifest, Part, RunInfo, ServerInfo, StockCommand, WrappedKey
from db_backup.model import BackupType, Compression, EngineName, utc_now
from db_backup.progress import Cancellation, Silent
from db_backup.settings import load_settings
from db_backup.storage import LocalStorage, Sink, Storage
from db_backup.storage.base import Block
from db_backup.stream.pipeline import Limits

MISCHIEF = "the disk was pulled out"


class _Stream:
    suffix = "sql"

    def __init__(self, name: str, reading: int) -> None:
        self.name = name
        self._reading = reading

    def fileno(self) -> int:
        return self._reading

    def observe(self, block: memoryview) -> None:
        pass


class _Dump(Dump):
    format = "text"
    preflight = Preflight(ServerInfo(engine=EngineName.SQLITE, flavour="SQLite", version="3"), (), (), 1000)

    def __init__(self, streams: Sequence[_Stream], failure: BaseException | None) -> None:
        self.streams = streams
        self._failure = failure

    def complete(self) -> DumpSummary:
        if self._failure is not None:
            raise self._failure
        return DumpSummary(Consistency(snapshot="test"), utc_now(), Inventory(), databases=("shop",))


@dataclass(frozen=True)
class FakeSource(Source):
    """A dump of these streams. ``failure``: what it says at its end."""

    contents: tuple[bytes, ...]
    failure: BaseException | None = None
    engine = None  # type: ignore[assignment]

    @property
    def name(self) -> EngineName:
        return EngineName.SQLITE

    def open(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        return self._opened()

    @contextmanager
    def _opened(self) -> Iterator[Dump]:
        with ExitStack() as stack:
            names = ["main"] if len(self.contents) == 1 else [f"data-{n}" for n in range(len(self.contents))]
            streams = [
                _Stream(name, stack.enter_context(_fed(content)))
                for name, content in zip(names, self.contents, strict=True)
            ]
            yield _Dump(streams, self.failure)

    def stock_commands(self, parts: Sequence[Part], format: str) -> tuple[StockCommand, ...]:
        return decrypt_commands(parts)[0]

    def chain(self, summary: DumpSummary, /) -> None:
        return None

    def published(self, manifest: Manifest) -> None:
        pass


@contextmanager
def _fed(content: bytes) -> Iterator[int]:
    reading, writing = os.pipe()

    def feed() -> None:
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(writing, view[:65_536]) :]
        except BrokenPipeError:
            pass
        finally:
            os.close(writing)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield reading
    finally:
        os.close(reading)
        feeder.join()


class Fragile(LocalStorage):
    """Fails at a step: ``breaks`` is asked before each, with the step's name and how often it came."""

    def __init__(self, name: str, root: Path, *, max_object_bytes: int | None = None) -> None:
        super().__init__(name, root)
        self._max_object_bytes = max_object_bytes
        self._counts: dict[str, int] = {}
        self.breaks: Callable[[str, int], BaseException | None] = lambda _step, _count: None

    @property
    def max_object_bytes(self) -> int | None:
        return self._max_object_bytes

    def step(self, name: str) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1
        if (error := self.breaks(name, self._counts[name])) is not None:
            raise error

    def break_at(self, name: str, count: int = 1) -> None:
        """With the same error from then on."""
        self.breaks = lambda step, found: (
            StorageError(f"{self.name}: {MISCHIEF}.") if step == name and found >= count else None
        )

    @property
    def storage_id(self) -> str:
        self.step("storage_id")
        return super().storage_id

    @contextmanager
    def reserve(self, backup_id: str) -> Iterator[None]:
        self.step("reserve")
        with super().reserve(backup_id):
            yield
        self.step("release")

    def free_bytes(self) -> int | None:
        self.step("free_bytes")
        return super().free_bytes()

    def open_sink(self, key: str) -> Sink:
        self.step("open_sink")
        return _FragileSink(self, super().open_sink(key))

    def create(self, key: str, content: bytes) -> None:
        step = "state" if key.endswith(".state.json") else "manifest"
        self.step(step)
        super().create(key, content)
        self.step(f"after {step}")

    def replace(self, key: str, content: bytes, *, version: str | None) -> None:
        self.step("replace")
        super().replace(key, content, version=version)

    def delete(self, key: str) -> None:
        self.step("delete")
        super().delete(key)


class _FragileSink:
    def __init__(self, storage: Fragile, sink: Sink) -> None:
        self._storage = storage
        self._sink = sink

    def write(self, block: Block) -> None:
        self._storage.step("write")
        self._sink.write(block)

    def commit(self) -> None:
        self._storage.step("commit")
        self._sink.commit()
        self._storage.step("after commit")

    def abort(self) -> None:
        self._sink.abort()


def fragile(name: str, folder: Path, *, max_object_bytes: int | None = None) -> Fragile:
    storage = Fragile(name, folder / name, max_object_bytes=max_object_bytes)
    storage.initialise()
    return storage


def plan(
    folder: Path, storages: Sequence[Storage], *, compression: Compression = Compression.GZIP, key: bool = False
) -> Plan:
    settings = load_settings({"AIRFLOW_HOME": str(folder)}, root=folder)
    entry = load_config(settings, text="databases: {shop: {conn_id: a}}").entry("shop")
    return Plan(
        entry=entry,
        type=BackupType.FULL,
        compression=compression,
        level=None if compression is Compression.NONE else 1,
        jobs=1,
        retention_days=7,
        storages=tuple(storages),
        limits=Limits(),
        previous=None,
        new_key=OneKey().new_data_key if key else None,
    )


class OneKey(Keyring):
    """Opens everything with one data key; wraps nothing."""

    key = DataKey.generate()

    def __init__(self) -> None:
        pass

    def new_data_key(self, backup_id: str) -> tuple[DataKey, tuple[WrappedKey, ...]]:
        return self.key, ()

    def data_key(self, manifest: Manifest, state: object) -> DataKey:
        return self.key


def create(
    plan: Plan,
    *contents: bytes,
    failure: BaseException | None = None,
    cancellation: Cancellation | None = None,
) -> Made:
    run = RunInfo(origin="cli", actor="ada", host="tower")
    return Creation(plan, FakeSource(contents, failure), run, Silent(), cancellation or Cancellation()).publish()


def read_back(storage: Storage, backup_id: str) -> list[bytes]:
    """The streams of the copy that lies there."""
    manifest = read_manifest(storage, backup_id)
    located = Located(storage, manifest, read_state(storage, backup_id), OneKey())
    return [b"".join(stream) for stream in plain_streams(located, Silent())]


def left_in(folder: Path) -> set[str]:
    """Every file below a storage's root but those that it always has."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith((".storage-id", ".lock"))}
