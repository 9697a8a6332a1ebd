"""The tar that ``pg_basebackup`` writes, read as it passes by: is it whole, and are its files the ones of its manifest?

``backup_manifest`` is the last file that the server sends; it lists all others but the WAL, with their SHA-256, and
ends with its own (PostgreSQL manual, "Backup Manifest Format"). Behind it we add the WAL up to the moment of the
backup, in segments filled up with zeros.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from db_backup.engines.postgres.chain.position import parse_lsn, segment_start
from db_backup.engines.postgres.chain.wal_pages import WalPages
from db_backup.engines.postgres.contents import StreamDamaged
from db_backup.engines.postgres.tar_members import Piece, TarMembers

FORMAT = "pg_basebackup tar"
MANIFEST = "backup_manifest"
WAL_FOLDER = "pg_wal"
_SEGMENT = re.compile(WAL_FOLDER + r"/([0-9A-F]{24})")
_MANIFEST_END = b'"Manifest-Checksum"'
_MOST_MANIFEST_BYTES = 1 << 30  # of about 5 million files


@dataclass(frozen=True)
class BaseContents:
    """What a whole base backup says of itself.

    :param start: the LSN from which replay begins.
    :param consistent: the LSN from which on the copy is consistent.
    :param end: where the WAL in it ends: that of a segment.
    """

    timeline: int
    start: int
    consistent: int
    end: int


class BaseReader:
    """Checks such a tar. Memory grows with the number of its files (about 200 bytes each), not with their size."""

    def __init__(self) -> None:
        self._members = TarMembers(directories=True)
        self._hash = hashlib.sha256()
        self._files: dict[str, tuple[int, str]] = {}
        self._manifest = bytearray()
        self._pages: WalPages | None = None
        self._segments: list[str] = []
        self._segment_bytes = 0

    def feed(self, block: bytes) -> Iterator[Piece]:
        """The pieces of its members, under names that lead nowhere else.

        :raises StreamDamaged:
        """
        for piece in self._members.feed(block):
            name = _inner_name(piece.name)
            checked = Piece(name, piece.size, piece.data, begins=piece.begins, ends=piece.ends)
            if not name.endswith("/"):
                self._take(checked)
            yield checked

    def finish(self) -> BaseContents:
        """:raises StreamDamaged: something is missing, or is other than the manifest says."""
        self._members.finish()
        if not self._manifest:
            raise StreamDamaged(f"has no {MANIFEST}", truncated=True)
        manifest = _parse(bytes(self._manifest))
        self._compare(manifest)
        timeline, start, consistent = _wal_range(manifest)
        if self._pages is None or not self._segments:
            raise StreamDamaged("has no write-ahead log", truncated=True)
        if segment_start(self._segments[0], self._segment_bytes)[1] > start or self._pages.at < consistent:
            raise StreamDamaged("lacks some of the write-ahead log that makes it consistent", truncated=True)
        return BaseContents(timeline, start, consistent, self._pages.at)

    def _take(self, piece: Piece) -> None:
        if match := _SEGMENT.fullmatch(piece.name):
            self._take_wal(match[1], piece)
        elif piece.name == MANIFEST:
            if len(self._manifest) + len(piece.data) > _MOST_MANIFEST_BYTES:
                raise StreamDamaged(f"has a {MANIFEST} that is too long", truncated=False)
            self._manifest += piece.data
        else:
            if piece.begins:
                self._hash = hashlib.sha256()
            self._hash.update(piece.data)
            if piece.ends:
                self._files[piece.name] = (piece.size, self._hash.hexdigest())

    def _take_wal(self, segment: str, piece: Piece) -> None:
        if piece.begins:
            self._segment_bytes = self._segment_bytes or piece.size
            try:
                timeline, start = segment_start(segment, self._segment_bytes)
            except (ValueError, ZeroDivisionError) as error:
                raise StreamDamaged(f"holds {piece.name!r}, which is no segment", truncated=False) from error
            if self._pages is None:
                self._pages = WalPages(start, timeline, segment_bytes=self._segment_bytes)
            if piece.size != self._segment_bytes or start != self._pages.at:
                raise StreamDamaged(f"has a gap in its write-ahead log before {segment}", truncated=False)
            self._segments.append(segment)
        if self._pages is not None:
            self._pages.feed(piece.data)

    def _compare(self, manifest: dict[str, Any]) -> None:
        """The files that came against those that the manifest lists."""
        unlisted = dict(self._files)
        for file in manifest["Files"]:
            name, expected = _listed_name(file), (file["Size"], file["Checksum"])
            found = unlisted.pop(name, None)
            if found is None:
                raise StreamDamaged(f"lacks the file {name!r}, which its {MANIFEST} lists", truncated=True)
            if file["Checksum-Algorithm"] != "SHA256" or found != expected:
                raise StreamDamaged(f"has another file {name!r} than its {MANIFEST} lists", truncated=False)
        if unlisted:
            raise StreamDamaged(f"holds {min(unlisted)!r}, which its {MANIFEST} does not list", truncated=False)


def _inner_name(name: str) -> str:
    """As a path below the data folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise StreamDamaged(f"holds {name!r}, which leads out of the data folder", truncated=False)
    return f"{path}/" if name.endswith("/") else str(path)


def _parse(text: bytes) -> dict[str, Any]:
    """The backup manifest, whose last line has the hash of those before it."""
    body, found, _ = text.rpartition(_MANIFEST_END)
    try:
        manifest = json.loads(text)
        whole = bool(found) and manifest["Manifest-Checksum"] == hashlib.sha256(body).hexdigest()
    except (ValueError, KeyError, TypeError) as error:
        raise StreamDamaged(f"has a {MANIFEST} that cannot be read", truncated=False) from error
    if not whole:
        raise StreamDamaged(f"has a {MANIFEST} whose own checksum is another", truncated=False)
    return dict(manifest)


def _listed_name(file: dict[str, Any]) -> str:
    if "Encoded-Path" in file:  # hexadecimal, where it is no UTF-8
        return bytes.fromhex(file["Encoded-Path"]).decode("utf-8", "backslashreplace")
    return str(file["Path"])


def _wal_range(manifest: dict[str, Any]) -> tuple[int, int, int]:
    """The timeline on which the backup ended, and the WAL that it needs."""
    ranges = manifest["WAL-Ranges"]
    return ranges[0]["Timeline"], parse_lsn(ranges[-1]["Start-LSN"]), parse_lsn(ranges[0]["End-LSN"])
