"""A project over one database of each engine, and the real command in processes that are quick to start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db_backup.model import ConnectionInfo
from support.aftermath import with_temporary_folder
from support.forks import Forks
from support.project import Project


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks.ready() as ready:
        yield ready


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Its databases by name."""

    def make(**connections: ConnectionInfo) -> Project:
        return with_temporary_folder(Project(tmp_path / "project", connections, as_process=False))

    return make
