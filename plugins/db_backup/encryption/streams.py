"""One part on its way through Tink, so that nothing incomplete ever ends as if it were complete.

Tink writes its final segment whenever a stream is closed: also when an exception leaves the ``with`` block, and when
the stream is collected as garbage. What was written until then would decrypt as complete and valid. So what Tink writes
to takes bytes only while ``write`` or ``finish`` of ours is under way, and the final segment is written on ``finish``
alone.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from db_backup.errors import ArtefactCorrupt, ArtefactTruncated

Block = bytes | bytearray | memoryview

_SEGMENT_BYTES = 1 << 20
_HEADER_BYTES, _TAG_BYTES = 40, 16  # of the first segment; of each
_GIVEN_BYTES = 256 << 10  # to Tink at once: it copies what it is given, and whole blocks took 2 MB more
_LEAST_BYTES = _HEADER_BYTES + _TAG_BYTES  # what nothing at all is encrypted to
_OTHER_COPY = "Restore from another copy of this backup, or from an older backup."


class Encryptor:
    """Encrypts one part; what is written may be reused as soon as ``write`` returns.

    It is no context manager on purpose: whoever forgets ``finish`` has written no part.
    """

    def __init__(self, primitive: Any, write: Callable[[Block], object], associated_data: bytes) -> None:
        """
        :param primitive: Tink's ``StreamingAead``.
        :param write: the target; it gets the encrypted bytes, in order, and takes all of them.
        """
        self._gate = _Gate(write)
        self._stream = primitive.new_encrypting_stream(self._gate, associated_data)
        self._ended = False

    def write(self, block: Block) -> None:
        """What the target raises is raised as it is. The encryptor is then good only for ``abandon``."""
        view = memoryview(block)

        def write() -> None:
            for start in range(0, len(view), _GIVEN_BYTES):
                self._stream.write(view[start : start + _GIVEN_BYTES])

        self._pass_through(write)

    def finish(self) -> None:
        """Write the final segment; without it, what was written is no part. Raises what the target raises."""
        self._pass_through(self._stream.close)
        self._ended = True

    def abandon(self) -> None:
        """Nothing more is written, whatever becomes of this object. Never raises; right at any time."""
        self._ended = True
        self._gate.shut()

    def _pass_through(self, act: Callable[[], object]) -> None:
        if self._ended:
            raise RuntimeError("the encryptor was finished or given up before")
        failure: BaseException | None = None
        try:
            self._gate.accepting = True
            act()
        except BaseException as error:  # noqa: BLE001 - raised again below, without Tink's wrapping
            failure = _own_error(error, self._gate.failure)
        finally:
            self._gate.accepting = False
        if failure is not None:
            self.abandon()
            raise failure


class _Gate(io.RawIOBase):
    """What Tink writes to and closes. Shut, it raises: a collected stream's final segment goes nowhere."""

    def __init__(self, write: Callable[[Block], object]) -> None:
        self._write: Callable[[Block], object] | None = write
        self.accepting = False
        self.failure: BaseException | None = None

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        if not self.accepting or self._write is None:
            raise BrokenPipeError("nothing is encrypted any more")
        try:
            self._write(block)
        except BaseException as error:
            self.failure = error
            self.shut()
            raise
        return len(block)

    def shut(self) -> None:
        self.accepting = False
        self._write = None

    def close(self) -> None:
        """Tink closes what it writes to, however it ended; whether that is a part is not for Tink to say."""


def decrypted(primitive: Any, blocks: Iterable[Block], associated_data: bytes, *, name: str) -> Iterator[bytes]:
    """The plain bytes of one part, a segment at a time; what came before an error is authentic, and not the whole.

    What ``blocks`` raises is raised as it is.

    :param primitive: Tink's ``StreamingAead``.
    :param name: what errors call the part.
    :raises ArtefactTruncated: less than any part has.
    :raises ArtefactCorrupt: these are not all the bytes that were written under this key and ``associated_data``.
    """
    source = _Source(blocks)
    stream = primitive.new_decrypting_stream(source, associated_data)
    failure: BaseException | None = None
    plain_bytes = 0
    while failure is None:
        try:
            # Not `read`: when a later segment of one call is bad, it loses those before it.
            block = stream.read1(_SEGMENT_BYTES)
        except BaseException as error:  # noqa: BLE001 - raised again below, without Tink's wrapping
            failure = _own_error(error, source.failure)
        else:
            if not block:
                break
            plain_bytes += len(block)
            yield block
    if failure is not None and not _is_refusal(failure):
        raise failure
    # Behind a last segment that is full Tink passes over what is shorter than another.
    if failure is not None or source.read(1) or source.taken_bytes != _encrypted_bytes(plain_bytes):
        raise _refused(name, source.taken_bytes, began=plain_bytes > 0) from failure


def _encrypted_bytes(plain_bytes: int) -> int:
    """To how many so many are encrypted."""
    segments = max(1, -(-(plain_bytes + _HEADER_BYTES) // (_SEGMENT_BYTES - _TAG_BYTES)))
    return _HEADER_BYTES + plain_bytes + segments * _TAG_BYTES


class _Source(io.RawIOBase):
    """Blocks as a file that Tink reads from."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._blocks = iter(blocks)
        self._rest = memoryview(b"")
        self.taken_bytes = 0
        self.failure: BaseException | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            raise io.UnsupportedOperation("a part is never read whole")
        try:
            while not self._rest and (block := next(self._blocks, None)) is not None:
                self._rest = memoryview(block)
        except BaseException as error:
            self.failure = error
            raise
        piece = bytes(self._rest[:size])
        self._rest = self._rest[size:]
        self.taken_bytes += len(piece)
        return piece


def _own_error(error: BaseException, failure: BaseException | None) -> BaseException:
    """What really happened: Tink turns whatever its source or its target raises into a TinkError."""
    if failure is not None:
        return failure
    if "UNKNOWN: KeyboardInterrupt" in _words(error):  # it hit Tink's own code, between its calls of ours
        return KeyboardInterrupt()
    return error


def _is_refusal(error: BaseException) -> bool:
    """Whether Tink says that these are not the bytes; ``UNKNOWN`` is an error of Python's under way."""
    from tink import TinkError

    return isinstance(error, TinkError) and "UNKNOWN: " not in _words(error)


def _words(error: BaseException) -> str:
    return f"{error} {error.__cause__ or ''}"


def _refused(name: str, taken_bytes: int, *, began: bool) -> ArtefactTruncated | ArtefactCorrupt:
    if taken_bytes < _LEAST_BYTES:
        return ArtefactTruncated(
            f"'{name}' is incomplete: an encrypted part has {_LEAST_BYTES} bytes at least, found {taken_bytes}.",
            hint=_OTHER_COPY,
        )
    where = (
        "it is damaged or cut off somewhere before byte"
        if began
        else "it is damaged, or another part's, or another backup's, at the latest by byte"
    )
    return ArtefactCorrupt(f"'{name}' cannot be decrypted: {where} {taken_bytes:,}.", hint=_OTHER_COPY)
