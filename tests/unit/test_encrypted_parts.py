"""Encrypted parts read back: what is wrong with them is told apart, though Tink cannot."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from conformance.codec_contract import encoded
from db_backup.encryption import CIPHER, DataKey, Keyring
from db_backup.errors import (
    ArtefactCorrupt,
    ArtefactMissing,
    ArtefactSwapped,
    ArtefactTruncated,
    KeyUnavailable,
    WrongKey,
)
from db_backup.jobs.contents import refuse_out_of_order
from db_backup.jobs.sidecars import Located
from db_backup.manifest import Cipher, Part
from db_backup.model import Compression
from db_backup.progress import Silent
from db_backup.storage import LocalStorage
from db_backup.stream.compression import CODECS
from db_backup.stream.reader import check_stored, read_plain
from support.factories import MORNING, make_manifest, make_state

pytestmark = pytest.mark.unit

_BACKUP = "backup_shop_full_2026-01-31_03-00-00"
_OTHER_BACKUP = "backup_shop_full_2026-02-01_03-00-00"
_PLAIN = random.Random(3).randbytes(1_300_000)
_LONGER = random.Random(4).randbytes(3_000_000)
KEY = DataKey.generate()


def _stored(plain: bytes, compression: Compression, backup_id: str, name: str) -> bytes:
    stored = bytearray()
    encryptor = KEY.encryptor(stored.extend, backup_id=backup_id, part=name)
    encryptor.write(encoded(CODECS[compression], plain))
    encryptor.finish()
    return bytes(stored)


def _part(plain: bytes, stored: bytes, compression: Compression, name: str) -> Part:
    return Part(
        path=name,
        stored_bytes=len(stored),
        stored_sha256=hashlib.sha256(stored).hexdigest(),
        plain_bytes=len(plain),
        plain_sha256=hashlib.sha256(plain).hexdigest(),
        compression=compression,
        cipher=Cipher(name=CIPHER, key_id=KEY.fingerprint),
    )


_NAMES = f"{_BACKUP}.sql.gz.enc", f"{_BACKUP}.sql.zz-002.gz.enc"
_FIRST = _stored(_PLAIN, Compression.GZIP, _BACKUP, _NAMES[0])
_SECOND = _stored(_LONGER, Compression.GZIP, _BACKUP, _NAMES[1])
_PARTS = (
    _part(_PLAIN, _FIRST, Compression.GZIP, _NAMES[0]),
    _part(_LONGER, _SECOND, Compression.GZIP, _NAMES[1]),
)


def _read(stored: bytes, part: Part = _PARTS[0], key: DataKey | None = KEY) -> bytes:
    blocks = [stored[start : start + 400_000] for start in range(0, len(stored), 400_000)]
    return b"".join(read_plain(blocks, part, progress=Silent(), key=key, siblings=_PARTS))


def _check(stored: bytes, part: Part = _PARTS[0], key: DataKey | None = KEY) -> None:
    check_stored([stored], part, progress=Silent(), key=key, siblings=_PARTS)


@pytest.mark.parametrize("compression", Compression, ids=str)
@pytest.mark.parametrize("plain", [b"", _PLAIN], ids=["empty", "some"])
def test_what_was_encrypted_comes_back(compression: Compression, plain: bytes) -> None:
    name = f"{_BACKUP}.sql.enc"
    stored = _stored(plain, compression, _BACKUP, name)
    part = _part(plain, stored, compression, name)
    assert _read(stored, part) == plain
    _check(stored, part)


@pytest.mark.parametrize("at", [0, 3, 45, 700_000, 1_200_000, -1])
@pytest.mark.parametrize("read", [_read, _check])
def test_a_flipped_bit_is_damage(read: object, at: int) -> None:
    damaged = bytearray(_FIRST)
    damaged[at] ^= 1
    with pytest.raises(ArtefactCorrupt):
        read(bytes(damaged))  # type: ignore[operator]


@pytest.mark.parametrize("size", [0, 10, 56, 1 << 20, -1])
@pytest.mark.parametrize("read", [_read, _check])
def test_a_file_that_was_cut_off_is_incomplete(read: object, size: int) -> None:
    with pytest.raises(ArtefactTruncated):
        read(_FIRST[:size])  # type: ignore[operator]


def test_a_file_with_more_behind_it_is_damage() -> None:
    with pytest.raises(ArtefactCorrupt, match="longer than what was written"):
        _read(_FIRST + b"\0")


@pytest.mark.parametrize("read", [_read, _check])
def test_swapped_parts_are_told_by_name(read: object) -> None:
    with pytest.raises(ArtefactSwapped, match=f"'{_NAMES[0]}' holds the bytes of '{_NAMES[1]}'"):
        read(_SECOND)  # type: ignore[operator]
    with pytest.raises(ArtefactSwapped, match=f"'{_NAMES[1]}' holds the bytes of '{_NAMES[0]}'"):
        read(_FIRST, _PARTS[1])  # type: ignore[operator]


def test_swapped_parts_are_told_without_the_key_as_well() -> None:
    with pytest.raises(ArtefactSwapped):
        _check(_SECOND, key=None)


@pytest.mark.parametrize("backup_id", [_OTHER_BACKUP, _BACKUP])
def test_a_manifest_that_was_fitted_to_a_swapped_file_does_not_help(backup_id: str) -> None:
    stored = _stored(_PLAIN, Compression.GZIP, backup_id, _NAMES[1])
    part = _part(_PLAIN, stored, Compression.GZIP, _NAMES[0])
    for read in (_read, _check):
        with pytest.raises(ArtefactSwapped, match="or encrypted as another part"):
            read(stored, part)
    _check(stored, part, key=None)  # which only the key can tell


def test_a_part_that_was_given_another_key_s_bytes_asks_for_the_right_key() -> None:
    with pytest.raises(WrongKey, match=KEY.fingerprint):
        _read(_FIRST, key=DataKey.generate())
    with pytest.raises(KeyUnavailable):
        _read(_FIRST, key=None)


@pytest.mark.parametrize("read", [read_plain, check_stored])
def test_a_part_that_is_gone_is_told_as_gone(read: Callable[..., Iterable[object]]) -> None:
    def gone() -> Iterator[bytes]:
        raise ArtefactMissing("it is gone", hint="")
        yield b""

    with pytest.raises(ArtefactMissing):
        list(read(gone(), _PARTS[0], progress=Silent(), key=KEY) or ())


@pytest.mark.parametrize("parts", [_PARTS[1:], _PARTS[::-1]], ids=["left out", "rearranged"])
def test_pieces_that_a_manifest_has_otherwise_than_their_names_are_refused(
    tmp_path: Path, parts: tuple[Part, ...]
) -> None:
    manifest = make_manifest(created_at=MORNING, parts=_PARTS)
    copy = Located(LocalStorage("local", tmp_path), manifest, make_state(manifest), Keyring({}, tmp_path))
    refuse_out_of_order(copy, _PARTS)
    with pytest.raises(ArtefactSwapped, match="one was left out, or they were rearranged"):
        refuse_out_of_order(copy, parts)
