"""The key that one backup's artefacts are encrypted with.

Tink is imported when a key is first made or read: commands that touch no encrypted backup do not wait for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, Self

from db_backup.encryption.streams import Block, Encryptor, decrypted

#: Tink's name of it: AES-256-GCM in segments of 1 MiB, each authenticated in its place.
CIPHER = "AES256_GCM_HKDF_1MB"

_FINGERPRINT_DOMAIN = b"dbbk|v1|data key fingerprint|"
_FINGERPRINT_DIGITS = 16


class DataKey:
    """Never stored in the clear; it never prints, and is never pickled or copied."""

    __slots__ = ("_fingerprint", "_keyset", "_primitive")

    def __init__(self, keyset: bytes) -> None:
        """:raises ValueError: not a data key's keyset."""
        self._primitive = _primitive_of(keyset)
        self._keyset = bytes(keyset)
        digest = hashlib.sha256(_FINGERPRINT_DOMAIN + self._keyset)
        self._fingerprint = digest.hexdigest()[:_FINGERPRINT_DIGITS]

    @classmethod
    def generate(cls) -> Self:
        import tink
        from tink import secret_key_access, streaming_aead

        streaming_aead.register()
        handle = tink.new_keyset_handle(getattr(streaming_aead.streaming_aead_key_templates, CIPHER))
        return cls(tink.proto_keyset_format.serialize(handle, secret_key_access.TOKEN))

    @classmethod
    def from_bytes(cls, keyset: bytes) -> Self:
        """What :meth:`to_bytes` gave. :raises ValueError: it is none."""
        return cls(keyset)

    def to_bytes(self) -> bytes:
        """Tink's binary keyset, for wrapping alone."""
        return self._keyset

    @property
    def fingerprint(self) -> str:
        """16 hex digits by which it is known again; nothing of the key can be told from them."""
        return self._fingerprint

    def encryptor(self, write: Callable[[Block], object], *, backup_id: str, part: str) -> Encryptor:
        """Encrypt one part of a backup: ``write`` gets the encrypted bytes, in order.

        :param part: the part's bare file name; with the backup's id it is bound to the bytes (associated data
            ``dbbk|v1|part|<backup>|<part>``).
        """
        return Encryptor(self._primitive, write, _binding(backup_id, part))

    def decrypt(self, blocks: Iterable[Block], *, backup_id: str, part: str) -> Iterator[bytes]:
        """The plain bytes; what came before an error is authentic, and not the whole. What ``blocks`` raises is raised.

        Tink cannot tell a swapped part from a damaged one; :func:`db_backup.stream.reader.read_plain` can.

        :raises ArtefactTruncated, ArtefactCorrupt:
        """
        return decrypted(self._primitive, blocks, _binding(backup_id, part), name=part)

    def __repr__(self) -> str:
        return f"<DataKey {self._fingerprint}>"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a data key is neither pickled nor copied: it leaves the process wrapped, or not at all")


def _binding(backup_id: str, part: str) -> bytes:
    return f"dbbk|v1|part|{backup_id}|{part}".encode()


def _primitive_of(keyset: bytes) -> Any:
    import tink
    from tink import secret_key_access, streaming_aead

    streaming_aead.register()
    try:
        handle = tink.proto_keyset_format.parse(bytes(keyset), secret_key_access.TOKEN)
        return handle.primitive(streaming_aead.StreamingAead)
    except (tink.TinkError, ValueError):
        raise ValueError("these bytes are no data key") from None  # the cause may hold some of them
