"""Loading a dump into an empty database."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from db_backup.engines.base import Block, EngineOptions, LoadOptions
from db_backup.engines.postgres import tools
from db_backup.engines.postgres.belongings import other_locale
from db_backup.engines.postgres.contents import LARGE_OBJECTS, StreamDamaged
from db_backup.engines.postgres.filling import (
    emptied_after_failure,
    refuse_filled_tables,
    refuse_other_tables,
    refuse_these_tables,
    unrefreshed_views,
    without_triggers,
)
from db_backup.engines.postgres.formats import Container, DumpFormat
from db_backup.engines.postgres.inventory import SUPERUSER_KINDS, TABLE_OWNERS, occupants, read_catalogue
from db_backup.engines.postgres.owners import told_on_failure, with_roles_made
from db_backup.engines.postgres.preflight import describe_server, is_untrusted, some
from db_backup.engines.postgres.session import (
    Connection,
    connected,
    database_argument,
    is_scratch,
    rows,
    scratch_lost,
    tool_environment,
)
from db_backup.engines.postgres.staged import staged
from db_backup.engines.postgres.tar_archive import for_pg_restore
from db_backup.errors import LoadFailed, ScratchUnavailable, TargetNotEmpty
from db_backup.manifest import Manifest
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess

_SCRATCH_OWNER = "restorer"
_PLAIN_DATA = DumpFormat(Container.PLAIN, BackupType.DATA)
# A plain dump loads its large objects in a transaction of their own, and so ends ours before its end.
_LARGE_OBJECTS_REMARK = "transaction in progress"
# One transaction takes a lock per object, and a server has room for max_locks_per_transaction x max_connections.
_MOST_OBJECTS_IN_ONE_TRANSACTION = 3000
# What a scratch server may lack without the backup being at fault.
_SCRATCH_LACKS = re.compile(
    r'extension "[^"]*" is not available|could not open extension control file'
    r'|could not access file "|role "[^"]*" does not exist|out of shared memory'
    r"|must be superuser|only superuser|permission denied"  # an ordinary user loads it
)
_LACKS_ROLE = re.compile(r'role "[^"]*" does not exist')  # which a policy names, whoever owns its table
# What a tool says when its server has gone or is full.
LOST_SERVER = re.compile(
    r"server closed the connection|terminating connection|the database system is|connection to server .* failed"
    r"|no connection to the server|could not (?:send|receive) data|SSL SYSCALL"
    r"|No space left on device|could not extend file"
)


@dataclass(frozen=True)
class Loading:
    """A load that may begin: through which connection, with which options, by tools of which major version.

    ``warnings``: what it is known already to differ in. ``keeps_nothing``: whether nothing of it stays when it fails.
    """

    connection: ConnectionInfo
    options: EngineOptions
    manifest: Manifest
    major: str
    warnings: tuple[str, ...] = ()
    keeps_nothing: bool = True

    @property
    def format(self) -> DumpFormat:
        return DumpFormat.parse(self.manifest.format)


def load(
    connection: ConnectionInfo,
    options: EngineOptions,
    streams: Sequence[Iterable[Block]],
    manifest: Manifest,
    cancellation: Cancellation,
    wanted: LoadOptions,
) -> tuple[str, ...]:
    """Load plain bytes into the connection's database, each stream in one transaction where the server has room for it.

    With ``wanted.jobs`` a custom archive of everything is staged whole before anything is loaded, and then loaded by
    several sessions, which no transaction joins. Returns what the tool warned of.

    :raises LoadFailed: with the tool's last words.
    :raises ScratchUnavailable: a scratch server lacks what the dump needs.
    :raises TargetNotEmpty: the database holds something already; for a data backup: a table has rows.
    :raises StorageFull: there is no room to stage it.
    """
    loading = prepare(connection, options, manifest, wanted)
    made: list[str] = []
    if wanted.with_owners and manifest.type is not BackupType.DATA and not is_scratch(connection):
        with damage_translated(loading):
            streams, made = with_roles_made(connection, streams, manifest)
    with told_on_failure(made):
        remarks = _load_streams(loading, streams, cancellation, wanted)
    return tuple(dict.fromkeys([*loading.warnings, *made, *remarks]))


def _load_streams(
    loading: Loading, streams: Sequence[Iterable[Block]], cancellation: Cancellation, wanted: LoadOptions
) -> list[str]:
    """What the tools warned of."""
    manifest, remarks = loading.manifest, list[str]()
    in_parallel = loads_in_parallel(loading.format, wanted)
    if in_parallel or len(streams) > 1 or not _goes_into_one_transaction(loading.format, manifest):
        loading = dataclasses.replace(loading, keeps_nothing=manifest.type is BackupType.DATA)
    if in_parallel:
        with staged(streams, loading.options.staging_path, manifest, cancellation) as files:
            for file in files:
                remarks += _load_file(loading, file, wanted.jobs, cancellation)
        return remarks
    with emptied_after_failure(loading.connection, manifest, of_several=len(streams) > 1):
        for content in streams:
            remarks += _load_stream(loading, content, cancellation)
    if manifest.type is BackupType.DATA:
        with connected(loading.connection, entry=manifest.entry) as link:
            remarks += unrefreshed_views(link)
    return remarks


def loads_in_parallel(dump_format: DumpFormat, wanted: LoadOptions) -> bool:
    """Whether several sessions load it: pg_restore's ``--jobs`` wants a file that it can seek in."""
    is_whole = dump_format.type is BackupType.FULL and not wanted.tables
    return wanted.jobs > 1 and is_whole and dump_format.container is Container.CUSTOM


