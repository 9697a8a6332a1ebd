"""Which entries of an archive make up some of its tables: pure.

What an entry belongs to is read from its statement, which pg_dump writes with qualified names: the archives of a dump
in pieces know nothing of each other's numbers. Only what is said *about* an object (a comment, a grant) follows the
object's number, which is always in the same archive.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from db_backup.engines.postgres.contents import IDENTIFIER, QUALIFIED_NAME, TableName, attachments, root, unquoted
from db_backup.engines.postgres.preflight import some
from db_backup.engines.postgres.toc import Entry

_TABLES = frozenset({"TABLE", "FOREIGN TABLE"})
_RELATIONS = _TABLES | {"VIEW", "MATERIALIZED VIEW"}
# Their schema and tag are the table's or sequence's own.
_NAMED_LIKE_IT = _TABLES | {
    "TABLE DATA",
    "TABLE ATTACH",
    "ROW SECURITY",
    "STATISTICS DATA",
    "SEQUENCE",
    "SEQUENCE SET",
}
_ABOUT_OBJECTS = frozenset({"COMMENT", "ACL", "SECURITY LABEL"})
_ROUTINES = frozenset({"FUNCTION", "PROCEDURE", "AGGREGATE"})
_NAMED_APART = _ABOUT_OBJECTS | {"FK CONSTRAINT", "PUBLICATION TABLE"}
_EVENT = rb"(?:INSERT|DELETE|TRUNCATE|UPDATE(?: OF " + IDENTIFIER + rb"(?:, " + IDENTIFIER + rb")*)?)"
_ALTERATION = re.compile(rb"\s*ALTER (?:FOREIGN )?TABLE (?:ONLY )?" + QUALIFIED_NAME + rb"\s")
_BELONGS_TO = {
    **dict.fromkeys(("DEFAULT", "CONSTRAINT", "CHECK CONSTRAINT", "FK CONSTRAINT"), _ALTERATION),
    "INDEX": re.compile(
        rb"\s*CREATE (?:UNIQUE )?INDEX " + IDENTIFIER + rb" ON (?:ONLY )?" + QUALIFIED_NAME + rb" USING "
    ),
    "TRIGGER": re.compile(
        rb"\s*(?:CREATE (?:CONSTRAINT )?TRIGGER "
        + IDENTIFIER
        + rb" (?:BEFORE|AFTER|INSTEAD OF) "
        + _EVENT
        + rb"(?: OR "
        + _EVENT
        + rb")* ON |ALTER (?:FOREIGN )?TABLE (?:ONLY )?)"  # a partition's own, switched off
        + QUALIFIED_NAME
        + rb"\s"
    ),
    "RULE": re.compile(
        rb"\s*CREATE (?:OR REPLACE )?RULE "
        + IDENTIFIER
        + rb" AS\s+ON (?:SELECT|INSERT|UPDATE|DELETE) TO "
        + QUALIFIED_NAME
    ),
    "POLICY": re.compile(rb"\s*CREATE POLICY " + IDENTIFIER + rb" ON " + QUALIFIED_NAME + rb"[\s;]"),
    "STATISTICS": re.compile(
        rb"[\s\S]* FROM "
        + QUALIFIED_NAME
        + rb"\s*;\s*(?:ALTER STATISTICS "
        + IDENTIFIER
        + rb"\."
        + IDENTIFIER
        + rb" SET STATISTICS \d+;\s*)?$"
    ),
    "SEQUENCE OWNED BY": re.compile(
        rb"\s*ALTER SEQUENCE " + IDENTIFIER + rb"\." + IDENTIFIER + rb" OWNED BY " + QUALIFIED_NAME + rb"\."
    ),
}
_ALTERED_DOMAIN = re.compile(rb"\s*ALTER DOMAIN " + QUALIFIED_NAME + rb"\s")
_PUBLISHED = re.compile(rb"\s*ALTER PUBLICATION " + IDENTIFIER + rb" ADD TABLE (?:ONLY )?" + QUALIFIED_NAME)
_KEY_INDEX = re.compile(rb"\sADD CONSTRAINT (" + IDENTIFIER + rb") (?:PRIMARY KEY|UNIQUE|EXCLUDE)\b")
_REFERRED = re.compile(rb" REFERENCES " + QUALIFIED_NAME + rb"\(")
_CALLED = re.compile(QUALIFIED_NAME + rb"\(")


class RelationMissing(Exception):
    """Something that a chosen table is built on is neither chosen nor there. The text is its name and its kind."""


@dataclass(frozen=True)
class Present:
    """What the target holds before: ``names`` as ``key`` gives them. ``is_empty``: nothing that people made."""

    names: frozenset[tuple[str, str, str]]
    is_empty: bool

    def has(self, entry: Entry) -> bool:
        """What it does not list kinds of is there, unless nothing is."""
        found = key(entry)
        return not self.is_empty if found is None else found in self.names


_KINDS = {
    "SCHEMA": "schema",
    "EXTENSION": "extension",
    **dict.fromkeys(_RELATIONS | {"SEQUENCE"}, "relation"),
    **dict.fromkeys(("TYPE", "DOMAIN", "SHELL TYPE"), "type"),
    **dict.fromkeys(_ROUTINES, "routine"),
    "COLLATION": "collation",
}


def key(entry: Entry) -> tuple[str, str, str] | None:
    """Kind, schema and name of the object that an entry creates; None for kinds that are not looked for."""
    kind = _KINDS.get(entry.description)
    return (kind, entry.schema, entry.tag) if kind else None


@dataclass(frozen=True)
class Selection:
    """``numbers``: of every archive, the entries to load, in its order. ``warnings`` are for the person."""

    numbers: tuple[tuple[int, ...], ...]
    warnings: tuple[str, ...]


def select(archives: Sequence[Sequence[Entry]], tables: Collection[str], present: Present) -> Selection:
    """The chosen tables with all that is their own, and what they need that the target lacks.

    :param archives: of a dump, one or more, in the order of loading.
    :param tables: as the inventory names them; the partitions of a partitioned table come along.
    :raises RelationMissing:
    """
    parents = _parents(archives)
    chosen = {
        (entry.schema, entry.tag)
        for entry in _flat(archives)
        if entry.description in _TABLES and ".".join(root((entry.schema, entry.tag), parents)) in tables
    }
    relations = chosen | _own_sequences(archives, chosen)
    own = [_own_entries(entries, relations, chosen) for entries in archives]
    along, brought = _brought(archives, own, present)
    domains = {(entry.schema, entry.tag) for entry in brought if entry.description == "DOMAIN"}
    if domains:  # whose later checks may need something in their turn
        own = [ids | _checks_of(entries, domains) for entries, ids in zip(archives, own, strict=True)]
        along, brought = _brought(archives, own, present)
    sequences = {(entry.schema, entry.tag) for entry in brought if entry.description == "SEQUENCE"}
    numbers = tuple(
        _with_what_is_about_them(entries, own[number] | along[number], sequences)
        for number, entries in enumerate(archives)
    )
    left_behind = [
        name
        for entries, ids, taken in zip(archives, own, numbers, strict=True)
        for name in _left_behind(entries, ids, frozenset(taken), present)
    ]
    warnings = (
        *_severed_keys(archives, chosen),
        *_unpublished(archives, chosen),
        *_named("These depend on the chosen tables, and are not restored with them", left_behind),
        *_named("These came along, for the chosen tables need them", [_described(entry) for entry in brought]),
    )
    return Selection(numbers, warnings)


def _brought(
    archives: Sequence[Sequence[Entry]], own: Sequence[frozenset[int]], present: Present
) -> tuple[list[frozenset[int]], list[Entry]]:
    """What comes along with these, of each archive and in all.

    :raises RelationMissing:
    """
    called, schemas = _named_elsewhere(archives, own)
    along = [
        _needed_entries(entries, wanted, called, schemas, present)
        for entries, wanted in zip(archives, own, strict=True)
    ]
    return along, [entry for entries, ids in zip(archives, along, strict=True) for entry in entries if entry.id in ids]


def _checks_of(entries: Iterable[Entry], domains: Collection[TableName]) -> frozenset[int]:
    """Those that were added to a domain without a look at the rows there, and are entries of their own."""
    return frozenset(
        entry.id
        for entry in entries
        if entry.description == "CHECK CONSTRAINT" and _name_in(_ALTERED_DOMAIN, entry.definition) in domains
    )


def _left_behind(
    entries: Iterable[Entry], own: frozenset[int], taken: frozenset[int], present: Present
) -> Iterator[str]:
    """What depends on these and is not taken, with the views on it: an archive has them in the order of creation."""
    lost: set[int] = set()
    for entry in entries:
        is_told = entry.description in _NAMED_APART or entry.description.endswith((" DATA", " SET"))
        if is_told or entry.id in taken or key(entry) in present.names:
            continue
        on_lost = entry.description in _RELATIONS and not lost.isdisjoint(entry.dependencies)
        if on_lost or not own.isdisjoint(entry.dependencies):
            lost.add(entry.id)
            yield _described(entry)


def _flat(archives: Iterable[Sequence[Entry]]) -> Iterator[Entry]:
    return (entry for entries in archives for entry in entries)


def _parents(archives: Iterable[Sequence[Entry]]) -> Mapping[TableName, TableName]:
    parents: dict[TableName, TableName] = {}
    for entry in _flat(archives):
        if entry.description in {"TABLE", "TABLE ATTACH"}:
            attachments(entry.definition, parents.__setitem__)
    return parents


def _own_sequences(archives: Iterable[Sequence[Entry]], chosen: Collection[TableName]) -> set[TableName]:
    """Those that a column of a chosen table owns, as its identity or by OWNED BY."""
    statements = {"SEQUENCE": _ALTERATION, "SEQUENCE OWNED BY": _BELONGS_TO["SEQUENCE OWNED BY"]}
    return {
        (entry.schema, entry.tag)
        for entry in _flat(archives)
        if entry.description in statements and _name_in(statements[entry.description], entry.definition) in chosen
    }


def _own_entries(
    entries: Sequence[Entry], relations: Collection[TableName], chosen: Collection[TableName]
) -> frozenset[int]:
    own, indexes = set(), set()
    for entry in entries:
        if _belongs_to(entry) not in relations or not _leads_to(entry, chosen):
            continue
        own.add(entry.id)
        if entry.description == "INDEX":
            indexes.add((entry.schema, entry.tag))
        elif key_index := _KEY_INDEX.search(entry.definition):
            indexes.add((entry.schema, unquoted(key_index[1])))
    attached = {
        entry.id for entry in entries if entry.description == "INDEX ATTACH" and (entry.schema, entry.tag) in indexes
    }
    return frozenset(own | attached)


def _belongs_to(entry: Entry) -> TableName | None:
    """The table or sequence that an entry is a part of."""
    if entry.description in _NAMED_LIKE_IT:
        return (entry.schema, entry.tag)
    pattern = _BELONGS_TO.get(entry.description)
    return _name_in(pattern, entry.definition) if pattern else None


def _name_in(pattern: re.Pattern[bytes], definition: bytes) -> TableName | None:
    match = pattern.match(definition)
    return (unquoted(match[1]), unquoted(match[2])) if match else None


def _leads_to(entry: Entry, chosen: Collection[TableName]) -> bool:
    """Whether a foreign key's other end is chosen; true of everything else."""
    return entry.description != "FK CONSTRAINT" or _other_end(entry) in chosen


