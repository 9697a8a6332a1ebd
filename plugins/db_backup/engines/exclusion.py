"""``exclude_tables`` in every engine: whose rows a backup leaves out. Pure.

A table that is left out keeps its definition, so that views, foreign keys and the application find it after a restore;
only its rows are missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from db_backup.errors import ConfigurationError

_SHOWN = 10


@dataclass(frozen=True)
class Exclusion:
    """``tables``: names as the inventory has them, sorted. ``warnings`` are for the manifest."""

    tables: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def matches(pattern: str, name: str, bare: str) -> bool:
    """Whether a pattern of ``exclude_tables`` means this table; ``name`` and ``bare`` as in ``choose``."""
    return fnmatchcase(name, pattern) or fnmatchcase(bare, pattern)


def choose(tables: Mapping[str, str], patterns: Sequence[str]) -> Exclusion:
    """The tables that a pattern matches.

    :param tables: the inventory's name of each table, and its bare name: "public.sessions" and "sessions". A pattern
        is held against both, upper and lower case apart.
    """
    used: set[str] = set()
    chosen = []
    for name, bare in tables.items():
        matching = {pattern for pattern in patterns if matches(pattern, name, bare)}
        used |= matching
        if matching:
            chosen.append(name)
    chosen.sort()
    more = f" and {len(chosen) - _SHOWN} more" if len(chosen) > _SHOWN else ""
    left_out = f"exclude_tables leaves out the rows of {', '.join(chosen[:_SHOWN])}{more}."
    idle = [f"exclude_tables has '{pattern}', which no table matches." for pattern in patterns if pattern not in used]
    return Exclusion(tuple(chosen), (*([left_out] if chosen else []), *dict.fromkeys(idle)))


def refuse_dangling(exclusion: Exclusion, references: Iterable[tuple[str, str]], entry: str) -> None:
    """Refuse to leave out rows that foreign keys of other tables point at: what is restored would break them.

    :param references: of every foreign key, the table that has it and the table that it refers to.
    :raises ConfigurationError:
    """
    excluded = set(exclusion.tables)
    for table, referred in sorted(references):
        if referred in excluded and table not in excluded:
            raise ConfigurationError(
                f"'{entry}' cannot be backed up without the rows of {referred}: a foreign key of {table} refers to "
                "them.",
                hint=f"Add {table} to exclude_tables, or take {referred} out of it.",
                database=entry,
            )
