"""A backup or a restore killed without a chance leaves nothing behind once the next one has run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from db_backup.engines.base import EngineOptions
from db_backup.model import EngineName
from db_backup.progress import Cancellation
from support.dumps import dump_of
from support.lab import EngineLab

pytestmark = pytest.mark.integration

MOMENTS = (0.0, 0.03, 0.08, 0.15, 0.3)  # seconds after the program is ready
DUMPING = """
import json, os, sys
from pathlib import Path
from db_backup.engines import engine_for
from db_backup.engines.base import DumpRequest, EngineOptions
from db_backup.model import BackupType, ConnectionInfo, EngineName
from db_backup.progress import Cancellation
fields, staging = json.loads(sys.argv[1]), Path(sys.argv[2])
connection = ConnectionInfo(**{**fields, "engine": EngineName(fields["engine"])})
engine = engine_for(connection, EngineOptions(staging_path=staging, scratch_path=staging))
print("ready", flush=True)
while True:
    with engine.open_backup(DumpRequest(entry="killed", type=BackupType.FULL), Cancellation()) as dump:
        stream = dump.streams[0].fileno()
        while os.read(stream, 1 << 16):
            pass
"""
LANDING = """
import sys, time
from pathlib import Path
from db_backup.engines.sqlite.landing import land_image
from db_backup.progress import Cancellation
def content():
    yield Path(sys.argv[1]).read_bytes()[:5000]
    print("ready", flush=True)
    time.sleep(1000)
land_image(content(), Path(sys.argv[2]), Cancellation())
"""


def killed(program: str, *arguments: str, after_seconds: float, temp: Path) -> None:
    """Run it until it says that it is ready, and a little longer."""
    plugins = Path(__file__).parents[2] / "plugins"
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(plugins), "TMPDIR": str(temp)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(after_seconds)
        assert process.poll() is None
        process.kill()


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "db-backup-" in path.name]


@pytest.mark.parametrize("name", list(EngineName))
def test_a_dump_killed_at_any_moment_leaves_no_password_and_no_copy(
    labs: dict[EngineName, EngineLab], name: EngineName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = labs[name]
    database = lab.create_sample()
    connection = lab.connection(database)
    fields = json.dumps({**vars(connection), "extra": dict(connection.extra)})
    for moment in MOMENTS:
        killed(DUMPING, fields, str(tmp_path), after_seconds=moment, temp=tmp_path)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dump_of(lab.engine(database, EngineOptions(staging_path=tmp_path, scratch_path=tmp_path)))
    assert left_in(tmp_path) == []
    lab.drop(database)


def test_a_restore_of_sqlite_that_was_killed_leaves_nothing_beside_its_target(
    sqlite_lab: EngineLab, tmp_path: Path
) -> None:
    database = sqlite_lab.create_sample()
    target = tmp_path / "new.sqlite"
    killed(LANDING, database, str(target), after_seconds=0, temp=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1

    engine = sqlite_lab.engine(database)
    dumped = dump_of(engine)
    engine.create_database(str(target)).load([[dumped.plain]], dumped.manifest, Cancellation())
    assert list(tmp_path.iterdir()) == [target]
    sqlite_lab.drop(database)
