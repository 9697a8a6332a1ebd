"""Proving without a server that plain bytes are a whole base backup, or a whole increment; and taking them apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from db_backup.engines.base import Block, only_stream
from db_backup.engines.postgres.chain.base_tar import FORMAT as BASE_FORMAT
from db_backup.engines.postgres.chain.base_tar import BaseContents, BaseReader
from db_backup.engines.postgres.chain.links import position_of
from db_backup.engines.postgres.chain.pieces import FORMAT as PIECES_FORMAT
from db_backup.engines.postgres.chain.pieces import PiecesReader, WalPiece
from db_backup.engines.postgres.chain.position import Position, format_lsn
from db_backup.engines.postgres.contents import StreamDamaged
from db_backup.engines.postgres.tar_members import Piece
from db_backup.errors import ArtefactCorrupt, ArtefactTruncated
from db_backup.manifest import Inventory, Manifest
from db_backup.progress import Cancellation

_HINT = "Restore from another backup or another copy, and verify the others."


def read_archive(streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation) -> Inventory:
    """:raises ArtefactTruncated, ArtefactCorrupt:"""
    content = only_stream(streams, manifest)
    if manifest.format == BASE_FORMAT:
        read_base(content, manifest, _nothing, cancellation)
    else:
        read_pieces(content, manifest, _nothing, cancellation)
    return Inventory()


def _nothing(_piece: object) -> None:
    pass


def read_base(
    content: Iterable[Block], manifest: Manifest, take: Callable[[Piece], None], cancellation: Cancellation
) -> BaseContents:
    """Every piece of a full's files, and at the end the proof that they are all that it should hold.

    :raises ArtefactTruncated, ArtefactCorrupt:
    """
    _check_format(manifest, BASE_FORMAT)
    reader = BaseReader()
    with _translated(manifest):
        for block in content:
            cancellation.check()
            for piece in reader.feed(bytes(block)):
                take(piece)
        base, ended = reader.finish(), position_of(manifest)
        if base.timeline != ended.timeline or not base.consistent <= ended.lsn <= base.end:
            raise StreamDamaged(f"does not lead to {format_lsn(ended.lsn)}", truncated=True)
    return base


def read_pieces(
    content: Iterable[Block], manifest: Manifest, take: Callable[[WalPiece], None], cancellation: Cancellation
) -> None:
    """Every piece of an increment's WAL, and at the end the proof that they are all that it should hold.

    :raises ArtefactTruncated, ArtefactCorrupt:
    """
    _check_format(manifest, PIECES_FORMAT)
    with _translated(manifest):
        reader = PiecesReader(_begin_of(manifest), position_of(manifest))
        for block in content:
            cancellation.check()
            for piece in reader.feed(bytes(block)):
                take(piece)
        reader.finish()


def _begin_of(manifest: Manifest) -> Position:
    try:
        return Position.parse((manifest.chain and manifest.chain.from_position) or "")
    except ValueError as error:
        raise StreamDamaged(f"has a manifest that does not say where it begins: {error}", truncated=False) from error


def _check_format(manifest: Manifest, expected: str) -> None:
    if manifest.format != expected:
        raise ArtefactCorrupt(
            f"{manifest.id} is in the format '{manifest.format}', and not in '{expected}'.",
            hint=_HINT,
            database=manifest.entry,
            backup_id=manifest.id,
        )


@contextmanager
def _translated(manifest: Manifest) -> Iterator[None]:
    try:
        yield
    except StreamDamaged as damage:
        kind = ArtefactTruncated if damage.truncated else ArtefactCorrupt
        raise kind(f"{manifest.id} {damage}.", hint=_HINT, database=manifest.entry, backup_id=manifest.id) from damage
