"""A dump restored under another name: what names its own database must name the new one.

The tools leave the database's name out, but the server writes it into sequence defaults, into calls of stored functions
in views and into views that reach other databases, and a trigger keeps the text that its author typed. Unchanged, a
copy beside the original would draw from the original's sequences, or create its triggers in the original.
"""

from __future__ import annotations

import re

from db_backup.engines.mysql.dump_parser import GAP, code_head
from db_backup.engines.mysql.dump_splitter import Kind, Piece

_VIEW = re.compile(rb"/\*!\d+ (?:CREATE ALGORITHM|VIEW )")
_STRING = rb"'[^'\\]*(?:\\.[^'\\]*)*'"


class Renaming:
    """Rewrites the structure of a dump of ``source`` for the database ``target``; data goes through untouched."""

    def __init__(self, source: str, target: str) -> None:
        old, self._new = _quoted(source), _quoted(target)
        self._same = source == target
        bare = re.escape(source.encode()) if re.fullmatch(r"[\w$]+", source) else rb"(?!)"
        name = rb"(?:%s|%s)" % (re.escape(old), bare)
        self._qualifier = re.compile(rb"%s|(?<!\.)(%s)(?=\.`)|`(?:[^`]|``)*`" % (_STRING, re.escape(old)), re.DOTALL)
        # A trigger belongs to its table's database: without the qualifiers it goes where it is loaded.
        self._trigger = re.compile(
            rb"(\bTRIGGER\b{gap}(?:IF\b{gap}NOT\b{gap}EXISTS\b{gap})?)(?:{name}{gap}\.{gap})?"
            rb"(`(?:[^`]|``)+`|\"(?:[^\"]|\"\")+\"|[\w$\x80-\xff]+)"
            rb"({gap}(?:BEFORE|AFTER)\b{gap}(?:INSERT|UPDATE|DELETE)\b{gap}ON\b{gap})(?:{name}{gap}\.{gap})?".replace(
                b"{gap}", GAP
            ).replace(b"{name}", name),
            re.IGNORECASE | re.DOTALL,
        )
        self._own_settings = re.compile(rb"ALTER DATABASE %s(?= )" % re.escape(old))
        self._mention = re.compile(rb"(?<![\w$`.])%s\s*\.\s*[`\w]" % name)
        self.warnings: list[str] = []
        self._source = source

    def apply(self, piece: Piece) -> bytes:
        """The bytes to load instead of the piece's."""
        if self._same or piece.kind is not Kind.STATEMENT:
            return piece.text
        text = piece.text
        if self._own_settings.match(text):  # around code that was made while the database had another character set
            return self._own_settings.sub(lambda _: b"ALTER DATABASE " + self._new, text, count=1)
        if text.startswith(b"CREATE TABLE") or _VIEW.match(text):
            return self.requalified(text)
        code = code_head(text)
        if code is None:
            return text
        if code[0] == "trigger":
            text = self._trigger.sub(rb"\1\2\3", text, count=1)
        if self._mention.search(text):
            self.warnings.append(
                f"The {code[0]} '{code[1]}' names the database '{self._source}' in its text, and goes on using it."
            )
        return text

    def requalified(self, expression: bytes) -> bytes:
        """An expression as the server prints it, with what names the source naming the target."""
        return self._qualifier.sub(self._renamed, expression)

    def _renamed(self, match: re.Match[bytes]) -> bytes:
        return match[0] if match[1] is None else self._new


def _quoted(name: str) -> bytes:
    return b"`" + name.replace("`", "``").encode() + b"`"
