"""A file that a person asked for: whole under its name, or not there; and never over somebody else's."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from db_backup.errors import BackupError, Refused
from db_backup.jobs.new_file import new_file

pytestmark = pytest.mark.unit

#: What link(2) says on file systems without hard links: vfat, exFAT, some of FUSE.
WITHOUT_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def write(target: Path, content: bytes = b"kit") -> None:
    with new_file(target, replace=False, taken="Use --force.", elsewhere="with -o") as output:
        output.write(content)


@pytest.fixture(params=WITHOUT_LINKS, ids=errno.errorcode.get)
def stick(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where os.link answers as on a USB stick: a mock, for a FAT file system cannot be mounted everywhere."""

    def link(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", link)
    return tmp_path


def test_a_file_is_published_where_there_are_no_hard_links(stick: Path) -> None:
    write(stick / "shop.kit")
    assert {path.name: path.read_bytes() for path in stick.iterdir()} == {"shop.kit": b"kit"}


def test_nothing_is_overwritten_where_there_are_no_hard_links(stick: Path) -> None:
    (stick / "shop.kit").write_bytes(b"somebody else's")
    with pytest.raises(Refused, match="exists already"):
        write(stick / "shop.kit")
    assert {path.name: path.read_bytes() for path in stick.iterdir()} == {"shop.kit": b"somebody else's"}


def test_what_cannot_be_published_leaves_nothing_under_its_name(stick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(BackupError, match="cannot be written"):
        write(stick / "shop.kit")
    assert list(stick.iterdir()) == []


def test_another_error_of_a_link_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(BackupError, match="Read-only"):
        write(tmp_path / "shop.kit")
    assert list(tmp_path.iterdir()) == []
