"""The engine contract for SQLite files."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from db_backup.engines.base import Block, Dump, DumpRequest, DumpSummary, Engine, Preflight
from db_backup.engines.sqlite.contents import (
    Contents,
    Damage,
    Schema,
    count_tables,
    find_damage,
    interruptible,
    read_schema,
)
from db_backup.engines.sqlite.landing import inspect_image, land, private_scratch, receive, refuse_existing
from db_backup.engines.sqlite.source import SIDE_FILES, describe, explained, open_source, side_file
from db_backup.engines.sqlite.staging import Image, open_unchanging, size_in_transaction, staged_image
from db_backup.engines.stock import unpack_command
from db_backup.errors import (
    DumpFailed,
    DumpIncomplete,
    FeatureNotAvailable,
    ScratchUnavailable,
    StorageFull,
    UsageError,
)
from db_backup.manifest import Consistency, Inventory, Manifest, Part, ServerInfo, StockCommand, ToolInfo
from db_backup.model import EngineName, utc_now
from db_backup.progress import Cancellation

FORMAT = "sqlite image"


@dataclass
class ImageStream:
    """The image's bytes; counts what the pipeline has seen of them."""

    descriptor: int
    name: str = "main"
    suffix: str = "sqlite"
    observed_bytes: int = field(default=0, init=False)

    def fileno(self) -> int:
        return self.descriptor

    def observe(self, block: memoryview) -> None:
        self.observed_bytes += block.nbytes


@dataclass(frozen=True)
class _Moment:
    """What the source says of itself, inside the transaction that the image is taken in."""

    at: datetime
    journal_mode: str
    schema: Schema
    size_bytes: int


class SqliteDump(Dump):
    """An open image. Its tables are counted in a thread of their own while the pipeline reads it."""

    format = FORMAT

    def __init__(
        self, path: Path, preflight: Preflight, moment: _Moment, image: Image, counted: Future[tuple[Damage, Contents]]
    ) -> None:
        self.preflight = preflight
        self._stream = ImageStream(image.descriptor)
        self.streams = (self._stream,)
        self._path = path
        self._moment = moment
        self._image = image
        self._counted = counted

    def complete(self) -> DumpSummary:
        if not self._stream.observed_bytes == self._image.size_bytes == self._moment.size_bytes:
            raise DumpIncomplete(
                f"{self._stream.observed_bytes} bytes of the image of {self._path} were read; the image has "
                f"{self._image.size_bytes}, the database {self._moment.size_bytes}.",
                hint="Run the backup again; if it stays so, report it.",
            )
        with explained(self._path):
            damage, contents = self._counted.result()
        if damage.problems:
            raise DumpFailed(
                f"{self._path} is damaged: {'; '.join(damage.problems[:3])}.",
                hint=f"Look at it with: sqlite3 {self._path} 'PRAGMA integrity_check'; restore the last good backup.",
            )
        if read_schema(self._image.connection) != self._moment.schema:
            raise DumpIncomplete(
                f"The image of {self._path} does not hold the objects that the database listed.",
                hint="Run the backup again; if it stays so, report it.",
            )
        return DumpSummary(
            consistency=Consistency(snapshot=f"backup api, journal mode {self._moment.journal_mode}"),
            recovery_point=self._moment.at,
            inventory=Inventory(tables=contents.tables, objects=self._moment.schema.objects),
            warnings=(*damage.warnings, *contents.warnings),
        )


