"""Many small requests to an object storage: several on their way at once, the answers in order, one at a time.

A request there takes 20 to 50 ms, and some thousand backups have two sidecars each. Folders are read one file after
the other, by whoever asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

from db_backup.jobs.copies import Copies, known_copies
from db_backup.jobs.looks import Look, look_at
from db_backup.jobs.reach import Unanswered
from db_backup.jobs.workspace import Workspace
from db_backup.storage import Storage

K = TypeVar("K")
T = TypeVar("T")


def worked_ahead(work: Callable[[K], T], items: Iterable[K], *, at_once: int) -> Iterator[tuple[K, Callable[[], T]]]:
    """Each item in order, and what returns, or raises, what became of the work on it.

    Few are begun before the first answers are taken: who looks for one backup often finds it in the first. Whoever
    stops taking waits for those that are at work; what was not begun never is.

    :param at_once: how many are worked on at the same time, in threads of their own; 1: in the caller's own thread,
        each when its answer is asked for.
    """
    if at_once == 1:
        for item in items:
            yield item, partial(work, item)
        return
    waiting = iter(items)
    begun: deque[tuple[K, Future[T]]] = deque()
    most = 1
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="ahead")
    try:
        while True:
            begun.extend((item, pool.submit(work, item)) for item in islice(waiting, most - len(begun)))
            if not begun:
                return
            item, future = begun.popleft()
            yield item, future.result
            most = min(2 * most, 2 * at_once)
    finally:
        pool.shutdown(cancel_futures=True)


def copies_ahead(
    workspace: Workspace,
    backup_ids: Iterable[str],
    storages: Callable[[str], Sequence[Storage]] | None = None,
    *,
    without: Callable[[str], Sequence[Storage]] = lambda _: (),
) -> Iterator[tuple[str, Callable[[], Copies]]]:
    """Each backup's id in order, and what returns or raises what :func:`known_copies` does of it.

    What object storages say may be as old as the answers before it took to be dealt with: who changes something by it
    looks again.

    :param storages: where to look for a backup of this id; None: in all of them.
    :param without: which of the others are known to have no sidecar of it, and need not be asked.
    """

    def wanted(backup_id: str) -> Sequence[Storage]:
        return tuple(workspace.storages.values()) if storages is None else storages(backup_id)

    def looked(backup_id: str) -> Mapping[str, Look | Unanswered]:
        return {
            storage.name: look_at(workspace, storage, backup_id)
            for storage in wanted(backup_id)
            if storage.requests_at_once > 1
        }

    def copies(backup_id: str, looks: Callable[[], Mapping[str, Look | Unanswered]]) -> Copies:
        nothing = {storage.name: Look(storage, None, None) for storage in without(backup_id)}
        asked = (*wanted(backup_id), *(look.storage for look in nothing.values()))
        return known_copies(workspace, backup_id, asked, told={**looks(), **nothing})

    for backup_id, looks in worked_ahead(looked, backup_ids, at_once=requests_at_once(workspace)):
        yield backup_id, partial(copies, backup_id, looks)


def requests_at_once(workspace: Workspace) -> int:
    """Of the storage that takes most."""
    return max(storage.requests_at_once for storage in workspace.storages.values())
