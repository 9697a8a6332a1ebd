"""A chain's files, laid out as a data folder: the base's, and the WAL of all links in its ``pg_wal``.

PostgreSQL replays what lies there as it would what an archive gives it. So each byte of WAL is written once, and no
command of ours has to hand it over.
"""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from db_backup.engines.chain import Link
from db_backup.engines.postgres.chain.base_tar import MANIFEST, WAL_FOLDER, BaseContents
from db_backup.engines.postgres.chain.links import position_of
from db_backup.engines.postgres.chain.pieces import WalPiece
from db_backup.engines.postgres.chain.reading import read_base, read_pieces
from db_backup.engines.postgres.tar_members import Piece
from db_backup.engines.scratch_home import ids, no_scratch_folder
from db_backup.errors import StorageFull
from db_backup.progress import Cancellation

STREAM = "main"
# The source's configuration does not hold here, nor what it was a standby of.
_LEFT_OUT = frozenset(
    {
        MANIFEST,
        "postgresql.conf",
        "postgresql.auto.conf",
        "pg_hba.conf",
        "pg_ident.conf",
        "postmaster.opts",
        "standby.signal",
        "recovery.signal",
    }
)


def unpack(
    links: Sequence[Link], data: Path, user: pwd.struct_passwd | None, cancellation: Cancellation
) -> BaseContents:
    """Into the folder ``data``, which is made, as this user's.

    :raises ArtefactError: of what is stored.
    :raises StorageFull, ScratchUnavailable: it cannot be written.
    """
    with _translated(data), closing(_Writer(data, user)) as writer:
        writer.make_folder(data)
        base = read_base(links[0].read(STREAM), links[0].manifest, writer.take_file, cancellation)
        for link in links[1:]:
            writer.segment_bytes = position_of(link.manifest).segment_bytes
            read_pieces(link.read(STREAM), link.manifest, writer.take_wal, cancellation)
    return base


class _Writer:
    """Writes one file at a time."""

    def __init__(self, data: Path, user: pwd.struct_passwd | None) -> None:
        self.segment_bytes = 0
        self._data = data
        self._ids = ids(user)
        self._path: Path | None = None
        self._descriptor = -1

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)
        if self._ids:
            os.chown(path, *self._ids)

    def take_file(self, piece: Piece) -> None:
        if piece.name.endswith("/"):
            self.make_folder(self._data / piece.name)
        elif piece.name not in _LEFT_OUT:
            if piece.begins:
                self._open(self._data / piece.name, os.O_EXCL)
            _write(self._descriptor, piece.data)

    def take_wal(self, piece: WalPiece) -> None:
        path = self._data / WAL_FOLDER / piece.segment
        if path != self._path:
            self._open(path, 0)
            os.ftruncate(self._descriptor, self.segment_bytes)
        os.lseek(self._descriptor, piece.offset, os.SEEK_SET)
        _write(self._descriptor, piece.data)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _open(self, path: Path, flags: int) -> None:
        self.close()
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
        if self._ids:
            os.fchown(self._descriptor, *self._ids)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def _translated(data: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(
                f"The place of scratch servers, {data.parent.parent}, was filled by a chain that was unpacked there.",
                hint="Make room there, or set BACKUP_SCRATCH_PATH to a larger place.",
            ) from error
        raise no_scratch_folder(data.parent.parent, error) from error
