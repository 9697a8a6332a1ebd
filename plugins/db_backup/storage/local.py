"""Backups in a folder of this machine, or of a network file system that is mounted on it."""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator, MutableSequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from db_backup.errors import ConfigurationError, ObjectMissing, StorageError
from db_backup.naming import DATABASE_FOLDER, METADATA_FOLDER, manifest_key
from db_backup.storage.base import Block, Document, Sink, Storage, StoredObject
from db_backup.storage.folder import (
    FILE_MODE,
    Folder,
    TemporaryFile,
    claim,
    is_leftover,
    lock,
    make_folder,
    reserved,
    reserved_name,
)
from db_backup.storage.keys import split_key
from db_backup.storage.place import Place

_ID_FILE = ".storage-id"
_LOCK_FILE = ".lock"
_READ_BYTES = 1 << 20


class LocalStorage(Storage):
    """Folders 0750 and files 0640, whatever the umask; every object appears whole and fsynced, or not at all.

    Symbolic links below the root are refused. The root may be one.

    :param group: name of the group that folders and files are given to (BACKUP_FILE_GROUP); None: the user's own.
    :param expected_id: what ``.storage-id`` must hold; None: what it holds at the first use.
    :raises ConfigurationError: no such group.
    """

    def __init__(self, name: str, root: Path, *, group: str | None = None, expected_id: str | None = None) -> None:
        self.name = name
        self._root = root
        self._group = _group_number(group) if group else None
        self._expected_id = expected_id
        self._place = Place(name, root)

    @property
    def location(self) -> str:
        return str(self._root)

    @property
    def storage_id(self) -> str:
        with self._place.explained(_ID_FILE, "read"), self._opened() as root:
            return self._read_id(root)

    def initialise(self) -> None:
        with self._place.explained("", "created"):
            self._make_root()
            with Folder.opened(str(self._root), self._group) as root:
                if not root.holds(_ID_FILE):
                    if self._expected_id is not None or self._has_backups(root):
                        raise self._place.not_mounted(f"{_ID_FILE} is missing")
                    with suppress(FileExistsError):  # another process was first
                        root.write(_ID_FILE, f"{uuid.uuid4().hex}\n".encode())
                self._check_id(root)

    @contextmanager
    def reserve(self, backup_id: str) -> Iterator[None]:
        split_key(manifest_key(backup_id))
        with ExitStack() as held:
            with self._place.explained(backup_id, "reserved"):
                root = held.enter_context(self._opened())
                folder = held.enter_context(root.child(METADATA_FOLDER, create=True))
                held.enter_context(reserved(folder, backup_id))
                taken = next(self._objects_of(root, backup_id), None)
            if taken is not None:
                raise self._place.conflict(taken)
            try:
                yield
            finally:
                with self._place.explained(backup_id, "released"):
                    held.close()

    def open_sink(self, key: str) -> Sink:
        with self._folder_of(key, "written", create=True) as (folder, name):
            return _LocalSink(self._place, key, name, TemporaryFile(folder))

    def create(self, key: str, content: bytes) -> None:
        with self._folder_of(key, "written", create=True) as (folder, name):
            folder.write(name, content)

    def replace(self, key: str, content: bytes, *, version: str | None) -> None:
        if version is None:
            self.create(key, content)
            return
        with self._folder_of(key, "written", create=True, alone=True) as (folder, name):
            try:
                found = _version(folder.read(name))
            except FileNotFoundError:
                found = None
            if found != version:
                raise self._place.conflict(key)
            folder.write(name, content, replace=True)

    def read_document(self, key: str) -> Document:
        with self._folder_of(key, "read") as (folder, name):
            content = folder.read(name)
        return Document(content, _version(content))

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        split_key(key)
        if offset < 0 or (length is not None and length < 0):
            raise ValueError(f"A range begins and extends at 0 or more: offset {offset}, length {length}.")
        return self._read_range(key, offset, length)

    def stat(self, key: str) -> StoredObject:
        with self._folder_of(key, "read") as (folder, name):
            status = folder.stat(name)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            return _stored_object(key, status)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        split_key(prefix)
        return self._list_folder(prefix)

    def delete(self, key: str) -> None:
        try:
            # Under the lock of ``replace``, so that a rewritten state does not bring a deleted one back.
            with self._folder_of(key, "deleted", alone=True) as (folder, name):
                folder.remove(name)
        except ObjectMissing:
            return  # not even its folder is there

    def append_record(self, key: str, record: bytes) -> None:
        if b"\n" in record:
            raise ValueError("A record is one line.")
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        with (
            self._folder_of(key, "written", create=True) as (folder, name),
            folder.open_file(name, flags) as descriptor,
        ):
            claim(descriptor, FILE_MODE, self._group)
            lock(descriptor)
            _append_line(descriptor, record)
            os.fsync(descriptor)
            folder.sync()

    def free_bytes(self) -> int | None:
        with self._place.explained("", "read"), self._opened() as root:
            status = os.fstatvfs(root.descriptor)
        return status.f_bavail * status.f_frsize

    def capacity_bytes(self) -> int | None:
        with self._place.explained("", "read"), self._opened() as root:
            status = os.fstatvfs(root.descriptor)
        reserved = status.f_bfree - status.f_bavail  # for the superuser: as `df` counts
        return (status.f_blocks - reserved) * status.f_frsize

    def sweep(self, *, older_than: timedelta) -> tuple[str, ...]:
        now = datetime.now(UTC)
        swept: list[str] = []
        with self._place.explained("", "swept"), self._opened() as root:
            for path, _, names, descriptor in os.fwalk(".", dir_fd=root.descriptor):
                folder = Folder(descriptor, self._group)
                for name in sorted(filter(is_leftover, names)):
                    backup_id = reserved_name(name)
                    first = None if backup_id is None else partial(self._take_back, root, backup_id, swept)
                    if folder.remove_abandoned(name, older_than=older_than, now=now, first=first):
                        swept.append(os.path.normpath(f"{path}/{name}"))
        return tuple(swept)

    # Below the contract

    @contextmanager
    def _opened(self) -> Iterator[Folder]:
        """The root, proved to be the one that is meant."""
        with self._place.explained("", "opened"):
            try:
                opened = ExitStack()
                root = opened.enter_context(Folder.opened(str(self._root), self._group))
            except (FileNotFoundError, NotADirectoryError) as error:
                raise self._place.not_mounted("there is no such folder") from error
        with opened:
            with self._place.explained(_ID_FILE, "read"):
                self._check_id(root)
            yield root

    @contextmanager
    def _folder_of(
        self, key: str, done: str, *, create: bool = False, alone: bool = False
    ) -> Iterator[tuple[Folder, str]]:
        """The folder that holds ``key``, and the key's last segment.

        :param done: what was to be done, for errors: "the object could not be …".
        :param alone: hold the lock of the root meanwhile.
        """
        *folders, name = split_key(key)
        with self._place.explained(key, done), ExitStack() as held:
            folder = root = held.enter_context(self._opened())
            for segment in folders:
                folder = held.enter_context(folder.child(segment, create=create))
            if alone:
                held.enter_context(root.locked(_LOCK_FILE))
            yield folder, name

    def _read_range(self, key: str, offset: int, length: int | None) -> Iterator[bytes]:
        with self._folder_of(key, "read") as (folder, name), folder.open_file(name, os.O_RDONLY) as descriptor:
            left = length
            while left is None or left > 0:
                block = os.pread(descriptor, _READ_BYTES if left is None else min(left, _READ_BYTES), offset)
                if not block:
                    return
                offset += len(block)
                left = None if left is None else left - len(block)
                yield block

    def _list_folder(self, prefix: str) -> Iterator[StoredObject]:
        try:
            with self._folder_of(f"{prefix}/*", "listed") as (folder, _):
                for name in folder.names():
                    try:
                        status = folder.stat(name)
                    except FileNotFoundError:
                        continue  # deleted meanwhile
                    if stat.S_ISREG(status.st_mode):
                        yield _stored_object(f"{prefix}/{name}", status)
        except ObjectMissing:
            return  # nothing was ever written there

    def _make_root(self) -> None:
        missing = [path for path in (self._root, *self._root.parents) if not path.exists()]
        for path in reversed(missing):
            make_folder(str(path), self._group)

    def _read_id(self, root: Folder) -> str:
        try:
            return root.read(_ID_FILE).decode(errors="replace").strip()
        except FileNotFoundError as error:
            raise self._place.not_mounted(f"{_ID_FILE} is missing") from error

    def _check_id(self, root: Folder) -> None:
        found = self._read_id(root)
        if not found:
            raise self._place.not_mounted(f"{_ID_FILE} is empty")
        if self._expected_id not in {None, found}:
            raise self._place.not_mounted(f"{_ID_FILE} holds {found}, not {self._expected_id}")
        self._expected_id = found

    def _has_backups(self, root: Folder) -> bool:
        for name in (DATABASE_FOLDER, METADATA_FOLDER):
            try:
                with root.child(name, create=False) as folder:
                    if folder.names():
                        return True
            except FileNotFoundError:
                continue
        return False

    def _take_back(self, root: Folder, backup_id: str, swept: MutableSequence[str]) -> None:
        """Remove what the dead holder of a reservation gave a final name before it could write the manifest."""
        objects = list(self._objects_of(root, backup_id))
        if manifest_key(backup_id) in objects:
            return
        for key in objects:
            folder_name, name = split_key(key)
            with root.child(folder_name, create=False) as folder:
                folder.remove(name)
            swept.append(key)

    def _objects_of(self, root: Folder, backup_id: str) -> Iterator[str]:
        for name in (METADATA_FOLDER, DATABASE_FOLDER):
            with root.child(name, create=True) as folder:
                yield from (f"{name}/{file}" for file in folder.names() if file.startswith(f"{backup_id}."))


