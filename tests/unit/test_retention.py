"""What is kept, what goes, and why: a table of cases, and what must hold of every history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db_backup.model import BackupStatus, BackupType
from db_backup.retention import Backup, Plan, Policy, Presence, Rule, plan
from support.properties import examples

pytestmark = pytest.mark.unit

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
NO_FLOORS = Policy(floors={})
FULL, INCREMENTAL, STRUCTURE, DATA = BackupType.FULL, BackupType.INCREMENTAL, BackupType.STRUCTURE, BackupType.DATA
DAYS = {FULL: 30, INCREMENTAL: 7, STRUCTURE: 90, DATA: 30}


def backup(name: str, *, age: float, type: BackupType = FULL, days: int | None = None, **more: Any) -> Backup:
    """A good backup that was made ``age`` days ago."""
    created_at = NOW - timedelta(days=age)
    fields: dict[str, Any] = {
        "id": name,
        "entry": "shop",
        "type": type,
        "status": BackupStatus.GOOD,
        "created_at": created_at,
        "expires_at": created_at + timedelta(days=days if days is not None else DAYS[type]),
        "finished_at": created_at + timedelta(minutes=1),
        "recovery_point": created_at,
    }
    return Backup(**{**fields, **more})


def decide(*backups: Backup, policy: Policy = NO_FLOORS, **more: Any) -> Plan:
    return plan(backups, **{"policies": {"shop": policy}, "leases": {}, "locks": {}, "now": NOW, **more})


def rules(decided: Plan) -> Mapping[str, set[Rule]]:
    return {kept.backup_id: {reason.rule for reason in kept.reasons} for kept in decided.keep}


def deleted(decided: Plan) -> list[str]:
    return [deletion.backup_id for deletion in decided.delete]


FRESH = backup("fresh", age=0)
CASES: Mapping[str, tuple[Sequence[Backup], Mapping[str, set[Rule]], Sequence[str]]] = {
    "days that are over": ([FRESH, backup("old", age=30)], {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}}, ["old"]),
    "days that are over and a lock that is not": (
        [FRESH, backup("old", age=90, locked_until={"s3": NOW + timedelta(days=1)})],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}, "old": {Rule.LOCKED}},
        [],
    ),
    "a lock that is over": (
        [FRESH, backup("old", age=90, locked_until={"s3": NOW})],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}},
        ["old"],
    ),
    "a deletion that has begun and a copy that is locked": (
        [FRESH, backup("old", age=90, status=BackupStatus.DELETING, locked_until={"s3": NOW + timedelta(days=1)})],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}, "old": {Rule.LOCKED}},
        [],
    ),
    "days that last a moment longer": (
        [FRESH, backup("old", age=30 - 1e-5)],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}, "old": {Rule.DAYS}},
        [],
    ),
    "days of its own": (
        [FRESH, backup("short", age=4, days=3), backup("long", age=100, days=365)],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}, "long": {Rule.DAYS}},
        ["short"],
    ),
    "days that end with the calendar": (
        [FRESH, backup("eternal", age=9000, expires_at=datetime.max.replace(tzinfo=UTC))],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}, "eternal": {Rule.DAYS}},
        [],
    ),
    "an outage: days count only up to the newest good one": (
        [backup("newest", age=60), backup("older", age=85), backup("oldest", age=95)],
        {"newest": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}, "older": {Rule.DAYS}},
        ["oldest"],
    ),
    "days count by type": (
        [FRESH, backup("schema", age=91, type=STRUCTURE)],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}, "schema": {Rule.DAYS}},
        [],
    ),
    "nothing good of its type yet": (
        [FRESH, backup("schema", age=200, type=STRUCTURE, status=BackupStatus.UNVERIFIED)],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}, "schema": {Rule.DAYS}},
        [],
    ),
    "data counts from the clock": (
        [FRESH, backup("export", age=30, type=DATA), backup("later", age=29, type=DATA)],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}, "later": {Rule.DAYS}},
        ["export"],
    ),
    "unverified data with no verified full behind it": (
        [backup("export", age=40, type=DATA, status=BackupStatus.UNVERIFIED)],
        {"export": {Rule.UNPROVEN}},
        [],
    ),
    "a date in the future counts for nothing": (
        [backup("tomorrow", age=-1), backup("real", age=40), backup("old", age=80)],
        {"tomorrow": {Rule.FUTURE}, "real": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}},
        ["old"],
    ),
    "unverified, behind a newer verified full": (
        [FRESH, backup("old", age=40, status=BackupStatus.UNVERIFIED)],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}},
        ["old"],
    ),
    "unverified, and nothing verified is newer": (
        [backup("newer", age=0, status=BackupStatus.UNVERIFIED), backup("older", age=40)],
        {"newer": {Rule.UNPROVEN, Rule.DAYS}, "older": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}},
        [],
    ),
    "nothing was ever verified": (
        [backup("a", age=50, status=BackupStatus.UNVERIFIED), backup("b", age=90, status=BackupStatus.UNVERIFIED)],
        {"a": {Rule.UNPROVEN, Rule.DAYS}, "b": {Rule.UNPROVEN, Rule.DAYS}},
        [],
    ),
    "failed and suspect ones count for nothing": (
        [
            backup("failed", age=0, status=BackupStatus.FAILED_VERIFICATION),
            backup("suspect", age=1, status=BackupStatus.SUSPECT),
            backup("good", age=40),
        ],
        {
            "failed": {Rule.UNPROVEN, Rule.DAYS},
            "suspect": {Rule.UNPROVEN, Rule.DAYS},
            "good": {Rule.LAST_VERIFIED_FULL, Rule.DAYS},
        },
        [],
    ),
    "failed ones go with their days once a newer full is verified": (
        [FRESH, backup("failed", age=31, status=BackupStatus.FAILED_VERIFICATION)],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}},
        ["failed"],
    ),
    "one with a part missing is no good one": (
        [backup("hollow", age=0, presence=Presence.DAMAGED), backup("whole", age=40)],
        {"hollow": {Rule.UNPROVEN, Rule.DAYS}, "whole": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}},
        [],
    ),
    "one that is in no storage is left to a person": (
        [FRESH, backup("gone", age=40, presence=Presence.ABSENT)],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}, "gone": {Rule.ABSENT}},
        [],
    ),
    "a safety backup counts from the clock, in an outage too": (
        [
            backup("full", age=40),
            backup("older", age=60),
            backup("before", age=30, safety=True),
            backup("undo", age=29, safety=True),
        ],
        {"full": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}, "older": {Rule.DAYS}, "undo": {Rule.DAYS}},
        ["before"],
    ),
    "a verified safety backup is no newer verified full": (
        [backup("undo", age=1, safety=True), backup("unproven", age=2, status=BackupStatus.UNVERIFIED)],
        {"unproven": {Rule.UNPROVEN, Rule.DAYS}, "undo": {Rule.DAYS}},
        [],
    ),
    "pins and legal holds": (
        [FRESH, backup("pinned", age=99, pinned=True), backup("held", age=98, legal_hold=True)],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}, "pinned": {Rule.PINNED}, "held": {Rule.LEGAL_HOLD}},
        [],
    ),
    "a deletion that had begun is finished": (
        [FRESH, backup("half", age=1, status=BackupStatus.DELETING, presence=Presence.DAMAGED)],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}},
        ["half"],
    ),
    "one being deleted is no verified full": (
        [backup("half", age=0, status=BackupStatus.DELETING), backup("old", age=50)],
        {"old": {Rule.LAST_VERIFIED_FULL, Rule.DAYS}},
        ["half"],
    ),
    "a base waits for the last of its chain": (
        [
            FRESH,
            backup("base", age=40),
            backup("one", age=9, type=INCREMENTAL, base_id="base", parent_id="base"),
            backup("two", age=1, type=INCREMENTAL, base_id="base", parent_id="one"),
        ],
        {
            "fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS},
            "base": {Rule.CHAIN},
            "one": {Rule.CHAIN},
            "two": {Rule.DAYS},
        },
        [],
    ),
    "a chain goes from its end": (
        [
            FRESH,
            backup("fresh-one", age=0, type=INCREMENTAL, base_id="fresh", parent_id="fresh"),
            backup("base", age=40),
            backup("one", age=39, type=INCREMENTAL, base_id="base", parent_id="base"),
            backup("two", age=38, type=INCREMENTAL, base_id="base", parent_id="one"),
        ],
        {"fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS, Rule.CHAIN}, "fresh-one": {Rule.DAYS}},
        ["two", "one", "base"],
    ),
    "a pinned increment keeps what it needs": (
        [
            FRESH,
            backup("fresh-one", age=0, type=INCREMENTAL, base_id="fresh", parent_id="fresh"),
            backup("base", age=40),
            backup("one", age=39, type=INCREMENTAL, base_id="base", parent_id="base", pinned=True),
            backup("two", age=38, type=INCREMENTAL, base_id="base", parent_id="one"),
        ],
        {
            "fresh": {Rule.LAST_VERIFIED_FULL, Rule.DAYS, Rule.CHAIN},
            "fresh-one": {Rule.DAYS},
            "base": {Rule.CHAIN},
            "one": {Rule.PINNED},
        },
        ["two"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_backup_is_kept_or_deleted_for_its_reasons(case: str) -> None:
    backups, kept, gone = CASES[case]
    decided = decide(*backups)
    assert rules(decided) == kept
    assert deleted(decided) == list(gone)


def test_leases_and_locks_keep_and_name_who_holds_them() -> None:
    decided = decide(FRESH, backup("old", age=40), leases={"old": ["restore, process 7"]})
    assert [reason.text for kept in decided.keep if kept.backup_id == "old" for reason in kept.reasons] == [
        "in use: restore, process 7"
    ]
    decided = decide(FRESH, backup("old", age=40), locks={"shop": "a backup is at work"})
    assert {Rule.LOCK} == rules(decided)["old"]
    assert Rule.LOCK in rules(decided)["fresh"]


def test_a_lease_on_an_increment_keeps_its_whole_chain() -> None:
    chain = [
        backup("base", age=40),
        backup("one", age=39, type=INCREMENTAL, base_id="base", parent_id="base"),
        backup("later", age=0, type=INCREMENTAL, base_id="fresh", parent_id="fresh"),
    ]
    assert deleted(decide(FRESH, *chain)) == ["one", "base"]
    assert deleted(decide(FRESH, *chain, leases={"one": ["restore"]})) == []


def test_the_newest_good_ones_stay_whatever_their_age() -> None:
    history = [FRESH, *(backup(f"old-{age}", age=age) for age in (40, 50, 60))]
    history.insert(1, backup("unproven", age=35, status=BackupStatus.UNVERIFIED))
    decided = decide(*history, policy=Policy(floors={FULL: 3}))
    assert deleted(decided) == ["old-60", "unproven"]
    assert rules(decided)["old-50"] == {Rule.FLOOR}


def test_safety_backups_take_no_place_among_the_newest_good_ones() -> None:
    undo = [backup(f"undo-{age}", age=age, safety=True) for age in (1, 2, 3)]
    decided = decide(backup("only", age=80), *undo, policy=Policy(floors={FULL: 3}))
    assert rules(decided)["only"] == {Rule.LAST_VERIFIED_FULL, Rule.FLOOR, Rule.DAYS}
    assert [rules(decided)[one.id] for one in undo] == [{Rule.DAYS}] * 3


def test_days_given_for_one_cleanup_stand_for_each_backups_own() -> None:
    history = [FRESH, backup("old", age=10), backup("kept long", age=20, days=365)]
    assert deleted(decide(*history, policy=Policy(floors={}, days={FULL: 7}))) == ["kept long", "old"]
    assert deleted(decide(*history, policy=Policy(floors={}, days={FULL: 15}))) == ["kept long"]
    assert deleted(decide(*history, policy=Policy(floors={}, days={STRUCTURE: 1}))) == []


def test_a_cleanup_for_one_type_touches_no_other() -> None:
    history = [FRESH, backup("old", age=40), backup("s0", age=0, type=STRUCTURE), backup("s1", age=99, type=STRUCTURE)]
    decided = decide(*history, policy=Policy(floors={}, types=(STRUCTURE,)))
    assert deleted(decided) == ["s1"]
    assert rules(decided)["old"] == {Rule.SCOPE}


def test_one_entrys_backups_say_nothing_about_anothers() -> None:
    decided = decide(FRESH, backup("other", age=40, entry="crm"), policy=NO_FLOORS)
    assert rules(decided)["other"] >= {Rule.LAST_VERIFIED_FULL, Rule.DAYS}


def test_the_reason_of_a_deletion_says_when_its_days_ended() -> None:
    (deletion,) = decide(FRESH, backup("old", age=40)).delete
    assert deletion.reason == "its 30 days ended on 2026-06-20 12:00 UTC"


# What must hold of every history.


@st.composite
def histories(draw: st.DrawFn) -> list[Backup]:
    """Backups of two entries, chains, malformed chains and safety backups among them."""
    ages = st.one_of(st.integers(-3, 400), st.floats(0, 60))
    found: list[Backup] = []
    for number in range(draw(st.integers(0, 14))):
        entry = draw(st.sampled_from(["shop", "crm"]))
        type = draw(st.sampled_from(BackupType))
        older = [other.id for other in found if other.entry == entry and not other.safety]
        parent = draw(st.sampled_from(older)) if older and type is INCREMENTAL else None
        base = draw(st.sampled_from([*older, "nowhere"])) if parent else None
        found.append(
            backup(
                f"b{number:02d}",
                age=draw(ages),
                type=type,
                entry=entry,
                days=draw(st.sampled_from([1, 7, 30, 90, 3650])),
                status=draw(st.sampled_from([*BackupStatus, BackupStatus.GOOD, BackupStatus.GOOD])),
                presence=draw(st.sampled_from([Presence.WHOLE, Presence.WHOLE, Presence.WHOLE, *Presence])),
                pinned=draw(st.booleans()) and draw(st.booleans()),
                legal_hold=draw(st.booleans()) and draw(st.booleans()) and draw(st.booleans()),
                parent_id=parent,
                base_id=base,
                safety=type is FULL and draw(st.booleans()),
            )
        )
    return draw(st.permutations(found))


POLICIES = st.builds(
    Policy,
    floors=st.dictionaries(st.sampled_from(BackupType), st.integers(0, 3)),
    days=st.dictionaries(st.sampled_from(BackupType), st.integers(1, 60)),
    types=st.sets(st.sampled_from(BackupType), min_size=1).map(tuple),
    window_days=st.sampled_from([0, 7, 30]),
)


@given(history=histories(), policy=POLICIES, data=st.data())
@examples(200)
def test_what_holds_of_every_plan(history: list[Backup], policy: Policy, data: st.DataObject) -> None:
    ids = [one.id for one in history]
    leased = data.draw(st.sets(st.sampled_from(ids), max_size=2)) if ids else set()
    locked = data.draw(st.sampled_from([{}, {}, {"crm": "at work"}]))
    policies = {"shop": policy, "crm": policy}

    def decided(backups: Sequence[Backup]) -> Plan:
        return plan(backups, policies=policies, leases={one: ["x"] for one in leased}, locks=locked, now=NOW)

    made = decided(history)
    gone = deleted(made)
    known = {one.id: one for one in history}

    # Every backup exactly once, and with a reason.
    assert sorted([*gone, *(kept.backup_id for kept in made.keep)]) == sorted(ids)
    assert all(kept.reasons for kept in made.keep)
    # Never what somebody protects.
    for name in gone:
        one = known[name]
        assert not one.pinned
        assert not one.legal_hold
        assert name not in leased
        assert one.entry not in locked
    # Never an orphan, at no moment of applying the plan.
    living = dict(known)
    for name in gone:
        del living[name]
        assert not [one.id for one in living.values() if name in (one.parent_id, one.base_id)]
    # Never the last verified full.
    for entry in ("shop", "crm"):
        fulls = [one for one in history if one.entry == entry and one.good and one.type is FULL and not one.safety]
        counted = [one for one in fulls if one.created_at <= NOW]
        if counted:
            assert max(counted, key=lambda one: one.age_key).id in living
    # Applied, there is nothing more to do.
    assert deleted(decided(list(living.values()))) == []
    # In whatever order the backups come.
    assert decided(sorted(history, key=lambda one: one.id)) == made


@given(history=histories(), outage=st.integers(0, 3000))
@examples(150)
def test_an_outage_expires_nothing(history: list[Backup], outage: int) -> None:
    """However late cleanup comes back: what it would have kept at the last backup is kept still."""
    scheduled = [one for one in history if one.type is not DATA and not one.safety and one.created_at <= NOW]
    later = NOW + timedelta(days=outage)
    first = decide(*scheduled, policy=NO_FLOORS)
    assert deleted(decide(*scheduled, policy=NO_FLOORS, now=later)) == deleted(first)


@given(history=histories(), policy=POLICIES)
@examples(200)
def test_safety_backups_change_nothing_for_the_others(history: list[Backup], policy: Policy) -> None:
    others = [one for one in history if not one.safety]
    names = {one.id for one in others}
    together, alone = decide(*history, policy=policy), decide(*others, policy=policy)
    assert tuple(kept for kept in together.keep if kept.backup_id in names) == alone.keep
    assert tuple(deletion for deletion in together.delete if deletion.backup_id in names) == alone.delete


@given(history=histories())
@examples(80)
def test_one_protection_more_never_deletes_more(history: list[Backup]) -> None:
    gone = set(deleted(decide(*history)))
    for position in range(len(history)):
        pinned = [*history[:position], replace(history[position], pinned=True), *history[position + 1 :]]
        assert set(deleted(decide(*pinned))) <= gone


def test_a_chain_of_thousands_is_planned_and_summed_up() -> None:
    chain = [backup("base", age=40)]
    for number in range(2000):
        chain.append(
            backup(f"i{number:04d}", age=8 - number / 288, type=INCREMENTAL, base_id="base", parent_id=chain[-1].id)
        )
    decided = decide(*chain)
    assert deleted(decided) == []
    needed = next(reason for reason in decided.keep[0].reasons if reason.rule is Rule.CHAIN)
    assert needed.text == "needed by i0000, i0001, i0002 and 1997 more"


def test_a_chain_that_leads_to_itself_stops_nobody() -> None:
    ring = [
        backup("a", age=50, type=INCREMENTAL, parent_id="b"),
        backup("b", age=49, type=INCREMENTAL, parent_id="a"),
        backup("now", age=0, type=INCREMENTAL),
    ]
    assert sorted(deleted(decide(FRESH, *ring))) == ["a", "b"]
