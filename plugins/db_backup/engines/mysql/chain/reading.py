"""Backups of a chain read without a server: a server's dump to its end marker, an increment to its last event."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from db_backup.engines.base import Block
from db_backup.engines.mysql.chain.archive import MalformedArchive, Member, Span, read_members
from db_backup.engines.mysql.chain.events import Event, EventScanner, Head, MalformedBinlog
from db_backup.engines.mysql.chain.increment import inventory_of
from db_backup.engines.mysql.chain.position import Place, Position, serial_of
from db_backup.engines.mysql.chain.server_dump import ServerDumpParser, archived_inventory
from db_backup.engines.mysql.dump_splitter import MalformedDump
from db_backup.errors import ArtefactCorrupt, ArtefactError, ArtefactTruncated
from db_backup.manifest import Inventory, Manifest
from db_backup.progress import Cancellation

_HINT = "Restore from another copy, or to a moment before this backup."


class Reader(Protocol):
    """Shown what an increment holds, in order."""

    def begin(self, span: Span, head: Head) -> None:
        """A file, of which the span follows."""

    def take(self, offset: int, content: memoryview) -> None:
        """Bytes of the span; the memory is reused afterwards."""

    def see(self, event: Event) -> None:
        """An event that was whole; its last bytes were taken before."""

    def end(self, span: Span) -> None:
        """Nothing more of this file."""


class _Counting:
    def __init__(self) -> None:
        self.transactions = 0

    def begin(self, span: Span, head: Head) -> None:
        pass

    def take(self, offset: int, content: memoryview) -> None:
        pass

    def see(self, event: Event) -> None:
        self.transactions += event.begins_group

    def end(self, span: Span) -> None:
        pass


def read_increment(content: Iterable[Block], manifest: Manifest, cancellation: Cancellation) -> Inventory:
    """What an increment holds, every event of it checked.

    :raises ArtefactCorrupt, ArtefactTruncated:
    """
    counting = _Counting()
    spans = walk_increment(content, manifest, counting, cancellation)
    return inventory_of(spans, counting.transactions)


def walk_increment(
    content: Iterable[Block], manifest: Manifest, reader: Reader, cancellation: Cancellation
) -> list[Span]:
    """Show ``reader`` every byte and every event from where the manifest says to where it says.

    :raises ArtefactCorrupt, ArtefactTruncated: that is not what the increment holds.
    """
    start, end = positions_of(manifest)
    spans: list[Span] = []
    head: Head | None = None
    try:
        for member in read_members(content, start.place):
            if spans:
                _require_next(spans[-1].file, member.span.file)
            elif member.head.fingerprint != start.head:
                raise MalformedBinlog(f"{member.span.file} begins otherwise than where its parent ended")  # noqa: TRY301
            spans.append(member.span)
            head = member.head
            _walk_file(member, reader, cancellation)
    except MalformedArchive as error:
        raise _damaged(manifest, str(error), truncated=error.truncated) from error
    except MalformedBinlog as error:
        raise _damaged(manifest, str(error)) from error
    last = spans[-1]
    if head is None or Place(last.file, last.end) != end.place or head.fingerprint != end.head:
        raise _damaged(manifest, f"it ends at {last.file}:{last.end}, and was to end at {end.place}")
    return spans


def positions_of(manifest: Manifest) -> tuple[Position, Position]:
    """Where an increment begins and ends.

    :raises ArtefactCorrupt: its manifest does not say.
    """
    chain = manifest.chain
    try:
        return Position.parse((chain and chain.from_position) or ""), Position.parse(
            (chain and chain.to_position) or ""
        )
    except ValueError as error:
        raise _damaged(manifest, f"its manifest does not say where it begins and ends ({error})") from error


def _require_next(before: str, file: str) -> None:
    (name, number), (next_name, next_number) = serial_of(before), _serial(file)
    if (next_name, next_number) != (name, number + 1):
        raise MalformedBinlog(f"{file} follows {before}")


def _serial(file: str) -> tuple[str, int]:
    try:
        return serial_of(file)
    except ValueError as error:
        raise MalformedBinlog(str(error)) from error


def _walk_file(member: Member, reader: Reader, cancellation: Cancellation) -> None:
    span = member.span
    scanner = EventScanner(span.start, member.head.checksum_bytes)
    reader.begin(span, member.head)
    offset = span.start
    for piece in member.content:
        cancellation.check()
        reader.take(offset, piece)
        offset += len(piece)
        for event in scanner.feed(piece):
            reader.see(event)
    scanner.finish()
    reader.end(span)


def read_full(content: Iterable[Block], manifest: Manifest, cancellation: Cancellation) -> Inventory:
    """What a server's dump holds, read to its end marker.

    :raises ArtefactCorrupt, ArtefactTruncated:
    """
    parser = ServerDumpParser()
    try:
        for block in content:
            cancellation.check()
            parser.feed(block)
        parser.finish()
        inventory = archived_inventory(parser)
    except MalformedDump as error:
        raise _damaged(manifest, f"{error}{_place(parser)}") from error
    if not parser.complete:
        raise _damaged(manifest, f"it ends before its end marker{_place(parser)}", truncated=True)
    return inventory


def _place(parser: ServerDumpParser) -> str:
    return f", at or after the table '{parser.last_table}'" if parser.last_table else ""


def _damaged(manifest: Manifest, what: str, *, truncated: bool = False) -> ArtefactError:
    kind = ArtefactTruncated if truncated else ArtefactCorrupt
    return kind(f"{manifest.id} cannot be read: {what}.", hint=_HINT, backup_id=manifest.id)