class _LocalSink:
    """One large object on its way."""

    def __init__(self, place: Place, key: str, name: str, file: TemporaryFile) -> None:
        self._place = place
        self._key = key
        self._name = name
        self._file = file
        self._usable = True

    def write(self, block: Block) -> None:
        with self._last_chance():
            self._file.write(block)
        self._usable = True

    def commit(self) -> None:
        with self._last_chance():
            try:
                self._file.publish(self._name)
            finally:
                self._file.discard()

    def abort(self) -> None:
        self._usable = False
        self._file.discard()

    @contextmanager
    def _last_chance(self) -> Iterator[None]:
        """After an error, only ``abort`` is left: a half-written object must never be committed."""
        if not self._usable:
            raise StorageError(
                f"'{self._key}' cannot be written to storage '{self._place.storage}' any more: it was committed,"
                f" aborted, or failed before.",
                hint="Start the backup again.",
            )
        self._usable = False
        with self._place.explained(self._key, "written"):
            yield


def _group_number(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise ConfigurationError(
            f"BACKUP_FILE_GROUP names the group '{group}', which this machine does not have.",
            hint="Create the group, or correct BACKUP_FILE_GROUP.",
        ) from error


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _stored_object(key: str, status: os.stat_result) -> StoredObject:
    return StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _append_line(descriptor: int, record: bytes) -> None:
    """Whole or not at all; a line that a crash left unfinished is ended first."""
    size = os.fstat(descriptor).st_size
    torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    line = memoryview((b"\n" if torn else b"") + record + b"\n")
    try:
        while line:
            line = line[os.write(descriptor, line) :]
    except OSError:
        os.ftruncate(descriptor, size)
        raise
