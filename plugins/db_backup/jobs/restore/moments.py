"""A restore to a point in the past: which backups lead there, and what stands for the database until it is rebuilt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo

from db_backup.engines.chain import refuse_gaps
from db_backup.errors import ChainBroken, UsageError
from db_backup.jobs.chains import lineage_of, link_of
from db_backup.jobs.copies import locate
from db_backup.jobs.recovery import Source, Stored, held_backups, reachable, source_of
from db_backup.jobs.restore.request import PlannedRecovery, RestoreRequest
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Inventory, Manifest, Part, TableInventory
from db_backup.model import BackupStatus, BackupType, Compression, EngineName, Method, Scope
from db_backup.progress import Silent
from db_backup.recovery import History, Point, route_to_time, told
from db_backup.settings.problems import did_you_mean, nearest
from db_backup.standing import status

#: What a full backup of one database is, when it is taken out of what was rebuilt.
_FORMATS = {EngineName.SQLITE: "sqlite image", EngineName.MYSQL: "sql", EngineName.POSTGRES: "pg_dump custom"}
_UNKNOWN_HASH = "0" * 64


@dataclass(frozen=True)
class Recovery:
    """A database to be rebuilt as it was at a point.

    :param entry: whose database it is, for protection, checks and hooks; of a server's that no entry names, the server.
    :param links: the backups that lead there, the full one first.
    :param point: where in the last of them the replay stops.
    :param asked: what was asked for; ``words`` tells it to people.
    :param database: which one of what the links hold.
    """

    entry: str
    links: tuple[Located, ...]
    point: Point
    asked: Point
    words: str
    database: str

    @property
    def base(self) -> Manifest:
        return self.links[0].manifest

    @property
    def last(self) -> Manifest:
        return self.links[-1].manifest

    @property
    def status(self) -> BackupStatus:
        """Of the link that stands worst."""
        stands = {status(link.manifest, link.state) for link in self.links}
        return max(stands, key=list(BackupStatus).index)

    @property
    def planned(self) -> PlannedRecovery:
        """For a plan. The room is for the links' bytes once, and once more for the database taken out."""
        return PlannedRecovery(
            asked=self.words,
            time=self.asked.time,
            lsn=self.asked.lsn,
            gtid=self.asked.gtid,
            position=self.asked.position,
            leads_to=self.last.recovery_point if self.point == Point() else None,
            source=self.base.entry,
            source_database=self.database,
            links=tuple(link.manifest.id for link in self.links),
            scratch_bytes=sum(link.manifest.plain_bytes for link in self.links) + self.base.plain_bytes,
        )


def must_be_rebuilt(manifest: Manifest) -> bool:
    """Whether this backup is no dump of one database, which could be loaded as it is."""
    return manifest.type is BackupType.INCREMENTAL or manifest.scope is Scope.SERVER


def to_point(workspace: Workspace, request: RestoreRequest) -> Recovery | Located:
    """What leads to the request's point; of a moment that a backup of this database alone was made at, that backup.

    :param request: with a point, and a database or a backup.
    :raises UsageError, UnknownDatabase, UnknownBackup: what is asked for is not there, or cannot be.
    :raises PointOutOfReach: no backup leads there; the hint tells the nearest moments.
    :raises ChainBroken: the backup that is named cannot be reached along its chain.
    """
    if request.backup is None:
        source, stored = _of_database(workspace, request)
        backups = {backup_id: one.located for backup_id, one in stored.items()}
        own = Source(str(request.database))
        found = reachable(stored, source)
        if source.entry != own.entry:
            found = (*found, *reachable(stored, own))
    else:
        source, links = _of_backup(workspace, request)
        backups = {link.manifest.id: link for link in links}
        found = (History(tuple(link.manifest for link in links)),)
    asked = request.point or Point()
    entry = request.database or source.entry
    zone = workspace.settings.backup_timezone
    if asked.time is not None:
        route = route_to_time(found, asked.time, entry=entry, zone=zone, named=request.backup is not None)
    else:
        # It knows each engine's positions, and with them come the drivers of their databases.
        from db_backup.jobs.recovery.places import route_to_place

        route = route_to_place(found, asked, entry=entry)
    links = tuple(backups[link.id] for link in route.links)
    if not must_be_rebuilt(links[-1].manifest):
        return links[-1]
    words = _words(asked, zone)
    return Recovery(entry, links, route.point, asked, words, _database(request, source, links))


def to_end_of(workspace: Workspace, request: RestoreRequest, located: Located) -> Recovery:
    """The database as it was at the end of an increment, or of a server's full.

    :raises UsageError, ChainBroken: as :func:`to_point`.
    """
    named = RestoreRequest(
        backup=located.manifest.id, database=request.database, source_database=request.source_database
    )
    source, links = _of_backup(workspace, named)
    moment = told(located.manifest.recovery_point.replace(microsecond=0), workspace.settings.backup_timezone)
    words = f"the end of {located.manifest.id}, {moment}"
    entry = request.database or source.entry
    return Recovery(entry, links, Point(), Point(), words, _database(request, source, links))


