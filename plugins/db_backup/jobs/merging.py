"""Several states of one backup, as its copies' storages have them, into the one that is true of it: pure.

Whatever a storage missed while it could not be reached, another has: no proof, pin or hold is ever lost. A tombstone
counts where all have one. The order of the states does not matter, and what is merged already stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel

from db_backup.manifest import Copy, Proof, State, Tombstone, WrappedKey
from db_backup.model import ProofResult

_NEVER = datetime.min.replace(tzinfo=UTC)

D = TypeVar("D", bound=BaseModel)


def merged_state(states: Sequence[State]) -> State:
    """All that these states of one backup know.

    Proofs: each once, in the order of their times. Copies: of each storage the newest word. Pinned, held or suspect: if
    one says so. Tombstone: the first that was set, where every state has one. Wrapped keys: where the states differ all
    of them, the newest first: which of them opens only a key can tell, and a damaged one must not take the place of one
    that is whole. Fields that this program does not know are kept.

    :param states: at least one.
    :raises ValueError: none, or those of different backups.
    """
    if len({state.id for state in states}) != 1:
        raise ValueError(f"These are not the states of one backup: {', '.join(sorted(state.id for state in states))}.")
    known = {
        "state_version": max(state.state_version for state in states),
        "id": states[0].id,
        "proofs": _proofs(states),
        "copies": _copies(states),
        "pinned": any(state.pinned for state in states),
        "legal_hold": any(state.legal_hold for state in states),
        "suspect_reason": min(
            (state.suspect_reason for state in states if state.suspect_reason is not None), default=None
        ),
        "wrapped_keys": _wrapped_keys(states),
        "tombstone": first_tombstone(states) if all(state.tombstone for state in states) else None,
    }
    return State.model_validate({**_unknown(states), **known})


def first_tombstone(states: Iterable[State]) -> Tombstone | None:
    """Of those that any of these states has."""
    set_ = [state.tombstone for state in states if state.tombstone is not None]
    return min(set_, key=lambda tombstone: (tombstone.marked_at, _text(tombstone)), default=None)


def _proofs(states: Iterable[State]) -> tuple[Proof, ...]:
    """Of several made at the same moment a failure comes last: it is what stands."""
    found = _each_once(proof for state in states for proof in state.proofs)
    return tuple(sorted(found, key=lambda proof: (proof.checked_at, proof.result is ProofResult.FAILED, _text(proof))))


def _copies(states: Iterable[State]) -> tuple[Copy, ...]:
    newest: dict[str, Copy] = {}
    for copy in (copy for state in states for copy in state.copies):
        newest[copy.storage] = max(newest.get(copy.storage, copy), copy, key=_age_of_word)
    return tuple(sorted(newest.values(), key=lambda copy: copy.storage))


def _age_of_word(copy: Copy) -> tuple[datetime, bool, datetime, str]:
    """Said at the same moment: that it is there outweighs that it is missing, for whoever says so has seen it."""
    said_at = max(copy.created_at, copy.archived_at or _NEVER)
    return said_at, not copy.missing, copy.locked_until or _NEVER, _text(copy)


def _wrapped_keys(states: Sequence[State]) -> tuple[WrappedKey, ...]:
    """As they are where all agree; a state that was lost has none, which takes nothing from the others."""
    sets = [state.wrapped_keys for state in states if state.wrapped_keys]
    if all(wraps == sets[0] for wraps in sets):
        return sets[0] if sets else ()
    in_order = sorted(_each_once(wrapped for wraps in sets for wrapped in wraps), key=_text)
    return tuple(sorted(in_order, key=lambda wrapped: wrapped.wrapped_at, reverse=True))


def _unknown(states: Iterable[State]) -> dict[str, Any]:
    """What a newer release wrote; where two differ, either, but always the same one."""
    fields: dict[str, Any] = {}
    for name, value in ((name, value) for state in states for name, value in (state.model_extra or {}).items()):
        fields[name] = max(fields.get(name, value), value, key=lambda value: json.dumps(value, sort_keys=True))
    return fields


def _each_once(documents: Iterable[D]) -> Iterable[D]:
    return {_text(document): document for document in documents}.values()


def _text(document: BaseModel) -> str:
    return json.dumps(document.model_dump(mode="json"), sort_keys=True)
