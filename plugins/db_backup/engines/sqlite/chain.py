"""The contract of chains for SQLite files: an image with the hashes of its pages, then the pages that changed.

What changed is found by holding every page of a staged image against the parent's hashes. The image is staged, as for
every full, because nothing else reads the pages of one moment in every journal mode: Python's module and Debian's shell
have no sqlite_dbpage, ``serialize()`` takes the whole file into memory, and a descriptor of our own would drop this
process's locks when it is closed. Its cost is one local copy without fsync; writers wait no longer than for a full, and
not for the storage. What is compressed, stored and transferred is the change alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from db_backup.engines.base import Block, Dump, DumpRequest, Preflight
from db_backup.engines.chain import ChainEngine, Link, Rebuilt
from db_backup.engines.sqlite.contents import read_schema
from db_backup.engines.sqlite.engine import SqliteEngine, refuse_exclusion
from db_backup.engines.sqlite.image import Moment
from db_backup.engines.sqlite.increment import Changes, changes_in, open_increment, open_paged_image
from db_backup.engines.sqlite.pages import (
    FORMAT,
    PAGES,
    HashReader,
    PageHashes,
    Position,
    changed_pages,
    corrupt,
    hashed,
    page_hash,
    position_of,
)
from db_backup.engines.sqlite.rebuilding import open_rebuilt
from db_backup.engines.sqlite.source import describe, library, open_source, page_size, seen_at, size_in_transaction
from db_backup.engines.sqlite.staging import Image, staged_image
from db_backup.engines.sqlite.stock import increment_commands
from db_backup.errors import ArtefactError, ChainBroken
from db_backup.manifest import Inventory, Manifest, Part, ServerInfo, StockCommand
from db_backup.model import BackupType, EngineName, Method, Scope
from db_backup.progress import Cancellation
from db_backup.recovery import Point

_WORTH_A_FULL = 0.6  # of the pages
_ALWAYS_CHEAP_BYTES = 1 << 20  # of changed pages: a full of so small a file would save nothing


@dataclass(frozen=True)
class _Capture:
    """One moment of the file: what it says of itself, and its image."""

    moment: Moment
    image: Image
    page_bytes: int


class SqliteChain(ChainEngine):
    """The chains of one SQLite file. Its fulls are as logical as every full of SQLite: any restore takes them."""

    name: ClassVar[EngineName] = EngineName.SQLITE
    scope: ClassVar[Scope] = Scope.DATABASE
    method: ClassVar[Method] = Method.LOGICAL

    @property
    def path(self) -> Path:
        return Path(self.connection.database)

    def check(self) -> ServerInfo:
        return self._engine.check()

    def preflight(self, request: DumpRequest) -> Preflight:
        refuse_exclusion(request)
        with open_source(self.path, Cancellation()) as source:
            size_bytes = size_in_transaction(source)
        return self._preflight(request, size_bytes if request.type is BackupType.FULL else None)

    def open_full(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        return self._open_full(request, cancellation)

    @contextmanager
    def _open_full(self, request: DumpRequest, cancellation: Cancellation) -> Iterator[Dump]:
        refuse_exclusion(request)
        with self._capture(cancellation) as capture:
            preflight = self._preflight(request, capture.moment.size_bytes)
            with open_paged_image(self.path, preflight, capture.moment, capture.image, capture.page_bytes) as dump:
                yield dump

    def prove_chain(self, parent: Manifest) -> None:
        with open_source(self.path, Cancellation()) as source:
            self._prove(parent, page_size(source))

    def open_increment(
        self, request: DumpRequest, parent: Link, cancellation: Cancellation
    ) -> AbstractContextManager[Dump]:
        return self._open_increment(request, parent, cancellation)

    @contextmanager
    def _open_increment(self, request: DumpRequest, parent: Link, cancellation: Cancellation) -> Iterator[Dump]:
        refuse_exclusion(request)
        with self._capture(cancellation, parent.manifest) as capture:
            began = position_of(parent.manifest)
            with ExitStack() as stack:
                changes = self._changes(stack, parent, began, capture, cancellation)
                preflight = self._preflight(request, changes.plain_bytes)
                opened = open_increment(self.path, preflight, capture.moment, capture.image, changes, began)
                yield stack.enter_context(opened)

    def published(self, manifest: Manifest) -> None:
        """A file keeps nothing for its backups."""

    def stock_commands(self, parts: Sequence[Part], format: str) -> tuple[StockCommand, ...]:
        return increment_commands(parts) if format == FORMAT else self._engine.stock_commands(parts, format)

    def read_archive(
        self, streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation
    ) -> Inventory:
        main, listed = _streams(streams, manifest)
        position, known = position_of(manifest), HashReader(listed)
        if manifest.type is BackupType.INCREMENTAL:
            for number, page in changed_pages(main, manifest, position):
                cancellation.check()
                if page_hash(page) != known.of_page(number):
                    raise corrupt(manifest, f"page {number} in it is not the one that was hashed")
            known.finish(manifest, position)
            return Inventory()
        hashes = PageHashes(position.page_bytes)
        inventory = self._engine.read_archive([hashed(main, hashes, position.page_bytes), ()], manifest, cancellation)
        known.finish(manifest, position)
        if hashes.position != position:
            raise corrupt(manifest, "its pages are not the ones that were hashed")
        return inventory

    def take_inventory(self, rebuilt: Rebuilt, manifest: Manifest, cancellation: Cancellation) -> Inventory:
        return SqliteEngine(rebuilt.connection, self.options).take_inventory(manifest, cancellation)

    def open_rebuilt(
        self, links: Sequence[Link], point: Point, cancellation: Cancellation
    ) -> AbstractContextManager[Rebuilt]:
        return open_rebuilt(links, point, self.options.scratch_path, cancellation)

    @property
    def _engine(self) -> SqliteEngine:
        return SqliteEngine(self.connection, self.options)

    @contextmanager
    def _capture(self, cancellation: Cancellation, parent: Manifest | None = None) -> Iterator[_Capture]:
        """The file at one moment; the source is let go of as soon as its image is there.

        :param parent: is proved before anything is copied.
        """
        with ExitStack() as stack:
            with open_source(self.path, cancellation) as source:
                at = seen_at(source, cancellation)
                page_bytes = page_size(source)
                if parent is not None:
                    self._prove(parent, page_bytes)
                (journal_mode,) = source.execute("PRAGMA journal_mode").fetchone()
                moment = Moment(at, journal_mode, read_schema(source), size_in_transaction(source))
                image = stack.enter_context(staged_image(source, self.path, self.options.staging_path, cancellation))
            yield _Capture(moment, image, page_bytes)

    def _preflight(self, request: DumpRequest, estimated_plain_bytes: int | None) -> Preflight:
        warnings: tuple[str, ...] = ()
        if self.options.sqlite_vacuum and request.type is BackupType.FULL:
            warnings = (
                f"BACKUP_SQLITE_VACUUM does not hold for '{request.entry}', which has incremental backups: these hold "
                "the pages that changed, and a compacted image has all of them in other places.",
            )
        return Preflight(
            server=describe(self.path),
            tools=(library(),),
            warnings=warnings,
            estimated_plain_bytes=estimated_plain_bytes,
        )

    def _prove(self, parent: Manifest, page_bytes: int) -> None:
        """A file has no identity: its path, its page size and, when pages are compared, their hashes must do.

        :raises ChainBroken:
        """
        position = Position.parse(parent.chain.to_position if parent.chain else None)
        if position is None or PAGES not in parent.streams:
            raise _broken(parent, f"{parent.id} does not say what the pages of its file were.", worth_a_full=True)
        if parent.server.address != str(self.path):
            raise _broken(parent, f"{parent.id} is of {parent.server.address}, and the connection leads elsewhere.")
        if position.page_bytes != page_bytes:
            change = f"Pages of {position.page_bytes} bytes have become pages of {page_bytes}"
            raise _broken(parent, f"{change} since {parent.id}.", worth_a_full=True)

    def _changes(
        self, stack: ExitStack, parent: Link, began: Position, capture: _Capture, cancellation: Cancellation
    ) -> Changes:
        """What the image has that the parent has not; open until ``stack`` ends.

        :raises ChainBroken: the parent's hashes cannot be read, or nearly everything has changed.
        """
        try:
            known = HashReader(parent.read(PAGES))
            changes = stack.enter_context(
                changes_in(capture.image, capture.page_bytes, known, self.options.staging_path, cancellation)
            )
            known.finish(parent.manifest, began)
        except ArtefactError as error:
            raise _broken(parent.manifest, error.message) from error
        changed, pages = len(changes.numbers), changes.position.page_count
        if changed > pages * _WORTH_A_FULL and changed * capture.page_bytes > _ALWAYS_CHEAP_BYTES:
            raise _broken(
                parent.manifest,
                f"{changed} of {pages} pages have changed since {parent.manifest.id}, as VACUUM changes them.",
                worth_a_full=True,
            )
        return changes


def _broken(parent: Manifest, reason: str, *, worth_a_full: bool = False) -> ChainBroken:
    return ChainBroken(
        reason,
        hint="Take a full backup; increments go on from there.",
        database=parent.entry,
        backup_id=parent.id,
        worth_a_full=worth_a_full,
    )


def _streams(streams: Sequence[Iterable[Block]], manifest: Manifest) -> tuple[Iterable[Block], Iterable[Block]]:
    """The main stream and that of the hashes.

    :raises ArtefactCorrupt: the manifest lists others.
    """
    if tuple(manifest.streams) != ("main", PAGES):
        raise corrupt(manifest, f"its manifest lists the streams {', '.join(manifest.streams)}")
    main, hashes = streams
    return main, hashes
