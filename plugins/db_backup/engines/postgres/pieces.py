"""A dump in pieces, each written by a pg_dump of its own: definitions, shares of the rows, what follows rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

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


def divide(
    dump_format: DumpFormat,
    sizes: Mapping[TableName, int],
    jobs: int,
    ordered: Sequence[Collection[TableName]] = (),
) -> tuple[Piece, ...]:
    """The pieces of a dump, in the order in which they are loaded.

    The first share has what is not named elsewhere: small tables, sequences and large objects.

    :param sizes: bytes of every table whose rows are wanted.
    :param jobs: how many pieces carry rows, at most.
    :param ordered: what must be loaded in this order, each collection by one piece (``in_order``).
    """
    others = [share for share in _shares(sizes, jobs, ordered)[1:] if share]
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


def in_order(
    tables: Mapping[TableName, Collection[TableName]], references: Iterable[tuple[TableName, TableName]]
) -> list[Collection[TableName]]:
    """The tables that foreign keys join, those that are referred to first; what refers to itself stays together.

    :param tables: every table, and those that hold its rows: itself, or its partitions.
    :param references: of every foreign key, the table that has it and the table that it refers to.
    """
    pairs = [(table, referred) for table, referred in references if table in tables and referred in tables]
    groups = {name: name for pair in pairs for name in pair}  # of tables that refer to each other in a circle
    while True:
        graph: dict[TableName, set[TableName]] = {group: set() for group in groups.values()}
        for table, referred in pairs:
            if groups[table] != groups[referred]:
                graph[groups[table]].add(groups[referred])
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = set(error.args[1])
            groups = {name: min(circle) if group in circle else group for name, group in groups.items()}
            continue
        break
    together = {groups[table] for table, referred in pairs if groups[table] == groups[referred]}
    members: dict[TableName, list[TableName]] = {group: [] for group in order}
    for name, group in groups.items():
        members[group] += tables[name]
    return [
        part for group in order for part in ([members[group]] if group in together else [[m] for m in members[group]])
    ]


def _shares(
    sizes: Mapping[TableName, int], jobs: int, ordered: Sequence[Collection[TableName]]
) -> list[list[TableName]]:
    """What is in order is cut where a share is full; the rest goes, the largest first, to the share that has least."""
    shares: list[list[TableName]] = [[] for _ in range(jobs)]
    loads = [0] * jobs
    groups = [group for names in ordered if (group := [name for name in names if name in sizes])]
    total = sum(_work(sizes, group) for group in groups)
    may_be_named = sum(map(len, groups)) - _MOST_TABLES_SHARED_OUT
    passed = counted = 0
    for group in groups:
        work = _work(sizes, group)
        share = (2 * passed + work) * jobs // (2 * total) if counted >= may_be_named else 0  # where its middle lies
        shares[share] += group
        loads[share] += work
        passed += work
        counted += len(group)
    free = sorted(sizes.keys() - {name for group in groups for name in group}, key=lambda name: (-sizes[name], name))
    most = _MOST_TABLES_SHARED_OUT - sum(map(len, shares[1:]))
    loads[0] += sum(sizes[name] for name in free[most:])
    for name in free[:most]:
        least = loads.index(min(loads))
        shares[least].append(name)
        loads[least] += _work(sizes, [name])
    return shares


def _work(sizes: Mapping[TableName, int], names: Collection[TableName]) -> int:
    """A table without rows is some, too."""
    return sum(sizes[name] + 1 for name in names)


def pattern(name: TableName) -> str:
    """A pattern of pg_dump's that matches this table alone: nothing within double quotes is special."""
    return ".".join('"' + piece.replace('"', '""') + '"' for piece in name)
