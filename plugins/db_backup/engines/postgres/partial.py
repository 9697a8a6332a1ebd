"""Some tables of a full backup into a database that may hold others: all of them, or nothing.

``pg_restore`` turns the chosen entries into a script; one ``psql`` runs the scripts of all streams in one transaction,
and is told to commit when every stream has come to its end and proved whole.
"""

# ruff: noqa: S608 - the query is put together from constants of ours
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from db_backup.engines.base import Block, EngineOptions, LoadOptions
from db_backup.engines.postgres import tools
from db_backup.engines.postgres.entries import read_entries
from db_backup.engines.postgres.inventory import occupants, read_catalogue
from db_backup.engines.postgres.owners import make_missing, roles_of, told_on_failure
from db_backup.engines.postgres.restore import (
    STREAM_FLAGS,
    Loading,
    damage_translated,
    feed,
    load_error,
    prepare,
    psql_command,
    remarks_of,
    restore_flags,
)
from db_backup.engines.postgres.selection import Present, RelationMissing, Selection, select
from db_backup.engines.postgres.session import Connection, connected, is_scratch, rows, tool_environment
from db_backup.engines.postgres.tar_archive import for_pg_restore
from db_backup.engines.postgres.toc import Entry
from db_backup.errors import LoadFailed
from db_backup.manifest import Manifest
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess, option_file

_BLOCK_BYTES = 1 << 18
_ARGUMENTS = """SELECT pg_catalog.string_agg(pg_catalog.format_type(argument, NULL), ', ' ORDER BY place)
    FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY AS a (argument, place)"""
# As ``selection.key`` names them; pg_dump's signature of an aggregate without arguments has an asterisk.
_PRESENT = f"""SELECT 'schema', '', nspname::text FROM pg_catalog.pg_namespace
    UNION ALL SELECT 'extension', '', extname::text FROM pg_catalog.pg_extension
    UNION ALL SELECT 'relation', n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind NOT IN ('i', 'I', 't')
    UNION ALL SELECT 'type', n.nspname::text, t.typname::text FROM pg_catalog.pg_type t
        JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    UNION ALL SELECT 'collation', n.nspname::text, l.collname::text FROM pg_catalog.pg_collation l
        JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
    UNION ALL SELECT 'routine', n.nspname::text, p.proname || '(' ||
        coalesce(({_ARGUMENTS}), CASE p.prokind WHEN 'a' THEN '*' ELSE '' END) || ')'
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"""


def load_tables(
    connection: ConnectionInfo,
    options: EngineOptions,
    streams: Sequence[Iterable[Block]],
    manifest: Manifest,
    cancellation: Cancellation,
    wanted: LoadOptions,
) -> tuple[str, ...]:
    """Load ``wanted.tables`` of a full backup's archives; returns what the tools and we warn of.

    :raises TargetNotEmpty: one of them is there already.
    :raises LoadFailed: with a tool's last words; or something that a table is built on is neither chosen nor there.
    :raises ScratchUnavailable: a scratch server lacks what they need.
    """
    loading = prepare(connection, options, manifest, wanted)
    with damage_translated(loading):
        heads = [read_entries(content, loading.format) for content in streams]
        selection = _select(loading, [entries for entries, _ in heads], wanted)
        made: list[str] = []
        if wanted.with_owners and not is_scratch(connection):
            made = make_missing(connection, roles_of(_chosen(heads, selection)), manifest)
        with told_on_failure(made), damage_translated(loading):
            remarks = _load(loading, [content for _, content in heads], selection, cancellation)
    return tuple(dict.fromkeys([*loading.warnings, *selection.warnings, *made, *remarks]))


def _select(loading: Loading, archives: Sequence[Sequence[Entry]], wanted: LoadOptions) -> Selection:
    manifest = loading.manifest
    with connected(loading.connection, entry=manifest.entry) as link:
        present = _present(link)
    try:
        return select(archives, wanted.tables, present)
    except RelationMissing as missing:
        raise LoadFailed(
            f"The chosen tables of {manifest.id} need the {missing}, which is neither chosen nor in the database at "
            f"{loading.connection.address}; nothing was changed.",
            hint="Choose it too.",
            database=manifest.entry,
            backup_id=manifest.id,
        ) from missing


def _present(link: Connection) -> Present:
    nothing = not occupants(read_catalogue(link))  # which also empties the search path, so that types are qualified
    return Present(frozenset(rows(link, _PRESENT)), nothing)


def _chosen(heads: Sequence[tuple[Sequence[Entry], object]], selection: Selection) -> Iterator[Entry]:
    for (entries, _), numbers in zip(heads, selection.numbers, strict=True):
        chosen = frozenset(numbers)
        yield from (entry for entry in entries if entry.id in chosen)


def _load(
    loading: Loading, contents: Sequence[Iterable[Block]], selection: Selection, cancellation: Cancellation
) -> list[str]:
    """What the tools warned of."""
    found: list[str] = []
    with ExitStack() as stack:
        environment = stack.enter_context(tool_environment(loading.connection))
        psql = stack.enter_context(
            ChildProcess(
                psql_command(loading), cancellation=cancellation, stdin=True, stdout=False, environment=environment
            )
        )
        is_listening = _say(psql, b"BEGIN;\n")
        for content, numbers in zip(contents, selection.numbers, strict=True):
            if is_listening and numbers:
                is_listening = _load_entries(loading, psql, content, numbers, cancellation, found)
            else:
                for _ in content:  # its hash counts all the same
                    cancellation.check()
        if is_listening and _say(psql, b"COMMIT;\n"):
            psql.close_stdin()
        status = psql.wait()
        cancellation.check()
        if status or not is_listening:
            raise load_error(psql, status, loading)
        return [*found, *remarks_of(psql)]


def _load_entries(
    loading: Loading,
    psql: ChildProcess,
    content: Iterable[Block],
    numbers: Sequence[int],
    cancellation: Cancellation,
    found: list[str],
) -> bool:
    """Put one archive's chosen entries through pg_restore into psql, which listens; whether it still does at the end.

    pg_restore reads no further than what it needs; the rest is read here.
    """
    dump_format = loading.format
    tool = tools.find("pg_restore", loading.major, database=loading.manifest.entry)
    flags = restore_flags(loading.options, one_transaction=False)
    with (
        option_file("".join(f"{number};\n" for number in numbers)) as chosen,
        ThreadPoolExecutor(1, thread_name_prefix="chosen-tables") as thread,
        ChildProcess(
            [str(tool.path), *STREAM_FLAGS[dump_format.container], *flags, f"--use-list={chosen}", "--file=-"],
            cancellation=cancellation,
            stdin=True,
        ) as restorer,
    ):
        passed_on = thread.submit(_pass_on, restorer, psql)
        try:
            feed(restorer, for_pg_restore(content) if dump_format.is_tar else content, cancellation)
        except BaseException:
            psql.kill()  # which the thread may wait for
            raise
        is_listening = passed_on.result()
        status = restorer.wait()
        cancellation.check()
        if status and is_listening:
            raise load_error(restorer, status, loading)
        found += remarks_of(restorer)
        return is_listening


def _pass_on(restorer: ChildProcess, psql: ChildProcess) -> bool:
    """The script, to its end; False when psql stopped reading, and then pg_restore is of no use any more."""
    while block := restorer.stdout.read(_BLOCK_BYTES):
        if not _say(psql, block):
            restorer.kill()
            return False
    return True


def _say(psql: ChildProcess, text: bytes) -> bool:
    """Whether it took it."""
    try:
        psql.write(text)
    except BrokenPipeError:
        return False
    return True
