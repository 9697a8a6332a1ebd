"""What the size of the last backup tells of the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from db_backup.config import load_config
from db_backup.errors import SizeLimitExceeded
from db_backup.jobs.creation import Plan, refuse_what_outgrew
from db_backup.model import BackupType, Compression
from db_backup.settings import load_settings
from db_backup.stream.pipeline import Limits
from support.factories import make_manifest

pytestmark = pytest.mark.unit


def plan(folder: Path, backup_type: BackupType) -> Plan:
    """The one before took 4 kB and was estimated at 1 kB; 1 MB is allowed."""
    settings = load_settings({"AIRFLOW_HOME": str(folder)}, root=folder)
    text = "databases: {shop: {conn_id: a, types: [full, incremental]}}"
    return Plan(
        entry=load_config(settings, text=text).entry("shop"),
        type=backup_type,
        compression=Compression.GZIP,
        level=9,
        jobs=1,
        retention_days=7,
        storages=(),
        limits=Limits(max_stored_bytes=1 << 20, deadline=0.0, timeout_seconds=1.0),
        previous=make_manifest(type=backup_type, estimated_plain_bytes=1024),
    )


def test_a_full_that_has_outgrown_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SizeLimitExceeded, match="would take about"):
        refuse_what_outgrew(plan(tmp_path, BackupType.FULL), 1 << 20)


def test_a_small_increment_tells_nothing_of_the_next(tmp_path: Path) -> None:
    refuse_what_outgrew(plan(tmp_path, BackupType.INCREMENTAL), 1 << 20)
