"""Reading a stored part back: every hash is checked on the way (DESIGN, "One pass").

No read-ahead thread: one thread decompresses and hashes some 500 MB/s, ten times what a server takes in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from db_backup.errors import ArtefactCorrupt, ArtefactError, ArtefactTruncated, FeatureNotAvailable
from db_backup.manifest import Part
from db_backup.progress import Progress
from db_backup.storage.base import Block
from db_backup.stream.compression import CODECS

_OTHER_COPY = "Restore from another copy of this backup, or from an older backup."


def read_plain(stored: Iterable[Block], part: Part, *, progress: Progress) -> Iterator[bytes]:
    """The plain bytes of a part, in blocks of bounded size. Whoever uses them must read on to the end.

    Size and SHA-256, stored and plain, are proved at the end at the latest: what was yielded before an error is worth
    nothing.

    :raises ArtefactTruncated: fewer bytes than the manifest says.
    :raises ArtefactCorrupt: more bytes, or other ones.
    :raises FeatureNotAvailable: encrypted.
    """
    if part.cipher is not None:
        raise FeatureNotAvailable(
            f"'{part.path}' is encrypted with {part.cipher.name}, which this version cannot read.",
            hint="Use the release of db-backup that wrote it, or a newer one.",
        )
    stored_proof = _Proof(part.path, "stored", part.stored_bytes, part.stored_sha256)
    plain_proof = _Proof(part.path, "plain", part.plain_bytes, part.plain_sha256)
    blocks = CODECS[part.compression].decompress(stored_proof.watch(stored), name=part.path)
    try:
        for block in plain_proof.watch(blocks):
            progress.advance(len(block))
            yield bytes(block)
    except ArtefactError:
        if stored_proof.ended:
            stored_proof.conclude()  # what the file is says more than where the decoder stumbled
        raise
    stored_proof.conclude()
    plain_proof.conclude()


def read_stored(stored: Iterable[Block], part: Part, *, progress: Progress) -> Iterator[Block]:
    """The stored bytes of a part as they are, with the same promises as ``read_plain``'s.

    :raises ArtefactTruncated, ArtefactCorrupt: as ``read_plain``.
    """
    proof = _Proof(part.path, "stored", part.stored_bytes, part.stored_sha256)
    for block in proof.watch(stored):
        progress.advance(len(block))
        yield block
    proof.conclude()


def check_stored(stored: Iterable[Block], part: Part, *, progress: Progress) -> None:
    """Prove size and SHA-256 of the stored bytes, without decompressing them.

    :raises ArtefactTruncated, ArtefactCorrupt: as ``read_plain``.
    """
    for _ in read_stored(stored, part, progress=progress):
        pass


class _Proof:
    """Bytes that go by, against the size and the hash that the manifest promises."""

    def __init__(self, path: str, kind: str, size_bytes: int, sha256: str) -> None:
        self._path = path
        self._kind = kind
        self._expected_bytes = size_bytes
        self._expected_sha256 = sha256
        self._found_bytes = 0
        self._hash = hashlib.sha256()
        self.ended = False

    def watch(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The same blocks.

        :raises ArtefactCorrupt: as soon as there are more bytes than promised.
        """
        for block in blocks:
            self._hash.update(block)
            self._found_bytes += len(block)
            if self._found_bytes > self._expected_bytes:
                raise ArtefactCorrupt(
                    f"'{self._path}' is longer than what was written: expected {self._expected_bytes:,} {self._kind}"
                    f" bytes, found {self._found_bytes:,} or more.",
                    hint=_OTHER_COPY,
                )
            yield block
        self.ended = True

    def conclude(self) -> None:
        """:raises ArtefactTruncated, ArtefactCorrupt: what went by is not what was promised."""
        if self._found_bytes < self._expected_bytes:
            raise ArtefactTruncated(
                f"'{self._path}' is incomplete: expected {self._expected_bytes:,} {self._kind} bytes, found"
                f" {self._found_bytes:,}.",
                hint=_OTHER_COPY,
            )
        found = self._hash.hexdigest()
        if found != self._expected_sha256:
            raise ArtefactCorrupt(
                f"'{self._path}' is damaged: expected SHA-256 {self._expected_sha256} of its {self._kind} bytes, found"
                f" {found}.",
                hint=_OTHER_COPY,
            )
