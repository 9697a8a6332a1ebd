"""The engine contract of ``engines.base`` as tests. ``test_engines.py`` runs them over every engine's real server.

What is asked of an engine here is asked of each one in the same words; what only one engine can get wrong is in that
engine's own tests. A test that takes ``backup_type`` runs for every type that the engine supports.
"""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from db_backup.comparison import compare, compare_tables
from db_backup.engines import engine_for, open_scratch
from db_backup.engines.base import DumpRequest, Engine
from db_backup.errors import (
    AccessDenied,
    ArtefactCorrupt,
    ArtefactError,
    BackupError,
    ConfigurationError,
    DumpFailed,
    DumpIncomplete,
    LoadFailed,
    ServerUnreachable,
    TargetNotEmpty,
)
from db_backup.model import BackupType, Compression, utc_now
from db_backup.progress import Cancellation
from support import processes
from support.dumps import (
    REQUEST,
    before_loading,
    blocks,
    dump_of,
    files_in,
    finish,
    load,
    run_in_a_plain_shell,
    with_a_hole,
    without_connection,
    writing,
)
from support.lab import EngineLab, ToolBehaviour

COUNTERS = {"sequence value", "auto_increment"}  # kinds of objects that say where something stands
TYPES_WITH_ROWS = (BackupType.FULL, BackupType.DATA)


class _LeftEarly(Exception):
    pass


