"""Encryption within the pass: what did not come to its end never decrypts as complete, whatever ended it."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
from collections.abc import Callable
from functools import partial
from unittest import mock

import pytest

from db_backup.encryption import DataKey
from db_backup.errors import ArtefactError, DumpFailed, Interrupted, SizeLimitExceeded, StorageFull, TimeLimitExceeded
from db_backup.model import Compression
from db_backup.progress import Cancellation, Silent
from db_backup.stream.compression import CODECS, MEBIBYTE
from db_backup.stream.pipeline import Limits, StreamDigest, UnendedPart, pump
from support.sample_data import sql_dump
from support.streams import MemorySink, Source, piped

pytestmark = pytest.mark.unit

_BACKUP = "backup_shop_full_2026-01-31_03-00-00"
_PART = f"{_BACKUP}.sql.enc"
_PLAIN = sql_dump(5 * MEBIBYTE + 77)
_FULL_SEGMENT = sql_dump((1 << 20) - 56)  # of the cipher, when it is not compressed
_KEY = DataKey.generate()


def _unended(
    source: Source,
    sink: MemorySink,
    compression: Compression = Compression.NONE,
    *,
    limits: Limits | None = None,
    cancellation: Cancellation | None = None,
) -> UnendedPart:
    return pump(
        source,
        compression=compression,
        level=None if compression is Compression.NONE else 1,
        sinks=[sink],
        limits=limits or Limits(),
        progress=Silent(),
        cancellation=cancellation or Cancellation(),
        encryption=partial(_KEY.encryptor, backup_id=_BACKUP, part=_PART),
    )


def _pumped(
    source: Source,
    sink: MemorySink,
    compression: Compression = Compression.NONE,
    *,
    limits: Limits | None = None,
    cancellation: Cancellation | None = None,
) -> StreamDigest:
    return _unended(source, sink, compression, limits=limits, cancellation=cancellation).end()


def _decrypted(stored: bytes) -> bytes:
    return b"".join(_KEY.decrypt([stored], backup_id=_BACKUP, part=_PART))


@pytest.mark.parametrize("compression", Compression, ids=str)
@pytest.mark.parametrize("plain", [b"", b"x", _PLAIN], ids=["empty", "a byte", "much"])
def test_what_is_stored_decrypts_to_what_the_codec_made(compression: Compression, plain: bytes) -> None:
    sink = MemorySink()
    with piped(plain) as reading:
        digest = _pumped(Source(reading), sink, compression)
    assert len(sink.content) == digest.stored_bytes
    assert b"".join(CODECS[compression].decompress([_decrypted(bytes(sink.content))], name="it")) == plain


def _refused(sink: MemorySink) -> None:
    gc.collect()
    with pytest.raises(ArtefactError):
        _decrypted(bytes(sink.content))


@pytest.mark.parametrize("compression", Compression, ids=str)
@pytest.mark.parametrize("plain", [b"", b"x", _PLAIN, _FULL_SEGMENT], ids=["empty", "a byte", "much", "a segment"])
def test_what_was_read_to_its_end_decrypts_once_somebody_has_said_that_it_is_whole(
    compression: Compression, plain: bytes
) -> None:
    sink, forgotten = MemorySink(), MemorySink()
    with piped(plain) as reading:
        part = _unended(Source(reading), sink, compression)
    with piped(plain) as reading:
        _unended(Source(reading), forgotten, compression)
    _refused(sink)
    _refused(forgotten)

    digest = part.end()

    assert b"".join(CODECS[compression].decompress([_decrypted(bytes(sink.content))], name="it")) == plain
    assert digest.stored_sha256 == hashlib.sha256(sink.content).hexdigest()


def test_a_sink_that_fails_at_the_end_is_told_and_leaves_no_part() -> None:
    error = StorageFull("full.")
    sink = MemorySink()
    with piped(_PLAIN) as reading:
        part = _unended(Source(reading), sink)
    with mock.patch.object(sink, "write", side_effect=error), pytest.raises(StorageFull) as raised:
        part.end()
    assert raised.value is error
    _refused(sink)


@pytest.mark.parametrize(
    "error", [StorageFull("full."), OSError("odd"), MemoryError(), KeyboardInterrupt(), SystemExit()]
)
@pytest.mark.parametrize("after_writes", [0, 3, 30, 40])
def test_a_sink_that_fails(error: BaseException, after_writes: int) -> None:
    def before(sink: MemorySink) -> None:
        if len(sink.calls) == after_writes:
            raise error

    sink = MemorySink(before)
    with piped(_PLAIN) as reading, pytest.raises(type(error)) as raised:
        _pumped(Source(reading), sink)
    assert raised.value is error
    _refused(sink)


@pytest.mark.parametrize("error", [ValueError("an observer"), KeyboardInterrupt()])
def test_an_observer_that_fails(error: BaseException) -> None:
    seen = 0

    def observe(block: memoryview) -> None:
        nonlocal seen
        seen += len(block)
        if seen > 4 * MEBIBYTE:
            raise error

    sink = MemorySink()
    with piped(_PLAIN) as reading, pytest.raises(type(error)):
        _pumped(Source(reading, observer=observe), sink)
    _refused(sink)


def test_a_dump_that_cannot_be_read_to_its_end() -> None:
    sink, readv, calls = MemorySink(), os.readv, 0

    def failing(descriptor: int, buffers: list[memoryview]) -> int:
        nonlocal calls
        calls += 1
        if calls == 40:
            raise OSError(errno.EIO, "Input/output error")
        return readv(descriptor, buffers)

    with piped(_PLAIN) as reading, mock.patch("os.readv", failing), pytest.raises(DumpFailed):
        _pumped(Source(reading), sink)
    _refused(sink)


def test_a_cancelled_pump() -> None:
    cancellation = Cancellation()

    def stop(sink: MemorySink) -> None:
        if len(sink.calls) == 9:
            cancellation.cancel("by a test")

    sink = MemorySink(stop)
    with piped(_PLAIN, then_silent=True) as reading, pytest.raises(Interrupted):
        _pumped(Source(reading), sink, cancellation=cancellation)
    _refused(sink)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (Limits(max_stored_bytes=4 * MEBIBYTE), SizeLimitExceeded),
        (Limits(max_stored_bytes=len(_PLAIN)), SizeLimitExceeded),  # the cipher's own bytes count
        (Limits(deadline=0.0), TimeLimitExceeded),
    ],
)
def test_a_limit_that_was_reached(limits: Limits, error: type[Exception]) -> None:
    sink = MemorySink()
    with piped(_PLAIN) as reading, pytest.raises(error):
        _pumped(Source(reading), sink, limits=limits)
    _refused(sink)


def test_a_codec_that_fails() -> None:
    sink = MemorySink()
    calls: list[int] = []

    def compress(real: Callable[[memoryview], bytes], plain: memoryview) -> bytes:
        calls.append(len(plain))
        if len(calls) == 4:
            raise MemoryError
        return real(plain)

    encoder = CODECS[Compression.NONE].encoder(None)
    with (
        piped(_PLAIN) as reading,
        mock.patch.object(type(encoder), "compress", lambda self, plain: compress(bytes, plain)),
        pytest.raises(MemoryError),
    ):
        _pumped(Source(reading), sink)
    _refused(sink)
