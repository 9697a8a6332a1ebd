"""Dumps of several streams, on every engine whose rows can be shared out: the contract of ``DumpRequest.jobs``."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from db_backup.comparison import compare, compare_tables
from db_backup.engines.base import DumpRequest
from db_backup.errors import ArtefactCorrupt, ArtefactError, DumpFailed, LoadFailed
from db_backup.model import BackupType, Compression, EngineName
from db_backup.progress import Cancellation
from support import processes
from support.dumps import (
    Dumped,
    before_loading,
    blocks,
    dump_of,
    files_in,
    finish,
    load,
    read_to_end,
    run_in_a_plain_shell,
    without_connection,
    writing,
)
from support.lab import EngineLab

pytestmark = pytest.mark.integration

JOBS = 3
ENGINES = [EngineName.POSTGRES, EngineName.MYSQL]


@pytest.fixture(params=ENGINES, ids=str)
def lab(request: pytest.FixtureRequest, labs: Mapping[EngineName, EngineLab]) -> EngineLab:
    return labs[request.param]


@pytest.fixture(params=[BackupType.FULL, BackupType.DATA], ids=str)
def type_with_rows(request: pytest.FixtureRequest) -> BackupType:
    kind: BackupType = request.param
    return kind


@pytest.fixture
def database(lab: EngineLab) -> Iterator[str]:
    database = lab.create_sample()
    yield database
    lab.drop(database)


@pytest.fixture
def new_name(lab: EngineLab) -> Iterator[str]:
    name = lab.fresh_name()
    yield name
    lab.drop(name)


def parallel_dump(lab: EngineLab, database: str, backup_type: BackupType, exclude: tuple[str, ...] = ()) -> Dumped:
    dumped = dump_of(lab.engine(database), backup_type=backup_type, exclude=exclude, jobs=JOBS)
    assert len(dumped.streams) >= JOBS
    return dumped


def test_several_streams_hold_together_what_one_holds(
    lab: EngineLab, database: str, type_with_rows: BackupType
) -> None:
    one = dump_of(lab.engine(database), backup_type=type_with_rows)
    several = parallel_dump(lab, database, type_with_rows)
    assert several.manifest.inventory == one.manifest.inventory
    assert several.manifest.format == one.manifest.format
    assert several.manifest.warnings == one.manifest.warnings
    assert list(several.manifest.streams) == [part.stream for part in several.manifest.parts]


def test_more_than_one_stream_carries_rows(lab: EngineLab, database: str, type_with_rows: BackupType) -> None:
    lab.fill(database, megabytes=1)
    lab.execute(database, "CREATE TABLE filler_too AS SELECT * FROM filler")
    streams = parallel_dump(lab, database, type_with_rows).streams
    assert len([plain for plain in streams if len(plain) > 500_000]) == 2


def test_several_streams_restore_into_a_new_database_with_the_same_inventory(
    lab: EngineLab, database: str, new_name: str, type_with_rows: BackupType
) -> None:
    source = lab.engine(database)
    dumped = parallel_dump(lab, database, type_with_rows)
    target = load(source, new_name, *before_loading(source, type_with_rows), dumped)
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
    assert lab.own_counts(new_name) == lab.own_counts(database)
    archive = without_connection(lab).read_archive(dumped.read(), dumped.manifest, Cancellation())
    assert compare_tables(dumped.manifest.inventory, archive) == ()


def test_a_structure_has_no_rows_to_share_out(lab: EngineLab, database: str) -> None:
    assert len(dump_of(lab.engine(database), backup_type=BackupType.STRUCTURE, jobs=JOBS).streams) == 1


def test_an_empty_database_can_be_dumped_in_several_streams(
    lab: EngineLab, new_name: str, type_with_rows: BackupType
) -> None:
    empty = lab.create_empty()
    source = lab.engine(empty)
    dumped = dump_of(source, backup_type=type_with_rows, jobs=JOBS)
    target = load(source, new_name, *before_loading(source, type_with_rows), dumped)
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
    lab.drop(empty)


def test_a_table_that_is_left_out_is_in_no_stream(
    lab: EngineLab, database: str, new_name: str, type_with_rows: BackupType
) -> None:
    source = lab.engine(database)
    dumped = parallel_dump(lab, database, type_with_rows, exclude=("marks",))
    assert not any(b"doomed" in plain for plain in dumped.streams)
    assert dumped.manifest.excluded_tables == (lab.table("marks"),)
    target = load(source, new_name, *before_loading(source, type_with_rows), dumped)
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()


def test_all_streams_are_one_moment_of_a_database_that_is_being_written(
    lab: EngineLab, database: str, type_with_rows: BackupType
) -> None:
    lab.fill(database, megabytes=5)
    engine = lab.engine(database)
    with writing(lab, database) as writer:
        committed_before = writer.committed
        request = DumpRequest("shop", type_with_rows, jobs=JOBS)
        with engine.open_backup(request, Cancellation()) as dump:
            writer.wait_for_more()
            dumped = finish(engine, dump, type_with_rows)
        committed_after = writer.committed
    rows = {table.name: table.rows for table in dumped.manifest.inventory.tables}
    assert rows[lab.table("left_side")] == rows[lab.table("right_side")]
    assert committed_before <= rows[lab.table("left_side")] < committed_after


def test_leaving_early_kills_every_tool_and_leaves_no_file(
    lab: EngineLab, database: str, tmp_path: Path, type_with_rows: BackupType
) -> None:
    class LeftEarly(Exception):
        pass

    lab.fill(database, megabytes=10)
    for number in range(1, JOBS):  # so that none of those that carry rows has ended by itself
        lab.execute(database, f"CREATE TABLE filler_{number} AS SELECT * FROM filler")
    before = processes.family()
    engine = lab.engine(database, lab.private_options(tmp_path))
    request = DumpRequest("shop", type_with_rows, jobs=JOBS)
    with contextlib.suppress(LeftEarly), engine.open_backup(request, Cancellation()) as dump:
        os.read(dump.streams[-1].fileno(), 10)
        running = processes.family(ignoring=before)
        raise LeftEarly
    assert running  # of a stream with few rows the tool may have ended already
    assert processes.still_alive(running) == set()
    assert files_in(tmp_path) == []


def test_a_tool_that_fails_is_told_when_its_own_stream_ends(
    lab: EngineLab, database: str, type_with_rows: BackupType
) -> None:
    """So that the others, which may take hours, can be stopped."""
    lab.fill(database, megabytes=10)
    request = DumpRequest("shop", type_with_rows, jobs=JOBS)
    before = processes.family()
    with lab.engine(database).open_backup(request, Cancellation()) as dump:
        for pid, _ in processes.family(ignoring=before):
            with contextlib.suppress(ProcessLookupError):  # of a stream with few rows the tool may have ended already
                os.kill(pid, signal.SIGKILL)
        told = []
        for number, stream in enumerate(dump.streams):
            read_to_end(stream)
            try:
                dump.stream_ended(number)
            except DumpFailed as error:
                told.append(error.message)
    assert told
    assert all("'shop'" in message for message in told)


def test_a_cut_in_any_stream_is_found(lab: EngineLab, database: str, type_with_rows: BackupType) -> None:
    dumped = parallel_dump(lab, database, type_with_rows)
    for cut in range(len(dumped.streams)):
        streams = [blocks(plain[: len(plain) // 2 if n == cut else None]) for n, plain in enumerate(dumped.streams)]
        with pytest.raises(ArtefactError):
            without_connection(lab).read_archive(streams, dumped.manifest, Cancellation())


def test_a_load_of_which_the_last_stream_is_cut_fails_and_keeps_no_rows(
    lab: EngineLab, database: str, new_name: str, type_with_rows: BackupType
) -> None:
    source = lab.engine(database)
    dumped = parallel_dump(lab, database, type_with_rows)
    target = load(source, new_name, *before_loading(source, type_with_rows))
    *whole, last = dumped.streams
    with pytest.raises(LoadFailed):
        target.load([*map(blocks, whole), blocks(last[: len(last) // 2])], dumped.manifest, Cancellation())
    if type_with_rows is BackupType.DATA:
        assert lab.own_counts(new_name) == lab.counts_of_structure(database)


def test_damage_that_the_reader_finds_at_the_end_of_any_stream_is_passed_on(
    lab: EngineLab, database: str, new_name: str, type_with_rows: BackupType
) -> None:
    source = lab.engine(database)
    dumped = parallel_dump(lab, database, type_with_rows)

    def damaged(plain: bytes) -> Iterator[bytes]:
        yield from blocks(plain)
        raise ArtefactCorrupt("The hash is another one.")

    target = load(source, new_name, *before_loading(source, type_with_rows))
    first, *others = dumped.streams
    with pytest.raises(ArtefactCorrupt, match="The hash is another one"):
        target.load([damaged(first), *map(blocks, others)], dumped.manifest, Cancellation())


def test_the_stock_commands_alone_rebuild_the_database_from_its_parts(
    lab: EngineLab, database: str, tmp_path: Path, type_with_rows: BackupType
) -> None:
    engine = lab.engine(database)
    dumped = parallel_dump(lab, database, type_with_rows)
    restored = lab.restored_database(tmp_path)
    lab.drop(restored)
    try:
        for each in (*before_loading(engine, type_with_rows), dumped):
            parts = each.manifest.parts
            for part, plain in zip(parts, each.streams, strict=True):
                (tmp_path / part.path).write_bytes(plain)
            assert {part.compression for part in parts} == {Compression.NONE}
            for step in engine.stock_commands(parts, each.manifest.format):
                run_in_a_plain_shell(step.command, tmp_path, lab)
        found = lab.engine(restored).take_inventory(dumped.manifest, Cancellation())
        assert compare(dumped.manifest.inventory, found) == ()
    finally:
        lab.drop(restored)