def _of_database(workspace: Workspace, request: RestoreRequest) -> tuple[Source, Mapping[str, Stored]]:
    """:raises UsageError, UnknownDatabase:"""
    if request.database is None:
        raise UsageError(
            "Nobody said which database to restore.",
            hint="Name it with --database; `db-backup list --recovery` shows how far back each can go.",
        )
    source = _source(workspace, request, request.database)
    backups = held_backups(workspace, {source.entry, request.database})
    if not backups:
        workspace.config.entry(request.database)  # raises for a name that nobody knows
    return source, backups


def _of_backup(workspace: Workspace, request: RestoreRequest) -> tuple[Source, tuple[Located, ...]]:
    """:raises UsageError: the backup is not of this database.
    :raises UnknownBackup, ChainBroken:
    """
    located = locate(workspace, str(request.backup))
    owner = located.manifest.entry
    if located.manifest.scope is not Scope.SERVER and request.database in {None, owner}:
        source = Source(owner, request.source_database)  # its own backup, also where its server's chain holds it too
    else:
        source = _source(workspace, request, request.database or owner)
    if source.entry != owner:
        raise UsageError(
            f"{located.manifest.id} is a backup of '{owner}', not of '{request.database}'.",
            hint=f"Leave out --database, or name a backup of '{source.entry}'.",
            database=request.database,
            backup_id=located.manifest.id,
        )
    return source, _without_gaps(workspace, located)


def _without_gaps(workspace: Workspace, located: Located) -> tuple[Located, ...]:
    """All that this backup needs, itself at the end, as their manifests say it.

    :raises ChainBroken: one of them is gone or cannot be relied on, or does not follow the one before it.
    """
    try:
        links = lineage_of(workspace, located)
        if must_be_rebuilt(located.manifest):
            refuse_gaps([link_of(link, Silent()) for link in links])
    except ChainBroken as error:
        error.hint = f"`db-backup list --recovery --database {located.manifest.entry}` shows what can be recovered."
        raise
    return links


def _source(workspace: Workspace, request: RestoreRequest, name: str) -> Source:
    entry = workspace.config.entries.get(name)
    source = source_of(workspace, entry) if entry else None
    if source is None:
        return Source(name, request.source_database)
    if request.source_database not in {None, source.database}:
        raise UsageError(
            f"'{name}' is the database '{source.database}' of '{source.entry}', not '{request.source_database}'.",
            hint=f"Leave out --source-database, or name the server: --database {source.entry}.",
            database=name,
        )
    return source


def _words(asked: Point, zone: tzinfo) -> str:
    if asked.time is not None:
        return told(asked.time, zone)
    if asked.lsn is not None:
        return f"the LSN {asked.lsn}"
    return f"the GTID {asked.gtid}" if asked.gtid is not None else f"the position {asked.position}"


def _database(request: RestoreRequest, source: Source, links: tuple[Located, ...]) -> str:
    """Which database is meant.

    :raises UsageError: there are several, and none is named; or there is none of this name.
    """
    base = links[0].manifest
    held = sorted({name for link in links for name in link.manifest.databases})
    name = source.database or request.source_database
    if name is None and len(held) == 1:
        return held[0]
    if name is None:
        raise UsageError(
            f"{links[-1].manifest.id} is of the whole server '{base.entry}', and one database is restored at a time.",
            hint=f"Name it with --source-database. It holds: {', '.join(held)}.",
            database=base.entry,
            backup_id=links[-1].manifest.id,
        )
    if name not in held:
        raise UsageError(
            f"{links[-1].manifest.id} does not hold a database '{name}'.",
            hint=f"{did_you_mean(nearest(name, held))} It holds: {', '.join(held)}.".strip(),
            database=base.entry,
            backup_id=links[-1].manifest.id,
        )
    return name


def stand_in(recovery: Recovery, tables: tuple[str, ...]) -> Manifest:
    """What is known of the full backup that will be taken out of the rebuilt server, to examine the target by.

    It goes by the last link's id. Of its inventory nothing is known: the tables that are asked for are taken to be
    there, which the backup itself will show before anything is changed.
    """
    base, last = recovery.base, recovery.last
    of_server = base.scope is Scope.SERVER
    address = f"{base.server.address.rpartition('/')[0]}/{recovery.database}" if of_server else base.server.address
    size = base.plain_bytes
    part = Part(
        path=f"{last.id}.rebuilt",
        stored_bytes=size,
        stored_sha256=_UNKNOWN_HASH,
        plain_bytes=size,
        plain_sha256=_UNKNOWN_HASH,
        compression=Compression.NONE,
    )
    server = {"address": address, "encoding": "", "collation": "", "character_type": ""}
    return last.model_copy(
        update={
            "entry": recovery.entry,
            "databases": (recovery.database,),
            "scope": Scope.DATABASE,
            "method": Method.LOGICAL,
            "type": BackupType.FULL,
            "format": _FORMATS[last.engine],
            "recovery_point": recovery.planned.leads_to or recovery.asked.time or last.recovery_point,
            "server": base.server.model_copy(update=server),
            "chain": None,
            "parts": (part,),
            "inventory": Inventory(tables=tuple(TableInventory(name=name, rows=0) for name in tables)),
            "excluded_tables": (),
            "warnings": (),
        }
    )
