"""Folders of dead processes are removed by the next process, and nothing else is."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from db_backup.errors import ConfigurationError
from db_backup.stream.private_folder import make_last_folder, private_folder, sweep

pytestmark = pytest.mark.unit

ABANDONED = "db-backup-options-0123456789abcdef"
PROGRAM = """
import sys
from pathlib import Path
from db_backup.stream.private_folder import private_folder
print("ready", flush=True)
while True:
    with private_folder(Path(sys.argv[1]), "options") as folder:
        (folder / "options").write_text("secret")
"""


def abandoned(parent: Path, name: str = ABANDONED) -> Path:
    folder = parent / name
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "secret").write_text("secret")
    (folder / "lock").touch()
    return folder


def test_it_is_for_us_alone_and_gone_afterwards(tmp_path: Path) -> None:
    with private_folder(tmp_path, "staging") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.name.startswith("db-backup-staging-")
        (folder / "image").write_text("rows")
    assert list(tmp_path.iterdir()) == []


def test_an_abandoned_one_of_any_purpose_is_removed_and_a_living_one_is_not(tmp_path: Path) -> None:
    abandoned(tmp_path)
    abandoned(tmp_path, f".{ABANDONED}")
    (tmp_path / "db-backup-staging-0000000000000000").mkdir()  # its maker died before it had locked it
    with private_folder(tmp_path, "staging") as first, private_folder(tmp_path, "options") as second:
        assert set(tmp_path.iterdir()) == {first, second}


def test_folders_and_files_of_others_stay(tmp_path: Path) -> None:
    mine = [abandoned(tmp_path, name) for name in ("db-backup-old", "db-backup-of-december", "somebody-elses")]
    file = tmp_path / ABANDONED
    file.write_text("a file")
    sweep(tmp_path)
    assert set(tmp_path.iterdir()) == {*mine, file}
    assert all((folder / "deep" / "secret").exists() for folder in mine)


def test_a_symbolic_link_leads_a_sweep_nowhere(tmp_path: Path) -> None:
    treasure = abandoned(tmp_path, "treasure")
    (treasure / "lock").unlink()
    temp = tmp_path / "temp"
    temp.mkdir()
    (temp / ABANDONED).symlink_to(treasure)
    inner = abandoned(temp, ABANDONED.replace("0", "1"))
    (inner / "socket").symlink_to(treasure)
    sweep(temp)
    assert not inner.exists()
    assert [path.name for path in treasure.iterdir()] == ["deep"]


def test_killed_at_any_moment_nothing_is_left_after_the_next_one(tmp_path: Path) -> None:
    for milliseconds in (0, 1, 2, 3, 5, 8, 13):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "plugins")},
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            threading.Event().wait(milliseconds / 1000)
            process.send_signal(signal.SIGKILL)
    with private_folder(tmp_path, "options"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_many_at_once_sweep_none_that_lives(tmp_path: Path) -> None:
    lost = []

    def work() -> None:
        for _ in range(100):
            with private_folder(tmp_path, "options") as folder:
                (folder / "options").write_text("secret")
                if not (folder / "options").exists():
                    lost.append(folder)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    assert list(tmp_path.iterdir()) == []


def test_only_the_last_folder_of_a_setting_is_made(tmp_path: Path) -> None:
    make_last_folder(tmp_path / "staging", "BACKUP_STAGING_PATH")
    make_last_folder(tmp_path / "staging", "BACKUP_STAGING_PATH")
    assert (tmp_path / "staging").is_dir()

    with pytest.raises(ConfigurationError, match=r"BACKUP_STAGING_PATH is .*/no/deep, and there is no folder .*/no"):
        make_last_folder(tmp_path / "no" / "deep", "BACKUP_STAGING_PATH")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(("name", "reason"), [("file", "is not a folder"), ("file/x", "Not a directory")])
def test_a_setting_that_names_a_file_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=reason) as caught:
        make_last_folder(tmp_path / name, "BACKUP_SCRATCH_PATH")
    assert "BACKUP_SCRATCH_PATH" in caught.value.message
