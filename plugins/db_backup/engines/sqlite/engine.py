"""The engine contract for SQLite files."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import ClassVar

from db_backup.engines.base import (
    Block,
    Dump,
    DumpRequest,
    Engine,
    LoadOptions,
    Preflight,
    TargetExamination,
    only_stream,
)
from db_backup.engines.exclusion import Exclusion, choose, refuse_dangling
from db_backup.engines.sqlite import rows, structure
from db_backup.engines.sqlite.contents import count_tables, interruptible, read_schema, without_module
from db_backup.engines.sqlite.image import Moment, open_image
from db_backup.engines.sqlite.landing import (
    inspect_image,
    land_image,
    land_structure,
    private_scratch,
    receive,
)
from db_backup.engines.sqlite.pages import PAGES
from db_backup.engines.sqlite.replacing import refuse_existing, replace
from db_backup.engines.sqlite.rows import RowWriter, load_rows, open_rows, read_rows
from db_backup.engines.sqlite.script import ScriptDamaged, whole_script
from db_backup.engines.sqlite.selection import load_tables
from db_backup.engines.sqlite.source import (
    SIDE_FILES,
    compacted_size,
    describe,
    library,
    open_source,
    open_unchanging,
    side_file,
    size_in_transaction,
)
from db_backup.engines.sqlite.staging import staged_image
from db_backup.engines.sqlite.stock import image_commands, rows_commands, structure_commands
from db_backup.engines.sqlite.structure import count_structure, inventory_of, open_structure, read_structure
from db_backup.engines.sqlite.tables import count_rows, foreign_keys, read_tables
from db_backup.engines.sqlite.target import ask, examine, real_path, replacement_of
from db_backup.errors import (
    ArtefactCorrupt,
    ArtefactTruncated,
    ConfigurationError,
    FeatureNotAvailable,
    ScratchUnavailable,
    SourceUnsupported,
    StorageFull,
    UsageError,
)
from db_backup.manifest import Inventory, Manifest, Part, ServerInfo, StockCommand
from db_backup.model import BackupType, EngineName, utc_now
from db_backup.progress import Cancellation


class SqliteEngine(Engine):
    """One SQLite file. ``ConnectionInfo.database`` is its path, and a new database's name is a path too."""

    name: ClassVar[EngineName] = EngineName.SQLITE
    supported_types: ClassVar[frozenset[BackupType]] = frozenset(
        {BackupType.FULL, BackupType.STRUCTURE, BackupType.DATA}
    )

    @property
    def path(self) -> Path:
        return Path(self.connection.database)

    def check(self) -> ServerInfo:
        with open_source(self.path, Cancellation()):
            return describe(self.path)

    def preflight(self, request: DumpRequest) -> Preflight:
        self._refuse(request)
        with open_source(self.path, Cancellation()) as source:
            return self._preflight(source, request, self._exclusion(source, request))

    def open_backup(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        return self._open_backup(request, cancellation)

    @contextmanager
    def _open_backup(self, request: DumpRequest, cancellation: Cancellation) -> Iterator[Dump]:
        self._refuse(request)
        path = self.path
        with ExitStack() as stack:
            with ExitStack() as transaction:
                asked_at = utc_now()  # whatever was committed before this is in the backup
                source = transaction.enter_context(open_source(path, cancellation))
                exclusion = self._exclusion(source, request)
                preflight = self._preflight(source, request, exclusion)
                if request.type is BackupType.STRUCTURE:
                    definitions = read_structure(source)
                else:
                    (journal_mode,) = source.execute("PRAGMA journal_mode").fetchone()
                    moment = Moment(asked_at, journal_mode, read_schema(source), size_in_transaction(source))
                    compact = self._compacts(request)
                    image = stack.enter_context(
                        staged_image(source, path, self.options.staging_path, cancellation, compact=compact)
                    )
            opened: AbstractContextManager[Dump]
            match request.type:
                case BackupType.STRUCTURE:
                    opened = open_structure(path, preflight, asked_at, definitions)
                case BackupType.DATA:
                    writer = RowWriter(image.connection, path, moment.schema, exclusion)
                    opened = open_rows(path, preflight, moment, writer, exclusion)
                case _:
                    opened = open_image(path, preflight, moment, image)
            yield stack.enter_context(opened)

    def stock_commands(self, parts: Sequence[Part], format: str) -> tuple[StockCommand, ...]:
        match format:
            case structure.FORMAT:
                return structure_commands(parts)
            case rows.FORMAT:
                return rows_commands(parts)
            case _:
                return image_commands(parts)

    def database_exists(self, database: str) -> bool:
        return os.path.lexists(database)

    def create_database(self, database: str, like: ServerInfo | None = None) -> SqliteEngine:
        if not database or "\0" in database or Path(database).is_dir():
            raise UsageError(
                f"{database!r} is not the path of a new file.", hint="Name a file that does not exist yet."
            )
        target = Path(database).absolute()
        refuse_existing(target)
        if not target.parent.is_dir():
            raise UsageError(f"There is no folder {target.parent}.", hint="Create it, or name a path in another one.")
        return SqliteEngine(dataclasses.replace(self.connection, database=str(target)), self.options)

    def drop_database(self, database: str) -> None:
        for path in (Path(database), *(side_file(Path(database), suffix) for suffix in SIDE_FILES)):
            path.unlink(missing_ok=True)

    def examine_target(self, manifest: Manifest, options: LoadOptions, *, replace: bool) -> TargetExamination:
        return examine(self.connection.database, manifest, options, replace=replace)

    def replacement_name(self) -> str:
        return str(replacement_of(real_path(self.connection.database)))

    def replace_with(self, database: str, cancellation: Cancellation) -> tuple[str, ...]:
        return replace(real_path(self.connection.database), Path(database), cancellation)

    def refresh_statistics(self, cancellation: Cancellation) -> None:
        """An image brings the statistics that its source had; where that had none, ``ANALYZE`` would make a table that
        the backup does not hold. Tables that are loaded alone get theirs with the load."""

    def ask(self, query: str, cancellation: Cancellation) -> object:
        return ask(self.path, query, cancellation)

    def load(
        self,
        streams: Sequence[Iterable[Block]],
        manifest: Manifest,
        cancellation: Cancellation,
        options: LoadOptions | None = None,
    ) -> tuple[str, ...]:
        content = _content(streams, manifest)
        if options and options.tables:
            load_tables(content, self.path, manifest, options.tables, cancellation)
            return ()
        match manifest.type:
            case BackupType.STRUCTURE:
                land_structure(content, self.path, cancellation)
            case BackupType.DATA:
                load_rows(content, self.path, manifest, cancellation)
            case _:
                land_image(content, self.path, cancellation)
        return ()

    def take_inventory(self, manifest: Manifest, cancellation: Cancellation) -> Inventory:
        with open_source(self.path, cancellation) as connection, interruptible(connection, cancellation):
            match manifest.type:
                case BackupType.STRUCTURE:
                    return count_structure(connection)
                case BackupType.DATA:
                    return Inventory(tables=count_rows(connection, cancellation))
            schema = read_schema(connection)
            contents = count_tables(connection, schema, cancellation)
        return Inventory(tables=contents.tables, objects=schema.objects)

    def read_archive(
        self, streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation
    ) -> Inventory:
        content = _content(streams, manifest)
        if manifest.type is BackupType.FULL:
            return self._read_image(content, manifest, cancellation)
        try:
            if manifest.type is BackupType.DATA:
                return read_rows(content, cancellation)
            return inventory_of(whole_script(content))
        except ScriptDamaged as damage:
            error = ArtefactTruncated if damage.truncated else ArtefactCorrupt
            raise error(
                f"The script in {manifest.id} {damage}.",
                hint="Restore from another backup or another copy, and verify the others.",
                database=manifest.entry,
                backup_id=manifest.id,
            ) from damage

    def _read_image(self, content: Iterable[Block], manifest: Manifest, cancellation: Cancellation) -> Inventory:
        with private_scratch(self.options.scratch_path) as scratch:
            file = scratch / "image.sqlite"
            try:
                receive(content, file, scratch, cancellation)
            except StorageFull as error:
                raise ScratchUnavailable(
                    f"{self.options.scratch_path} has no room for the image of {manifest.id}.",
                    hint="Make room, or point BACKUP_SCRATCH_PATH to a disk that has it.",
                ) from error
            schema = inspect_image(file, cancellation, thorough=True)
            with closing(open_unchanging(file)) as connection, interruptible(connection, cancellation):
                contents = count_tables(connection, schema, cancellation)
        return Inventory(tables=contents.tables, objects=schema.objects)

    def _refuse(self, request: DumpRequest) -> None:
        if request.type not in self.supported_types:
            raise FeatureNotAvailable(
                f"Backups of type '{request.type}' of SQLite are not there yet.",
                hint=f"Types that are: {', '.join(sorted(self.supported_types))}.",
                database=request.entry,
            )
        if request.type is BackupType.FULL:
            refuse_exclusion(request)

    def _compacts(self, request: DumpRequest) -> bool:
        """A data backup's statements are written from an exact image, whatever the setting says."""
        return self.options.sqlite_vacuum and request.type is BackupType.FULL

    def _exclusion(self, source: sqlite3.Connection, request: DumpRequest) -> Exclusion:
        if request.type is not BackupType.DATA or not request.exclude_tables:
            return Exclusion()
        exclusion = choose({table.name: table.name for table in read_tables(source).with_rows}, request.exclude_tables)
        refuse_dangling(exclusion, foreign_keys(source), request.entry)
        return exclusion

    def _preflight(self, source: sqlite3.Connection, request: DumpRequest, exclusion: Exclusion) -> Preflight:
        if request.type is not BackupType.FULL and (missing := without_module(source, read_schema(source))):
            name, module = missing[0]
            raise SourceUnsupported(
                f"A {request.type} backup of '{request.entry}' cannot be written: the virtual table '{name}' needs the "
                f"module '{module}', which this machine's SQLite does not have.",
                hint="Take full backups: they need no module.",
                database=request.entry,
            )
        return Preflight(
            server=describe(self.path),
            tools=(library(),),
            warnings=exclusion.warnings,
            estimated_plain_bytes=self._estimate(source, request),
        )

    def _estimate(self, source: sqlite3.Connection, request: DumpRequest) -> int | None:
        if request.type is BackupType.STRUCTURE:
            return None
        return compacted_size(source) if self._compacts(request) else size_in_transaction(source)


def refuse_exclusion(request: DumpRequest) -> None:
    """:raises ConfigurationError: a backup of the file itself is asked for without some tables' rows."""
    if request.exclude_tables:
        raise ConfigurationError(
            f"A {request.type} backup of '{request.entry}' is made of its whole file, and leaves no table out.",
            hint="Remove exclude_tables, or take structure and data backups, which leave rows out.",
            database=request.entry,
        )


def _content(streams: Sequence[Iterable[Block]], manifest: Manifest) -> Iterable[Block]:
    """The stream to load. Beside it a full that increments can follow has the hashes of its pages."""
    if tuple(manifest.streams) == ("main", PAGES) and manifest.type is BackupType.FULL:
        return streams[0]
    return only_stream(streams, manifest)
