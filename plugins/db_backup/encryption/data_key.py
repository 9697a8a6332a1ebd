"""The key that one backup's artefacts are encrypted with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Self

from db_backup.encryption.streams import Block, Encryptor

#: Tink's name of it: AES-256-GCM in segments of 1 MiB, each authenticated in its place.
CIPHER = "AES256_GCM_HKDF_1MB"


class DataKey:
    """Never stored in the clear; it never prints."""

    @classmethod
    def generate(cls) -> Self:
        raise NotImplementedError

    @classmethod
    def from_bytes(cls, keyset: bytes) -> Self:
        """What :meth:`to_bytes` gave. :raises ValueError: it is none."""
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """Tink's binary keyset, for wrapping alone."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """16 hex digits by which it is known again; nothing of the key can be told from them."""
        raise NotImplementedError

    def encryptor(self, write: Callable[[Block], object], *, backup_id: str, part: str) -> Encryptor:
        """Encrypt one part of a backup: ``write`` gets the encrypted bytes, in order.

        :param part: the part's bare file name; with the backup's id it is bound to the bytes (associated data
            ``dbbk|v1|part|<backup>|<part>``).
        """
        raise NotImplementedError

    def decrypt(self, blocks: Iterable[Block], *, backup_id: str, part: str) -> Iterator[bytes]:
        """The plain bytes; what came before an error is authentic, and not the whole.

        :raises ArtefactTruncated, ArtefactCorrupt, ArtefactSwapped:
        """
        raise NotImplementedError
