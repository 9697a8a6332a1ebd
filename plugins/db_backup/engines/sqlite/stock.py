"""How a person restores a backup of SQLite with its shell, and an increment with Python's standard library alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from db_backup.engines.sqlite import rows, structure
from db_backup.engines.sqlite.pages import PAGES
from db_backup.engines.stock import unpack_command
from db_backup.manifest import Part, StockCommand, by_stream

_RESTORED = "restored.sqlite"
_CHECK = StockCommand(description="Check it", command=f"sqlite3 {_RESTORED} 'PRAGMA integrity_check'")

# docs/formats/sqlite-increment.md explains what they read.
_PUT_PAGES_IN = """
import struct, sys
read = sys.stdin.buffer.read
magic, size, pages, changed = struct.unpack(">16s3I", read(28))
with open(sys.argv[1], "r+b") as image:
    for _ in range(changed):
        number, page = struct.unpack(f">I{size}s", read(4 + size))
        image.seek((number - 1) * size)
        image.write(page)
    image.truncate(pages * size)
"""
_COMPARE_HASHES = """
import hashlib, sys
with open(sys.argv[1], "rb") as image:
    size = int.from_bytes(image.read(18)[16:], "big")
    size = 65536 if size == 1 else size
    image.seek(0)
    found = [hashlib.sha256(page).digest()[:16] for page in iter(lambda: image.read(size), b"")]
if b"".join(found) != sys.stdin.buffer.read():
    sys.exit("The file is not what was backed up: were the backups before this one restored, in order?")
"""


def image_commands(parts: Sequence[Part]) -> tuple[StockCommand, ...]:
    """Of a full; the hashes of its pages, where it has them, are not needed."""
    unpack = unpack_command(by_stream(parts)["main"])
    return StockCommand(description="Unpack the database file", command=f"{unpack} > {_RESTORED}"), _CHECK


def structure_commands(parts: Sequence[Part]) -> tuple[StockCommand, ...]:
    build = f"{unpack_command(parts)} | {structure.SHELL} {_RESTORED}"
    return StockCommand(description="Build an empty database of it", command=build), _CHECK


def rows_commands(parts: Sequence[Part]) -> tuple[StockCommand, ...]:
    fill = f"{unpack_command(parts)} | {rows.SHELL_WITHOUT_TRIGGERS} {_RESTORED}"
    description = "Load the rows into a database that has the tables and no rows"
    return StockCommand(description=description, command=fill), _CHECK


def increment_commands(parts: Sequence[Part]) -> tuple[StockCommand, ...]:
    """After those of the backup before it, which has left its file in the same folder."""
    streams = by_stream(parts)
    return (
        StockCommand(
            description="Put the changed pages into the file that the backups before this one have made",
            command=f"{unpack_command(streams['main'])} | {_python(_PUT_PAGES_IN)}",
        ),
        StockCommand(
            description="Compare every page of it with what was backed up",
            command=f"{unpack_command(streams[PAGES])} | {_python(_COMPARE_HASHES)}",
        ),
        _CHECK,
    )


def _python(program: str) -> str:
    return f"python3 -c {shlex.quote(program)} {_RESTORED}"
