"""Proving without a server that plain bytes are a complete dump."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from db_backup.engines.base import Block
from db_backup.engines.postgres import tools
from db_backup.engines.postgres.contents import DumpContents, StreamDamaged
from db_backup.engines.postgres.dump import reader_of, with_empty
from db_backup.engines.postgres.formats import DumpFormat
from db_backup.engines.postgres.restore import STREAM_FLAGS, feed
from db_backup.engines.postgres.tar_archive import for_pg_restore
from db_backup.errors import ArtefactCorrupt, ArtefactTruncated
from db_backup.manifest import Inventory, Manifest, TableInventory
from db_backup.model import BackupType
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess

_HINT = "Restore from another backup or another copy, and verify the others."


def read_archive(streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation) -> Inventory:
    """Our own reader goes over the bytes and, where it can without a server, the tool that would restore them.

    :raises ArtefactTruncated, ArtefactCorrupt, ToolMissing, ToolVersionMismatch:
    """
    contents = DumpContents()
    for content in streams:
        contents.merge(_read(content, manifest, cancellation))
    return Inventory(tables=_tables(contents, manifest))


def _read(content: Iterable[Block], manifest: Manifest, cancellation: Cancellation) -> DumpContents:
    watched = _Watched(content, manifest)
    complaint = ""
    dump_format = DumpFormat.parse(manifest.format)
    if dump_format.is_archive:
        try:
            complaint = _read_with_pg_restore(watched, dump_format, manifest, cancellation)
        except StreamDamaged as damage:  # our own reader, which saw the same bytes, says it better
            complaint = f"it {damage}"
    else:
        for _ in watched:
            cancellation.check()
    contents = watched.contents()
    if complaint:
        raise ArtefactCorrupt(
            f"pg_restore cannot read {manifest.id}: {complaint}.",
            hint=_HINT,
            database=manifest.entry,
            backup_id=manifest.id,
        )
    return contents


def _tables(contents: DumpContents, manifest: Manifest) -> tuple[TableInventory, ...]:
    """An archive says nothing of a table whose rows were left out; that it has none is right."""
    found = contents.inventory()
    if manifest.type is BackupType.STRUCTURE:
        return (*contents.empty_tables(), *found)
    listed = {table.name for table in manifest.inventory.tables}
    return with_empty(found, listed.intersection(manifest.excluded_tables))


def _read_with_pg_restore(
    watched: _Watched, dump_format: DumpFormat, manifest: Manifest, cancellation: Cancellation
) -> str:
    """What it complains of, turning the archive into a script that nobody reads; empty when it is content."""
    tool = tools.find("pg_restore", manifest.server.major, database=manifest.entry)
    with ChildProcess(
        [str(tool.path), *STREAM_FLAGS[dump_format.container], "--exit-on-error", "--file=/dev/null"],
        cancellation=cancellation,
        stdin=True,
        stdout=False,
    ) as process:
        read_everything = feed(process, for_pg_restore(watched) if dump_format.is_tar else watched, cancellation)
        status = process.wait()
        cancellation.check()
        if status == 0 and (read_everything or dump_format.is_tar):  # it may leave the blocks that end a tar unread
            return ""
        return tools.complaint(process) or f"it stopped with status {status}"


class _Watched:
    """The content on its way to somebody else, read on the way. Content's own errors come first."""

    def __init__(self, content: Iterable[Block], manifest: Manifest) -> None:
        self._content = content
        self._manifest = manifest
        self._reader = reader_of(DumpFormat.parse(manifest.format))
        self._damage: StreamDamaged | None = None

    def __iter__(self) -> Iterator[Block]:
        for block in self._content:
            if self._damage is None:
                try:
                    self._reader.feed(bytes(block))
                except StreamDamaged as damage:
                    self._damage = damage
            yield block

    def contents(self) -> DumpContents:
        try:
            if self._damage is not None:
                raise self._damage
            return self._reader.finish()
        except StreamDamaged as damage:
            error = ArtefactTruncated if damage.truncated else ArtefactCorrupt
            raise error(
                f"The dump in {self._manifest.id} {damage}.",
                hint=_HINT,
                database=self._manifest.entry,
                backup_id=self._manifest.id,
            ) from damage
