"""Tablespaces lead out of the data folder: on the source's own host, into the files of the live server.

A server that replays CREATE TABLESPACE, or that has a link in its ``pg_tblspc``, writes there. So none is started.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from db_backup.engines.postgres.chain.position import format_lsn
from db_backup.engines.postgres.chain.wal_records import WalRecord
from db_backup.errors import LoadFailed
from db_backup.manifest import Manifest

MANAGER = "Tablespace"
_FOLDER = "pg_tblspc"
_MAP = "tablespace_map"  # from which a server makes the links anew; empty where there are none


def refuse_linked(data: Path, base: Manifest) -> None:
    """:raises LoadFailed: the data folder as it was copied leads somewhere else."""
    folder, links = data / _FOLDER, data / _MAP
    if (folder.is_dir() and any(folder.iterdir())) or (links.exists() and links.stat().st_size):
        raise LoadFailed(
            f"The full {base.id} holds tablespaces, which in a server rebuilt of it would lead to the source's files.",
            hint="Rebuild it by hand on a machine of its own, or restore from another chain.",
            database=base.entry,
            backup_id=base.id,
        )


def refuse_recorded(records: Iterable[WalRecord], before: int | None, last: Manifest) -> None:
    """:param before: the LSN at which the replay ends; None: it ends with the WAL.
    :raises LoadFailed: until then a tablespace is made or dropped.
    """
    for record in records:
        if before is not None and record.lsn >= before:
            return
        raise LoadFailed(
            f"The chain that ends with {last.id} makes or drops a tablespace at {format_lsn(record.lsn)}; replayed on "
            "a machine that has its folder, as the source's own, it would write into the source's files.",
            hint=f"The last point before it is {format_lsn(record.lsn)}. Drop the source's tablespaces and take a full "
            "backup, which begins a new chain.",
            database=last.entry,
            backup_id=last.id,
        )
