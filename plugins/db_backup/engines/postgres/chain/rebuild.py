"""The source as it was at a point of its chain, in a private server of the same major version."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial

from psycopg import sql

from db_backup.engines.base import EngineOptions
from db_backup.engines.chain import Link, Rebuilt, refuse_gaps
from db_backup.engines.postgres import tools
from db_backup.engines.postgres.chain import tablespaces
from db_backup.engines.postgres.chain.links import needed, position_of
from db_backup.engines.postgres.chain.position import format_lsn, parse_lsn
from db_backup.engines.postgres.chain.replay import PrivateServer, Replayed
from db_backup.engines.postgres.chain.source import user_databases
from db_backup.engines.postgres.chain.stop import MANAGER, Stop, stop_at_time
from db_backup.engines.postgres.chain.unpacking import unpack
from db_backup.engines.postgres.chain.wal_records import WalRecords
from db_backup.engines.postgres.scratch import NEEDED_BYTES, PORT
from db_backup.engines.postgres.session import Connection, connected, rows
from db_backup.engines.scratch_home import scratch_home, unprivileged_user
from db_backup.errors import ArtefactCorrupt, ScratchUnavailable, ToolError
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation
from db_backup.recovery import Point
from db_backup.stream.process import ChildProcess

_PURPOSE = "rebuilt-postgres"
_HALF_DROPPED = "SELECT datname FROM pg_catalog.pg_database WHERE datconnlimit = -2 ORDER BY 1"
_MISSING_EXTENSIONS = """SELECT e.extname FROM pg_catalog.pg_extension e
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_available_extensions() a WHERE a.name = e.extname) ORDER BY 1"""


@contextmanager
def open_rebuilt(
    links: Sequence[Link], point: Point, options: EngineOptions, cancellation: Cancellation
) -> Iterator[Rebuilt]:
    """See ``ChainEngine.open_rebuilt``."""
    refuse_gaps(links)
    chain = needed(links, point)
    base = links[0].manifest
    cancellation.check()
    postgres, pg_waldump = (_program(name, base.server.major) for name in ("postgres", "pg_waldump"))
    # Not the one as whom a source on this machine runs: what went astray would find its files closed.
    user = unprivileged_user("nobody", "postgres")
    with scratch_home(
        options.scratch_path,
        user,
        purpose=_PURPOSE,
        longest_socket_name=f".s.PGSQL.{PORT}.lock",
        needed_bytes=NEEDED_BYTES + sum(link.manifest.plain_bytes for link in chain),
    ) as home:
        copied = unpack(chain, home / "data", user, cancellation)
        tablespaces.refuse_linked(home / "data", base)
        last = chain[-1].manifest
        end = position_of(last)
        records = partial(WalRecords, pg_waldump, home, user, timeline=end.timeline, end=end.lsn)
        stop = None
        if point.lsn is not None and parse_lsn(point.lsn) < end.lsn:
            stop = Stop(parse_lsn(point.lsn))
        elif point.time is not None:
            transactions = records(MANAGER, start=copied.consistent)
            stop = stop_at_time(transactions, point.time, consistent=copied.consistent, cancellation=cancellation)
        with closing(records(tablespaces.MANAGER, start=copied.start).read(cancellation)) as recorded:
            tablespaces.refuse_recorded(recorded, stop.lsn if stop else None, last)
        server = PrivateServer(postgres, home, user, cancellation)
        replayed = server.replay(stop)
        _refuse_short(replayed, chain)
        connection = ConnectionInfo(
            conn_id="scratch",
            engine=EngineName.POSTGRES,
            host=str((home / "socket").resolve()),
            port=PORT,
            login=server.make_superuser(),
            database="template1",
            scratch=True,
        )
        with server.serving() as process:
            server.wait_until_ready(process)
            databases, warnings = _open_databases(connection, process, cancellation)
            yield Rebuilt(
                connection=connection,
                databases=databases,
                time=replayed.last_commit or base.recovery_point,
                position=format_lsn(replayed.lsn),
                warnings=warnings,
            )


def _program(name: str, major: str) -> tools.Tool:
    try:
        return tools.find(name, major)
    except ToolError as error:
        raise ScratchUnavailable(
            f"There is no PostgreSQL {major} server on this machine to rebuild one in: {error.message}",
            hint=error.hint,
        ) from error


def _refuse_short(replayed: Replayed, chain: Sequence[Link]) -> None:
    """A server takes damaged WAL for the end of it.

    :raises ArtefactCorrupt: the replay ended before the chain does.
    """
    last = chain[-1].manifest
    end = position_of(last).lsn
    if not replayed.stopped and replayed.lsn != end:
        raise ArtefactCorrupt(
            f"The chain that ends with {last.id} replays to {format_lsn(replayed.lsn)} alone, and should to "
            f"{format_lsn(end)}.",
            hint=f"Restore to a point before {format_lsn(replayed.lsn)}, or take another copy of these backups.",
            database=last.entry,
            backup_id=last.id,
        )


def _open_databases(
    connection: ConnectionInfo, process: ChildProcess, cancellation: Cancellation
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The user databases, each of which lets us in; and what is not as it was."""
    with connected(connection, cancellation=cancellation) as link:
        names = user_databases(link)
        warnings = [
            f"The database '{name}' is not in it: its dropping had begun at that moment. An earlier point may hold it."
            for (name,) in rows(link, _HALF_DROPPED)
        ]
    for name in names:
        try:
            with connected(dataclasses.replace(connection, database=name), cancellation=cancellation) as link:
                warnings += _put_in_order(link, name)
        except ScratchUnavailable as error:
            if process.poll() is not None:
                raise
            raise ScratchUnavailable(
                f"The database '{name}' was rebuilt, and cannot be opened on this machine: {error.message}",
                hint="Install the locale or the library that it names on this machine.",
            ) from error
    return names, tuple(warnings)


def _put_in_order(link: Connection, database: str) -> Iterator[str]:
    """What would stand in the way of whoever takes the database out."""
    prepared = rows(link, "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = %(name)s", name=database)
    for (gid,) in prepared:
        link.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
    if prepared:
        yield (
            f"In '{database}' {len(prepared)} transactions were prepared and not committed at that moment; they are "
            "not in it."
        )
    if missing := [str(name) for (name,) in rows(link, _MISSING_EXTENSIONS)]:
        yield (
            f"'{database}' has extensions that are not installed on this machine, and what needs them may not come "
            f"out of it: {', '.join(missing)}."
        )