class EngineContract:
    """``lab_fixture`` names the session's fixture of one engine's lab."""

    lab_fixture: ClassVar[str]
    engine_class: ClassVar[type[Engine]]

    @classmethod
    def _types_by_parameter(cls) -> dict[str, list[BackupType]]:
        types = [backup_type for backup_type in BackupType if backup_type in cls.engine_class.supported_types]
        with_rows = [backup_type for backup_type in types if backup_type in TYPES_WITH_ROWS]
        loads_rows = [backup_type for backup_type in types if backup_type is BackupType.DATA]
        return {
            "backup_type": types,
            "type_with_rows": with_rows,
            "data": loads_rows,
        }

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        for name, types in self._types_by_parameter().items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, types, ids=str)

    @pytest.fixture
    def lab(self, request: pytest.FixtureRequest) -> EngineLab:
        lab: EngineLab = request.getfixturevalue(self.lab_fixture)
        return lab

    @pytest.fixture
    def database(self, lab: EngineLab) -> Iterator[str]:
        database = lab.create_sample()
        yield database
        lab.drop(database)

    @pytest.fixture
    def new_name(self, lab: EngineLab) -> Iterator[str]:
        name = lab.fresh_name()
        yield name
        lab.drop(name)

    # What a backup holds

    def test_a_backup_restores_into_a_new_database_with_the_same_inventory(
        self, lab: EngineLab, database: str, new_name: str, backup_type: BackupType
    ) -> None:
        source = lab.engine(database)
        dumped = dump_of(source, backup_type=backup_type)
        target = load(source, new_name, *before_loading(source, backup_type), dumped)
        found = target.take_inventory(dumped.manifest, Cancellation())
        assert compare(dumped.manifest.inventory, found) == ()
        counts = lab.counts_of_structure if backup_type is BackupType.STRUCTURE else lab.own_counts
        assert lab.own_counts(new_name) == counts(database)

    def test_structure_and_data_together_are_a_full_backup(
        self, lab: EngineLab, database: str, new_name: str, type_with_rows: BackupType
    ) -> None:
        source = lab.engine(database)
        dumps = (*before_loading(source, type_with_rows), dump_of(source, backup_type=type_with_rows))
        load(source, new_name, *dumps)
        expected, found = (dump_of(lab.engine(name)).manifest.inventory for name in (database, new_name))
        assert compare(lab.comparable(expected), lab.comparable(found)) == ()

    def test_an_inventory_is_what_its_type_restores(
        self, lab: EngineLab, database: str, backup_type: BackupType
    ) -> None:
        full, inventory = (
            dump_of(lab.engine(database), backup_type=chosen).manifest.inventory
            for chosen in (BackupType.FULL, backup_type)
        )
        defined = {item for item in inventory.objects if item.kind not in COUNTERS}
        assert bool(defined) is (backup_type is not BackupType.DATA)
        assert bool(inventory.rows) is (backup_type is not BackupType.STRUCTURE)
        assert {table.name for table in inventory.tables} >= {lab.table(name) for name in ("marks", "empty_table")}
        if backup_type is BackupType.STRUCTURE:
            assert {item for item in inventory.objects if item.kind != "large objects"} <= set(full.objects)
            assert {table.checksum for table in inventory.tables} == {None}

    def test_the_inventory_has_every_table_with_the_rows_that_sql_counts(self, lab: EngineLab, database: str) -> None:
        inventory = dump_of(lab.engine(database)).manifest.inventory
        assert {table.name: table.rows for table in inventory.tables} == lab.counts(database)
        assert all(table.checksum for table in inventory.tables)

    def test_a_changed_value_changes_the_checksum_of_its_table_alone(self, lab: EngineLab, database: str) -> None:
        before = dump_of(lab.engine(database)).manifest.inventory
        lab.execute(database, "UPDATE marks SET word = 'changed' WHERE id = 2")
        after = dump_of(lab.engine(database)).manifest.inventory
        assert [difference.name for difference in compare(before, after)] == [lab.table("marks")]

    def test_the_inventory_lists_objects_that_hold_no_rows(self, lab: EngineLab, database: str) -> None:
        objects = dump_of(lab.engine(database)).manifest.inventory.objects
        found = {(item.kind, item.name.rpartition(".")[2]) for item in objects}
        assert {("view", "revenue"), ("trigger", "log_orders")} <= found

    def test_two_dumps_of_an_unchanged_database_have_the_same_inventory(self, lab: EngineLab, database: str) -> None:
        first, second = (dump_of(lab.engine(database)).manifest.inventory for _ in range(2))
        assert first == second

    def test_an_empty_database_can_be_backed_up_and_restored(
        self, lab: EngineLab, new_name: str, backup_type: BackupType
    ) -> None:
        empty = lab.create_empty()
        source = lab.engine(empty)
        dumped = dump_of(source, backup_type=backup_type)
        assert dumped.manifest.inventory.rows == 0
        target = load(source, new_name, *before_loading(source, backup_type), dumped)
        found = target.take_inventory(dumped.manifest, Cancellation())
        assert compare(dumped.manifest.inventory, found) == ()
        lab.drop(empty)

    # Whatever is odd

    def test_everything_odd_comes_back_as_it_was(self, lab: EngineLab, new_name: str, backup_type: BackupType) -> None:
        """Names, types, values and objects that a dump can trip over: ``tests/support/awkward_*.sql``."""
        nasty = lab.create_nasty()
        source = lab.engine(nasty)
        dumped = dump_of(source, backup_type=backup_type)
        archive = without_connection(lab).read_archive(dumped.read(), dumped.manifest, Cancellation())
        assert compare_tables(dumped.manifest.inventory, archive) == ()
        target = load(source, new_name, *before_loading(source, backup_type), dumped)
        found = target.take_inventory(dumped.manifest, Cancellation())
        assert compare(dumped.manifest.inventory, found) == ()
        lab.drop(nasty)

    def test_what_no_stock_tool_carries_is_named_in_the_manifest(self, lab: EngineLab, backup_type: BackupType) -> None:
        nasty = lab.create_nasty()
        warnings = dump_of(lab.engine(nasty), backup_type=backup_type).manifest.warnings
        expected = lab.not_carried.get(backup_type, ())
        assert [words for words in expected if not any(words in warning for warning in warnings)] == [], warnings
        lab.drop(nasty)

    # Tables that are left out

    def test_a_table_that_is_left_out_comes_back_without_rows(
        self, lab: EngineLab, database: str, new_name: str, type_with_rows: BackupType
    ) -> None:
        if type_with_rows not in lab.types_that_leave_tables_out:
            with pytest.raises(ConfigurationError) as caught:
                dump_of(lab.engine(database), backup_type=type_with_rows, exclude=("marks",))
            assert caught.value.hint
            return
        source = lab.engine(database)
        dumped = dump_of(source, backup_type=type_with_rows, exclude=("mar*", "nowhere"))
        manifest = dumped.manifest
        assert manifest.excluded_tables == (lab.table("marks"),)
        assert [lab.table("marks") in warning or "'nowhere'" in warning for warning in manifest.warnings].count(
            True
        ) == 2
        assert b"doomed" not in dumped.plain
        target = load(source, new_name, *before_loading(source, type_with_rows), dumped)
        assert compare(manifest.inventory, target.take_inventory(manifest, Cancellation())) == ()
        assert lab.own_counts(new_name) == {**lab.own_counts(database), lab.table("marks"): 0}
        archive = without_connection(lab).read_archive(dumped.read(), manifest, Cancellation())
        assert compare_tables(manifest.inventory, archive) == ()

    def test_rows_that_a_foreign_key_refers_to_are_not_left_out(
        self, lab: EngineLab, database: str, type_with_rows: BackupType
    ) -> None:
        request = DumpRequest("shop", type_with_rows, ("customers",))
        with pytest.raises(ConfigurationError):
            lab.engine(database).preflight(request)
        with pytest.raises(ConfigurationError) as caught:
            dump_of(lab.engine(database), backup_type=type_with_rows, exclude=("customers",))
        if type_with_rows in lab.types_that_leave_tables_out:
            assert "orders" in caught.value.message
            dump_of(lab.engine(database), backup_type=type_with_rows, exclude=("customers", "orders"))

    def test_a_structure_backup_holds_the_tables_whose_rows_are_left_out(
        self, lab: EngineLab, database: str, backup_type: BackupType
    ) -> None:
        if backup_type is BackupType.STRUCTURE:
            dumped = dump_of(lab.engine(database), backup_type=backup_type, exclude=("*",))
            assert (
                dumped.manifest.inventory == dump_of(lab.engine(database), backup_type=backup_type).manifest.inventory
            )
            assert dumped.manifest.excluded_tables == ()

    # One moment

    def test_the_recovery_point_lies_between_before_and_after_opening(self, lab: EngineLab, database: str) -> None:
        engine = lab.engine(database)
        before = utc_now()
        with engine.open_backup(REQUEST, Cancellation()) as dump:
            opened = utc_now()
            manifest = finish(engine, dump).manifest
        assert before <= manifest.recovery_point <= opened

    def test_a_dump_is_one_moment_of_a_database_that_is_being_written(
        self, lab: EngineLab, database: str, new_name: str, type_with_rows: BackupType
    ) -> None:
        lab.fill(database, megabytes=5)
        engine = lab.engine(database)
        tables = before_loading(engine, type_with_rows)
        with writing(lab, database) as writer:
            committed_before = writer.committed
            with engine.open_backup(DumpRequest("shop", type_with_rows), Cancellation()) as dump:
                writer.wait_for_more()
                dumped = finish(engine, dump, type_with_rows)
            committed_after = writer.committed
        rows = {table.name: table.rows for table in dumped.manifest.inventory.tables}
        assert rows[lab.table("left_side")] == rows[lab.table("right_side")]
        assert committed_before <= rows[lab.table("left_side")] < committed_after
        found = load(engine, new_name, *tables, dumped).take_inventory(dumped.manifest, Cancellation())
        assert compare(dumped.manifest.inventory, found) == ()

    # Nothing is left behind

    def test_a_whole_backup_leaves_no_process_and_no_file(
        self, lab: EngineLab, database: str, private: Path, backup_type: BackupType
    ) -> None:
        before = processes.family()
        dump_of(lab.engine(database, lab.private_options(private)), backup_type=backup_type)
        assert processes.family(ignoring=before) == set()
        assert files_in(private) == []

    def test_leaving_early_kills_what_runs_and_leaves_no_file(
        self, lab: EngineLab, database: str, private: Path, backup_type: BackupType
    ) -> None:
        lab.fill(database, megabytes=10)
        before = processes.family()
        engine = lab.engine(database, lab.private_options(private))
        request = DumpRequest("shop", backup_type)
        with contextlib.suppress(_LeftEarly), engine.open_backup(request, Cancellation()) as dump:
            os.read(dump.streams[0].fileno(), 1000)
            running = processes.family(ignoring=before)
            raise _LeftEarly
        assert processes.still_alive(running) == set()
        assert files_in(private) == []

    def test_a_cancellation_that_came_before_starts_no_dump(
        self, lab: EngineLab, database: str, private: Path, backup_type: BackupType
    ) -> None:
        before = processes.family()
        cancellation = Cancellation()
        cancellation.cancel("the test says so")
        engine = lab.engine(database, lab.private_options(private))
        with pytest.raises(BackupError), engine.open_backup(DumpRequest("shop", backup_type), cancellation) as dump:
            finish(engine, dump, backup_type)
        assert processes.family(ignoring=before) == set()
        assert files_in(private) == []

    # Servers that refuse

    def test_check_names_the_server(self, lab: EngineLab, database: str) -> None:
        server = lab.engine(database).check()
        assert server.engine is lab.engine_name
        assert server.version
        assert server == lab.engine(database).preflight(REQUEST).server

    def test_an_unreachable_server_is_named_by_its_address_and_without_the_password(
        self, lab: EngineLab, database: str
    ) -> None:
        connection = lab.unreachable(database)
        address = f"{connection.host}:{connection.port}" if connection.host else connection.database
        engine = engine_for(connection, lab.options)
        for attempt in (engine.check, lambda: engine.preflight(REQUEST), lambda: dump_of(engine)):
            with pytest.raises(ServerUnreachable) as caught:
                attempt()
            assert address in caught.value.message
            assert caught.value.hint
            assert not lab.password or lab.password not in str(caught.value)

    # Targets

    def test_create_database_never_touches_one_that_exists(self, lab: EngineLab, database: str) -> None:
        before = lab.counts(database)
        with pytest.raises(TargetNotEmpty):
            lab.engine(database).create_database(database)
        assert lab.counts(database) == before

    def test_database_exists_says_what_the_server_says(self, lab: EngineLab, database: str, new_name: str) -> None:
        assert lab.engine(database).database_exists(database)
        assert not lab.engine(database).database_exists(new_name)

    def test_drop_database_removes_what_was_restored_and_takes_a_missing_one(
        self, lab: EngineLab, database: str, new_name: str
    ) -> None:
        engine = lab.engine(database)
        load(engine, new_name, dump_of(engine))
        engine.drop_database(new_name)
        engine.drop_database(new_name)
        assert not lab.exists(new_name)
        assert lab.exists(database)

    @pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
    def test_loading_a_truncated_dump_fails(
        self, lab: EngineLab, database: str, new_name: str, backup_type: BackupType, kept: float
    ) -> None:
        source = lab.engine(database)
        dumped = dump_of(source, backup_type=backup_type)
        cut = dumped.plain[: int(len(dumped.plain) * kept)]
        target = load(source, new_name, *before_loading(source, backup_type))
        with pytest.raises(LoadFailed):
            target.load([blocks(cut)], dumped.manifest, Cancellation())
        if backup_type is BackupType.DATA:
            assert lab.own_counts(new_name) == lab.counts_of_structure(database)

    def test_loading_a_dump_with_a_hole_in_it_fails(
        self, lab: EngineLab, database: str, new_name: str, backup_type: BackupType
    ) -> None:
        source = lab.engine(database)
        dumped = dump_of(source, backup_type=backup_type)
        target = load(source, new_name, *before_loading(source, backup_type))
        with pytest.raises(LoadFailed):
            target.load([blocks(with_a_hole(dumped.plain))], dumped.manifest, Cancellation())
        if backup_type is BackupType.DATA:
            assert lab.own_counts(new_name) == lab.counts_of_structure(database)

    def test_rows_are_not_loaded_beside_others(
        self, lab: EngineLab, database: str, new_name: str, data: BackupType
    ) -> None:
        source = lab.engine(database)
        dumped = dump_of(source, backup_type=data)
        target = load(source, new_name, *before_loading(source, data))
        lab.execute(new_name, "INSERT INTO left_side (id) VALUES (5)")
        before = lab.counts(new_name)
        with pytest.raises(TargetNotEmpty, match="left_side"):
            target.load(dumped.read(), dumped.manifest, Cancellation())
        assert lab.counts(new_name) == before

    def test_rows_are_not_loaded_where_their_table_is_missing(
        self, lab: EngineLab, database: str, new_name: str, data: BackupType
    ) -> None:
        source = lab.engine(database)
        dumped = dump_of(source, backup_type=data)
        target = load(source, new_name, *before_loading(source, data))
        lab.execute(new_name, "DROP TABLE empty_table")
        with pytest.raises(LoadFailed, match="empty_table"):
            target.load(dumped.read(), dumped.manifest, Cancellation())

    def test_damage_that_the_reader_finds_at_the_very_end_is_passed_on(
        self, lab: EngineLab, database: str, new_name: str, backup_type: BackupType
    ) -> None:
        source = lab.engine(database)
        dumped = dump_of(source, backup_type=backup_type)

        def content() -> Iterator[bytes]:
            yield from blocks(dumped.plain)
            raise ArtefactCorrupt("The hash is another one.")

        target = load(source, new_name, *before_loading(source, backup_type))
        with pytest.raises(ArtefactCorrupt, match="The hash is another one"):
            target.load([content()], dumped.manifest, Cancellation())
        if backup_type is BackupType.DATA:
            assert lab.own_counts(new_name) == lab.counts_of_structure(database)

    def test_a_cancelled_load_stops_and_leaves_no_process(
        self, lab: EngineLab, database: str, new_name: str, private: Path, type_with_rows: BackupType
    ) -> None:
        lab.fill(database, megabytes=2)
        dumped = dump_of(lab.engine(database), backup_type=type_with_rows)
        tables = before_loading(lab.engine(database), type_with_rows)
        cancellation = Cancellation()
        before = processes.family()

        def content() -> Iterator[bytes]:
            for number, block in enumerate(blocks(dumped.plain)):
                if number == 3:
                    cancellation.cancel("the test says so")
                yield block

        target = load(lab.engine(database, lab.private_options(private)), new_name, *tables)
        with pytest.raises(BackupError):
            target.load([content()], dumped.manifest, cancellation)
        assert processes.family(ignoring=before) == set()
        assert files_in(private) == []

    # Archives

    def test_read_archive_needs_no_server_and_finds_the_same_tables(
        self, lab: EngineLab, database: str, private: Path, backup_type: BackupType
    ) -> None:
        dumped = dump_of(lab.engine(database), backup_type=backup_type)
        engine = without_connection(lab, lab.private_options(private))
        found = engine.read_archive(dumped.read(), dumped.manifest, Cancellation())
        assert compare_tables(dumped.manifest.inventory, found) == ()
        assert files_in(private) == []

    @pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
    def test_read_archive_finds_a_truncation(
        self, lab: EngineLab, database: str, private: Path, backup_type: BackupType, kept: float
    ) -> None:
        dumped = dump_of(lab.engine(database), backup_type=backup_type)
        cut = dumped.plain[: int(len(dumped.plain) * kept)]
        with pytest.raises(ArtefactError):
            without_connection(lab, lab.private_options(private)).read_archive(
                [blocks(cut)], dumped.manifest, Cancellation()
            )
        assert files_in(private) == []

    def test_read_archive_finds_a_hole(self, lab: EngineLab, database: str, backup_type: BackupType) -> None:
        dumped = dump_of(lab.engine(database), backup_type=backup_type)
        with pytest.raises(ArtefactError):
            without_connection(lab).read_archive([blocks(with_a_hole(dumped.plain))], dumped.manifest, Cancellation())

    def test_a_removed_row_shows_as_a_difference_of_its_table(
        self, lab: EngineLab, database: str, type_with_rows: BackupType
    ) -> None:
        dumped = dump_of(lab.engine(database), backup_type=type_with_rows)
        broken = lab.break_one_row(dumped.plain)
        found = without_connection(lab).read_archive([blocks(broken)], dumped.manifest, Cancellation())
        (difference,) = compare_tables(dumped.manifest.inventory, found)
        assert difference.name == lab.table("marks")
        assert difference.expected.startswith("3 rows")
        assert difference.found.startswith("2 rows")

    # Other places

    def test_a_backup_restores_into_a_scratch_server_that_leaves_nothing(
        self, lab: EngineLab, database: str, private: Path, backup_type: BackupType
    ) -> None:
        dumped = dump_of(lab.engine(database), backup_type=backup_type)
        tables = before_loading(lab.engine(database), backup_type)
        options = lab.private_options(private)
        before = processes.family()
        with open_scratch(dumped.manifest.server, options.scratch_path, Cancellation()) as scratch:
            target = load(engine_for(scratch, options), lab.scratch_database(scratch, database), *tables, dumped)
            found = target.take_inventory(dumped.manifest, Cancellation())
            assert compare(dumped.manifest.inventory, found) == ()
            running = processes.family(ignoring=before)
        assert processes.still_alive(running) == set()
        assert files_in(private) == []

    @pytest.mark.parametrize("compression", [Compression.GZIP, Compression.NONE])
    def test_the_stock_commands_alone_rebuild_the_database(
        self, lab: EngineLab, database: str, tmp_path: Path, compression: Compression, backup_type: BackupType
    ) -> None:
        engine = lab.engine(database)
        dumped = dump_of(engine, backup_type=backup_type)
        restored = lab.restored_database(tmp_path)
        lab.drop(restored)
        try:
            for each in (*before_loading(engine, backup_type), dumped):
                part = each.manifest.parts[0].model_copy(update={"compression": compression, "path": "it's the part.x"})
                stored = gzip.compress(each.plain, 1) if compression is Compression.GZIP else each.plain
                (tmp_path / part.path).write_bytes(stored)
                for step in engine.stock_commands((part,), each.manifest.format):
                    run_in_a_plain_shell(step.command, tmp_path, lab)
            found = lab.engine(restored).take_inventory(dumped.manifest, Cancellation())
            assert compare(dumped.manifest.inventory, found) == ()
        finally:
            lab.drop(restored)


