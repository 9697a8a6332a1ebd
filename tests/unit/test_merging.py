"""Several states of one backup into one: nothing that any of them knows is lost, whatever the order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db_backup.jobs.merging import merged_state
from db_backup.manifest import Copy, Proof, State, Tombstone, WrappedKey
from db_backup.model import ProofResult, VerificationLevel
from support.factories import MORNING, make_proof
from support.properties import examples

pytestmark = pytest.mark.unit

moments = st.integers(0, 5).map(lambda minutes: MORNING + timedelta(minutes=minutes))
storages = st.sampled_from(["local", "nas", "s3"])
proofs = st.builds(
    lambda level, result, storage, moment: make_proof(level=level, result=result, storage=storage, checked_at=moment),
    st.sampled_from(VerificationLevel),
    st.sampled_from(ProofResult),
    storages,
    moments,
)
words = st.builds(
    Copy,
    storage=storages,
    storage_id=st.just("3f2a"),
    created_at=moments,
    missing=st.sampled_from(["", "it was not mounted"]),
    storage_class=st.sampled_from(["", "GLACIER"]),
    archived_at=st.none() | moments,
    locked_until=st.none() | moments,
)
keys = st.builds(
    WrappedKey,
    recipient=st.sampled_from(["main", "escrow"]),
    kind=st.just("local"),
    key_id=st.sampled_from(["a", "b"]),
    wrapped=st.sampled_from(["AAAA", "BBBB"]),
    wrapped_at=moments,
)
tombstones = st.builds(
    Tombstone, marked_at=moments, reason=st.just("its days ended"), actor=st.sampled_from(["a", "b"])
)
states = st.builds(
    lambda unknown, **fields: State(id="backup_shop", **fields, **unknown),
    unknown=st.dictionaries(st.sampled_from(["later", "newer"]), st.integers(0, 2)),
    proofs=st.lists(proofs, max_size=3).map(tuple),
    copies=st.lists(words, max_size=3, unique_by=lambda copy: copy.storage).map(tuple),
    pinned=st.booleans(),
    legal_hold=st.booleans(),
    suspect_reason=st.none() | st.sampled_from(["its disk reports errors", "sizes differ"]),
    wrapped_keys=st.lists(keys, max_size=2).map(tuple),
    tombstone=st.none() | tombstones,
)
several = st.lists(states, min_size=1, max_size=4)


@examples(60)
@given(several, st.randoms())
def test_the_order_of_the_states_does_not_matter(known: list[State], random: Any) -> None:
    shuffled = list(known)
    random.shuffle(shuffled)

    assert merged_state(shuffled) == merged_state(known)


@examples(60)
@given(several)
def test_what_is_merged_stays_as_it_is(known: list[State]) -> None:
    merged = merged_state(known)

    assert merged_state([merged]) == merged
    assert merged_state([merged, *known]) == merged


@examples(60)
@given(several, several)
def test_merging_in_two_steps_comes_to_the_same(some: list[State], others: list[State]) -> None:
    assert merged_state([merged_state(some), merged_state(others)]) == merged_state([*some, *others])


@examples(60)
@given(several)
def test_nothing_that_protects_or_condemns_a_backup_is_lost(known: list[State]) -> None:
    merged = merged_state(known)

    assert merged.pinned == any(state.pinned for state in known)
    assert merged.legal_hold == any(state.legal_hold for state in known)
    assert (merged.suspect_reason is None) == all(state.suspect_reason is None for state in known)
    assert all(proof in merged.proofs for state in known for proof in state.proofs)
    assert {copy.storage for copy in merged.copies} == {copy.storage for state in known for copy in state.copies}
    assert set(merged.model_extra or {}) == {name for state in known for name in state.model_extra or {}}


@examples(60)
@given(several)
def test_a_tombstone_counts_where_every_state_has_one(known: list[State]) -> None:
    entombed = [state.tombstone for state in known if state.tombstone is not None]
    merged = merged_state(known).tombstone

    if len(entombed) < len(known):
        assert merged is None
    else:
        assert merged in entombed
        assert merged.marked_at == min(tombstone.marked_at for tombstone in entombed)


def word(minute: int, **fields: Any) -> Copy:
    return Copy(storage="s3", storage_id="", created_at=MORNING + timedelta(minutes=minute), **fields)


def told(*copies: Copy) -> Copy:
    (copy,) = merged_state([State(id="backup_shop", copies=(copy,)) for copy in copies]).copies
    return copy


def test_of_each_copy_the_newest_word_counts() -> None:
    made, missed = word(5), word(1, missing="it was not mounted")
    archived = word(1, storage_class="GLACIER", archived_at=MORNING + timedelta(minutes=9))

    assert told(made, missed) == made
    assert told(word(1), word(2, missing="it is gone")).missing == "it is gone"
    assert told(archived, made) == archived


def wrapped(recipient: str, minute: int, content: str = "AAAA") -> WrappedKey:
    moment = MORNING + timedelta(minutes=minute)
    return WrappedKey(recipient=recipient, kind="local", key_id=recipient, wrapped=content, wrapped_at=moment)


def test_wrapped_keys_of_the_last_rotation_come_first_and_what_another_copy_has_is_kept() -> None:
    before = State(id="backup_shop", wrapped_keys=(wrapped("old", 1), wrapped("escrow", 1)))
    after = State(id="backup_shop", wrapped_keys=(wrapped("new", 2),))

    assert [key.recipient for key in merged_state([before, after]).wrapped_keys] == ["new", "escrow", "old"]


@pytest.mark.parametrize(("content", "minute"), [("zzzz", 1), ("0000", 1), ("zzzz", 9)])
def test_a_wrapped_key_that_was_changed_in_one_copy_takes_the_place_of_none(content: str, minute: int) -> None:
    whole, other = wrapped("main", 1), wrapped("escrow", 1)
    states = [
        State(id="backup_shop", wrapped_keys=(whole, other)),
        State(id="backup_shop", wrapped_keys=(wrapped("main", minute, content), other)),
    ]

    assert {whole, other} <= set(merged_state(states).wrapped_keys)


def test_states_that_agree_keep_the_order_of_their_wrapped_keys_also_where_another_was_lost() -> None:
    known = State(id="backup_shop", wrapped_keys=(wrapped("main", 1), wrapped("escrow", 1)))

    assert merged_state([State(id="backup_shop"), known, known]).wrapped_keys == known.wrapped_keys


def test_a_failure_is_the_last_word_of_its_moment() -> None:
    failed = make_proof(result=ProofResult.FAILED)
    merged = merged_state([State(id="backup_shop", proofs=(failed,)), State(id="backup_shop", proofs=(make_proof(),))])

    assert isinstance(merged.proofs[-1], Proof)
    assert merged.proofs[-1] == failed


def test_states_of_different_backups_are_not_merged() -> None:
    with pytest.raises(ValueError, match="not the states of one backup"):
        merged_state([State(id="backup_shop"), State(id="backup_crm")])
