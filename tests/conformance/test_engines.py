"""Every engine keeps the contract, on its own real server."""

from __future__ import annotations

from typing import ClassVar

import pytest

from conformance.engine_contract import EngineContract, ServerEngineContract
from db_backup.engines.mysql import MysqlEngine
from db_backup.engines.postgres import PostgresEngine
from db_backup.engines.sqlite import SqliteEngine


@pytest.mark.integration
class TestSqlite(EngineContract):
    lab_fixture = "sqlite_lab"
    engine_class = SqliteEngine


@pytest.mark.integration
class TestSqliteCompacted(EngineContract):
    """``BACKUP_SQLITE_VACUUM=true``."""

    lab_fixture = "compacted_sqlite_lab"
    engine_class = SqliteEngine


@pytest.mark.integration
class TestPostgres(ServerEngineContract):
    lab_fixture = "postgres_lab"
    engine_class = PostgresEngine


class PostgresFormatContract(ServerEngineContract):
    """Of the contract, what a dump's format can change; the rest is the same as in ``TestPostgres``."""

    engine_class = PostgresEngine
    kept: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        tests = {name for name in dir(cls) if name.startswith("test_")}
        assert cls.kept <= tests
        for name in tests - cls.kept:
            setattr(cls, name, None)


@pytest.mark.integration
class TestPostgresTar(PostgresFormatContract):
    """How tars are read and loaded; a directory's is like pg_dump's own."""

    lab_fixture = "postgres_tar_lab"
    kept = frozenset(
        {
            "test_a_backup_restores_into_a_new_database_with_the_same_inventory",
            "test_a_cancelled_load_stops_and_leaves_no_process",
            "test_a_removed_row_shows_as_a_difference_of_its_table",
            "test_damage_that_the_reader_finds_at_the_very_end_is_passed_on",
            "test_loading_a_dump_with_a_hole_in_it_fails",
            "test_loading_a_truncated_dump_fails",
            "test_read_archive_finds_a_hole",
            "test_read_archive_finds_a_truncation",
            "test_the_stock_commands_alone_rebuild_the_database",
        }
    )


@pytest.mark.integration
class TestPostgresDirectory(PostgresFormatContract):
    """How directories are written and stored."""

    lab_fixture = "postgres_directory_lab"
    kept = frozenset(
        {
            "test_a_backup_restores_into_a_new_database_with_the_same_inventory",
            "test_a_tool_that_fails_after_a_whole_dump_fails_the_backup",
            "test_a_tool_that_truncates_its_output_with_status_0_fails_the_backup",
            "test_a_whole_backup_leaves_no_process_and_no_file",
            "test_leaving_early_kills_what_runs_and_leaves_no_file",
            "test_read_archive_needs_no_server_and_finds_the_same_tables",
            "test_the_stock_commands_alone_rebuild_the_database",
        }
    )


@pytest.mark.integration
class TestMysql(ServerEngineContract):
    lab_fixture = "mysql_lab"
    engine_class = MysqlEngine
