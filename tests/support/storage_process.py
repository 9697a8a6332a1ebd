"""A storage in a process of its own, to be killed, limited, raced or run as another user.

python -m support.storage_process ACTION ROOT ARGUMENT USER_ID: the actions that race or are killed print ``ready`` and
wait for a line; each ends by printing ``won``, or the name of the error and its text.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from db_backup.errors import BackupError
from db_backup.storage import LocalStorage

BACKUP_ID = "backup_shop_full_2026-01-31_03-00-00"
PART = f"database/{BACKUP_ID}.sql.gz"
STATE = f"metadata/{BACKUP_ID}.state.json"


def _wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def write_and_wait(storage: LocalStorage, _: str) -> None:
    sink = storage.open_sink(PART)
    sink.write(b"half of it")
    with storage.reserve(BACKUP_ID):
        _wait()


def reserve(storage: LocalStorage, _: str) -> None:
    _wait()
    with storage.reserve(BACKUP_ID):
        print("won", flush=True)
        sys.stdin.read()


def create(storage: LocalStorage, argument: str) -> None:
    _wait()
    storage.create(STATE, argument.encode())


def replace(storage: LocalStorage, argument: str) -> None:
    version = storage.read_document(STATE).version
    _wait()
    storage.replace(STATE, argument.encode(), version=version)


def initialise(storage: LocalStorage, _: str) -> None:
    storage.initialise()


def write_all_kinds(storage: LocalStorage, umask: str) -> None:
    os.umask(int(umask, 8))
    storage.initialise()
    with storage.reserve(BACKUP_ID):
        sink = storage.open_sink(PART)
        sink.write(b"whole")
        sink.commit()
        storage.replace(STATE, b"1", version=None)
        storage.replace(STATE, b"2", version=storage.read_document(STATE).version)
        storage.append_record("audit/2026-01.jsonl", b"{}")
        storage.append_record("audit/2026-01.jsonl", b"{}")
    storage.delete(STATE)
    storage.create(STATE, b"3")


def write_under_file_limit(storage: LocalStorage, limit: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    sink = storage.open_sink(PART)
    try:
        for _ in range(64):
            sink.write(bytes(65_536))
        sink.commit()
    finally:
        sink.abort()


_ACTIONS: dict[str, Callable[[LocalStorage, str], None]] = {
    action.__name__: action
    for action in (write_and_wait, reserve, create, replace, initialise, write_all_kinds, write_under_file_limit)
}

if __name__ == "__main__":
    _, name, root, given, user = sys.argv
    if int(user) != os.geteuid():  # only now: another user may not be allowed to read this interpreter's files
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    try:
        _ACTIONS[name](LocalStorage("disk", Path(root)), given)
    except BackupError as error:
        print(type(error).__name__, error, flush=True)
    else:
        print("won", flush=True)