def prepare(connection: ConnectionInfo, options: EngineOptions, manifest: Manifest, wanted: LoadOptions) -> Loading:
    """See that the database is as this backup needs it, and choose whom to load it as.

    :raises LoadFailed, ScratchUnavailable, TargetNotEmpty: as ``load``.
    """
    scratch = is_scratch(connection)
    warnings: tuple[str, ...] = ()
    with connected(connection, entry=manifest.entry) as link:
        if wanted.tables:
            refuse_these_tables(link, connection, wanted.tables)
        elif manifest.type is BackupType.DATA:
            refuse_other_tables(link, connection, manifest)
            refuse_filled_tables(link, connection, manifest)
        else:
            _refuse_filled(link, connection)
        server = describe_server(link, connection, entry=manifest.entry)
        if not scratch:  # which has another locale where this machine lacks the right one
            warnings = tuple(other_locale(server, manifest))
        if not wanted.tables:
            check_extensions(link, manifest, scratch)
        if scratch:
            options = dataclasses.replace(options, postgres_no_owner=True, postgres_no_privileges=True)
            if not needs_superuser(link, manifest):
                connection = _hand_over(link, connection)
        elif wanted.with_owners:
            options = dataclasses.replace(options, postgres_no_owner=False, postgres_no_privileges=False)
        if manifest.type is BackupType.DATA:
            connection = without_triggers(link, connection, manifest)
    return Loading(connection, options, manifest, server.major, warnings)


def _load_stream(loading: Loading, content: Iterable[Block], cancellation: Cancellation) -> list[str]:
    """What the tool warned of."""
    dump_format = loading.format
    if dump_format.is_tar:
        content = for_pg_restore(content)
    elif not dump_format.is_archive:
        content = in_a_transaction(content)
    with (
        damage_translated(loading),
        tool_environment(loading.connection) as environment,
        ChildProcess(
            _load_command(loading), cancellation=cancellation, stdin=True, stdout=False, environment=environment
        ) as tool,
    ):
        read_everything = feed(tool, content, cancellation)
        status = tool.wait()
        cancellation.check()
        if status or not (read_everything or dump_format.is_tar):  # it may leave the blocks that end a tar unread
            raise load_error(tool, status, loading)
        return remarks_of(tool)


def _load_file(loading: Loading, file: Path, jobs: int, cancellation: Cancellation) -> list[str]:
    """What the tool warned of."""
    arguments = [*_load_command(loading, jobs=jobs), str(file)]
    with (
        tool_environment(loading.connection) as environment,
        ChildProcess(arguments, cancellation=cancellation, stdout=False, environment=environment) as tool,
    ):
        status = tool.wait()
        cancellation.check()
        if status:
            raise load_error(tool, status, loading)
        return remarks_of(tool)


