"""A key-encryption key as text: what a key file holds, and the password of a connection that holds a key.

JSON: ``{"db_backup_key": 1, "name", "kind", "created_at", "fingerprint", "keyset": {…Tink's own JSON…}}``.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from db_backup.errors import ConfigurationError, KeyUnavailable
from db_backup.model import utc_now

_VERSION = 1
_DIGITS = 16
_LARGEST_FILE = 1 << 20


class KeyKind(StrEnum):
    """``secret``: wraps and opens. ``private``: the same, and it has a public half. ``public``: wraps alone."""

    SECRET = "secret"  # noqa: S105 - a kind of key
    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True)
class Key:
    """A key with its own account of itself. It never prints. ``keyset``: Tink's JSON."""

    name: str
    kind: KeyKind
    created_at: datetime
    fingerprint: str
    keyset: str = field(repr=False)

    def to_json(self) -> str:
        """With the key in the clear, unless it is a public one."""
        fields = {
            "db_backup_key": _VERSION,
            "name": self.name,
            "kind": self.kind,
            "created_at": self.created_at.isoformat(),
            "fingerprint": self.fingerprint,
            "keyset": json.loads(self.keyset),
        }
        return json.dumps(fields, indent=2) + "\n"


def generate_secret(name: str) -> Key:
    """A symmetric key: AES-256-GCM."""
    import tink
    from tink import aead

    _register()
    return _described(name, KeyKind.SECRET, tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM), utc_now())


def generate_pair(name: str) -> tuple[Key, Key]:
    """A private key and its public half: HPKE, X25519 and AES-256-GCM (RFC 9180)."""
    import tink
    from tink import hybrid

    _register()
    template = hybrid.hybrid_key_templates.DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM
    handle, moment = tink.new_keyset_handle(template), utc_now()
    return (
        _described(name, KeyKind.PRIVATE, handle, moment),
        _described(name, KeyKind.PUBLIC, handle.public_keyset_handle(), moment),
    )


@cache
def _register() -> None:
    """Make these kinds of key known to Tink, once in a process: each time takes a millisecond."""
    from tink import aead, hybrid

    aead.register()
    hybrid.register()


def _described(name: str, kind: KeyKind, handle: Any, moment: datetime) -> Key:
    from tink import json_proto_keyset_format, secret_key_access

    if kind is KeyKind.PUBLIC:
        keyset = json_proto_keyset_format.serialize_without_secret(handle)
    else:
        keyset = json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
    return Key(name, kind, moment, _fingerprint(kind, handle), keyset)


def keyset_handle(key: Key) -> Any:
    """The key as Tink works with it. :raises tink.TinkError: it is none of its kind."""
    from tink import json_proto_keyset_format, secret_key_access

    _register()
    if key.kind is KeyKind.PUBLIC:
        return json_proto_keyset_format.parse_without_secret(key.keyset)
    return json_proto_keyset_format.parse(key.keyset, secret_key_access.TOKEN)


def _fingerprint(kind: KeyKind, handle: Any) -> str:
    """The same of a private key and of its public half; of 256 random bits, nobody can go back."""
    from tink import proto_keyset_format, secret_key_access

    if kind is KeyKind.SECRET:
        content = proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
    else:
        public = handle.public_keyset_handle() if kind is KeyKind.PRIVATE else handle
        content = proto_keyset_format.serialize_without_secret(public)
    return hashlib.sha256(b"dbbk|v1|key|" + content).hexdigest()[:_DIGITS]


def parse_key(text: str, source: str) -> Key:
    """What :meth:`Key.to_json` wrote.

    :param source: where it is from, as a sentence begins: "The key file /keys/main.json".
    :raises ConfigurationError: it is none, or it was changed; nothing of it is in the message.
    """
    from tink import TinkError

    try:
        fields = json.loads(text)
        if fields["db_backup_key"] != _VERSION:
            raise _unreadable(source, "is of another version than this program reads")
        key = Key(
            name=str(fields["name"]),
            kind=KeyKind(fields["kind"]),
            created_at=datetime.fromisoformat(fields["created_at"]),
            fingerprint=str(fields["fingerprint"]),
            keyset=json.dumps(fields["keyset"]),
        )
        actual = _fingerprint(key.kind, keyset_handle(key))
    except (ValueError, TypeError, KeyError, AttributeError, TinkError):
        # Not chained: the causes quote pieces of the text.
        raise _unreadable(source, "holds no key that `db-backup keys generate` wrote") from None
    if key.created_at.tzinfo is None:
        raise _unreadable(source, "has a created_at without a time zone")
    if actual != key.fingerprint:
        raise _unreadable(source, f"is damaged: it says fingerprint {key.fingerprint}, and its key has {actual}")
    return key


def _unreadable(source: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{source} {reason}.", hint="Put back a copy of the key as it was generated.")


def read_key_file(path: Path) -> Key:
    """A key from its file, which nobody else may read, or, where it is a public key, write.

    :raises KeyUnavailable: there is no such file, or it may not be read.
    :raises ConfigurationError: others may read or change it, or it holds no key.
    """
    source = f"The key file {path}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, encoding="utf-8") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _unreadable(source, "is no plain file")
            text = stream.read(_LARGEST_FILE)
    except FileNotFoundError:
        raise KeyUnavailable(
            f"{source} does not exist.",
            hint="Put the key there, or correct `keys:` in backup.yaml or BACKUP_KEYS_PATH. If there never was one, "
            f"`db-backup keys generate {path.name.split('.')[0]}` makes it; it opens none of the backups there are.",
        ) from None
    except UnicodeDecodeError:
        raise _unreadable(source, "is no text") from None
    except OSError as error:
        raise KeyUnavailable(
            f"{source} cannot be read: {error.strerror}.", hint="Make it readable for the user who runs this."
        ) from error
    key = parse_key(text, source)
    _refuse_open_to_others(path, key.kind, status)
    return key


def _refuse_open_to_others(path: Path, kind: KeyKind, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in {os.geteuid(), 0} and os.geteuid() != 0:
        raise ConfigurationError(
            f"The key file {path} belongs to another user, who can change it.",
            hint=f"Make it your own: `chown {os.geteuid()} {path}`.",
        )
    if kind is KeyKind.PUBLIC:
        if mode & 0o022:
            raise ConfigurationError(
                f"The public key file {path} may be written by others (mode {mode:04o}), who could put a key of theirs "
                "in its place.",
                hint=f"Run `chmod 644 {path}`.",
            )
    elif mode & 0o077:
        raise ConfigurationError(
            f"The key file {path} may be read by others (mode {mode:04o}): it must be 0600 or stricter.",
            hint=f"Run `chmod 600 {path}`; if others have read it, generate a new key and run `db-backup keys rotate`.",
        )
