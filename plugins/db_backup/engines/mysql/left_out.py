"""``exclude_tables``: which tables' rows the dump tool is told to leave out."""

from __future__ import annotations

from db_backup.engines.base import DumpRequest
from db_backup.engines.exclusion import Exclusion, choose, refuse_dangling
from db_backup.engines.mysql.connecting import Session, query
from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.mysql.tables import read_tables
from db_backup.errors import ConfigurationError
from db_backup.model import BackupType

_FOREIGN_KEYS = """SELECT DISTINCT table_name, referenced_table_name FROM information_schema.referential_constraints
    WHERE constraint_schema = %s AND unique_constraint_schema = %s"""


def leave_out(session: Session, database: str, flavour: Flavour, request: DumpRequest) -> Exclusion:
    """What the request's patterns match.

    :raises ConfigurationError: a foreign key refers to the rows, or the tool cannot do it.
    """
    if not request.exclude_tables or request.type is BackupType.STRUCTURE:
        return Exclusion()
    if flavour is Flavour.MYSQL and request.type is BackupType.FULL:
        raise ConfigurationError(
            f"mysqldump, which makes full backups of '{request.entry}', cannot leave out rows without their tables.",
            hint="Remove exclude_tables, or take structure and data backups, which leave rows out.",
            database=request.entry,
        )
    exclusion = choose({table.name: table.name for table in read_tables(session, database)}, request.exclude_tables)
    references = query(session, _FOREIGN_KEYS, (database, database))
    refuse_dangling(exclusion, [(str(table), str(referred)) for table, referred in references], request.entry)
    return exclusion