def remarks_of(tool: ChildProcess) -> list[str]:
    """What a tool warned of, without what our own transaction makes it say."""
    return [line for line in tools.remarks(tool) if not line.endswith(_LARGE_OBJECTS_REMARK)]


def in_a_transaction(script: Iterable[Block]) -> Iterator[Block]:
    """For psql, whose ``--single-transaction`` commits what it has when its input ends: also because we were killed."""
    yield b"BEGIN;\n"
    yield from script
    yield b"COMMIT;\n"


@contextmanager
def damage_translated(loading: Loading) -> Iterator[None]:
    """:raises LoadFailed: instead of ``StreamDamaged``."""
    manifest = loading.manifest
    try:
        yield
    except StreamDamaged as damage:
        raise LoadFailed(
            f"The dump in {manifest.id} {damage}, and was not loaded into {loading.connection.address}.",
            hint=_failure_hint(loading),
            database=manifest.entry,
            backup_id=manifest.id,
        ) from damage


def _load_command(loading: Loading, *, jobs: int = 1) -> list[str]:
    dump_format, manifest = loading.format, loading.manifest
    if not dump_format.is_archive:
        return psql_command(loading)
    in_one = jobs == 1 and _goes_into_one_transaction(dump_format, manifest)
    return [
        str(tools.find("pg_restore", loading.major, database=manifest.entry).path),
        *STREAM_FLAGS[dump_format.container],
        *restore_flags(loading.options, one_transaction=in_one),
        *([f"--jobs={jobs}"] if jobs > 1 else []),
        "--no-password",
        "-d",
        database_argument(loading.connection),
    ]


def psql_command(loading: Loading) -> list[str]:
    tool = tools.find("psql", loading.major, database=loading.manifest.entry)
    return [str(tool.path), *PSQL_FLAGS, "--no-password"]


# A tar is not recognised at once on a pipe; and the tar of a directory is one that pg_restore reads as its own.
STREAM_FLAGS: Mapping[Container, tuple[str, ...]] = {
    Container.CUSTOM: (),
    Container.TAR: ("--format=tar",),
    Container.DIRECTORY: ("--format=tar",),
}
PSQL_FLAGS = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1")


def restore_flags(options: EngineOptions, *, one_transaction: bool) -> list[str]:
    """pg_restore's flags for a whole archive."""
    return [
        "--exit-on-error",
        "--no-tablespaces",
        *(["--single-transaction"] if one_transaction else []),
        *(["--no-owner"] if options.postgres_no_owner else []),
        *(["--no-privileges"] if options.postgres_no_privileges else []),
    ]


def _goes_into_one_transaction(dump_format: DumpFormat, manifest: Manifest) -> bool:
    """Rows alone go in all together, or none of them; a script too, whose definitions no tool can cut apart."""
    few = _object_count(manifest) <= _MOST_OBJECTS_IN_ONE_TRANSACTION
    return few or dump_format.type is BackupType.DATA or not dump_format.is_archive


def _object_count(manifest: Manifest) -> int:
    return len(manifest.inventory.objects) + _large_objects(manifest)


def _large_objects(manifest: Manifest) -> int:
    return sum(table.rows for table in manifest.inventory.tables if table.name == LARGE_OBJECTS)


def feed(tool: ChildProcess, content: Iterable[Block], cancellation: Cancellation) -> bool:
    """Give the tool all of it; whether it took it.

    The last block is held back until the content has come to its end, where its hash is compared: the tool must not be
    done, and commit, before. When the tool stops reading, the rest of the content is read all the same: damage that it
    finds at its end explains the tool's failure better than the tool does, and is what is raised. The tool must not see
    an end of its input then.
    """
    blocks = (bytes(block) for block in content if len(block))
    held = b""
    try:
        for block in blocks:
            cancellation.check()
            tool.write(held)
            held = block
        tool.write(held)
    except BrokenPipeError:
        for _ in blocks:
            cancellation.check()
        return False
    tool.close_stdin()
    return True