def _other_end(entry: Entry) -> TableName | None:
    match = _REFERRED.search(entry.definition)
    return (unquoted(match[1]), unquoted(match[2])) if match else None


def _named_elsewhere(
    archives: Sequence[Sequence[Entry]], own: Sequence[Collection[int]]
) -> tuple[set[TableName], set[str]]:
    """Routines and schemas that the entries name, and that may lie in another archive than they."""
    called: set[TableName] = set()
    schemas: set[str] = set()
    for entries, wanted in zip(archives, own, strict=True):
        for entry in entries:
            if entry.id in wanted:
                schemas.add(entry.schema)
                if entry.description in _BELONGS_TO:
                    called |= {(unquoted(m[1]), unquoted(m[2])) for m in _CALLED.finditer(entry.definition)}
    return called, schemas


def _needed_entries(
    entries: Sequence[Entry],
    own: Collection[int],
    called: Collection[TableName],
    schemas: Collection[str],
    present: Present,
) -> frozenset[int]:
    """What the target lacks of that which the archive's own entries depend on.

    :raises RelationMissing: it is a table or a view.
    """
    by_number = {entry.id: entry for entry in entries}
    waiting = [number for entry in entries if entry.id in own for number in entry.dependencies]
    for entry in entries:
        is_called = entry.description in _ROUTINES and (entry.schema, entry.tag.partition("(")[0]) in called
        if is_called or (entry.description == "SCHEMA" and entry.tag in schemas):
            waiting.append(entry.id)
    needed: set[int] = set()
    while waiting:
        found = by_number.get(waiting.pop())
        if found is None or found.id in own or found.id in needed or present.has(found):
            continue
        if found.description in _RELATIONS:
            raise RelationMissing(_described(found))
        needed.add(found.id)
        waiting += found.dependencies
        waiting += [entry.id for entry in entries if entry.description == "SCHEMA" and entry.tag == found.schema]
    return frozenset(needed)


