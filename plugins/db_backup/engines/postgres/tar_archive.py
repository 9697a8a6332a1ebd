"""pg_dump's tar archive, and the tar that we make of its directory archive: one reader for both, and how to load them.

``toc.dat`` comes first; then, in its order, ``<number>.dat`` with the rows of a table as COPY text, and large objects
as ``blob_<oid>.dat`` before the list of them, ``blobs.toc`` (``blobs_<number>.toc`` since PostgreSQL 17). pg_dump's own
ends with ``restore.sql``, a script for people (``src/bin/pg_dump/pg_backup_tar.c``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from xxhash import xxh3_64

from db_backup.engines.base import Block
from db_backup.engines.postgres.contents import DumpContents, StreamDamaged
from db_backup.engines.postgres.tar_members import END_OF_TAR, Piece, TarMembers, header, padding
from db_backup.engines.postgres.toc import (
    LARGE_OBJECTS_ENTRY,
    Announced,
    TableData,
    TocReader,
    check_all_came,
)

TOC = "toc.dat"
_SCRIPT = "restore.sql"
_LARGE_OBJECT = re.compile(r"blob_([1-9]\d{0,9})\.dat")
_LARGE_OBJECT_LIST = re.compile(r"blobs(?:_([1-9]\d{0,9}))?\.toc")
_MOST_OID = (1 << 32) - 1
_BLOCK_BYTES = 1 << 20


class TarReader:
    """A ``DumpReader`` of such a tar."""

    def __init__(self) -> None:
        self._members = TarMembers()
        self._toc = TocReader()
        self._contents: DumpContents | None = None  # once the table of contents is read
        self._announced: dict[str, Announced] = {}
        self._lists: dict[int, Announced] = {}  # of large objects; a tar announces other names for them
        self._reading: Announced | None = None
        self._rows: TableData | None = None
        self._large_object = xxh3_64()
        self._large_objects_since = xxh3_64()  # what the next list must hold
        self._list = xxh3_64()

    def feed(self, block: bytes) -> None:
        for piece in self._members.feed(block):
            if self._contents is None:
                self._read_table_of_contents(piece)
            elif piece.name != _SCRIPT:
                self._read_data(piece, self._contents)

    def finish(self) -> DumpContents:
        if self._contents is None:
            self._toc.finish()
            raise StreamDamaged("ends in its table of contents", truncated=True)
        if self._reading is not None:
            raise StreamDamaged(f"ends in the data of {self._reading}", truncated=True)
        check_all_came((*self._announced.values(), *self._lists.values()))
        self._members.finish()
        return self._contents

    def _read_table_of_contents(self, piece: Piece) -> None:
        if piece.name != TOC:
            raise StreamDamaged("does not begin with its table of contents", truncated=False)
        self._toc.feed(piece.data)
        if piece.ends:
            self._contents = self._toc.finish()
            for entry_id, entry in self._toc.announced.items():
                if _is_list(entry):
                    self._lists[entry_id] = entry
                else:
                    self._announced[entry.file] = entry

    def _read_data(self, piece: Piece, contents: DumpContents) -> None:
        oid = _oid(piece.name)
        is_list = _LARGE_OBJECT_LIST.fullmatch(piece.name)
        if oid is not None and self._lists:
            self._read_large_object(piece, oid, contents)
        elif is_list and self._lists:
            self._read_list(piece, int(is_list[1] or next(iter(self._lists))))
        elif entry := self._announced.get(piece.name):
            self._read_rows(piece, entry, contents)
        else:
            raise StreamDamaged(f"holds {piece.name!r}, which its table of contents does not announce", truncated=False)

    def _read_rows(self, piece: Piece, entry: Announced, contents: DumpContents) -> None:
        if piece.begins or self._rows is None:
            self._reading, self._rows = entry, TableData(contents, entry)
        self._rows.feed(piece.data)
        if piece.ends:
            self._rows.finish()
            self._reading = None
            del self._announced[piece.name]

    def _read_large_object(self, piece: Piece, oid: int, contents: DumpContents) -> None:
        if piece.begins:
            self._large_object = xxh3_64(oid.to_bytes(4, "little"))
            self._large_objects_since.update(f"{oid} {piece.name}\n".encode())
        self._large_object.update(piece.data)
        if piece.ends:
            contents.large_objects.add_hashed(self._large_object.intdigest())

    def _read_list(self, piece: Piece, entry_id: int) -> None:
        if piece.begins:
            self._list = xxh3_64()
        self._list.update(piece.data)
        if piece.ends:
            if self._list.digest() != self._large_objects_since.digest():
                raise StreamDamaged(f"holds other large objects than {piece.name!r} lists", truncated=False)
            self._large_objects_since = xxh3_64()
            self._lists.pop(entry_id, None)


def _is_list(entry: Announced) -> bool:
    return entry.description == LARGE_OBJECTS_ENTRY


def _oid(name: str) -> int | None:
    match = _LARGE_OBJECT.fullmatch(name)
    return int(match[1]) if match and int(match[1]) <= _MOST_OID else None


def for_pg_restore(content: Iterable[Block]) -> Iterator[bytes]:
    """The tar as a ``pg_restore`` may have it that must not be done before the content is known to be good.

    pg_restore reads no further than what it needs: left alone it commits while the end of the tar, where the content's
    hash is compared, is still to come. So it gets nothing that it would not read, and the last of what it waits for
    only when the content has come to its end. Of a list of large objects it reads the header alone. Nor may it see the
    end of its input in the middle of a member, for it looks for the next one there for ever.

    :raises StreamDamaged: this is no whole tar.
    """
    members = TarMembers()
    held, size = b"", 0
    for block in content:
        for piece in members.feed(bytes(block)):
            if piece.name == _SCRIPT:
                continue
            is_list = _LARGE_OBJECT_LIST.fullmatch(piece.name)
            if piece.begins:
                yield held + padding(size)
                size = 0 if is_list else piece.size
                held = header(piece.name, size)
            if piece.data and not is_list:
                yield held
                held = piece.data
    members.finish()
    yield held
    yield padding(size) + END_OF_TAR


def as_tar(folder: Path) -> Iterator[bytes]:
    """A whole directory archive as such a tar, in the order in which pg_restore reads it as a stream.

    :raises StreamDamaged, OSError: it is not whole.
    """
    toc = TocReader()
    for block in _blocks(folder / TOC):
        toc.feed(block)
    toc.finish()
    yield from _member(folder / TOC)
    for entry in toc.announced.values():
        if _is_list(entry):
            with (folder / entry.file).open() as lines:
                for line in lines:
                    yield from _member(folder / line.split()[1])
        yield from _member(folder / entry.file)
    yield END_OF_TAR


def _member(file: Path) -> Iterator[bytes]:
    status = file.stat()
    yield header(file.name, status.st_size, modified_at=int(status.st_mtime))
    yield from _blocks(file)
    yield padding(status.st_size)


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb", buffering=0) as content:
        while block := content.read(_BLOCK_BYTES):
            yield block