class ServerEngineContract(EngineContract):
    """What more is asked of an engine that has a server, passwords and a dump tool."""

    @pytest.fixture
    def dump_tool(self, lab: EngineLab, private: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTools:
        return FakeTools(lab, private / "tools", monkeypatch)

    def test_a_cancellation_ends_a_dump_that_hangs(
        self, lab: EngineLab, database: str, private: Path, dump_tool: FakeTools
    ) -> None:
        dump_tool.behave(ToolBehaviour.HANGS)
        before = processes.family()
        cancellation = Cancellation()
        engine = lab.engine(database, lab.private_options(private))
        running: set[processes.Process] = set()
        with pytest.raises(BackupError):
            cancel_in_the_middle(engine, cancellation, lambda: running.update(processes.family(ignoring=before)))
        assert running
        assert processes.still_alive(running) == set()
        assert files_in(private, but=dump_tool.folder) == []

    def test_a_tool_that_fails_after_a_whole_dump_fails_the_backup(
        self, lab: EngineLab, database: str, dump_tool: FakeTools, backup_type: BackupType
    ) -> None:
        dump_tool.behave(ToolBehaviour.FAILS)
        with pytest.raises(DumpFailed, match="something broke at the end") as caught:
            dump_of(lab.engine(database), backup_type=backup_type)
        assert lab.password not in str(caught.value)

    def test_a_tool_that_truncates_its_output_with_status_0_fails_the_backup(
        self, lab: EngineLab, database: str, dump_tool: FakeTools, backup_type: BackupType
    ) -> None:
        dump_tool.behave(ToolBehaviour.TRUNCATES)
        with pytest.raises(DumpIncomplete):
            dump_of(lab.engine(database), backup_type=backup_type)

    def test_a_wrong_password_is_told_apart_from_an_unreachable_server(self, lab: EngineLab, database: str) -> None:
        engine = engine_for(lab.wrong_password(database), lab.options)
        for attempt in (engine.check, lambda: dump_of(engine)):
            with pytest.raises(AccessDenied) as caught:
                attempt()
            assert "not-the-password" not in str(caught.value)
            assert caught.value.hint

    def test_no_process_shows_the_password_while_a_dump_runs(self, lab: EngineLab, database: str) -> None:
        lab.fill(database, megabytes=5)
        engine = lab.engine(database)
        with engine.open_backup(REQUEST, Cancellation()) as dump:
            os.read(dump.streams[0].fileno(), 1000)
            shown = processes.that_show(lab.password)
        assert shown == []


@dataclass
class FakeTools:
    """A folder first on PATH whose dump tool misbehaves."""

    lab: EngineLab
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def behave(self, behaviour: ToolBehaviour) -> None:
        self.lab.fake_dump_tool(self.folder, behaviour)
        self.monkeypatch.setenv("PATH", f"{self.folder}{os.pathsep}{os.environ['PATH']}")


def cancel_in_the_middle(engine: Engine, cancellation: Cancellation, look: Callable[[], None]) -> None:
    """Read a little, have a look around, cancel, and go on as if nothing were."""
    with engine.open_backup(REQUEST, cancellation) as dump:
        os.read(dump.streams[0].fileno(), 10)
        look()
        cancellation.cancel("the test says so")
        finish(engine, dump)
