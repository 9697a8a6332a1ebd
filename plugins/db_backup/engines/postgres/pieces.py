"""A dump in pieces, each written by a pg_dump of its own: definitions, shares of the rows, what follows rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from db_backup.engines.postgres.contents import TableName
from db_backup.engines.postgres.formats import Container, DumpFormat
from db_backup.model import BackupType

# Each is named to two tools, on their command lines; those that are not are in the first share.
_MOST_TABLES_SHARED_OUT = 256
_ROWS = {BackupType.FULL: ("--section=data",), BackupType.DATA: ()}


@dataclass(frozen=True)
class Piece:
    """``name``: of the stream. ``selection``: pg_dump's flags that choose what is in it."""

    name: str = "main"
    selection: tuple[str, ...] = ()


def is_divisible(dump_format: DumpFormat, jobs: int) -> bool:
    """Whether several tools write the dump. A directory's one pg_dump reads in parallel by itself."""
    return jobs > 1 and dump_format.type in _ROWS and dump_format.container is not Container.DIRECTORY


def divide(dump_format: DumpFormat, sizes: Mapping[TableName, int], jobs: int) -> tuple[Piece, ...]:
    """The pieces of a dump, in the order in which they are loaded.

    The first share has what is not named elsewhere: small tables, sequences and large objects.

    :param sizes: bytes of every table whose rows are wanted.
    :param jobs: how many pieces carry rows, at most.
    """
    others = [share for share in _shares(sizes, jobs)[1:] if share]
    if not others:
        return (Piece(),)
    rows = _ROWS[dump_format.type]
    elsewhere = sorted(name for share in others for name in share)
    shares = [
        Piece("data-1", (*rows, *(f"--exclude-table-data={pattern(name)}" for name in elsewhere))),
        *(
            Piece(f"data-{number}", (*rows, *(f"--table={pattern(name)}" for name in sorted(share))))
            for number, share in enumerate(others, 2)
        ),
    ]
    if dump_format.type is BackupType.DATA:
        return tuple(shares)
    return (Piece("pre-data", ("--section=pre-data",)), *shares, Piece("post-data", ("--section=post-data",)))


def _shares(sizes: Mapping[TableName, int], jobs: int) -> list[Collection[TableName]]:
    """The largest table first, each to the share that has the least so far."""
    ordered = sorted(sizes, key=lambda name: (-sizes[name], name))
    shares: list[list[TableName]] = [[] for _ in range(jobs)]
    loads = [0] * jobs
    loads[0] = sum(sizes[name] for name in ordered[_MOST_TABLES_SHARED_OUT:])
    for name in ordered[:_MOST_TABLES_SHARED_OUT]:
        least = loads.index(min(loads))
        shares[least].append(name)
        loads[least] += sizes[name] + 1  # a table without rows is some work, too
    return list(shares)


def pattern(name: TableName) -> str:
    """A pattern of pg_dump's that matches this table alone: nothing within double quotes is special."""
    return ".".join('"' + piece.replace('"', '""') + '"' for piece in name)
