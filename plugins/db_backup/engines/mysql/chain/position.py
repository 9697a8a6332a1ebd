"""Where a server's binlog stood, as the text of a manifest's ``chain``: written and read here alone. Pure.

    mariadb-bin.000003:4711 gtid=0-1-42 server=1 domain=0 head=9f2c…

What follows the file and the offset proves later that it is the same history: the GTIDs of what was logged by then, the
server's ids, and a hash of the file's first events, which hold the time at which the file was begun.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self

_TEXT = re.compile(r"(?P<place>.+?:\d+)(?P<fields>(?: [a-z]+=\S*)*)")
_PLACE = re.compile(r"(?P<file>[^\s:/]+):(?P<offset>\d+)")
_SERIAL = re.compile(r"(.+)\.(\d+)")


@dataclass(frozen=True)
class Place:
    """An offset in a binlog file: events before it are in, the one that begins there is not."""

    file: str
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """:raises ValueError: this is no ``file:offset``."""
        match = _PLACE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"'{text}' is no position of a binlog, such as mariadb-bin.000003:4711")
        return cls(match["file"], int(match["offset"]))

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"

    @property
    def order(self) -> tuple[int, int]:
        """What places of one server's binlog are sorted by."""
        return serial_of(self.file)[1], self.offset


@dataclass(frozen=True)
class Position:
    """A place, and what proves that it is one of the same history.

    :param gtid: MariaDB: the last GTID of each domain by then; MySQL: the set of those executed by then or shortly
        before.
    :param domain: MariaDB's ``gtid_domain_id``.
    :param head: SHA-256 of the file's first events (``events.Head``), hexadecimal.
    """

    place: Place
    gtid: str = ""
    server: int = 0
    domain: int = 0
    head: str = field(default="", kw_only=True)

    @classmethod
    def parse(cls, text: str) -> Self:
        """:raises ValueError: this is not what ``str`` of a position gives."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"'{text}' is no position of a MySQL chain")
        fields = dict(item.split("=", 1) for item in match["fields"].split())
        return cls(
            Place.parse(match["place"]),
            fields.get("gtid", ""),
            int(fields.get("server", "0")),
            int(fields.get("domain", "0")),
            head=fields.get("head", ""),
        )

    def __str__(self) -> str:
        fields = {
            "gtid": "".join(self.gtid.split()),  # MySQL breaks long sets into lines
            "server": self.server,
            "domain": self.domain,
            "head": self.head,
        }
        return " ".join([str(self.place), *(f"{name}={value}" for name, value in fields.items() if value != "")])

    @property
    def gtids(self) -> frozenset[str]:
        """In no order, as the server gives them in none."""
        return frozenset(filter(None, self.gtid.split(",")))


def serial_of(file: str) -> tuple[str, int]:
    """The name and the number of a binlog file; numbers grow past six digits.

    :raises ValueError: this is no such name.
    """
    match = _SERIAL.fullmatch(file)
    if match is None:
        raise ValueError(f"'{file}' is no name of a binlog file")
    return match[1], int(match[2])