class SqliteEngine(Engine):
    """One SQLite file. ``ConnectionInfo.database`` is its path, and a new database's name is a path too."""

    name: ClassVar[EngineName] = EngineName.SQLITE

    @property
    def path(self) -> Path:
        return Path(self.connection.database)

    def check(self) -> ServerInfo:
        with open_source(self.path, Cancellation()):
            return describe(self.path)

    def preflight(self, request: DumpRequest) -> Preflight:
        self._refuse_options()
        with open_source(self.path, Cancellation()) as source:
            return self._preflight(source)

    def open_backup(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        return self._open_backup(cancellation)

    @contextmanager
    def _open_backup(self, cancellation: Cancellation) -> Iterator[Dump]:
        self._refuse_options()
        path = self.path
        with ExitStack() as stack:
            with ExitStack() as transaction:
                asked_at = utc_now()  # whatever was committed before this is in the image
                source = transaction.enter_context(open_source(path, cancellation))
                preflight = self._preflight(source)
                (journal_mode,) = source.execute("PRAGMA journal_mode").fetchone()
                moment = _Moment(asked_at, journal_mode, read_schema(source), size_in_transaction(source))
                image = stack.enter_context(staged_image(source, path, self.options.staging_path, cancellation))
            left = Cancellation()
            counting = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="sqlite-inventory"))
            stack.callback(left.cancel, "the dump was closed")
            counted = counting.submit(_examine, image.connection, moment.schema, left)
            yield SqliteDump(path, preflight, moment, image, counted)

    def stock_commands(self, parts: Sequence[Part], format: str) -> tuple[StockCommand, ...]:
        return (
            StockCommand(description="Unpack the database file", command=f"{unpack_command(parts)} > restored.sqlite"),
            StockCommand(description="Check it", command="sqlite3 restored.sqlite 'PRAGMA integrity_check'"),
        )

    def database_exists(self, database: str) -> bool:
        return os.path.lexists(database)

    def create_database(self, database: str) -> SqliteEngine:
        target = Path(database).absolute()
        refuse_existing(target)
        if not target.parent.is_dir():
            raise UsageError(f"There is no folder {target.parent}.", hint="Create it, or name a path in another one.")
        return SqliteEngine(dataclasses.replace(self.connection, database=str(target)), self.options)

    def drop_database(self, database: str) -> None:
        for path in (Path(database), *(side_file(Path(database), suffix) for suffix in SIDE_FILES)):
            path.unlink(missing_ok=True)

    def load(self, content: Iterable[Block], manifest: Manifest, cancellation: Cancellation) -> tuple[str, ...]:
        land(content, self.path, cancellation)
        return ()

    def take_inventory(self, manifest: Manifest, cancellation: Cancellation) -> Inventory:
        with open_source(self.path, cancellation) as connection, interruptible(connection, cancellation):
            schema = read_schema(connection)
            contents = count_tables(connection, schema, cancellation)
        return Inventory(tables=contents.tables, objects=schema.objects)

    def read_archive(self, content: Iterable[Block], manifest: Manifest, cancellation: Cancellation) -> Inventory:
        with private_scratch(self.options.scratch_path) as scratch:
            file = scratch / "image.sqlite"
            try:
                receive(content, os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), scratch, cancellation)
            except StorageFull as error:
                raise ScratchUnavailable(
                    f"{self.options.scratch_path} has no room for the image of {manifest.id}.",
                    hint="Make room, or point BACKUP_SCRATCH_PATH to a disk that has it.",
                ) from error
            schema = inspect_image(file, cancellation, thorough=True)
            with closing(open_unchanging(file)) as connection, interruptible(connection, cancellation):
                contents = count_tables(connection, schema, cancellation)
        return Inventory(tables=contents.tables, objects=schema.objects)

    def _refuse_options(self) -> None:
        if self.options.sqlite_vacuum:
            raise FeatureNotAvailable(
                "BACKUP_SQLITE_VACUUM=true is not available yet.", hint="Leave it at false: the image is exact."
            )

    def _preflight(self, source: sqlite3.Connection) -> Preflight:
        return Preflight(
            server=describe(self.path),
            tools=(ToolInfo(name="sqlite3 library", version=sqlite3.sqlite_version),),
            warnings=(),
            estimated_plain_bytes=size_in_transaction(source),
        )


def _examine(image: sqlite3.Connection, schema: Schema, left: Cancellation) -> tuple[Damage, Contents]:
    with interruptible(image, left):
        damage = find_damage(image, schema, thorough=False)
        contents = count_tables(image, schema, left) if not damage.problems else Contents((), ())
    return damage, contents
