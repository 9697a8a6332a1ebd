"""Taking a tar apart as it passes by, and writing one: plain files with bare names, in constant memory.

pg_dump writes the tar of POSIX 1003.1-1988 with GNU's sizes beyond 8 GiB (``src/port/tar.c``), and ``pg_restore`` reads
no more than that. Two blocks of zeros end it; what other writers pad it with after them, neither of us writes.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from db_backup.engines.postgres.contents import StreamDamaged

END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)
_END_BLOCKS = 2


@dataclass(frozen=True)
class Piece:
    """Some bytes of one member, in order. An empty member is one empty piece."""

    name: str
    size: int  # of the whole member
    data: bytes
    begins: bool
    ends: bool


class TarMembers:
    """Takes one tar apart.

    :param directories: it may hold directories, too; each is an empty piece whose name ends in a slash.
    """

    def __init__(self, *, directories: bool = False) -> None:
        self._directories = directories
        self._head = b""
        self._name = ""
        self._size = 0
        self._left = 0  # bytes of the member that have not come yet
        self._padding = 0
        self._zero_blocks = 0

    def feed(self, block: bytes) -> Iterator[Piece]:
        """:raises StreamDamaged: it is of no use afterwards."""
        position = 0
        while position < len(block):
            if self._left:
                data = block[position : position + self._left]
                yield self._piece(data)
            elif self._padding:
                data = block[position : position + self._padding]
                self._padding -= len(data)
                if data.strip(b"\0"):
                    raise StreamDamaged(f"has something else than zeros after {self._name!r}", truncated=False)
            else:
                data = block[position : position + tarfile.BLOCKSIZE - len(self._head)]
                self._head += data
                if len(self._head) == tarfile.BLOCKSIZE and self._begin() and not self._size:
                    yield Piece(self._name, 0, b"", begins=True, ends=True)
            position += len(data)

    def finish(self) -> None:
        """:raises StreamDamaged: the tar has not come to its end."""
        if self._left or self._padding:
            raise StreamDamaged(f"ends in {self._name!r}", truncated=True)
        if self._zero_blocks < _END_BLOCKS or self._head:
            raise StreamDamaged("ends before its last block", truncated=True)

    def _piece(self, data: bytes) -> Piece:
        begins = self._left == self._size
        self._left -= len(data)
        return Piece(self._name, self._size, data, begins=begins, ends=not self._left)

    def _begin(self) -> bool:
        """Whether the head that has come is a member's."""
        head, self._head = self._head, b""
        if self._zero_blocks == _END_BLOCKS:
            raise StreamDamaged("goes on after its last block", truncated=False)
        if not head.strip(b"\0"):
            self._zero_blocks += 1
            return False
        try:
            member = tarfile.TarInfo.frombuf(head, "utf-8", "backslashreplace")
        except tarfile.HeaderError as error:
            raise StreamDamaged(f"has a damaged tar header after {self._name!r}", truncated=False) from error
        is_directory = self._directories and member.isdir() and not member.size
        if self._zero_blocks or not (member.isreg() or is_directory) or member.size < 0:
            raise StreamDamaged("has a tar header that pg_dump does not write", truncated=False)
        self._name, self._size, self._left = member.name, member.size, member.size
        if is_directory:
            self._name += "/"
        self._padding = -member.size % tarfile.BLOCKSIZE
        return True


def header(name: str, size: int, *, modified_at: int = 0) -> bytes:
    """What stands before a member's bytes. ``modified_at``: seconds since 1970."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, modified_at, 0o600
    return member.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """What stands after a member of so many bytes."""
    return bytes(-size % tarfile.BLOCKSIZE)
