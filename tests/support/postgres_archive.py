"""Writes archives of every version, byte by byte, as pg_dump's source says: for versions not installed here."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from support.tars import tar_of


@dataclass
class ArchiveWriter:
    """A custom archive or a ``tar``: entries are added first; blocks, or members, follow in the order given."""

    version: tuple[int, int] = (1, 14)
    compression: int = 0
    entries: list[bytes] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)
    tar: bool = False
    members: dict[str, bytes] = field(default_factory=dict)

    def table(self, schema: str, name: str, chunks: Iterable[bytes]) -> None:
        """A table whose data is these chunks."""
        entry_id = self.entry("TABLE DATA", schema, name, has_data=True)
        chunks = list(chunks)
        self.blocks.append(b"\x01" + integer(entry_id) + _chunks(chunks))
        self.members[f"{entry_id}.dat"] = b"".join(chunks)

    def announced_table(self, schema: str, name: str) -> None:
        """A table whose data does not follow."""
        self.entry("TABLE DATA", schema, name, has_data=True)

    def large_objects(self, objects: Sequence[tuple[int, Sequence[bytes]]]) -> None:
        entry_id = self.entry("BLOBS", None, "BLOBS", has_data=True)
        content = b"".join(integer(oid) + _chunks(chunks) for oid, chunks in objects)
        self.blocks.append(b"\x03" + integer(entry_id) + content + integer(0))
        self.members |= {f"blob_{oid}.dat": b"".join(chunks) for oid, chunks in objects}
        listed = "blobs.toc" if self.version < (1, 16) else f"blobs_{entry_id}.toc"
        self.members[listed] = "".join(f"{oid} blob_{oid}.dat\n" for oid, _ in objects).encode()

    def entry(
        self, description: str, schema: str | None, tag: str, *, definition: str = "", has_data: bool = False
    ) -> int:
        entry_id = len(self.entries) + 1
        fields = [
            integer(entry_id),
            integer(int(has_data)),
            text("1259"),
            text("16384"),
            text(tag),
            text(description),
            integer(3),
            text(definition),
            text(""),
            text("COPY …" if has_data else ""),
            text(schema),
            text(""),
        ]
        if self.version >= (1, 14):
            fields.append(text("heap"))
        if self.version >= (1, 16):
            fields.append(integer(ord("r")))
        fields += [text("owner"), text("false"), text("1"), text("2"), text(None)]
        if self.tar:
            fields.append(text(f"{entry_id}.dat" if has_data else ""))
        else:
            fields += [b"\x01" if has_data else b"\x03", bytes(8)]
        self.entries.append(b"".join(fields))
        return entry_id

    def whole(self) -> bytes:
        head = b"PGDMP" + bytes([*self.version, 0, 4, 8, 3 if self.tar else 1])
        head += bytes([self.compression]) if self.version >= (1, 15) else integer(self.compression)
        head += b"".join(integer(number) for number in (0, 0, 3, 31, 0, 126, 0))
        head += text("shop") + text("15.20") + text("15.20")
        head += integer(len(self.entries)) + b"".join(self.entries)
        if self.tar:
            return tar_of({"toc.dat": head, **self.members, "restore.sql": b"-- for people\n"})
        return head + b"".join(self.blocks)


def integer(number: int) -> bytes:
    return struct.pack("<BI", number < 0, abs(number))


def text(value: str | None) -> bytes:
    return integer(-1) if value is None else integer(len(value.encode())) + value.encode()


def _chunks(chunks: Iterable[bytes]) -> bytes:
    return b"".join(integer(len(chunk)) + chunk for chunk in chunks) + integer(0)