def _refuse_filled(link: Connection, connection: ConnectionInfo) -> None:
    if names := occupants(read_catalogue(link)):
        raise TargetNotEmpty(
            f"The database at {connection.address} holds {some(names)}, and was not touched.",
            hint="Restore into a new database.",
        )


def check_extensions(link: Connection, manifest: Manifest, scratch: bool) -> None:
    """:raises LoadFailed, ScratchUnavailable: the server lacks one that the backup needs."""
    wanted = {item.name for item in manifest.inventory.objects if item.kind == "extension"}
    available = {name for (name,) in rows(link, "SELECT name FROM pg_catalog.pg_available_extensions")}
    if missing := sorted(wanted - available):
        kind = ScratchUnavailable if scratch else LoadFailed
        raise kind(
            f"{manifest.id} needs extensions that this server does not have: {some(missing)}.",
            hint="Install their packages on the machine of the server.",
            database=manifest.entry,
            backup_id=manifest.id,
        )


def needs_superuser(link: Connection, manifest: Manifest) -> bool:
    """Whether only a superuser can load the dump."""
    if manifest.type is BackupType.DATA:
        # Setting triggers aside could not be granted before PostgreSQL 15; the structure may be a superuser's.
        owners = {owner for (owner,) in rows(link, TABLE_OWNERS)}
        return link.info.server_version < 150_000 or bool(owners - {_SCRATCH_OWNER})
    objects = manifest.inventory.objects
    if any(item.kind in SUPERUSER_KINDS or is_untrusted(item.kind) for item in objects):
        return True
    wanted = {item.name for item in objects if item.kind == "extension"}
    trusted = rows(link, "SELECT DISTINCT name FROM pg_catalog.pg_available_extension_versions WHERE trusted")
    return bool(wanted - {name for (name,) in trusted})


def _hand_over(link: Connection, connection: ConnectionInfo) -> ConnectionInfo:
    """Make the scratch database an ordinary user's: a dump is code, and a superuser's COPY can run programs."""
    owner = sql.Identifier(_SCRATCH_OWNER)
    if not rows(link, "SELECT FROM pg_catalog.pg_roles WHERE rolname = %(name)s", name=_SCRATCH_OWNER):
        link.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER").format(owner))
    link.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(connection.database), owner))
    link.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(owner))
    if link.info.server_version >= 150_000:
        link.execute(sql.SQL("GRANT SET ON PARAMETER session_replication_role TO {}").format(owner))
    return dataclasses.replace(connection, login=_SCRATCH_OWNER, password="")


def load_error(tool: ChildProcess, status: int, loading: Loading) -> LoadFailed | ScratchUnavailable:
    connection, manifest = loading.connection, loading.manifest
    scratch = is_scratch(connection)
    complaint = tools.complaint(tool) or "it stopped reading before the end of the dump"
    if scratch and LOST_SERVER.search(complaint):
        return scratch_lost(complaint, manifest.entry)
    lacking = scratch and _SCRATCH_LACKS.search(complaint)
    if lacking:
        hint = "A proof needs a scratch server that has what the dump needs."
    elif _LACKS_ROLE.search(complaint):
        hint = "Create the role, or restore with owners (--with-owners), which makes what is missing without login."
    else:
        hint = _failure_hint(loading)
    return (ScratchUnavailable if lacking else LoadFailed)(
        f"{tool.name} could not load {manifest.id} into {connection.address} (status {status}): {complaint}.",
        hint=hint,
        database=manifest.entry,
        backup_id=manifest.id,
    )


def _failure_hint(loading: Loading) -> str:
    manifest = loading.manifest
    if manifest.type is BackupType.DATA and manifest.format == str(_PLAIN_DATA) and _large_objects(manifest):
        return "What came before its large objects may be kept: empty the tables, mend what the tool names, load again."
    if not loading.keeps_nothing:
        return "The database is incomplete: drop it, if it is still there, mend what the tool names, and restore again."
    return "Nothing of it is kept; mend what the tool names, and restore again."
