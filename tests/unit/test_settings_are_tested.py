"""Every setting that is there has a test that sets it and sees another behaviour."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from db_backup.settings.availability import NOT_YET_VARIABLES
from db_backup.settings.definition import variable_names

pytestmark = pytest.mark.unit

TESTS = Path(__file__).resolve().parents[1]

_BEHAVIOUR = "integration/test_settings_change_behaviour.py"
_CONNECTIONS = "integration/test_storage_connections.py"
_CLOUD = f"{_CONNECTIONS}::test_backups_go_to_the_cloud_disk_as_well_when_the_cloud_is_enabled"
_SCHEDULES = "unit/test_schedules.py"
_DAILY = "airflow/test_backup_daily.py"

TESTED_BY = {
    "BACKUP_ENABLED": f"{_DAILY}::test_a_scheduled_run_is_skipped_when_backups_are_switched_off",
    "BACKUP_DEFAULT_TYPE": "integration/test_types.py::test_create_takes_the_default_type_when_none_is_asked_for",
    "BACKUP_DEFAULT_COMPRESSION": f"{_BEHAVIOUR}::test_the_default_compression_is_what_backups_are_compressed_with",
    "BACKUP_COMPRESSION_LEVEL": f"{_BEHAVIOUR}::test_the_compression_level_makes_backups_larger_or_smaller",
    "BACKUP_CONFIG": f"{_BEHAVIOUR}::test_another_configuration_file_has_other_entries",
    "BACKUP_RETENTION_DAYS": f"{_BEHAVIOUR}::test_retention_days_say_when_a_backup_expires",
    "BACKUP_RETENTION_INCREMENTAL_DAYS": f"{_BEHAVIOUR}::test_the_retention_of_incrementals_is_a_setting_of_its_own",
    "BACKUP_RETENTION_STRUCTURE_DAYS": f"{_BEHAVIOUR}::test_retention_days_say_when_a_backup_expires",
    "BACKUP_DAILY_ENABLED": f"{_SCHEDULES}::test_the_daily_schedule_follows_the_settings",
    "BACKUP_DAILY_TIME": f"{_SCHEDULES}::test_the_daily_schedule_follows_the_settings",
    "BACKUP_WEEKLY_ENABLED": f"{_SCHEDULES}::test_the_weekly_schedule_follows_the_settings",
    "BACKUP_WEEKLY_TIME": f"{_SCHEDULES}::test_the_weekly_schedule_follows_the_settings",
    "BACKUP_WEEKLY_DAY": f"{_SCHEDULES}::test_the_weekly_schedule_follows_the_settings",
    "BACKUP_HOURLY_ENABLED": f"{_SCHEDULES}::test_the_hourly_schedule_follows_the_settings",
    "BACKUP_HOURLY_WINDOW": f"{_SCHEDULES}::test_the_hourly_schedule_follows_the_settings",
    "BACKUP_TIMEZONE": f"{_DAILY}::test_the_schedule_follows_the_settings",
    "BACKUP_VERIFICATION_ENABLED": f"{_DAILY}::test_verification_that_is_switched_off_is_skipped_and_proves_nothing",
    "BACKUP_VERIFICATION_DAILY_CHECK": f"{_SCHEDULES}::test_the_verification_schedule_follows_the_settings",
    "BACKUP_VERIFICATION_TIME": f"{_SCHEDULES}::test_the_verification_schedule_follows_the_settings",
    "BACKUP_VERIFICATION_LEVEL": f"{_BEHAVIOUR}::test_the_verification_level_is_how_far_a_new_backup_is_proved",
    "BACKUP_VERIFICATION_RESTORE_MAX_MB": (
        "integration/test_cli_results.py::test_an_inconclusive_proof_is_a_warning_of_create_and_a_failure_of_verify"
    ),
    "BACKUP_STORAGE_DISK": f"{_BEHAVIOUR}::test_backups_go_to_the_storage_of_the_setting",
    "BACKUP_CLOUD_ENABLED": _CLOUD,
    "BACKUP_CLOUD_DISK": _CLOUD,
    "BACKUP_CLOUD_URL": _CLOUD,
    "BACKUP_LOCAL_PATH": f"{_BEHAVIOUR}::test_backups_go_into_the_folder_of_the_local_storage",
    "BACKUP_FILE_GROUP": f"{_BEHAVIOUR}::test_files_belong_to_the_group_of_the_setting",
    "BACKUP_MAX_SIZE_MB": (
        "integration/test_bad_input.py::test_over_the_size_limit_names_the_figure_the_limit_and_the_setting"
    ),
    "BACKUP_TIMEOUT_SECONDS": "integration/test_main_job.py::test_a_dump_that_hangs_is_stopped_at_the_time_limit",
    "BACKUP_PARALLEL_JOBS": f"{_BEHAVIOUR}::test_parallel_jobs_are_the_streams_that_carry_rows",
    "BACKUP_CATALOG_CONN_ID": (
        "integration/test_catalog_postgres.py::test_the_command_line_uses_the_catalogue_of_the_connection_and_names_it"
    ),
    "BACKUP_CATALOG_PATH": f"{_BEHAVIOUR}::test_another_catalogue_knows_other_backups",
    "BACKUP_SCRATCH_PATH": f"{_BEHAVIOUR}::test_temporary_files_lie_where_the_setting_says",
    "BACKUP_STAGING_PATH": f"{_BEHAVIOUR}::test_temporary_files_lie_where_the_setting_says",
    "MYSQL_BACKUP_SINGLE_TRANSACTION": f"{_BEHAVIOUR}::test_without_a_single_transaction_mysql_locks_its_tables",
    "MYSQL_BACKUP_ROUTINES": f"{_BEHAVIOUR}::test_what_a_setting_of_mysql_leaves_out_is_not_in_the_backup_and_is_told",
    "MYSQL_BACKUP_TRIGGERS": f"{_BEHAVIOUR}::test_what_a_setting_of_mysql_leaves_out_is_not_in_the_backup_and_is_told",
    "MYSQL_BACKUP_EVENTS": f"{_BEHAVIOUR}::test_what_a_setting_of_mysql_leaves_out_is_not_in_the_backup_and_is_told",
    "PGSQL_BACKUP_FORMAT": f"{_BEHAVIOUR}::test_the_format_of_postgres_is_what_its_dump_is",
    "PGSQL_BACKUP_NO_OWNER": f"{_BEHAVIOUR}::test_owners_and_privileges_come_back_as_the_settings_say",
    "PGSQL_BACKUP_NO_PRIVILEGES": f"{_BEHAVIOUR}::test_owners_and_privileges_come_back_as_the_settings_say",
    "BACKUP_KEEP_LOCAL_COPY": "integration/test_replicate.py::test_the_local_copy_goes_once_another_was_read_back",
    "BACKUP_RESTORE_FOUR_EYES": "airflow/test_backup_restore.py::test_with_four_eyes_nobody_approves_their_own_restore",
    "BACKUP_ENCRYPT": f"{_BEHAVIOUR}::test_backups_are_encrypted_when_the_setting_says_so",
    "BACKUP_ENCRYPTION_KEY_ID": "unit/test_rotate_keys.py::test_rotation_is_for_the_keys_of_the_setting_and_no_others",
    "BACKUP_KEYS_PATH": "unit/test_rotate_keys.py::test_rotation_is_for_the_keys_of_the_setting_and_no_others",
    "BACKUP_SQLITE_VACUUM": f"{_BEHAVIOUR}::test_a_compacted_sqlite_image_has_no_unused_pages",
}


@cache
def source_of(test: str) -> str:
    """The test's code with its decorators; empty when there is no such test."""
    module, name = test.split("::")
    text = (TESTS / module).read_text()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            first = min(node.lineno, *(decorator.lineno for decorator in node.decorator_list), node.lineno)
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    return ""


def test_every_setting_is_either_tested_or_not_there_yet() -> None:
    assert set(TESTED_BY) | set(NOT_YET_VARIABLES) == set(variable_names())
    assert not set(TESTED_BY) & set(NOT_YET_VARIABLES)


@pytest.mark.parametrize("variable", TESTED_BY)
def test_the_test_of_a_setting_exists_and_sets_it(variable: str) -> None:
    test = TESTED_BY[variable]
    assert source_of(test), f"there is no {test}"
    assert f"{variable}=" in source_of(test) or f'"{variable}"' in source_of(test)
