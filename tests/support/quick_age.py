"""Files of the age format under a passphrase, made without the seconds that age's own work factor takes.

Written from the format's specification (age-encryption.org/v1, "scrypt recipient"), so that reading them also shows
that kits are plain age files.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import textwrap

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = b"age-encryption.org/v1"
_WORK = 4  # scrypt's N is two to this
_CHUNK = 1 << 16


def encrypt(plain: bytes, passphrase: str, armored: bool = True, *, work: int = _WORK) -> bytes:
    """As ``pyrage.passphrase.encrypt``.

    :param work: what the file claims; it is sealed with less all the same.
    """
    file_key, salt, nonce = os.urandom(16), os.urandom(16), os.urandom(16)
    stretched = hashlib.scrypt(passphrase.encode(), salt=_VERSION + b"/scrypt" + salt, n=1 << _WORK, r=8, p=1, dklen=32)
    wrapped = ChaCha20Poly1305(stretched).encrypt(bytes(12), file_key, None)
    header = b"%s\n-> scrypt %s %d\n%s\n---" % (_VERSION, _base64(salt), work, _base64(wrapped))
    mac = hmac.digest(_derived(file_key, b"", b"header"), header, "sha256")
    content = header + b" " + _base64(mac) + b"\n" + nonce + _payload(_derived(file_key, nonce, b"payload"), plain)
    return _armour(content) if armored else content


def _payload(key: bytes, plain: bytes) -> bytes:
    chunks = [plain[start : start + _CHUNK] for start in range(0, len(plain), _CHUNK)] or [b""]
    return b"".join(
        ChaCha20Poly1305(key).encrypt(number.to_bytes(11, "big") + bytes([number == len(chunks) - 1]), chunk, None)
        for number, chunk in enumerate(chunks)
    )


def _derived(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info).derive(key)


def _base64(content: bytes) -> bytes:
    return base64.b64encode(content).rstrip(b"=")


def _armour(content: bytes) -> bytes:
    lines = "\n".join(textwrap.wrap(base64.b64encode(content).decode(), 64))
    return f"-----BEGIN AGE ENCRYPTED FILE-----\n{lines}\n-----END AGE ENCRYPTED FILE-----\n".encode()
