"""What is protected, and whether it can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from db_backup.config import Entry
from db_backup.engines.base import DumpRequest, Preflight
from db_backup.errors import BackupError
from db_backup.frozen import FrozenModel
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import ServerInfo
from db_backup.model import BackupStatus, BackupType, EngineName, Scope, Tier
from db_backup.summary import BackupSummary


class EntryCheck(FrozenModel):
    """What connecting to an entry showed: its server, or the error and what to do about it."""

    reachable: bool
    server: str = ""
    address: str = ""  # of the server that dumps are taken of
    warnings: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""


class EntryOverview(FrozenModel):
    """One entry, its newest backup and, when asked for, the check of its connection."""

    database: str
    scope: Scope = Scope.DATABASE
    engine: EngineName | None
    tier: Tier = Tier.STANDARD
    server: str | None = None
    conn_id: str
    read_conn_id: str | None
    types: tuple[BackupType, ...]
    owner: str
    last_backup: str | None
    last_backup_at: datetime | None
    last_status: BackupStatus | None
    check: EntryCheck | None = None


def overview(workspace: Workspace, *, check: bool) -> tuple[EntryOverview, ...]:
    """Every entry in the order of the configuration. A check failing for one entry is its result, not an error."""
    return tuple(_entry(workspace, entry, check) for entry in workspace.config.entries.values())


def _entry(workspace: Workspace, entry: Entry, check: bool) -> EntryOverview:
    newest: BackupSummary | None = workspace.catalog.newest(entry.name)
    return EntryOverview(
        database=entry.name,
        scope=entry.scope,
        tier=entry.tier,
        server=entry.server,
        engine=entry.engine or (newest.engine if newest else None),
        conn_id=entry.conn_id,
        read_conn_id=entry.read_conn_id,
        types=entry.types,
        owner=entry.owner or "",
        last_backup=newest.id if newest else None,
        last_backup_at=newest.created_at if newest else None,
        last_status=newest.status if newest else None,
        check=_check(workspace, entry) if check else None,
    )


def _check(workspace: Workspace, entry: Entry) -> EntryCheck:
    try:
        tried = [_preflight(workspace, entry, backup_type) for backup_type in _tried(entry)]
        server = tried[0].server
        warnings = [warning for preflight in tried for warning in preflight.warnings]
        if entry.read_conn_id is not None:
            warnings = [*_about_primary(workspace.engine(entry).check(), server), *warnings]
        if (named := workspace.server_of(entry)) is not None:
            warnings += _about_server(workspace, named, server)
    except BackupError as error:
        return EntryCheck(reachable=False, error=error.message, hint=error.hint)
    return EntryCheck(
        reachable=True,
        server=f"{server.flavour} {server.version}",
        address=server.address,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _tried(entry: Entry) -> tuple[BackupType, ...]:
    """The types whose backups are tried: of a chain both of its links, which need different things."""
    links = tuple(link for link in (BackupType.FULL, BackupType.INCREMENTAL) if link in entry.types)
    return links if entry.has_chains else entry.types[:1]


def _preflight(workspace: Workspace, entry: Entry, backup_type: BackupType) -> Preflight:
    request = DumpRequest(entry.name, backup_type, entry.exclude_tables)
    if entry.has_chains:
        return workspace.chain_engine(entry).preflight(request)
    return workspace.source(entry).preflight(request)


def _about_server(workspace: Workspace, named: Entry, found: ServerInfo) -> Iterator[str]:
    """Whether the database lies on the server that it names, as far as a server can be told from another."""
    try:
        server = workspace.chain_engine(named).check()
    except BackupError as error:
        yield f"Whether it lies on its server '{named.name}' cannot be told: {error.message}"
        return
    if server.identity and found.identity and server.identity != found.identity:
        yield (
            f"server: names '{named.name}', and {found.address} is on another server than {server.address}: nothing of "
            "that server's chain is of this database."
        )


def _about_primary(primary: ServerInfo, replica: ServerInfo) -> Iterator[str]:
    """A physical standby has its primary's identity; MySQL's servers have one each."""
    if primary.engine is EngineName.POSTGRES and primary.identity and replica.identity not in ("", primary.identity):
        yield (
            f"read_conn_id leads to {replica.address}, which is no standby of {primary.address} but another cluster: "
            "see that everything is replicated to it."
        )
