"""Our own process killed without a chance, at any moment: what it leaves is whole, and the next run sweeps the rest.

The moments are random and the seed is fixed; a failure names the kill.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from db_backup.jobs.workspace import Workspace
from db_backup.model import EngineName
from db_backup.progress import Cancellation
from support.aftermath import assert_all_is_well, assert_every_published_backup_is_whole, assert_no_process_is_left
from support.dumps import dump_of
from support.factories import make_part
from support.forks import Forks
from support.history import past_backup, publish
from support.lab import EngineLab
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration

TESTS = Path(__file__).parents[1]
PLUGINS = TESTS.parent / "plugins"
MakeProject = Callable[..., Project]

SEED = 20260131
# Fifty in all. What deletes is the same for all engines, and killed with the quickest.
KILLS = {
    EngineName.SQLITE: {"create": 6, "verify": 5, "restore": 5, "cleanup": 5, "delete": 5},
    EngineName.POSTGRES: {"create": 5, "verify": 4, "restore": 3},
    EngineName.MYSQL: {"create": 5, "verify": 4, "restore": 3},
}


class Targets:
    """One project over one engine, and what a killed command is told to do there."""

    def __init__(self, project: Project, lab: EngineLab) -> None:
        self.project = project
        self.lab = lab
        self.earlier = [project.json("create", "shop")["backups"][0]["id"]]
        self.restored: list[str] = []
        self._ages = itertools.count(50)

    def arguments(self, act: str) -> list[str]:
        """Of an act that has work to do."""
        if act == "create":
            return ["create", "shop"]
        if act == "verify":
            return ["verify", self.earlier[0], "--level", "restore"]
        if act == "restore":
            name = self.lab.fresh_name()
            self.restored.append(name)
            return ["restore", self.earlier[0], "--as", name]
        old = self._publish_old_backups()
        return ["cleanup"] if act == "cleanup" else ["delete", old[-1], "--force"]

    def _publish_old_backups(self) -> list[str]:
        content = bytes(4096)
        part = make_part("dump.gz", stored_bytes=len(content), stored_sha256=hashlib.sha256(content).hexdigest())
        with Workspace.open(self.project.environment) as workspace:
            return publish(workspace, [past_backup(next(self._ages), parts=(part,)) for _ in range(3)])

    def drop_what_was_restored(self) -> None:
        """A file is whole if it is there at all; a database on a server is as far as the load came."""
        for name in self.restored:
            if self.lab.engine_name is EngineName.SQLITE and self.lab.exists(name):
                assert self.lab.counts(name)[self.lab.table("marks")] == 3
            self.lab.drop(name)
        self.restored.clear()


@pytest.mark.parametrize("engine", list(KILLS))
def test_killed_at_any_moment_nothing_half_made_is_taken_for_whole_and_the_next_run_works(
    labs: Mapping[EngineName, EngineLab], engine: EngineName, make_project: MakeProject, forks: Forks
) -> None:
    lab = labs[engine]
    database = lab.create_sample()
    if engine is not EngineName.SQLITE:  # whose filler does not compress: fifty copies are slow to hash
        lab.fill(database, megabytes=1)
    targets = Targets(make_project(shop=lab.connection(database)), lab)
    chance = random.Random(SEED)
    for act, times in KILLS[engine].items():
        started = time.monotonic()
        whole = forks.run(targets.project, *targets.arguments(act))
        assert whole.exit_code == 0, whole.said
        duration = time.monotonic() - started
        killed = 0
        while killed < times:
            moment = chance.uniform(0, duration)
            command = forks.start(targets.project, *targets.arguments(act))
            if command.kill_after(moment) == 0:
                duration *= 0.95  # the first one was slower than they are now
                continue
            killed += 1
            try:
                assert_recovered(targets)
            except AssertionError as error:
                error.add_note(f"{act}, kill {killed}, after {moment:.3f} of {duration:.3f} s:\n{command.said}")
                raise
    (backup,) = targets.project.json("create", "shop")["backups"]
    assert (backup["status"], backup["proof_level"]) == ("good", "restore")
    lab.drop(database)


def assert_recovered(targets: Targets) -> None:
    assert_every_published_backup_is_whole(targets.project)
    assert_no_process_is_left(targets.project)
    targets.drop_what_was_restored()
    targets.project.json("cleanup")  # finishes a deletion that was cut short
    assert_all_is_well(targets.project, entry="shop", earlier=targets.earlier)


# What `create` changes in the storage and in the catalogue once the dump is whole: the part gets its name, then come
# the state and the manifest; the catalogue takes them in, and the attempt's end.
CREATE_STEPS = 5


@pytest.mark.parametrize("step", range(1, CREATE_STEPS + 1))
def test_create_killed_at_any_step_of_its_commit_leaves_a_whole_backup_or_none(
    tmp_path: Path, make_project: MakeProject, step: int
) -> None:
    project = make_project(shop=sqlite_database(tmp_path, "shop"))
    earlier = [project.json("create", "shop", "--no-verify")["backups"][0]["id"]]
    program = (
        "import sys; from support.cleanup_process import die_at; from db_backup.cli.main import main; "
        "from db_backup.catalog import Catalog; from db_backup.storage import LocalStorage, local; "
        "die_at(int(sys.argv[1]), [(local._LocalSink, ['commit']), (LocalStorage, ['create']), "
        "(Catalog, ['record', 'finish_attempt'])]); main(['create', 'shop', '--no-verify'])"
    )
    done = project.run_process([sys.executable, "-c", program, str(step)], PYTHONPATH=str(TESTS))
    assert done.returncode == -9, done.stderr
    manifests = {path.name.removesuffix(".json") for path in (project.storage / "metadata").glob("backup_*.json")}
    new = {name for name in manifests if not name.endswith(".state")} - set(earlier)
    assert len(new) == (1 if step > 3 else 0)

    assert_all_is_well(project, entry="shop", earlier=[*earlier, *new])


# The engine on its own, where a person's files lie.

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


@pytest.fixture
def half_landed(sqlite_lab: EngineLab, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A database, and the target of a restore of it that was killed in the middle."""
    database = sqlite_lab.create_sample()
    target = tmp_path / "new.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", LANDING, database, str(target)],
        env={**os.environ, "PYTHONPATH": str(PLUGINS), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
    yield database, target
    sqlite_lab.drop(database)


def test_a_restore_of_sqlite_that_was_killed_leaves_nothing_beside_its_target(
    sqlite_lab: EngineLab, half_landed: tuple[str, Path]
) -> None:
    database, target = half_landed
    assert len(list(target.parent.iterdir())) == 1

    engine = sqlite_lab.engine(database)
    dumped = dump_of(engine)
    engine.create_database(str(target)).load([[dumped.plain]], dumped.manifest, Cancellation())
    assert list(target.parent.iterdir()) == [target]
