"""Nothing incomplete ever decrypts as complete: Tink's own habit is to finish whatever is closed or collected."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from db_backup.encryption import DataKey, Encryptor
from db_backup.errors import ArtefactCorrupt, ArtefactError, ArtefactTruncated, StorageFull

pytestmark = pytest.mark.unit

_BACKUP = "backup_shop_full_2026-01-31_03-00-00"
_PART = f"{_BACKUP}.sql.gz.enc"
_MEBIBYTE = 1 << 20
_PLAIN = os.urandom(2 * _MEBIBYTE + 12_345)


@pytest.fixture(scope="module")
def key() -> DataKey:
    return DataKey.generate()


def _encryptor(key: DataKey, stored: bytearray, part: str = _PART) -> Encryptor:
    return key.encryptor(stored.extend, backup_id=_BACKUP, part=part)


def _encrypted(key: DataKey, plain: bytes = _PLAIN) -> bytes:
    stored = bytearray()
    encryptor = _encryptor(key, stored)
    encryptor.write(plain)
    encryptor.finish()
    return bytes(stored)


def _decrypted(key: DataKey, stored: bytes, part: str = _PART) -> bytes:
    blocks = (stored[start : start + 300_000] for start in range(0, len(stored), 300_000))
    return b"".join(key.decrypt(blocks, backup_id=_BACKUP, part=part))


@pytest.mark.parametrize("size", [0, 1, 55, _MEBIBYTE - 56, _MEBIBYTE - 55, _MEBIBYTE, 2 * _MEBIBYTE + 12_345])
def test_what_was_finished_decrypts_to_what_was_written(key: DataKey, size: int) -> None:
    assert _decrypted(key, _encrypted(key, _PLAIN[:size])) == _PLAIN[:size]


def test_a_block_may_be_reused_as_soon_as_it_was_written(key: DataKey) -> None:
    stored, ring = bytearray(), bytearray(100_000)
    encryptor = _encryptor(key, stored)
    for start in range(0, len(_PLAIN), len(ring)):
        piece = _PLAIN[start : start + len(ring)]
        ring[: len(piece)] = piece
        encryptor.write(memoryview(ring)[: len(piece)])
        ring[:] = bytes(len(ring))
    encryptor.finish()
    assert _decrypted(key, bytes(stored)) == _PLAIN


def _leave_it(encryptor: Encryptor) -> None:
    """Nobody says anything: it is collected."""


def _leave_by_an_exception(encryptor: Encryptor) -> None:
    with pytest.raises(ZeroDivisionError):
        encryptor.write(_PLAIN[: 1 // 0])


def _abandon(encryptor: Encryptor) -> None:
    encryptor.abandon()
    encryptor.abandon()


def _abandon_and_go_on(encryptor: Encryptor) -> None:
    encryptor.abandon()
    with pytest.raises(RuntimeError):
        encryptor.write(b"more")
    with pytest.raises(RuntimeError):
        encryptor.finish()


def _keep_it_in_a_cycle(encryptor: Encryptor) -> None:
    encryptor.itself = encryptor  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", [_leave_it, _leave_by_an_exception, _abandon, _abandon_and_go_on, _keep_it_in_a_cycle])
@pytest.mark.parametrize("size", [0, 1, 300_000, _MEBIBYTE, len(_PLAIN)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in Python's development mode
def test_what_was_not_finished_never_decrypts(key: DataKey, size: int, end: Callable[[Encryptor], None]) -> None:
    stored = bytearray()
    encryptor = _encryptor(key, stored)
    encryptor.write(_PLAIN[:size])
    before = bytes(stored)
    end(encryptor)
    del encryptor
    gc.collect()

    assert bytes(stored) == before
    with pytest.raises(ArtefactError):
        _decrypted(key, bytes(stored))


def test_an_interpreter_that_ends_finishes_nothing(key: DataKey) -> None:
    program = (
        "import sys; from db_backup.encryption import DataKey\n"
        "key = DataKey.from_bytes(sys.stdin.buffer.read())\n"
        f"encryptor = key.encryptor(sys.stdout.buffer.write, backup_id={_BACKUP!r}, part={_PART!r})\n"
        "encryptor.write(bytes(3_000_000))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], input=key.to_bytes(), stdout=subprocess.PIPE, check=True, timeout=60
    )
    assert len(ended.stdout) > 500_000
    with pytest.raises(ArtefactError):
        _decrypted(key, ended.stdout)


class _Broken:
    """Takes so many blocks, then raises; counts what it is asked for later."""

    def __init__(self, error: BaseException, good_blocks: int) -> None:
        self.stored = bytearray()
        self.error = error
        self.left = good_blocks
        self.calls_after = 0

    def write(self, block: bytes) -> None:
        if self.left < 0:
            self.calls_after += 1
        self.left -= 1
        if self.left < 0:
            raise self.error
        self.stored += block


@pytest.mark.parametrize(
    "error", [StorageFull("full.", hint="Make room."), OSError(28, "No space left"), KeyboardInterrupt(), SystemExit(3)]
)
@pytest.mark.parametrize("good_blocks", [0, 5])
def test_the_target_s_own_error_comes_out_and_it_is_asked_no_more(
    key: DataKey, error: BaseException, good_blocks: int
) -> None:
    target = _Broken(error, good_blocks)
    encryptor = key.encryptor(target.write, backup_id=_BACKUP, part=_PART)
    with pytest.raises(type(error)) as raised:
        encryptor.write(_PLAIN)
    assert raised.value is error
    with pytest.raises(RuntimeError):
        encryptor.finish()
    del encryptor
    gc.collect()
    assert target.calls_after == 0
    with pytest.raises(ArtefactError):
        _decrypted(key, bytes(target.stored))


def test_a_target_that_fails_at_the_final_segment_has_no_part(key: DataKey) -> None:
    target = _Broken(StorageFull("full.", hint="Make room."), 16)
    encryptor = key.encryptor(target.write, backup_id=_BACKUP, part=_PART)
    encryptor.write(_PLAIN)
    with pytest.raises(StorageFull):
        encryptor.finish()
    with pytest.raises(ArtefactError):
        _decrypted(key, bytes(target.stored))


def test_the_cause_of_the_target_s_error_is_kept(key: DataKey) -> None:
    def write(_block: object) -> None:
        raise StorageFull("full.") from OSError(28, "No space left")

    encryptor = key.encryptor(write, backup_id=_BACKUP, part=_PART)
    with pytest.raises(StorageFull) as raised:
        encryptor.write(_PLAIN)
    assert isinstance(raised.value.__cause__, OSError)


@pytest.mark.parametrize("at", [0, 1, 20, 41, _MEBIBYTE - 1, _MEBIBYTE, 2 * _MEBIBYTE + 5, -1])
def test_one_flipped_bit_is_refused(key: DataKey, at: int) -> None:
    stored = bytearray(_encrypted(key))
    stored[at] ^= 0x10
    with pytest.raises(ArtefactCorrupt, match="cannot be decrypted"):
        _decrypted(key, bytes(stored))


@pytest.mark.parametrize("size", [56, 57, _MEBIBYTE - 1, _MEBIBYTE, _MEBIBYTE + 1, 2 * _MEBIBYTE, -1])
def test_what_was_cut_off_is_refused(key: DataKey, size: int) -> None:
    with pytest.raises(ArtefactError):
        _decrypted(key, _encrypted(key)[:size])


@pytest.mark.parametrize("size", [0, 1, 40, 55])
def test_less_than_any_part_has_is_called_incomplete(key: DataKey, size: int) -> None:
    with pytest.raises(ArtefactTruncated, match="56 bytes at least"):
        _decrypted(key, _encrypted(key)[:size])


def test_appended_bytes_are_refused(key: DataKey) -> None:
    for plain in (_PLAIN, b""):
        with pytest.raises(ArtefactCorrupt):
            _decrypted(key, _encrypted(key, plain) + b"\0")


@pytest.mark.parametrize("more", [1, 17, 100])
def test_bytes_behind_a_last_segment_that_is_full_are_refused_too(key: DataKey, more: int) -> None:
    stored = _encrypted(key, bytes(_MEBIBYTE - 56))
    assert len(stored) == _MEBIBYTE
    with pytest.raises(ArtefactCorrupt):
        _decrypted(key, stored + bytes(more))


def test_bytes_are_bound_to_their_backup_and_part(key: DataKey) -> None:
    stored = _encrypted(key)
    with pytest.raises(ArtefactCorrupt, match="another part's"):
        _decrypted(key, stored, part="another.sql.gz.enc")
    with pytest.raises(ArtefactCorrupt, match="another backup's"):
        b"".join(key.decrypt([stored], backup_id="backup_shop_full_2026-02-01_03-00-00", part=_PART))
    with pytest.raises(ArtefactCorrupt):
        _decrypted(DataKey.generate(), stored)


@pytest.mark.parametrize("at", [0, 1, 7])
@pytest.mark.parametrize("error", [StorageFull("gone."), KeyboardInterrupt()])
def test_an_error_of_the_storage_is_not_called_damage(key: DataKey, at: int, error: BaseException) -> None:
    stored = _encrypted(key)

    def blocks() -> Iterator[bytes]:
        for number, start in enumerate(range(0, len(stored), 200_000)):
            if number == at:
                raise error
            yield stored[start : start + 200_000]

    with pytest.raises(type(error)) as raised:
        b"".join(key.decrypt(blocks(), backup_id=_BACKUP, part=_PART))
    assert raised.value is error


def test_segments_before_the_damage_are_authentic_and_come_out(key: DataKey) -> None:
    stored = bytearray(_encrypted(key))
    stored[-1] ^= 1
    plain = bytearray()
    blocks = key.decrypt([bytes(stored)], backup_id=_BACKUP, part=_PART)
    with pytest.raises(ArtefactCorrupt):
        deque((plain.extend(block) for block in blocks), maxlen=0)
    assert len(plain) > _MEBIBYTE
    assert _PLAIN.startswith(plain)


def test_a_key_is_known_again_by_its_fingerprint_and_never_prints(key: DataKey) -> None:
    again = DataKey.from_bytes(key.to_bytes())
    assert again.fingerprint == key.fingerprint != DataKey.generate().fingerprint
    assert len(key.fingerprint) == 16
    assert int(key.fingerprint, 16) >= 0
    assert _decrypted(again, _encrypted(key)) == _PLAIN
    for text in (repr(key), str(key), f"{key!r:>50}"):
        assert text.strip() == f"<DataKey {key.fingerprint}>"
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            leave(key)
    assert not hasattr(key, "__dict__")


@pytest.mark.parametrize("keyset", [b"", b"nonsense", bytes(131)])
def test_other_bytes_are_no_data_key(keyset: bytes) -> None:
    with pytest.raises(ValueError, match="no data key"):
        DataKey.from_bytes(keyset)


def test_commands_that_need_no_key_do_not_wait_for_tink() -> None:
    program = (
        "import sys, db_backup.cli.main, db_backup.jobs.create, db_backup.stream.reader; print('tink' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True)
    assert ended.stdout.strip() == "False"
