"""The SQL scripts that structure and data backups are: their frame, and how they are taken apart again.

A script is for the stock shell (``sqlite3 -bail DATABASE < script``) as well as for us. Its last line says that it is
whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from db_backup.engines.base import Block

END = b"-- The end of this backup.\n"
_NEXT = re.compile(rb"['\"]|;\n|--")
_QUOTES = {b"'", b'"'}
# A whole statement at once, which most are; without backtracking.
_STATEMENT = re.compile(rb"""(?:[^'"\-;]++|'[^']*+'|"[^"]*+"|-(?!-)|;(?!\n))*+;\n""")


class ScriptDamaged(Exception):
    """It is not one of our scripts, or not all of it. The text continues the sentence "The script …".

    :param truncated: it ends too early; otherwise it holds what no script holds.
    """

    def __init__(self, text: str, *, truncated: bool = False) -> None:
        super().__init__(text)
        self.truncated = truncated


def frame(title: str, how: str, encoding: str, body: Iterable[bytes]) -> Iterator[bytes]:
    """A whole script: one transaction. ``how`` is the shell's command line."""
    yield (
        f"-- {title}, written by db-backup for: {how}\n"
        f"PRAGMA encoding = '{encoding}';\n"
        "PRAGMA foreign_keys = OFF;\n"
        "PRAGMA ignore_check_constraints = ON;\n"
        "BEGIN;\n"
    ).encode()
    yield from body
    yield b"COMMIT;\n" + END


def encoding_of(statement: str) -> str | None:
    """The encoding that a statement of the frame names."""
    match = re.fullmatch(r"PRAGMA encoding = '([\w-]+)'", statement)
    return match[1] if match else None


def is_frame(statement: str) -> bool:
    """Whether a statement belongs to the frame, and says nothing of the database."""
    return statement in {"BEGIN", "COMMIT"} or statement.startswith("PRAGMA ")


def whole_script(content: Iterable[Block]) -> str:
    """All of it, for scripts that are small.

    :raises ScriptDamaged:
    """
    script = b"".join(bytes(block) for block in content)
    if not script.endswith(b"\n" + END):
        raise ScriptDamaged("ends before its last line", truncated=True)
    return _decoded(script)


def statements(content: Iterable[Block]) -> Iterator[str]:
    """Every statement of a data script, without its semicolon, in constant memory.

    Comments stand only between statements, and a semicolon at the end of a line ends a statement unless it is quoted.

    :raises ScriptDamaged: as late as the end.
    """
    splitter = _Splitter()
    for block in content:
        for statement in splitter.feed(bytes(block)):
            yield _decoded(statement)
    splitter.finish()


class _Splitter:
    def __init__(self) -> None:
        self._data = b""
        self._scanned = 0  # how much of the data is known to end no statement
        self._quote: bytes | None = None
        self._ended = False

    def feed(self, block: bytes) -> Iterator[bytes]:
        data = self._data + block
        start, position = 0, self._scanned
        while True:
            if position == start and (whole := _STATEMENT.match(data, start)):
                yield self._statement(data[start : whole.end() - 2])
                start = position = whole.end()
                continue
            if self._quote is not None:
                closing = data.find(self._quote, position)
                if closing < 0:
                    position = len(data)
                    break
                self._quote, position = None, closing + 1
                continue
            token = _NEXT.search(data, position)
            if token is None:
                position = max(position, len(data) - 1)  # ";" or "-" may be the first half of a token
                break
            if token[0] in _QUOTES:
                self._quote, position = token[0], token.end()
            elif token[0] == b";\n":
                yield self._statement(data[start : token.start()])
                start = position = token.end()
            elif token.start() > start:
                raise ScriptDamaged("holds a comment inside a statement")
            else:
                line_end = data.find(b"\n", token.end())
                if line_end < 0:
                    position = token.start()
                    break
                self._comment(data[start : line_end + 1])
                start = position = line_end + 1
        self._data, self._scanned = data[start:], position - start

    def finish(self) -> None:
        if not self._ended or self._data:
            raise ScriptDamaged(
                "ends before its last line" if not self._ended else "goes on after its last line",
                truncated=not self._ended,
            )

    def _statement(self, statement: bytes) -> bytes:
        if self._ended:
            raise ScriptDamaged("goes on after its last line")
        return statement

    def _comment(self, line: bytes) -> None:
        self._ended = self._ended or line == END


def _decoded(script: bytes) -> str:
    if b"\0" in script:
        raise ScriptDamaged("holds bytes that are no SQL")
    try:
        return script.decode()
    except UnicodeDecodeError as error:
        raise ScriptDamaged("holds bytes that are no text") from error
