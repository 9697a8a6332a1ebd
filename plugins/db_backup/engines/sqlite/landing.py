"""Plain bytes that become an SQLite file: whole, checked and durable, or not there at all."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from db_backup.engines.base import Block
from db_backup.engines.scratch_home import no_scratch_folder
from db_backup.engines.sqlite.contents import Schema, find_damage, interruptible, read_schema
from db_backup.engines.sqlite.replacing import give_name, refuse_existing, replace
from db_backup.engines.sqlite.script import ScriptDamaged, whole_script
from db_backup.engines.sqlite.source import open_source, open_unchanging
from db_backup.engines.sqlite.structure import build
from db_backup.errors import (
    ArtefactCorrupt,
    ArtefactTruncated,
    LoadFailed,
    SourceError,
    StorageFull,
    TargetNotEmpty,
)
from db_backup.manifest import ServerInfo
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation
from db_backup.stream.private_folder import make_last_folder, private_folder

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
FILE_MODE = 0o640


@contextmanager
def open_scratch(server: ServerInfo, folder: Path, cancellation: Cancellation) -> Iterator[ConnectionInfo]:
    """A private folder, removed afterwards, and the path of a file in it that does not exist yet.

    :raises ScratchUnavailable: the folder cannot be made.
    """
    with private_scratch(folder) as scratch:
        yield ConnectionInfo(conn_id="scratch", engine=EngineName.SQLITE, database=str(scratch / "scratch.sqlite"))


@contextmanager
def private_scratch(folder: Path) -> Iterator[Path]:
    """:raises ScratchUnavailable, ConfigurationError: the folder cannot be made."""
    make_last_folder(folder, "BACKUP_SCRATCH_PATH")
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(private_folder(folder, "scratch-sqlite"))
        except OSError as error:
            raise no_scratch_folder(folder, error) from error
        yield scratch


def land_image(content: Iterable[Block], target: Path, cancellation: Cancellation) -> None:
    """Write the image, check it, and give it its name.

    :raises TargetNotEmpty: somebody has made the file, or something in it, meanwhile.
    :raises StorageFull, LoadFailed, Interrupted:
    """
    with _landing(target, cancellation) as file:
        receive_image(content, file, target, cancellation)


def land_structure(content: Iterable[Block], target: Path, cancellation: Cancellation) -> None:
    """Build the empty database that a structure script makes, and give it its name.

    :raises TargetNotEmpty: somebody has made the file, or something in it, meanwhile.
    :raises LoadFailed: the script is not whole, or SQLite does not accept it.
    """
    with _landing(target, cancellation) as file:
        try:
            script = whole_script(content)
            with closing(sqlite3.connect(file, isolation_level=None)) as connection:
                build(script, connection)
        except ScriptDamaged as damage:
            raise LoadFailed(
                f"{target} was not restored: the script {damage}.", hint="Use another copy or an earlier backup."
            ) from damage
        file.chmod(FILE_MODE)


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A hidden private folder beside ``target``, removed afterwards.

    :raises LoadFailed: it cannot be made.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(private_folder(target.parent, "restore", hidden=True))
        except OSError as error:
            raise LoadFailed(
                f"{target} could not be written: {error.strerror}.", hint=f"Let this user write to {target.parent}."
            ) from error
        yield folder


@contextmanager
def _landing(target: Path, cancellation: Cancellation) -> Iterator[Path]:
    """The path of a file to make; when the block is done, it gets the name ``target``, exclusively, or takes the place
    of a database there that holds nothing."""
    empty = _holds_nothing(target)
    if not empty:
        refuse_existing(target)
    real = target.resolve() if empty else target
    with beside(real) as folder:
        file = folder / "restored.sqlite"
        yield file
        if not empty:
            give_name(file, target)
        elif _holds_nothing(real):
            replace(real, file, cancellation)
        else:
            raise TargetNotEmpty(
                f"{target} was empty and is not any more; nothing was changed.",
                hint="Stop the program that writes to it, or restore under another path.",
            )


def _holds_nothing(target: Path) -> bool:
    """Whether there is a database in which nobody has made anything; a file of 0 bytes is one to SQLite."""
    if not target.is_file():
        return False
    if target.stat().st_size == 0:
        return True
    try:
        with open_source(target, Cancellation()) as connection:
            return not read_schema(connection).objects
    except SourceError:
        return False


def receive(content: Iterable[Block], file: Path, folder: Path, cancellation: Cancellation) -> None:
    """Write all of ``content`` durably to a new file.

    :param folder: what is full when there is no room left.
    :raises StorageFull, LoadFailed, Interrupted:
    """
    with file.open("xb", buffering=0) as image:
        for block in content:
            cancellation.check()
            _write_all(image.fileno(), block, folder)
        os.fchmod(image.fileno(), FILE_MODE)
        os.fsync(image.fileno())


def receive_image(content: Iterable[Block], file: Path, target: Path, cancellation: Cancellation) -> None:
    """``receive``, and see that it is one whole database; ``target`` is what it shall become.

    :raises StorageFull, LoadFailed, Interrupted:
    """
    receive(content, file, target.parent, cancellation)
    try:
        inspect_image(file, cancellation, thorough=False)
    except (ArtefactCorrupt, ArtefactTruncated) as error:
        raise LoadFailed(f"{target} was not restored: {error.message}", hint=error.hint) from error


def inspect_image(file: Path, cancellation: Cancellation, *, thorough: bool) -> Schema:
    """See that the file is one whole database; its schema.

    :raises ArtefactTruncated, ArtefactCorrupt: it is not.
    """
    _check_shape(file)
    try:
        with closing(open_unchanging(file)) as connection, interruptible(connection, cancellation):
            schema = read_schema(connection)
            problems = find_damage(connection, schema, thorough=thorough).problems
    except sqlite3.DatabaseError as error:
        raise _corrupt(str(error)) from error
    if problems:
        raise _corrupt("; ".join(problems[:3]))
    return schema


def _check_shape(file: Path) -> None:
    """The size must be the one that the header states (sqlite.org, "Database File Format", 1.3)."""
    with file.open("rb") as image:
        header = image.read(_HEADER_BYTES)
    size = file.stat().st_size
    if header[: len(_MAGIC)] != _MAGIC[: len(header)]:
        raise _corrupt("it does not begin like an SQLite database")
    if len(header) < _HEADER_BYTES:
        raise _truncated(f"it ends after {size} bytes, within the header")
    stated = int.from_bytes(header[16:18], "big")
    page_bytes = 65536 if stated == 1 else stated
    expected = int.from_bytes(header[28:32], "big") * page_bytes
    if size < expected:
        raise _truncated(f"it has {size} of {expected} bytes")
    if size > expected:
        raise _corrupt(f"it has {size} bytes, and its header says {expected}")


def _write_all(descriptor: int, block: Block, folder: Path) -> None:
    view = memoryview(block)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise LoadFailed(f"Writing to {folder} failed: {error.strerror}.", hint="Check the disk.") from error
        raise StorageFull(f"{folder} is full; nothing was kept.", hint="Make room, or restore elsewhere.") from error


def _truncated(what: str) -> ArtefactTruncated:
    return ArtefactTruncated(f"The SQLite image is cut off: {what}.", hint="Use another copy or an earlier backup.")


def _corrupt(what: str) -> ArtefactCorrupt:
    return ArtefactCorrupt(f"The SQLite image is damaged: {what}.", hint="Use another copy or an earlier backup.")
