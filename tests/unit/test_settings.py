"""Settings: sources, validation, masking, and the refusal of what is not there yet."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from datetime import time
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest

from db_backup.errors import ConfigurationError, FeatureNotAvailable
from db_backup.model import BackupType, Compression, VerificationLevel
from db_backup.settings import HourWindow, Settings, load_settings, project_root
from db_backup.settings.availability import NOT_YET_VARIABLES
from db_backup.settings.definition import variable_names

pytestmark = pytest.mark.unit

PROJECT_ROOT = Path(__file__).resolve().parents[2]

# SPEC §2, as it stands there; the two that name a folder of the machine are tested by themselves.
SPECIFIED = """
    BACKUP_ENABLED=true                    BACKUP_DEFAULT_TYPE=full           BACKUP_DEFAULT_COMPRESSION=gzip
    BACKUP_COMPRESSION_LEVEL=9             BACKUP_RETENTION_DAYS=30           BACKUP_RETENTION_INCREMENTAL_DAYS=7
    BACKUP_RETENTION_STRUCTURE_DAYS=90     BACKUP_DAILY_ENABLED=true          BACKUP_DAILY_TIME=03:00
    BACKUP_WEEKLY_ENABLED=true             BACKUP_WEEKLY_TIME=04:00           BACKUP_WEEKLY_DAY=sunday
    BACKUP_HOURLY_ENABLED=false            BACKUP_HOURLY_WINDOW=09-18         BACKUP_TIMEZONE=UTC
    BACKUP_VERIFICATION_ENABLED=true       BACKUP_VERIFICATION_DAILY_CHECK=true  BACKUP_VERIFICATION_TIME=06:00
    BACKUP_VERIFICATION_LEVEL=restore      BACKUP_VERIFICATION_RESTORE_MAX_MB=10240
    BACKUP_STORAGE_DISK=local              BACKUP_LOCAL_PATH=storage/backups  BACKUP_CLOUD_ENABLED=false
    BACKUP_CLOUD_DISK=s3                   BACKUP_CLOUD_URL=                  BACKUP_KEEP_LOCAL_COPY=true
    BACKUP_NOTIFICATIONS_ENABLED=false     BACKUP_NOTIFY_FAILURE=true         BACKUP_NOTIFY_SUCCESS=false
    BACKUP_SLACK_WEBHOOK_URL=              BACKUP_SLACK_CONN_ID=              BACKUP_WEBHOOK_URL=
    BACKUP_EMAIL_TO=                       BACKUP_SMTP_CONN_ID=smtp_default
    BACKUP_ENCRYPT=false                   BACKUP_ENCRYPTION_KEY_ID=          BACKUP_MAX_SIZE_MB=1024
    BACKUP_TIMEOUT_SECONDS=3600            BACKUP_PARALLEL_JOBS=1             BACKUP_CONFIG=include/backup.yaml
    BACKUP_CATALOG_CONN_ID=                BACKUP_CATALOG_PATH=$AIRFLOW_HOME/db_backup_catalog.sqlite
    BACKUP_FILE_GROUP=                     BACKUP_ADMIN_ROLES=Admin           BACKUP_RESTORE_FOUR_EYES=false
    BACKUP_SQLITE_VACUUM=false             BACKUP_KEYS_PATH=$AIRFLOW_HOME/db_backup_keys
    MYSQL_BACKUP_SINGLE_TRANSACTION=true   MYSQL_BACKUP_ROUTINES=true         MYSQL_BACKUP_TRIGGERS=true
    MYSQL_BACKUP_EVENTS=true
    PGSQL_BACKUP_FORMAT=custom             PGSQL_BACKUP_NO_OWNER=true         PGSQL_BACKUP_NO_PRIVILEGES=true
