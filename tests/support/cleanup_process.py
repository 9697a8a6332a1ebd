"""Cleanup and its rivals in processes of their own, to be killed and raced.

python -m support.cleanup_process ACTION ARGUMENT: the environment names the project. Prints what it has to say.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from db_backup import naming
from db_backup.catalog import Catalog
from db_backup.errors import Refused, UnknownBackup
from db_backup.jobs.cleanup import CleanupRequest, clean_up
from db_backup.jobs.copies import leased, locate
from db_backup.jobs.deletion import erase
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo, Tombstone
from db_backup.model import utc_now
from db_backup.progress import Cancellation, Silent
from db_backup.storage import LocalStorage

RUN = RunInfo(origin="cli", actor="ada", host="tower")


DELETING = ((LocalStorage, ("replace", "delete")), (Catalog, ("record", "forget", "deletion")))


def die_at(step: int, changes: Iterable[tuple[type, Iterable[str]]] = DELETING) -> None:
    """SIGKILL this process just before the n-th change that it makes to the storage or to the index.

    :param changes: which methods of which classes make changes.
    """
    made = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            nonlocal made
            made += 1
            if made == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **named)

        return wrapped

    for owner, names in changes:
        for name in names:
            setattr(owner, name, counted(getattr(owner, name)))


def clean_up_until(step: str) -> None:
    """Prints the report, if it lives long enough."""
    with Workspace.open() as workspace:
        die_at(int(step))
        report = clean_up(workspace, CleanupRequest(), run=RUN, progress=Silent(), cancellation=Cancellation())
    print(report.model_dump_json())


def delete_each(_: str) -> None:
    """Every backup that is named on standard input: "deleted" or "refused"."""
    with Workspace.open() as workspace:
        print("ready", flush=True)
        for line in sys.stdin:
            tombstone = Tombstone(marked_at=utc_now(), reason="raced", actor="ada")
            try:
                erase(workspace, line.strip(), tombstone, Cancellation())
            except Refused:
                print("refused", flush=True)
            else:
                print("deleted", flush=True)


def read_each(_: str) -> None:
    """Every backup that is named on standard input: "whole", "refused", or what was missing under the lease."""
    with Workspace.open() as workspace:
        print("ready", flush=True)
        for line in sys.stdin:
            try:
                located = locate(workspace, line.strip())
                with leased(workspace, located, "restore") as held:
                    keys = [naming.part_key(part.path) for part in held.manifest.parts]
                    for _again in range(25):  # longer than a deletion takes: one that ignored the lease is seen
                        sizes = [sum(map(len, held.storage.read(key))) for key in keys]
                        time.sleep(0.006)
            except (Refused, UnknownBackup):
                print("refused", flush=True)
            else:
                print("whole" if sizes == [part.stored_bytes for part in held.manifest.parts] else sizes, flush=True)


ACTIONS = {action.__name__: action for action in (clean_up_until, delete_each, read_each)}

if __name__ == "__main__":
    ACTIONS[sys.argv[1]](sys.argv[2])
