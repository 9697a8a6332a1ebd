"""The table of contents at the beginning of an archive, read ahead of whoever is to have the whole of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from db_backup.engines.base import Block
from db_backup.engines.postgres.archive import ArchiveReader
from db_backup.engines.postgres.contents import StreamDamaged
from db_backup.engines.postgres.formats import DumpFormat
from db_backup.engines.postgres.tar_members import TarMembers
from db_backup.engines.postgres.toc import Entry, Steps, TocReader


def read_entries(content: Iterable[Block], dump_format: DumpFormat) -> tuple[list[Entry], Iterator[Block]]:
    """The entries of an archive, in its order, and its content from the beginning.

    Content's own errors are passed on.

    :raises StreamDamaged: this is no archive, or one that ends too early.
    """
    head: _CustomHead | _TarHead = _TarHead() if dump_format.is_tar else _CustomHead()
    blocks = iter(content)
    read: list[Block] = []
    for block in blocks:
        read.append(block)
        head.feed(bytes(block))
        if head.is_whole:
            return head.entries, chain(read, blocks)
    raise StreamDamaged("ends in its table of contents", truncated=True)


class _CustomHead(ArchiveReader):
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.is_whole = False
        super().__init__(self.entries)

    def _after_the_table_of_contents(self) -> Steps:
        self.is_whole = True
        while (yield) is not None:
            pass


class _TarHead:
    """Of a tar, whose first member is the table of contents."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.is_whole = False
        self._members = TarMembers()
        self._toc = TocReader(self.entries)

    def feed(self, block: bytes) -> None:
        for piece in self._members.feed(block):
            if self.is_whole:
                return
            self._toc.feed(piece.data)
            if piece.ends:
                self._toc.finish()
                self.is_whole = True
