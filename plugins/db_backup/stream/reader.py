"""Reading a stored part back: every hash is checked on the way (DESIGN, "One pass").

No read-ahead thread: one thread decompresses and hashes some 500 MB/s, ten times what a server takes in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from db_backup import naming
from db_backup.encryption import CIPHER, DataKey
from db_backup.errors import (
    ArtefactCorrupt,
    ArtefactError,
    ArtefactMissing,
    ArtefactSwapped,
    ArtefactTruncated,
    FeatureNotAvailable,
    KeyUnavailable,
    WrongKey,
)
from db_backup.manifest import Cipher, Part
from db_backup.progress import Progress
from db_backup.storage.base import Block
from db_backup.stream.compression import CODECS

_OTHER_COPY = "Restore from another copy of this backup, or from an older backup."


def read_plain(
    stored: Iterable[Block],
    part: Part,
    *,
    progress: Progress,
    key: DataKey | None = None,
    siblings: Sequence[Part] = (),
) -> Iterator[bytes]:
    """The plain bytes of a part, in blocks of bounded size. Whoever uses them must read on to the end.

    Size and SHA-256, stored and plain, are proved at the end at the latest: what was yielded before an error is worth
    nothing.

    :param key: of an encrypted part.
    :param siblings: the backup's other parts, by which a part is known that lies under another's name.
    :raises ArtefactTruncated: fewer bytes than the manifest says.
    :raises ArtefactSwapped: those of another part.
    :raises ArtefactCorrupt: more bytes, or other ones.
    :raises KeyUnavailable, WrongKey: it is encrypted, and ``key`` is not what it is encrypted with.
    :raises FeatureNotAvailable: it is encrypted in a way that is not known here.
    """
    stored_proof = _Proof(part, "stored", siblings)
    plain_proof = _Proof(part, "plain")
    encoded = _decrypted(stored_proof, stored, part, key)
    blocks = CODECS[part.compression].decompress(encoded, name=part.path)
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
    proof = _Proof(part, "stored")
    for block in proof.watch(stored):
        progress.advance(len(block))
        yield block
    proof.conclude()


def check_stored(
    stored: Iterable[Block],
    part: Part,
    *,
    progress: Progress,
    key: DataKey | None = None,
    siblings: Sequence[Part] = (),
) -> None:
    """Prove size and SHA-256 of the stored bytes, without decompressing them.

    :param key: of an encrypted part: with it the cipher is authenticated in the same pass.
    :raises ArtefactTruncated, ArtefactSwapped, ArtefactCorrupt, WrongKey: as ``read_plain``.
    """
    proof = _Proof(part, "stored", siblings)
    watched = _told(stored, progress)
    for _ in proof.watch(watched) if key is None or part.cipher is None else _decrypted(proof, watched, part, key):
        pass
    proof.conclude()


def _told(blocks: Iterable[Block], progress: Progress) -> Iterator[Block]:
    for block in blocks:
        progress.advance(len(block))
        yield block


def _decrypted(proof: _Proof, stored: Iterable[Block], part: Part, key: DataKey | None) -> Iterator[Block]:
    """What the codec reads: the stored bytes, watched by ``proof``, and decrypted where they are encrypted."""
    watched = proof.watch(stored)
    if part.cipher is None:
        yield from watched
        return
    key = _fitting(part, part.cipher, key)
    began = False
    try:
        for block in key.decrypt(watched, backup_id=naming.backup_id_of_file(part.path), part=part.path):
            began = True
            yield block
    except ArtefactMissing:
        raise
    except ArtefactError as error:
        for _ in () if began else watched:  # Tink cannot tell another's bytes from damaged ones; their hash can
            pass
        if proof.ended or not began:
            proof.conclude()
        if began:
            raise
        raise ArtefactSwapped(
            f"'{part.path}' has the bytes that the manifest promises, and they are not what was encrypted under this "
            "name: they were changed, or encrypted as another part or for another backup.",
            hint="Somebody changed the manifest or the file: restore both from another copy.",
        ) from error


def _fitting(part: Part, cipher: Cipher, key: DataKey | None) -> DataKey:
    """:raises FeatureNotAvailable, KeyUnavailable, WrongKey: the part cannot be decrypted with it."""
    if cipher.name != CIPHER:
        raise FeatureNotAvailable(
            f"'{part.path}' is encrypted with {cipher.name}, which this version cannot read.",
            hint="Use the release of db-backup that wrote it, or a newer one.",
        )
    if key is None:
        raise KeyUnavailable(
            f"'{part.path}' is encrypted, and its key was not looked for.", hint="Report this, with the command."
        )
    if key.fingerprint != cipher.key_id:
        raise WrongKey(
            f"'{part.path}' is encrypted with the data key {cipher.key_id}, and the state of its backup holds "
            f"{key.fingerprint}.",
            hint="Restore the state from another copy of this backup.",
        )
    return key


class _Proof:
    """Bytes that go by, against the size and the hash that the manifest promises.

    :param kind: "stored" or "plain".
    :param siblings: whose stored bytes they may be instead.
    """

    def __init__(self, part: Part, kind: str, siblings: Sequence[Part] = ()) -> None:
        self._path = part.path
        self._kind = kind
        self._expected_bytes = part.stored_bytes if kind == "stored" else part.plain_bytes
        self._expected_sha256 = part.stored_sha256 if kind == "stored" else part.plain_sha256
        self._others = {other.stored_sha256: other for other in siblings if other.path != part.path}
        self._found_bytes = 0
        self._hash = hashlib.sha256()
        self.ended = False

    def watch(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The same blocks.

        :raises ArtefactSwapped, ArtefactCorrupt: as soon as there are more bytes than promised.
        """
        longest = max((other.stored_bytes for other in self._others.values()), default=0)
        for block in blocks:
            self._hash.update(block)
            self._found_bytes += len(block)
            if self._found_bytes <= self._expected_bytes:
                yield block
            elif self._found_bytes > longest:
                break
        else:
            self.ended = True
        if self._found_bytes > self._expected_bytes:
            self.conclude()

    def conclude(self) -> None:
        """:raises ArtefactTruncated, ArtefactSwapped, ArtefactCorrupt: what went by is not what was promised."""
        found = self._hash.hexdigest()
        if (found, self._found_bytes) == (self._expected_sha256, self._expected_bytes):
            return
        self._refuse_another(found)
        if self._found_bytes > self._expected_bytes:
            more = "" if self.ended else " or more"
            raise ArtefactCorrupt(
                f"'{self._path}' is longer than what was written: expected {self._expected_bytes:,} {self._kind} bytes,"
                f" found {self._found_bytes:,}{more}.",
                hint=_OTHER_COPY,
            )
        if self._found_bytes < self._expected_bytes:
            raise ArtefactTruncated(
                f"'{self._path}' is incomplete: expected {self._expected_bytes:,} {self._kind} bytes, found"
                f" {self._found_bytes:,}.",
                hint=_OTHER_COPY,
            )
        raise ArtefactCorrupt(
            f"'{self._path}' is damaged: expected SHA-256 {self._expected_sha256} of its {self._kind} bytes, found"
            f" {found}.",
            hint=_OTHER_COPY,
        )

    def _refuse_another(self, found_sha256: str) -> None:
        """:raises ArtefactSwapped: these are the bytes of another part."""
        other = self._others.get(found_sha256)
        if other is not None:
            raise ArtefactSwapped(
                f"'{self._path}' holds the bytes of '{other.path}': files were renamed or swapped.",
                hint="Give them back their names, or restore them from another copy.",
            )