"""
SPECIFIED_DEFAULTS = dict(text.split("=", 1) for text in SPECIFIED.split())

# A value of every variable that is not there yet, away from its default.
ASKED_TOO_EARLY = {
    "BACKUP_NOTIFICATIONS_ENABLED": "true",
    "BACKUP_NOTIFY_FAILURE": "false",
    "BACKUP_NOTIFY_SUCCESS": "true",
    "BACKUP_SLACK_WEBHOOK_URL": "https://hooks.example.com/T0/B0/hunter2",
    "BACKUP_SLACK_CONN_ID": "slack",
    "BACKUP_WEBHOOK_URL": "https://example.com/hunter2",
    "BACKUP_EMAIL_TO": "a@example.com,b@example.com",
    "BACKUP_SMTP_CONN_ID": "mail",
    "BACKUP_ADMIN_ROLES": "Admin,Op",
}


def load(root: Path, **environment: str) -> Settings:
    return load_settings({"AIRFLOW_HOME": str(root / "airflow"), **environment}, root=root)


def shown(settings: Settings) -> dict[str, str]:
    return {setting.name: setting.value for setting in settings.effective()}


def refused(root: Path, **environment: str) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        load(root, **environment)
    assert refusal.value.exit_code == 2
    return str(refusal.value)


def test_every_variable_of_the_specification_is_there_with_its_default(tmp_path: Path) -> None:
    settings = load(tmp_path)
    expected = {
        **SPECIFIED_DEFAULTS,
        "BACKUP_LOCAL_PATH": str(tmp_path / "storage/backups"),
        "BACKUP_CONFIG": str(tmp_path / "include/backup.yaml"),
        "BACKUP_CATALOG_PATH": str(tmp_path / "airflow/db_backup_catalog.sqlite"),
        "BACKUP_KEYS_PATH": str(tmp_path / "airflow/db_backup_keys"),
        "BACKUP_SCRATCH_PATH": tempfile.gettempdir(),
        "BACKUP_STAGING_PATH": tempfile.gettempdir(),
    }
    assert shown(settings) == expected
    assert {setting.source for setting in settings.effective()} == {"default"}


def test_the_specifications_list_can_be_pasted_into_dotenv(tmp_path: Path) -> None:
    text = "\n".join(f"{name}={value}" for name, value in SPECIFIED_DEFAULTS.items())
    without = shown(load(tmp_path))
    (tmp_path / ".env").write_text(text)
    assert shown(load(tmp_path)) == without


def test_values_have_the_types_of_their_subject(tmp_path: Path) -> None:
    settings = load(tmp_path, BACKUP_TIMEZONE="Europe/Berlin", BACKUP_VERIFICATION_LEVEL="archive")
    assert settings.backup_default_type is BackupType.FULL
    assert settings.backup_daily_time == time(3)
    assert settings.backup_timezone == ZoneInfo("Europe/Berlin")
    assert settings.backup_hourly_window == HourWindow(9, 18)
    assert settings.backup_verification_level is VerificationLevel.ARCHIVE
    assert settings.backup_admin_roles == ("Admin",)


def test_the_environment_wins_over_dotenv_and_that_over_the_default(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BACKUP_RETENTION_DAYS=10\nBACKUP_MAX_SIZE_MB=20  # a comment\nexport OTHER='x'\n")
    settings = load(tmp_path, BACKUP_RETENTION_DAYS="5")
    assert (settings.backup_retention_days, settings.source_of("BACKUP_RETENTION_DAYS")) == (5, "environment")
    assert (settings.backup_max_size_mb, settings.source_of("BACKUP_MAX_SIZE_MB")) == (20, ".env")
    assert settings.source_of("BACKUP_TIMEOUT_SECONDS") == "default"


def test_an_empty_value_counts_as_not_set(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BACKUP_DAILY_TIME=05:00\n")
    settings = load(tmp_path, BACKUP_DAILY_TIME="", BACKUP_ENABLED=" ")
    assert settings.backup_daily_time == time(5)
    assert settings.source_of("BACKUP_DAILY_TIME") == ".env"
    assert settings.source_of("BACKUP_ENABLED") == "default"


def test_the_process_environment_is_read_when_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_TIMEOUT_SECONDS", "77")
    assert load_settings(root=tmp_path).backup_timeout_seconds == 77


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("BACKUP_ENABLED", "treu", "true"),
        ("BACKUP_DEFAULT_TYPE", "Full", "full"),
        ("BACKUP_DEFAULT_COMPRESSION", "gz", "gzip"),
        ("BACKUP_COMPRESSION_LEVEL", "12", "9"),
        ("BACKUP_COMPRESSION_LEVEL", "high", None),
        ("BACKUP_RETENTION_DAYS", "0", None),
        ("BACKUP_RETENTION_DAYS", "30.4", "30"),
        ("BACKUP_RETENTION_DAYS", "30 days", None),
        ("BACKUP_DAILY_TIME", "3:00", "03:00"),
        ("BACKUP_DAILY_TIME", "3pm", "15:00"),
        ("BACKUP_DAILY_TIME", "24:00", "23:59"),
        ("BACKUP_DAILY_TIME", "at night", None),
        ("BACKUP_WEEKLY_DAY", "Sun", "sunday"),
        ("BACKUP_HOURLY_WINDOW", "9-18", "09-18"),
        ("BACKUP_HOURLY_WINDOW", "18-09", "09-18"),
        ("BACKUP_TIMEZONE", "berlin", "Europe/Berlin"),
        ("BACKUP_TIMEZONE", "Europe/Berln", "Europe/Berlin"),
        ("BACKUP_VERIFICATION_LEVEL", "restored", "restore"),
        ("BACKUP_STORAGE_DISK", "my disk", None),
        ("BACKUP_CLOUD_DISK", "local", "s3"),
        ("BACKUP_CLOUD_URL", "gcs://bucket/prefix", "gs://bucket/prefix"),
        ("BACKUP_CLOUD_URL", "bucket/prefix", None),
        ("BACKUP_CLOUD_URL", "s3://Bucket", None),
        ("BACKUP_CLOUD_URL", "file:///mnt/backups", None),
        ("BACKUP_MAX_SIZE_MB", "-1", None),
        ("BACKUP_TIMEOUT_SECONDS", "0", None),
        ("BACKUP_PARALLEL_JOBS", "65", None),
        ("PGSQL_BACKUP_FORMAT", "directry", "directory"),
        ("MYSQL_BACKUP_EVENTS", "2", None),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_the_nearest_valid_one(
    tmp_path: Path, name: str, value: str, nearest: str | None
) -> None:
    text = refused(tmp_path, **{name: value})
    assert f"{name} (environment)" in text
    assert value in text
    assert f"Did you mean '{nearest}'?" in text if nearest else f"Remove {name}" in text


def test_a_number_out_of_bounds_is_told_the_bound_and_nothing_is_suggested(tmp_path: Path) -> None:
    """BACKUP_MAX_SIZE_MB=0 means no limit: the opposite of what somebody who wrote -1 may have meant."""
    text = refused(tmp_path, BACKUP_MAX_SIZE_MB="-1")
    assert "'-1' is not a whole number of at least 0" in text
    assert "Did you mean" not in text
    assert "Remove BACKUP_MAX_SIZE_MB to use its default." in text


def test_all_wrong_values_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BACKUP_RETENTION_DAY=5\nBACKUP_ENABLED=perhaps\n")
    text = refused(tmp_path, BACKUP_DAILY_TIME="noon")
    assert "3 problems" in text
    assert "BACKUP_RETENTION_DAY (.env): there is no such setting. Did you mean 'BACKUP_RETENTION_DAYS'?" in text
    assert "BACKUP_ENABLED (.env)" in text
    assert "BACKUP_DAILY_TIME (environment)" in text


@pytest.mark.parametrize("name", ["BACKUP_ENCRYTP", "MYSQL_BACKUP_EVENT", "PGSQL_BACKUP_FORMATS"])
def test_an_unknown_variable_is_refused_in_dotenv_and_left_alone_in_the_environment(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, **{name: "x"}).source_of(name) == "default"
    (tmp_path / ".env").write_text(f"{name}=x\nUNRELATED=y\n")
    text = refused(tmp_path)
    assert f"{name} (.env)" in text
    assert "Did you mean" in text


def test_a_line_of_dotenv_that_is_no_assignment_is_refused_with_its_number_and_not_its_text(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nBACKUP hunter2 x\n")
    text = refused(tmp_path)
    assert ".env, line 2" in text
    assert "hunter2" not in text


def test_a_dotenv_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert "cannot be read: Is a directory" in refused(tmp_path)


def test_a_dollar_sign_in_dotenv_stands_for_itself(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BACKUP_LOCAL_PATH=/data/$HOME\n")
    assert load(tmp_path).backup_local_path == Path("/data/$HOME")


def test_asked_too_early_covers_every_variable_that_is_not_there_yet() -> None:
    assert set(ASKED_TOO_EARLY) == set(NOT_YET_VARIABLES)
    assert set(NOT_YET_VARIABLES) <= set(variable_names())


@pytest.mark.parametrize("name", ASKED_TOO_EARLY)
def test_a_setting_whose_feature_is_not_there_is_refused_away_from_its_default(tmp_path: Path, name: str) -> None:
    with pytest.raises(FeatureNotAvailable) as refusal:
        load(tmp_path, **{name: ASKED_TOO_EARLY[name]})
    assert refusal.value.exit_code == 2
    assert name in str(refusal.value)
    assert NOT_YET_VARIABLES[name] in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_login_in_the_address_of_the_cloud_is_refused_and_not_shown(tmp_path: Path) -> None:
    text = refused(tmp_path, BACKUP_CLOUD_URL="s3://key:hunter2@bucket/prefix")
    assert "BACKUP_CLOUD_URL (environment): the value is not an address" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("name", sorted(NOT_YET_VARIABLES))
def test_a_setting_whose_feature_is_not_there_may_be_set_to_its_default(tmp_path: Path, name: str) -> None:
    default = SPECIFIED_DEFAULTS[name]
    assert shown(load(tmp_path, **{name: default}))[name] == default


@pytest.mark.parametrize(
    ("compression", "level", "effective"),
    [
        ("gzip", "", 9),
        ("gzip", "1", 1),
        ("zstd", "", 3),
        ("zstd", "19", 19),
        ("none", "", None),
    ],
)
def test_the_level_follows_the_compression(tmp_path: Path, compression: str, level: str, effective: int | None) -> None:
    settings = load(tmp_path, BACKUP_DEFAULT_COMPRESSION=compression, BACKUP_COMPRESSION_LEVEL=level)
    assert settings.backup_default_compression is Compression(compression)
    assert settings.backup_compression_level == effective


@pytest.mark.parametrize(("compression", "level"), [("gzip", "10"), ("gzip", "0"), ("zstd", "20"), ("none", "9")])
def test_a_level_that_the_compression_does_not_take_is_refused(tmp_path: Path, compression: str, level: str) -> None:
    text = refused(tmp_path, BACKUP_DEFAULT_COMPRESSION=compression, BACKUP_COMPRESSION_LEVEL=level)
    assert "BACKUP_COMPRESSION_LEVEL" in text
    assert f"{compression} takes" in text


def test_relative_paths_count_from_the_root_and_not_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / ".env").write_text("BACKUP_SCRATCH_PATH=../scratch\n")
    settings = load(tmp_path, BACKUP_LOCAL_PATH="backups", BACKUP_STAGING_PATH="~/staging")
    assert settings.backup_local_path == tmp_path / "backups"
    assert settings.backup_scratch_path == tmp_path.parent / "scratch"
    assert settings.backup_staging_path == Path("~/staging").expanduser()
    assert settings.root == tmp_path


def test_the_root_is_the_folder_above_plugins() -> None:
    assert project_root({"AIRFLOW_HOME": "/somewhere/else"}) == PROJECT_ROOT


def test_an_installed_package_takes_airflows_home_as_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import db_backup

    monkeypatch.setattr(db_backup, "__file__", str(tmp_path / "site-packages" / "db_backup" / "__init__.py"))
    assert project_root({"AIRFLOW_HOME": str(tmp_path)}) == tmp_path
    assert project_root({}) == Path("~/airflow").expanduser()


def test_secrets_never_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db_backup.settings.definition.NOT_YET_VARIABLES", {})
    settings = load(
        tmp_path,
        BACKUP_SLACK_WEBHOOK_URL="https://hooks.example.com/hunter2",
        BACKUP_WEBHOOK_URL="https://example.com/?token=hunter2",
    )
    values = shown(settings)
    assert values["BACKUP_SLACK_WEBHOOK_URL"] == values["BACKUP_WEBHOOK_URL"] == "********"
    assert settings.backup_webhook_url.get_secret_value() == "https://example.com/?token=hunter2"
    assert "hunter2" not in repr(settings.backup_webhook_url) + repr(settings.backup_slack_webhook_url)


def test_every_setting_has_a_help_sentence_and_a_group() -> None:
    for name, field in Settings.model_fields.items():
        assert re.fullmatch(r"[A-Z].*\.", field.description or ""), name
    assert all(setting.group for setting in load_settings({}, root=Path("/nonexistent")).effective())


def _documentation() -> ModuleType:
    path = PROJECT_ROOT / "scripts" / "write_configuration_docs.py"
    spec = importlib.util.spec_from_file_location("write_configuration_docs", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_page_and_the_example_are_what_the_script_writes() -> None:
    documentation = _documentation()
    assert (PROJECT_ROOT / "docs" / "configuration.md").read_text() == documentation.configuration_page()
    assert (PROJECT_ROOT / ".env.example").read_text() == documentation.example_environment()


def test_the_example_environment_is_accepted_with_every_line_uncommented(tmp_path: Path) -> None:
    text = (PROJECT_ROOT / ".env.example").read_text()
    without = shown(load(tmp_path))
    (tmp_path / ".env").write_text(re.sub(r"^#(?=[A-Z_]+=)", "", text, flags=re.MULTILINE))
    assert shown(load(tmp_path)) == without


def test_configuration_and_connections_import_neither_airflow_nor_a_database_driver() -> None:
    code = (
        "import sys, db_backup.config, db_backup.connections\n"
        "print(*sorted({'airflow', 'sqlalchemy', 'psycopg', 'pymysql'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
