"""A stream that is longer than one object holds goes on in a next one, and comes back as one."""

from __future__ import annotations

import os
import random
import subprocess
import threading
from pathlib import Path

import pytest

from db_backup import naming
from db_backup.engines.stock import unpack_command
from db_backup.errors import Interrupted
from db_backup.manifest import by_stream
from db_backup.model import Compression
from db_backup.progress import Cancellation, Silent
from db_backup.stream.compression import CODECS
from db_backup.stream.intake import Intake
from db_backup.stream.pipeline import Limits, StreamDigest, most_plain_bytes, pump
from support.creations import OneKey, create, fragile, plan, read_back
from support.sample_data import sql_dump
from support.streams import MemorySink, Source, piped

pytestmark = pytest.mark.unit

_NOISE = random.Random(5).randbytes(1_300_000)  # which every codec makes longer
_TEXT = sql_dump(2_000_000)
_OBJECT_BYTES = 300_000


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("compression", Compression, ids=str)
@pytest.mark.parametrize("content", [_NOISE, _TEXT], ids=["noise", "text"])
def test_every_part_fits_and_together_they_are_the_stream(
    tmp_path: Path, compression: Compression, encrypted: bool, content: bytes
) -> None:
    storage = fragile("small", tmp_path, max_object_bytes=_OBJECT_BYTES)
    made = create(plan(tmp_path, [storage], compression=compression, key=encrypted), content, content[:400_000])

    assert read_back(storage, made.manifest.id) == [content, content[:400_000]]
    parts = made.manifest.parts
    assert [len(own) for own in by_stream(parts).values()] == [-(-len(content) // most_plain_bytes(300_000)), 2]
    assert len({part.path for part in parts}) == len(parts)
    for part in parts:
        assert 0 < part.stored_bytes <= _OBJECT_BYTES
        assert part.stored_bytes == storage.stat(naming.part_key(part.path)).size_bytes
        assert (part.cipher is not None) == encrypted == part.path.endswith(".enc")


@pytest.mark.parametrize("compression", Compression, ids=str)
def test_stock_tools_put_the_parts_together(tmp_path: Path, compression: Compression) -> None:
    storage = fragile("small", tmp_path, max_object_bytes=_OBJECT_BYTES)
    parts = create(plan(tmp_path, [storage], compression=compression), _NOISE).manifest.parts
    done = subprocess.run(
        ["sh", "-c", unpack_command(parts)], cwd=tmp_path / "small" / "database", capture_output=True, check=True
    )
    assert len(parts) > 1
    assert done.stdout == _NOISE


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 100, 101])
@pytest.mark.parametrize("encrypted", [False, True])
def test_no_part_is_empty_however_the_stream_divides(tmp_path: Path, size: int, encrypted: bool) -> None:
    most = 4096 + 4  # so many stored bytes stand for 3 plain ones
    assert most_plain_bytes(most) == 3
    storage = fragile("tiny", tmp_path, max_object_bytes=most)
    made = create(plan(tmp_path, [storage], key=encrypted), _TEXT[:size])
    assert [part.plain_bytes for part in made.manifest.parts] == [3] * (size // 3) + [size % 3] * (size % 3 > 0)
    assert read_back(storage, made.manifest.id) == [_TEXT[:size]]


@pytest.mark.parametrize("encrypted", [False, True])
def test_an_empty_stream_has_one_empty_part(tmp_path: Path, encrypted: bool) -> None:
    storage = fragile("tiny", tmp_path, max_object_bytes=5000)
    made = create(plan(tmp_path, [storage], key=encrypted), b"", b"x")
    assert [part.plain_bytes for part in made.manifest.parts] == [0, 1]
    assert read_back(storage, made.manifest.id) == [b"", b"x"]


def test_what_is_read_to_look_ahead_is_shown_and_counted_once(tmp_path: Path) -> None:
    with piped(_TEXT) as reading:
        source = Source(reading)
        intake = Intake(source)
        read = 0
        while not intake.ended:
            read += _pumped(intake, MemorySink(), at_most_bytes=300_000).plain_bytes
    assert read == len(_TEXT)
    assert source.observed == _TEXT


def test_a_stop_ends_the_wait_for_whether_there_is_more() -> None:
    cancellation = Cancellation()
    threading.Timer(0.3, lambda: cancellation.cancel("by a test")).start()
    with piped(_TEXT[:1000], then_silent=True) as reading, pytest.raises(Interrupted):
        _pumped(Intake(Source(reading)), MemorySink(), at_most_bytes=1000, cancellation=cancellation)


def _pumped(
    intake: Intake, sink: MemorySink, *, at_most_bytes: int, cancellation: Cancellation | None = None
) -> StreamDigest:
    return pump(
        intake,
        compression=Compression.ZSTD,
        level=1,
        sinks=[sink],
        limits=Limits(),
        progress=Silent(),
        cancellation=cancellation or Cancellation(),
        at_most_bytes=at_most_bytes,
    ).end()


@pytest.mark.parametrize("level_of", ["least", "most"])
@pytest.mark.parametrize("compression", Compression, ids=str)
def test_the_worst_that_a_codec_and_the_cipher_make_of_bytes_still_fits(
    compression: Compression, level_of: str
) -> None:
    levels = CODECS[compression].levels
    level = None if not levels else levels[0] if level_of == "least" else levels[-1]
    noise = os.urandom(2_100_000)
    for stored_bytes in (5_000, 2_100_000):
        sink = MemorySink()
        with piped(noise) as reading:
            digest = pump(
                Intake(Source(reading)),
                compression=compression,
                level=level,
                sinks=[sink],
                limits=Limits(),
                progress=Silent(),
                cancellation=Cancellation(),
                encryption=lambda write: OneKey.key.encryptor(write, backup_id="b", part="p"),
                at_most_bytes=most_plain_bytes(stored_bytes),
            ).end()
        assert digest.plain_bytes == most_plain_bytes(stored_bytes)
        assert len(sink.content) == digest.stored_bytes <= stored_bytes