def _with_what_is_about_them(
    entries: Sequence[Entry], wanted: frozenset[int], sequences: Collection[TableName]
) -> tuple[int, ...]:
    """With the values of sequences that came along, and with comments and grants."""
    return tuple(
        entry.id
        for entry in entries
        if entry.id in wanted
        or (entry.description == "SEQUENCE SET" and (entry.schema, entry.tag) in sequences)
        or (entry.description in _ABOUT_OBJECTS and not wanted.isdisjoint(entry.dependencies))
    )


def _severed_keys(archives: Iterable[Sequence[Entry]], chosen: Collection[TableName]) -> Iterator[str]:
    outward: list[str] = []
    inward: list[str] = []
    for entry in _flat(archives):
        if entry.description == "FK CONSTRAINT":
            table, other = _belongs_to(entry), _other_end(entry)
            if table is None or other is None or (table in chosen) == (other in chosen):
                continue
            (outward if table in chosen else inward).append(f"{entry.schema}.{entry.tag} to {'.'.join(other)}")
    yield from _named("Foreign keys to tables that were not chosen are not restored", outward)
    yield from _named("Foreign keys of other tables to the chosen ones are not restored", inward)


def _unpublished(archives: Iterable[Sequence[Entry]], chosen: Collection[TableName]) -> Iterator[str]:
    """Subscribers would not have the rows that are restored."""
    found = []
    for entry in _flat(archives):
        table = _name_in(_PUBLISHED, entry.definition) if entry.description == "PUBLICATION TABLE" else None
        if table is not None and table in chosen:
            found.append(f"{'.'.join(table)} to {entry.tag.removesuffix(' ' + table[1])}")
    return _named("Chosen tables are not added to the publications that had them", found)


def _named(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"{what}: {some(names)}."


def _described(entry: Entry) -> str:
    name = f"{entry.schema}.{entry.tag}" if entry.schema else entry.tag
    return f"{entry.description.lower()} {name}"
