"""A server as it was at a point of its chain: the base loaded into a scratch server, the binlog replayed to there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from db_backup.engines.base import EngineOptions
from db_backup.engines.chain import Link, Rebuilt, refuse_gaps
from db_backup.engines.mysql.chain.moments import Stop, StopAtTime, time_of
from db_backup.engines.mysql.chain.position import Place
from db_backup.engines.mysql.chain.preflight import SCRATCH_SETTINGS
from db_backup.engines.mysql.chain.reach import Reach, place_of, reach, unreachable
from db_backup.engines.mysql.chain.reading import walk_increment
from db_backup.engines.mysql.chain.replay import Reassembly, Replay, replay
from db_backup.engines.mysql.chain.server import user_databases
from db_backup.engines.mysql.chain.server_dump import AsItIs, ServerDumpParser
from db_backup.engines.mysql.client import running_client
from db_backup.engines.mysql.connecting import Session, identifier, query, session_for
from db_backup.engines.mysql.databases import some
from db_backup.engines.mysql.definers import Definers, definer_of
from db_backup.engines.mysql.feeding import Feeder
from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.mysql.scratch import open_scratch
from db_backup.engines.mysql.scratch_faults import scratch_faults
from db_backup.engines.scratch_home import check_folder, no_scratch_folder
from db_backup.manifest import Manifest
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.recovery import Point
from db_backup.stream.private_folder import make_last_folder, private_folder

MAIN = "main"
# What a session may set for itself and the binlog does not tell: what the source took is taken here.
_LENIENT = (
    "--innodb-strict-mode=OFF",
    "--loose-system-versioning-alter-history=KEEP",
    "--loose-system-versioning-insert-history=ON",
)
_SUPERUSER = "root@localhost"  # whom every scratch server has
_PLACEHOLDER = "db_backup_left_out"


@dataclass(frozen=True)
class _Found:
    """What the increments hold up to the point. ``replay``: None where the base alone is the point."""

    place: Place
    stop: Stop
    replay: Replay | None
    definers: frozenset[bytes]


@contextmanager
def open_rebuilt(
    options: EngineOptions, links: Sequence[Link], point: Point, cancellation: Cancellation
) -> Iterator[Rebuilt]:
    """See ``ChainEngine.open_rebuilt``."""
    refuse_gaps(links)
    base, *increments = (link.manifest for link in links)
    plan = reach(base, increments, point)
    with ExitStack() as stack:
        folder = stack.enter_context(_work_folder(options, increments[: plan.count]))
        found = _find(links, plan, folder, cancellation)
        connection = stack.enter_context(
            open_scratch(base.server, options.scratch_path, cancellation, _scratch_options(base))
        )
        with scratch_faults(connection, base):
            definers = _load_base(connection, links[0], cancellation)
            definers |= _replay(connection, base, increments, found, cancellation)
            with session_for(connection, "examine") as session:
                databases = user_databases(session)
        last = found.stop.last
        yield Rebuilt(
            connection,
            databases,
            max(base.recovery_point, time_of(last.seconds)) if last is not None else base.recovery_point,
            str(found.place),
            tuple(_warnings(found, definers)),
        )


@contextmanager
def _work_folder(options: EngineOptions, increments: Sequence[Manifest]) -> Iterator[Path]:
    """For the files of the binlog."""
    make_last_folder(options.scratch_path, "BACKUP_SCRATCH_PATH")
    check_folder(options.scratch_path, None, needed_bytes=sum(manifest.plain_bytes for manifest in increments))
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(private_folder(options.scratch_path, "scratch-binlog"))
        except OSError as error:
            raise no_scratch_folder(options.scratch_path, error) from error
        yield folder


def _find(links: Sequence[Link], plan: Reach, folder: Path, cancellation: Cancellation) -> _Found:
    """Put the files together, and find the place in them where the replay stops."""
    base, *increments = (link.manifest for link in links)
    stop = plan.stop
    files = Reassembly(folder, stop)
    end = base
    try:
        for link in links[1 : plan.count + 1]:
            end = link.manifest
            stop.begin_increment(end.recovery_point)
            walk_increment(link.read(MAIN), end, files, cancellation)
            if stop.place is not None:
                break
    finally:
        files.close()
    if plan.must_stop and stop.place is None:
        raise unreachable(
            base, increments, "No transaction of the chain ends or begins at this point", str(place_of(end))
        )
    place = stop.place or place_of(end)
    start = place_of(base)
    work = Replay(files.files, start, place) if place != start else None
    return _Found(place, stop, work, frozenset(files.definers))


def _scratch_options(base: Manifest) -> list[str]:
    settings = (base.consistency.model_extra or {}).get("settings") or {}
    own = [f"--{name.replace('_', '-')}={settings[name]}" for name in SCRATCH_SETTINGS if name in settings]
    return [*own, *_LENIENT]


def _load_base(connection: ConnectionInfo, link: Link, cancellation: Cancellation) -> set[str]:
    """Returns the accounts in whose names what it holds will run.

    The clock of the session that loads it is set back: no server makes events whose time is over, and the binlog may
    drop them yet.
    """
    base = link.manifest
    with running_client(connection, Flavour.MARIADB, cancellation) as (client, process):
        unchanged = AsItIs(ServerDumpParser(), b"SET TIMESTAMP = 1;\n", keep_sandbox_line=client.knows_sandbox)
        Feeder(connection, base, unchanged, cancellation).feed(process, iter(link.read(MAIN)))
    return unchanged.definers


def _replay(
    connection: ConnectionInfo,
    base: Manifest,
    increments: Sequence[Manifest],
    found: _Found,
    cancellation: Cancellation,
) -> set[str]:
    """Returns the accounts in whose names what it creates will run."""
    if found.replay is None:
        return set()
    views = [tuple(view.split(".", 1)) for view in (base.consistency.model_extra or {}).get("left_out_views") or ()]
    with session_for(connection, "prepare") as session:
        definers = Definers(session)
        for definer in found.definers:
            definers.prepare(definer)
        _make_placeholders(session, views)
    replay(connection, increments[-1], found.replay, cancellation)
    with session_for(connection, "finish") as session:
        _drop_placeholders(session, views)
    named = (definer_of(b"CREATE " + definer) for definer in found.definers)
    return {name for name in named if name is not None}


def _make_placeholders(session: Session, views: Sequence[tuple[str, ...]]) -> None:
    """For views that the base leaves out because they refer to what is gone: the binlog may drop or replace them."""
    for view in views:
        query(session, f"CREATE VIEW {'.'.join(map(identifier, view))} AS SELECT 1 AS {_PLACEHOLDER}")


def _drop_placeholders(session: Session, views: Sequence[tuple[str, ...]]) -> None:
    for view in views:
        found = query(
            session,
            "SELECT 1 FROM information_schema.columns WHERE table_schema = %s AND table_name = %s AND column_name = %s",
            (*view, _PLACEHOLDER),
        )
        if found:
            query(session, f"DROP VIEW {'.'.join(map(identifier, view))}")


def _warnings(found: _Found, definers: set[str]) -> Iterator[str]:
    if isinstance(found.stop, StopAtTime) and found.stop.later:
        yield (
            f"{found.stop.later} transactions after {found.place} say that they began no later than the moment that "
            "was asked for, and were committed after others that are later, or the clock was set back: they are not "
            "in it. Give a position or a GTID to have them."
        )
    if accounts := sorted(definers - {_SUPERUSER}):
        yield (
            "Views, routines, triggers or events run in the names of accounts, which no chain holds; using them fails "
            f"(1449) where they do not exist: {some(accounts)}."
        )
