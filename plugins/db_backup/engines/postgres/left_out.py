"""``exclude_tables``: which tables' rows pg_dump is told to leave out."""

from __future__ import annotations

from dataclasses import dataclass, field

from db_backup.engines.base import DumpRequest
from db_backup.engines.exclusion import Exclusion, choose, refuse_dangling
from db_backup.engines.postgres.contents import TableName
from db_backup.engines.postgres.inventory import Catalogue
from db_backup.engines.postgres.session import Connection, rows
from db_backup.model import BackupType


@dataclass(frozen=True)
class LeftOut:
    """``tables`` hold the rows; ``exclusion`` names them for people, a partitioned table instead of its partitions."""

    exclusion: Exclusion = field(default_factory=Exclusion)
    tables: frozenset[TableName] = frozenset()


def leave_out(connection: Connection, catalogue: Catalogue, request: DumpRequest) -> LeftOut:
    """What the request's patterns match. A partition is left out with the table that it is a part of.

    :raises ConfigurationError: a foreign key refers to the rows."""
    if not request.exclude_tables or request.type is BackupType.STRUCTURE:
        return LeftOut()
    names = {".".join(name): name for name in (*(table.name for table in catalogue.tables), *catalogue.partitioned)}
    chosen = choose({text: name[1] for text, name in names.items()}, request.exclude_tables)
    matched = {names[text] for text in chosen.tables}
    outermost = tuple(text for text in chosen.tables if not matched.intersection(catalogue.branch(names[text])[1:]))
    tables = frozenset(table.name for table in catalogue.tables if matched.intersection(catalogue.branch(table.name)))
    exclusion = Exclusion(outermost, chosen.warnings)
    references = [
        (".".join(table), text)
        for table, referred in foreign_keys(connection)
        for text in {".".join(referred), *(text for text in outermost if referred in catalogue.branch(names[text]))}
    ]
    refuse_dangling(exclusion, references, request.entry)
    return LeftOut(exclusion, tables)


def foreign_keys(connection: Connection) -> list[tuple[TableName, TableName]]:
    """Of every foreign key, its table and the table that it refers to; those of partitions come from their parents."""
    found = rows(
        connection,
        """SELECT n.nspname, c.relname, rn.nspname, r.relname FROM pg_catalog.pg_constraint k
        JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_class r ON r.oid = k.confrelid JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
        WHERE k.contype = 'f' AND k.conparentid = 0""",
    )
    return [((schema, table), (other_schema, other)) for schema, table, other_schema, other in found]
