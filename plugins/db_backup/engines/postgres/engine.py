"""The engine contract for PostgreSQL (see ``engines/base.py``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar

import psycopg

from db_backup.engines.base import Block, Dump, DumpRequest, Engine, LoadOptions, Preflight, TargetExamination
from db_backup.engines.postgres import afterwards, replacing, reread, restore, target, tools
from db_backup.engines.postgres import preflight as questions
from db_backup.engines.postgres.contents import TableName
from db_backup.engines.postgres.creating import create
from db_backup.engines.postgres.dump import PostgresDump, Snapshot, export_snapshot, open_dump
from db_backup.engines.postgres.formats import DumpFormat
from db_backup.engines.postgres.inventory import Catalogue, read_catalogue
from db_backup.engines.postgres.left_out import foreign_keys, leave_out
from db_backup.engines.postgres.maintenance import beside, drop
from db_backup.engines.postgres.partial import load_tables
from db_backup.engines.postgres.pieces import Piece, divide, in_order, is_divisible
from db_backup.engines.postgres.reading import read_archive
from db_backup.engines.postgres.replacing import MOST_NAME_BYTES
from db_backup.engines.postgres.room import refuse_without_room, table_sizes
from db_backup.engines.postgres.session import Connection, connected, rows
from db_backup.engines.postgres.snapshot import begin_snapshot
from db_backup.engines.postgres.stock import stock_commands
from db_backup.engines.postgres.target import refuse_unavailable
from db_backup.errors import FeatureNotAvailable, TargetNotEmpty, UsageError
from db_backup.manifest import Inventory, Manifest, Part, ServerInfo, StockCommand
from db_backup.model import BackupType, EngineName
from db_backup.progress import Cancellation


class PostgresEngine(Engine):
    """One PostgreSQL database, dumped by pg_dump on an exported snapshot."""

    name: ClassVar[EngineName] = EngineName.POSTGRES
    supported_types: ClassVar[frozenset[BackupType]] = frozenset(
        {BackupType.FULL, BackupType.STRUCTURE, BackupType.DATA}
    )

    def check(self) -> ServerInfo:
        with connected(self.connection) as link:
            return questions.describe_server(link, self.connection)

    def preflight(self, request: DumpRequest) -> Preflight:
        dump_format = self._format(request)
        with connected(self.connection, entry=request.entry) as link:
            preflight, _ = self._examine(link, request.entry, dump_format)
            left_out = leave_out(link, read_catalogue(link), request)
            refuse_without_room(link, left_out, dump_format, self.options, request.entry, jobs=request.jobs)
            return preflight

    def open_backup(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        return self._open(request, self._format(request), cancellation)

    def stock_commands(self, parts: Sequence[Part], format: str) -> tuple[StockCommand, ...]:
        return stock_commands(parts, DumpFormat.parse(format), self.options)

    def database_exists(self, database: str) -> bool:
        with beside(self.connection) as link:
            return bool(rows(link, "SELECT FROM pg_catalog.pg_database WHERE datname = %(name)s", name=database))

    def create_database(self, database: str, like: ServerInfo | None = None) -> PostgresEngine:
        """From the pristine template0."""
        _check_name(database)
        with beside(self.connection) as link:
            try:
                create(link, database, like)
            except psycopg.errors.DuplicateDatabase as error:
                raise TargetNotEmpty(
                    f"The database '{database}' exists already at {self.connection.address}; it was not touched.",
                    hint="Choose a name that is free.",
                ) from error
        return PostgresEngine(dataclasses.replace(self.connection, database=database), self.options)

    def drop_database(self, database: str) -> None:
        with beside(self.connection, database) as link:
            drop(link, database)

    def examine_target(self, manifest: Manifest, options: LoadOptions, *, replace: bool) -> TargetExamination:
        return target.examine_target(self.connection, self.options, manifest, options, replace=replace)

    def replacement_name(self) -> str:
        return replacing.replacement_name(self.connection.database)

    def replace_with(self, database: str, cancellation: Cancellation) -> tuple[str, ...]:
        return replacing.replace_with(self.connection, database, cancellation)

    def refresh_statistics(self, cancellation: Cancellation) -> None:
        afterwards.refresh_statistics(self.connection, cancellation)

    def ask(self, query: str, cancellation: Cancellation) -> object:
        return afterwards.ask(self.connection, query, cancellation)

    def load(
        self,
        streams: Sequence[Iterable[Block]],
        manifest: Manifest,
        cancellation: Cancellation,
        options: LoadOptions | None = None,
    ) -> tuple[str, ...]:
        wanted = options or LoadOptions()
        if wanted.tables:
            refuse_unavailable(manifest, wanted, replace=False)
        load = load_tables if wanted.tables else restore.load
        return load(self.connection, self.options, streams, manifest, cancellation, wanted)

    def take_inventory(self, manifest: Manifest, cancellation: Cancellation) -> Inventory:
        return reread.take_inventory(self.connection, self.options, manifest, cancellation)

    def read_archive(
        self, streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation
    ) -> Inventory:
        return read_archive(streams, manifest, cancellation)

    def _format(self, request: DumpRequest) -> DumpFormat:
        if request.type not in self.supported_types:
            raise FeatureNotAvailable(
                f"Backups of type '{request.type}' of PostgreSQL are not there yet.",
                hint=f"Types that are: {', '.join(sorted(self.supported_types))}.",
                database=request.entry,
            )
        return DumpFormat(questions.check_container(self.options.postgres_format), request.type)

    def _examine(self, link: Connection, entry: str, dump_format: DumpFormat) -> tuple[Preflight, tools.Tool]:
        """Everything that can be known before the dump starts."""
        server = questions.describe_server(link, self.connection, entry=entry)
        tool = tools.find("pg_dump", server.major, database=entry)
        questions.refuse_what_would_fail(link, server, dump_format, entry)
        preflight = Preflight(
            server=server,
            tools=(tool.info,),
            warnings=questions.warnings(link, server, tool, dump_format.type),
            estimated_plain_bytes=(
                None if dump_format.type is BackupType.STRUCTURE else questions.estimated_bytes(link)
            ),
        )
        return preflight, tool

    @contextmanager
    def _open(
        self, request: DumpRequest, dump_format: DumpFormat, cancellation: Cancellation
    ) -> Iterator[PostgresDump]:
        """Questions, catalogue and dump, all of one moment."""
        cancellation.check()
        with connected(self.connection, entry=request.entry, cancellation=cancellation) as link:
            begin_snapshot(link, request.entry, cancellation)
            preflight, tool = self._examine(link, request.entry, dump_format)
            snapshot = export_snapshot(link, request)
            refuse_without_room(link, snapshot.left_out, dump_format, self.options, request.entry, jobs=request.jobs)
            pieces = self._pieces(link, snapshot, dump_format, request.jobs)
            with open_dump(
                self.connection,
                preflight,
                snapshot,
                tool,
                dump_format=dump_format,
                options=self.options,
                entry=request.entry,
                cancellation=cancellation,
                jobs=request.jobs,
                pieces=pieces,
            ) as dump:
                yield dump

    def _pieces(self, link: Connection, snapshot: Snapshot, dump_format: DumpFormat, jobs: int) -> tuple[Piece, ...]:
        if not is_divisible(dump_format, jobs):
            return (Piece(),)
        sizes = table_sizes(link)
        wanted = {table.name: sizes.get(table.name, 0) for table in snapshot.catalogue.tables}
        return divide(
            dump_format,
            {name: size for name, size in wanted.items() if name not in snapshot.left_out.tables},
            jobs,
            _load_order(link, snapshot.catalogue) if dump_format.type is BackupType.DATA else (),
        )


def _load_order(link: Connection, catalogue: Catalogue) -> Sequence[Collection[TableName]]:
    """Of rows alone: foreign keys are there when they are loaded, and only some users may set these aside."""
    holders: dict[TableName, list[TableName]] = {}
    for table in catalogue.tables:
        holders.setdefault(catalogue.root(table.name), []).append(table.name)
    keys = foreign_keys(link)
    return in_order(holders, [(catalogue.root(table), catalogue.root(referred)) for table, referred in keys])


def _check_name(database: str) -> None:
    """:raises UsageError: PostgreSQL would refuse the name, or cut it short."""
    size = len(database.encode(errors="surrogateescape"))
    if not database or "\0" in database or size > MOST_NAME_BYTES:
        raise UsageError(
            f"A PostgreSQL database cannot be named {database!r} ({size} bytes).",
            hint=f"Choose a name of 1 to {MOST_NAME_BYTES} bytes.",
        )
