"""Those that a data key is wrapped for: keys that are held here, or that a key service keeps (``kms.py``)."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from db_backup.encryption.key_file import Key, KeyKind, keyset_handle
from db_backup.errors import KeyUnavailable, WrapDamaged
from db_backup.manifest import WrappedKey
from db_backup.model import utc_now


class Recipient(Protocol):
    """One key-encryption key. ``key_id``: its fingerprint, or a key service's address of it.

    ``kind``: as in :class:`~db_backup.manifest.WrappedKey`. ``created_at``: None where only its keeper knows.
    ``opens``: whether it is one that can unwrap, and not a public half alone.
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def key_id(self) -> str: ...

    @property
    def created_at(self) -> datetime | None: ...

    @property
    def opens(self) -> bool: ...

    def wrap(self, data_key: bytes, backup_id: str) -> WrappedKey:
        """:raises KeyUnavailable: its keeper does not answer, or does not allow it."""

    def unwrap(self, wrapped: WrappedKey, backup_id: str) -> bytes:
        """The data key.

        :raises KeyUnavailable: this is a public half alone, or the keeper does not answer or does not allow it.
        :raises WrapDamaged: the wrap is not as it was written, or another backup's.
        :raises WrongKey: the keeper says that it was made with another key.
        """


def bound_to(backup_id: str) -> bytes:
    """The associated data of a wrap: it opens as this backup's alone."""
    return f"dbbk|v1|dek|{backup_id}".encode()


def wrapped_by(recipient: Recipient, ciphertext: bytes) -> WrappedKey:
    """What the state keeps of a data key that was wrapped just now."""
    return WrappedKey(
        recipient=recipient.name,
        kind=recipient.kind,
        key_id=recipient.key_id,
        wrapped=base64.b64encode(ciphertext).decode("ascii"),
        wrapped_at=utc_now(),
    )


def ciphertext_of(wrapped: WrappedKey, backup_id: str) -> bytes:
    """:raises WrapDamaged: it is no base64."""
    try:
        return base64.b64decode(wrapped.wrapped, validate=True)
    except binascii.Error:
        raise damaged(wrapped, backup_id) from None


def damaged(wrapped: WrappedKey, backup_id: str) -> WrapDamaged:
    """What to raise where the right key is here and does not open it."""
    return WrapDamaged(
        f"The data key of {backup_id} that is wrapped for '{wrapped.recipient}' ({wrapped.key_id}) is damaged, or "
        "another backup's: the right key does not open it.",
        hint="Put back the backup's state file from another copy; a wrap for another recipient opens it as well.",
        backup_id=backup_id,
    )


class KeyRecipient:
    """A key whose text is at hand: symmetric, or public with or without its private half.

    :param name: by which the configuration calls it.
    :param kind: of a symmetric key ``local`` or ``airflow``, after where it was found; of the others ``public``.
    """

    def __init__(self, name: str, key: Key, *, found_in: str) -> None:
        self.name = name
        self.kind = found_in if key.kind is KeyKind.SECRET else "public"
        self.key_id = key.fingerprint
        self.created_at: datetime | None = key.created_at
        self.opens = key.kind is not KeyKind.PUBLIC
        self._key = key

    def wrap(self, data_key: bytes, backup_id: str) -> WrappedKey:
        return wrapped_by(self, self._encrypt(data_key, bound_to(backup_id)))

    def unwrap(self, wrapped: WrappedKey, backup_id: str) -> bytes:
        from tink import TinkError

        if not self.opens:
            raise KeyUnavailable(
                f"Of the key '{self.name}' ({self.key_id}) only the public half is here, which opens nothing.",
                hint="Run this where its private key is, or put that into BACKUP_KEYS_PATH.",
                backup_id=backup_id,
            )
        try:
            return self._decrypt(ciphertext_of(wrapped, backup_id), bound_to(backup_id))
        except TinkError:
            raise damaged(wrapped, backup_id) from None

    @cached_property
    def _handle(self) -> Any:
        return keyset_handle(self._key)

    def _encrypt(self, data_key: bytes, associated: bytes) -> bytes:
        from tink import aead, hybrid

        if self._key.kind is KeyKind.SECRET:
            return bytes(self._handle.primitive(aead.Aead).encrypt(data_key, associated))
        public = self._handle.public_keyset_handle() if self._key.kind is KeyKind.PRIVATE else self._handle
        return bytes(public.primitive(hybrid.HybridEncrypt).encrypt(data_key, associated))

    def _decrypt(self, ciphertext: bytes, associated: bytes) -> bytes:
        from tink import aead, hybrid

        if self._key.kind is KeyKind.SECRET:
            return bytes(self._handle.primitive(aead.Aead).decrypt(ciphertext, associated))
        return bytes(self._handle.primitive(hybrid.HybridDecrypt).decrypt(ciphertext, associated))
