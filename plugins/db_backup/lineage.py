"""Chains, by what backups say of each other: what needs what, and which can be restored. Pure; no clock, no disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from db_backup.model import BackupType

_FOLLOWED = frozenset({BackupType.FULL, BackupType.INCREMENTAL})


class Link(Protocol):
    """A backup. Of an increment ``parent_id`` is the one before it, and ``base_id`` the full that both begin with."""

    @property
    def id(self) -> str: ...

    @property
    def type(self) -> BackupType: ...

    @property
    def base_id(self) -> str | None: ...

    @property
    def parent_id(self) -> str | None: ...


L = TypeVar("L", bound=Link)


def broken(links: Mapping[str, L], fault: Callable[[L], str | None]) -> dict[str, str]:
    """Why a backup cannot be restored, by id: half a sentence about the one that is at fault. The others stand.

    :param links: by id; what is not among them is gone.
    :param fault: what is wrong with one backup, leaving aside those that it needs ("is damaged"); None: nothing.
    """
    verdicts: dict[str, str | None] = {}
    for start in links.values():
        verdict, path = _verdict(start, links, fault, verdicts)
        verdicts.update(dict.fromkeys(path, verdict))
    return {link_id: verdict for link_id, verdict in verdicts.items() if verdict is not None}


def _verdict(
    start: L, links: Mapping[str, L], fault: Callable[[L], str | None], known: Mapping[str, str | None]
) -> tuple[str | None, list[str]]:
    """From one backup towards its full, up to where the matter is decided: for all on the way, whose ids come along."""
    path: dict[str, None] = {}
    link = start
    while link.id not in known:
        if link.id in path:
            return f"the chain of {link.id} leads back to itself", list(path)
        path[link.id] = None
        wrong = fault(link)
        if wrong is not None:
            return f"{link.id} {wrong}", list(path)
        if link.type is not BackupType.INCREMENTAL:
            return None, list(path)
        missing = _missing(link, links)
        if missing is not None or link.parent_id is None:
            return missing or f"{link.id} does not say what it follows", list(path)
        link = links[link.parent_id]
    return known[link.id], list(path)


def _missing(link: Link, links: Mapping[str, Link]) -> str | None:
    for needed in (link.parent_id, link.base_id):
        if needed is not None and (needed not in links or links[needed].type not in _FOLLOWED):
            return f"{needed} is gone" if needed not in links else f"{needed} is no backup that an increment can follow"
    return None


def needs(link: Link, links: Mapping[str, Link]) -> list[str]:
    """The ids of the backups that this one names as those it needs, as far as they are there."""
    named = dict.fromkeys((link.parent_id, link.base_id))
    return [other for other in named if other is not None and other in links and other != link.id]


def ancestors(link: Link, links: Mapping[str, Link]) -> set[str]:
    """The ids of all backups that this one needs to be restored, as far as they are there."""
    found: set[str] = set()
    waiting = [link]
    while waiting:
        for needed in needs(waiting.pop(), links):
            if needed not in found and needed != link.id:
                found.add(needed)
                waiting.append(links[needed])
    return found


def dependents(link_id: str, links: Mapping[str, Link]) -> set[str]:
    """The ids of all backups that need this one to be restored."""
    following: dict[str, list[str]] = defaultdict(list)
    for link in links.values():
        for needed in needs(link, links):
            following[needed].append(link.id)
    found: set[str] = set()
    waiting = [link_id]
    while waiting:
        fresh = set(following[waiting.pop()]) - found
        found |= fresh
        waiting.extend(fresh)
    return found - {link_id}


def depths(links: Mapping[str, Link]) -> dict[str, int]:
    """How far each backup is from the beginning of its chain: whatever needs another has a greater number.

    Where a chain leads back to itself, one of its backups is taken for the first.
    """
    found: dict[str, int] = {}
    for start in links.values():
        path, visited = [start], {start.id}
        while path:
            link = path[-1]
            ahead = next((other for other in needs(link, links) if other not in found and other not in visited), None)
            if ahead is not None:
                path.append(links[ahead])
                visited.add(ahead)
            else:
                found[link.id] = 1 + max((found.get(other, 0) for other in needs(link, links)), default=0)
                path.pop()
    return found
