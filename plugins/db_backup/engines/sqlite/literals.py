"""Values as SQL that any SQLite reads back to the bit.

SQLite promises 15 digits of a float's decimal text, and no more (sqlite.org, "Floating Point Numbers"), its shell drops
a carriage return at the end of a line, and no text can hold a NUL: such values are written as what they are computed
from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

_EXACT_INTEGERS = 1 << 53  # up to here every integer is a float
_STEP = 1 << 62  # the largest power of two that is an integer of SQLite's

Value = None | int | float | str | bytes


class Literals:
    """Writes the values of a database.

    :param encoding: ``PRAGMA encoding`` of the database that the values come from, and of the one that they go to.
    """

    def __init__(self, encoding: str) -> None:
        self._codec = encoding
        self._writers: dict[type, Callable[..., bytes]] = {
            type(None): lambda _: b"NULL",
            int: lambda number: b"%d" % number,
            float: real,
            str: self._text,
            bytes: lambda blob: b"X'%b'" % blob.hex().encode(),
        }

    def row(self, values: Sequence[Value]) -> bytes:
        """Comma-separated, without parentheses. Text that is no UTF-8 holds its bytes as lone surrogates."""
        writers = self._writers
        return b",".join([writers[type(value)](value) for value in values])

    def _text(self, text: str) -> bytes:
        if "\0" not in text and "\r" not in text:
            try:
                return b"'%b'" % text.replace("'", "''").encode()
            except UnicodeEncodeError:
                pass
        stored = text.encode("utf-8", "surrogateescape")
        if self._codec != "UTF-8":
            stored = stored.decode("utf-8", "surrogatepass").encode(self._codec, "surrogatepass")
        return b"CAST(X'%b' AS TEXT)" % stored.hex().encode()


def real(number: float) -> bytes:
    """A float: integers and infinities as they are, every other as an integer over a power of two, which is exact."""
    if math.isinf(number):
        return b"9e999" if number > 0 else b"-9e999"
    if number.is_integer() and abs(number) < _EXACT_INTEGERS:
        return b"%.1f" % number
    fraction, exponent = math.frexp(number)
    mantissa = int(fraction * _EXACT_INTEGERS)
    exponent -= 53
    zeros = (mantissa & -mantissa).bit_length() - 1
    mantissa, exponent = mantissa >> zeros, exponent + zeros
    operator = b"*" if exponent > 0 else b"/"
    steps, rest = divmod(abs(exponent), 62)
    return b"%d*1.0%b%b%d" % (mantissa, b"%b%d" % (operator, _STEP) * steps, operator, 1 << rest)


def quoted_name(name: str) -> bytes:
    """An identifier."""
    return b'"%b"' % name.replace('"', '""').encode()
