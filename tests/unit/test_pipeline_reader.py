"""Reading back: what is not what was written is never passed off as it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import pytest

from conformance.codec_contract import encoded
from db_backup.errors import ArtefactCorrupt, ArtefactError, ArtefactTruncated, FeatureNotAvailable
from db_backup.manifest import Cipher, Part
from db_backup.model import Compression
from db_backup.progress import Silent
from db_backup.stream.compression import CODECS, MEBIBYTE
from db_backup.stream.reader import check_stored, read_plain
from support.sample_data import sql_dump

pytestmark = pytest.mark.unit

_PLAIN = sql_dump(3 * MEBIBYTE + 99) + bytes(5 * MEBIBYTE)
_PATH = "backup_shop_full_2026-01-31_03-00-00.sql.gz"
_CODECS = [Compression.GZIP, Compression.ZSTD, Compression.NONE]


@dataclasses.dataclass(frozen=True)
class Artefact:
    stored: bytes
    part: Part

    def read(self, stored: bytes | None = None) -> bytes:
        return b"".join(read_plain([self.stored if stored is None else stored], self.part, progress=Silent()))

    def check(self, stored: bytes) -> None:
        check_stored([stored], self.part, progress=Silent())


def _artefact(compression: Compression, plain: bytes = _PLAIN) -> Artefact:
    stored = encoded(CODECS[compression], plain)
    part = Part(
        path=_PATH,
        stored_bytes=len(stored),
        stored_sha256=hashlib.sha256(stored).hexdigest(),
        plain_bytes=len(plain),
        plain_sha256=hashlib.sha256(plain).hexdigest(),
        compression=compression,
    )
    return Artefact(stored, part)


@pytest.fixture(params=_CODECS)
def artefact(request: pytest.FixtureRequest) -> Artefact:
    return _artefact(request.param)


def _flipped(stored: bytes) -> bytes:
    damaged = bytearray(stored)
    damaged[len(damaged) // 2] ^= 0x10
    return bytes(damaged)


def test_what_was_written_is_read(artefact: Artefact) -> None:
    assert artefact.read() == _PLAIN
    artefact.check(artefact.stored)


def test_an_empty_dump_is_read() -> None:
    assert [_artefact(compression, b"").read() for compression in _CODECS] == [b""] * 3


@pytest.mark.parametrize("missing", [1, 5, 1000, 10**9])
def test_missing_bytes_are_truncation_and_the_sizes_are_named(artefact: Artefact, missing: int) -> None:
    short = artefact.stored[:-missing]
    for look in (artefact.read, artefact.check):
        with pytest.raises(ArtefactTruncated) as found:
            look(short)
        assert _PATH in found.value.message
        assert f"expected {len(artefact.stored):,} stored bytes, found {len(short):,}" in found.value.message


def test_a_flipped_bit_is_corruption(artefact: Artefact) -> None:
    for look in (artefact.read, artefact.check):
        with pytest.raises(ArtefactCorrupt, match=_PATH):
            look(_flipped(artefact.stored))


@pytest.mark.parametrize("make", [lambda _: b"\0", lambda artefact: artefact.stored], ids=["a byte", "itself again"])
def test_appended_bytes_are_corruption(artefact: Artefact, make: Callable[[Artefact], bytes]) -> None:
    for look in (artefact.read, artefact.check):
        with pytest.raises(ArtefactCorrupt, match=_PATH):
            look(artefact.stored + make(artefact))


def test_other_content_of_the_same_length_is_corruption_and_both_hashes_are_named(artefact: Artefact) -> None:
    other = bytes(len(artefact.stored))

    with pytest.raises(ArtefactCorrupt) as found:
        artefact.check(other)

    assert artefact.part.stored_sha256 in found.value.message
    assert hashlib.sha256(other).hexdigest() in found.value.message


def test_stored_bytes_that_are_right_prove_nothing_about_plain_ones(artefact: Artefact) -> None:
    """Somebody rewrote the artefact and the stored hash in the manifest, but not the plain hash."""
    part = artefact.part.model_copy(update={"plain_sha256": "0" * 64})

    with pytest.raises(ArtefactCorrupt, match="of its plain bytes"):
        dataclasses.replace(artefact, part=part).read()


def test_plain_bytes_beyond_what_was_promised_stop_at_once() -> None:
    bomb = _artefact(Compression.GZIP, bytes(256 * MEBIBYTE))
    part = bomb.part.model_copy(update={"plain_bytes": 1000})
    passed: list[bytes] = []

    with pytest.raises(ArtefactCorrupt, match="longer than what was written: expected 1,000 plain bytes"):
        passed.extend(read_plain([bomb.stored], part, progress=Silent()))

    assert passed == []


def test_too_few_plain_bytes_are_truncation() -> None:
    artefact = _artefact(Compression.GZIP)
    part = artefact.part.model_copy(update={"plain_bytes": len(_PLAIN) + 1})

    with pytest.raises(ArtefactTruncated, match="plain bytes"):
        dataclasses.replace(artefact, part=part).read()


def test_progress_counts_plain_bytes_when_reading_and_stored_bytes_when_checking(artefact: Artefact) -> None:
    class Counting(Silent):
        counted = 0

        def advance(self, plain_bytes: int) -> None:
            self.counted += plain_bytes

    reading, checking = Counting(), Counting()
    for _ in read_plain([artefact.stored], artefact.part, progress=reading):
        pass
    check_stored([artefact.stored], artefact.part, progress=checking)

    assert (reading.counted, checking.counted) == (len(_PLAIN), len(artefact.stored))


def test_a_cipher_that_is_not_known_is_refused_rather_than_called_damaged() -> None:
    artefact = _artefact(Compression.GZIP)
    part = artefact.part.model_copy(update={"cipher": Cipher(name="AES_OF_TOMORROW", key_id="k1")})

    with pytest.raises(FeatureNotAvailable, match="encrypted with AES_OF_TOMORROW"):
        dataclasses.replace(artefact, part=part).read()


def test_an_error_of_the_storage_is_passed_on_as_it_is(artefact: Artefact) -> None:
    class Gone(Exception):
        pass

    def breaking() -> object:
        yield artefact.stored[:1000]
        raise Gone

    with pytest.raises(Gone):
        list(read_plain(breaking(), artefact.part, progress=Silent()))  # type: ignore[arg-type]


def test_every_way_of_being_wrong_exits_with_3() -> None:
    assert {ArtefactTruncated.exit_code, ArtefactCorrupt.exit_code, ArtefactError.exit_code} == {3}
