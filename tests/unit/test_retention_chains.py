"""Chains: what is kept of them, what goes and in which order, and that no plan breaks what was promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db_backup import lineage
from db_backup.model import BackupStatus, BackupType
from db_backup.retention import Backup, Plan, Policy, Presence, Rule, plan
from support.properties import examples

pytestmark = pytest.mark.unit

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
FULL, INCREMENTAL = BackupType.FULL, BackupType.INCREMENTAL
WEEK = Policy(floors={}, window_days=7)


def link(name: str, *, age: float, after: Backup | None = None, days: int = 7, **more: Any) -> Backup:
    """A good backup that was begun ``age`` days ago: an increment that follows ``after``, or else a full."""
    created_at = NOW - timedelta(days=age)
    fields: dict[str, Any] = {
        "id": name,
        "entry": "shop",
        "type": FULL if after is None else INCREMENTAL,
        "status": BackupStatus.GOOD,
        "created_at": created_at,
        "expires_at": created_at + timedelta(days=days),
        "finished_at": created_at + timedelta(minutes=2),
        "recovery_point": created_at + timedelta(minutes=1),
        "base_id": None if after is None else after.base_id or after.id,
        "parent_id": None if after is None else after.id,
    }
    return Backup(**{**fields, **more})


def daily_chains(first_day: int, *, increments: int = 3, **full: Any) -> list[Backup]:
    """A full each day from so many days ago until yesterday, with increments over the hours that follow it."""
    found = []
    for day in range(first_day, 0, -1):
        last = link(f"full-{day}", age=day, **{"days": 30, **full})
        found.append(last)
        for number in range(1, increments + 1):
            last = link(f"inc-{day}-{number}", age=day - number * 0.2, after=last)
            found.append(last)
    return found


def decide(backups: Sequence[Backup], policy: Policy = WEEK, *, now: datetime = NOW, **more: Any) -> Plan:
    return plan(backups, **{"policies": {"shop": policy}, "leases": {}, "locks": {}, "now": now, **more})


def deleted(decided: Plan) -> list[str]:
    return [deletion.backup_id for deletion in decided.delete]


def rules(decided: Plan, name: str) -> set[Rule]:
    return {reason.rule for kept in decided.keep if kept.backup_id == name for reason in kept.reasons}


def texts(decided: Plan, name: str) -> str:
    return "; ".join(reason.text for kept in decided.keep if kept.backup_id == name for reason in kept.reasons)


# The window.


def test_the_window_begins_with_the_newest_verified_full_that_was_finished_before_it() -> None:
    decided = decide(daily_chains(12, days=1))
    # The newest increment is 0.4 days old, so the seven days begin 7.4 days ago, in the chain of day 8.
    assert {name for name in deleted(decided) if name.startswith("full")} == {f"full-{day}" for day in range(9, 13)}
    assert Rule.WINDOW in rules(decided, "full-8")
    assert "recoverable to any moment of 7 days" in texts(decided, "full-8")


def test_an_increment_that_closed_the_chain_before_the_window_keeps_it_no_longer() -> None:
    """After a full, one more increment follows the old chain, so that there is no gap between the two."""
    history = daily_chains(12, days=1)
    by_id = {one.id: one for one in history}
    closing = [link(f"closing-{day}", age=day - 0.01, after=by_id[f"inc-{day + 1}-3"]) for day in range(1, 12)]
    gone = deleted(decide([*history, *closing]))
    assert {"full-9", "closing-8"} <= set(gone)
    assert not {"full-8", "closing-7"} & set(gone)


def test_without_increments_no_window_is_promised() -> None:
    fulls = [link(f"full-{day}", age=day, days=1) for day in range(6)]
    assert sorted(deleted(decide(fulls))) == [f"full-{day}" for day in range(1, 6)]


def test_an_increment_with_fewer_days_of_its_own_stays_as_long_as_its_entry_is_promised() -> None:
    chain = daily_chains(2)
    short = link("short", age=3, after=link("full-3", age=3.1), days=1)
    decided = decide([link("full-3", age=3.1), short, *chain])
    assert rules(decided, "short") == {Rule.WINDOW}
    assert "short" in deleted(decide([link("full-3", age=3.1), short, *chain], Policy(floors={}, window_days=1)))


def test_days_given_for_one_cleanup_of_increments_are_its_window() -> None:
    decided = decide(daily_chains(12, days=1), Policy(floors={}, window_days=7, days={FULL: 2, INCREMENTAL: 2}))
    assert {name for name in deleted(decided) if name.startswith("full")} == {f"full-{day}" for day in range(4, 13)}


def test_where_no_full_was_verified_by_then_the_window_begins_with_one_that_stands() -> None:
    history = daily_chains(12, days=1, status=BackupStatus.UNVERIFIED)
    newest = link("verified", age=0.1)
    decided = decide([*history, newest])
    assert Rule.WINDOW in rules(decided, "full-8")
    assert "full-9" in deleted(decided)


def test_an_outage_ends_no_window() -> None:
    history = daily_chains(12, days=1)
    assert deleted(decide(history, now=NOW + timedelta(days=500))) == deleted(decide(history))


def test_fulls_that_go_on_alone_move_the_window_on() -> None:
    """Increments were taken once, and no more: their own few days stay, and hold nothing else."""
    last = link("full-150", age=150, days=30)
    increment = link("once", age=149.9, after=last)
    fulls = [link(f"full-{day}", age=day, days=30) for day in range(149, -1, -1)]
    decided = decide([last, increment, *fulls])
    assert len(decided.delete) == 149 - 29
    assert {kept.backup_id for kept in decided.keep} >= {"full-150", "once", "full-29", "full-0"}
    assert Rule.WINDOW in rules(decided, "full-8")
    assert Rule.WINDOW not in rules(decided, "full-9")


# Dead weight.


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": BackupStatus.FAILED_VERIFICATION}, "old-base stands as failed verification"),
        ({"status": BackupStatus.SUSPECT}, "old-base stands as suspect"),
        ({"presence": Presence.DAMAGED}, "old-base is damaged"),
        ({"presence": Presence.ABSENT}, "old-base is gone"),
    ],
)
def test_increments_of_a_base_that_is_no_good_say_so_and_go_with_their_days(
    fault: Mapping[str, Any], words: str
) -> None:
    base = link("old-base", age=10, **fault)
    dead = link("dead", age=8, after=base)
    recent = link("recent", age=6, after=dead)
    # No good increment has to come first: a good full is enough to recover from.
    decided = decide([base, dead, link("full", age=0, days=30)])
    assert decided.delete[0].backup_id == "dead"
    assert words in decided.delete[0].reason
    assert "its 7 days ended on" in decided.delete[0].reason

    decided = decide([base, dead, recent, link("full", age=0, days=30)])
    assert deleted(decided) == []
    assert rules(decided, "recent") == {Rule.DAYS}
    assert texts(decided, "recent").startswith(f"it cannot be restored, for {words}; its 7 days last until")
    assert Rule.CHAIN in rules(decided, "dead")


def test_an_increment_whose_parent_was_lost_is_dead_weight() -> None:
    base = link("base", age=9)
    orphan = link("orphan", age=8, after=link("lost", age=8.5, after=base))
    decided = decide([base, orphan, link("full", age=0, days=30)])
    assert [(gone.backup_id, "lost is gone" in gone.reason) for gone in decided.delete][:1] == [("orphan", True)]


def test_dead_weight_stays_while_nothing_newer_can_be_recovered_from() -> None:
    base = link("base", age=90, presence=Presence.DAMAGED)
    assert deleted(decide([base, link("dead", age=89, after=base)])) == []


def test_dead_increments_push_no_days_on() -> None:
    """They are verified, each by itself, but they are no good: the last ones that are keep their window."""
    chain = daily_chains(3)
    base = link("bad", age=0.1, status=BackupStatus.FAILED_VERIFICATION, created_at=NOW + timedelta(days=20))
    dead = replace(link("dead", age=0, after=base), created_at=NOW + timedelta(days=21))
    later = NOW + timedelta(days=22)
    assert [name for name in deleted(decide([*chain, base, dead], now=later)) if name != "dead"] == []


def test_what_was_taken_after_the_broken_link_of_a_fork_stands() -> None:
    base = link("base", age=5, days=30)
    failed = link("failed", age=4, after=base, status=BackupStatus.FAILED_VERIFICATION)
    fork = link("fork", age=3, after=base)
    decided = decide([base, failed, fork])
    assert Rule.WINDOW in rules(decided, "fork")
    assert Rule.WINDOW not in rules(decided, "failed")


# Order, and what needs what.


def test_a_chain_goes_from_its_end_though_a_clock_was_wrong() -> None:
    base = link("base", age=40)
    one = link("one", age=39, after=base)
    two = link("two", age=45, after=one)  # the clock had gone back
    assert deleted(decide([base, one, two, *daily_chains(8)])) == ["two", "one", "base"]


def test_what_needs_a_backup_is_known_through_every_link() -> None:
    backups = {one.id: one for one in daily_chains(2)}
    assert lineage.dependents("inc-2-1", backups) == {"inc-2-2", "inc-2-3"}
    assert lineage.dependents("full-1", backups) == {"inc-1-1", "inc-1-2", "inc-1-3"}
    assert lineage.dependents("inc-1-3", backups) == set()


def test_five_minute_chains_of_a_month_are_planned_at_once() -> None:
    """Once quadratic: a plan over thousands of links to be deleted."""
    last = link("base", age=70)
    chain = [last]
    for number in range(6000):
        last = link(f"i{number:05d}", age=69 - number / 288, after=last)
        chain.append(last)
    gone = deleted(decide([*chain, *daily_chains(8)]))
    assert (len(gone), gone[0], gone[-1]) == (6001, "i05999", "base")


@pytest.mark.parametrize("ring", [{"a": "b", "b": "a"}, {"a": "a"}, {"a": "b", "b": "c", "c": "b"}])
def test_a_chain_that_leads_back_to_itself_cannot_be_restored(ring: Mapping[str, str]) -> None:
    links = {name: replace(link(name, age=1), type=INCREMENTAL, parent_id=parent) for name, parent in ring.items()}
    found = lineage.broken(links, lambda one: one.fault)
    assert set(found) == set(ring)
    assert all("leads back to itself" in why for why in found.values())


def test_an_increment_follows_nothing_but_fulls_and_increments() -> None:
    structure = replace(link("structure", age=2), type=BackupType.STRUCTURE)
    links = {one.id: one for one in (structure, link("one", age=1, after=structure))}
    assert lineage.broken(links, lambda one: one.fault) == {
        "one": "structure is no backup that an increment can follow"
    }
    alone = replace(link("alone", age=1), type=INCREMENTAL)
    assert lineage.broken({"alone": alone}, lambda one: one.fault) == {"alone": "alone does not say what it follows"}


# What must hold of every history.


@dataclass
class _Source:
    """A database that is backed up by whatever happens next; its clock may be wrong."""

    moment: datetime = NOW - timedelta(days=60)
    clock: timedelta = timedelta(0)
    backups: list[Backup] = field(default_factory=list)
    parent: Backup | None = None

    def take(self, kind: str, days: int, status: BackupStatus, presence: Presence, **more: Any) -> None:
        self.moment += timedelta(minutes=5)
        after = None if kind != "increment" else self.parent
        seen = NOW - (self.moment + self.clock)
        made = link(f"b{len(self.backups):02d}", age=seen / timedelta(days=1), after=after, days=days)
        made = replace(made, status=status, presence=presence, safety=kind == "safety", **more)
        if kind == "structure":
            made = replace(made, type=BackupType.STRUCTURE)
        self.backups.append(made)
        if kind not in {"safety", "structure"} and status is not BackupStatus.DELETING:
            self.parent = made


STATUSES = st.sampled_from([BackupStatus.GOOD] * 9 + [BackupStatus.UNVERIFIED] * 2 + list(BackupStatus))
PRESENCES = st.sampled_from([Presence.WHOLE] * 12 + list(Presence))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["increment"] * 8 + ["full"] * 3 + ["fork", "structure", "safety", "clock", "set right", "gap"]
        ),
        st.floats(0, 4),
        st.sampled_from([7, 7, 1, 1, 30]),
        STATUSES,
        PRESENCES,
        st.integers(0, 30),
    ),
    min_size=12,
    max_size=40,
)


@st.composite
def histories(draw: st.DrawFn) -> list[Backup]:
    """One entry's backups over weeks, in the order in which they were made: gaps, forks, failures, wrong clocks."""
    source = _Source()
    for kind, days_later, days, status, presence, luck in draw(STEPS):
        source.moment += timedelta(days=days_later if kind == "gap" else days_later / 4)
        if kind == "clock":
            source.clock = timedelta(days=days_later * 8 - 16)
        elif kind == "set right":
            source.clock = timedelta(0)
        elif kind == "fork" and source.backups:
            earlier = [one for one in source.backups[-6:] if one.type in (FULL, INCREMENTAL) and not one.safety]
            source.parent = earlier[luck % len(earlier)] if earlier else source.parent
        elif kind != "gap" and not (kind == "increment" and source.parent is None):
            held = {"pinned": luck == 1, "legal_hold": luck == 2}
            source.take("full" if kind == "fork" else kind, days, status, presence, **held)
    return source.backups


POLICIES = st.builds(
    Policy,
    floors=st.sampled_from([{}, {FULL: 1}, {FULL: 3, INCREMENTAL: 1}]),
    days=st.sampled_from([{}, {}, {}, {FULL: 2}, {INCREMENTAL: 3}, {FULL: 1, INCREMENTAL: 14}]),
    types=st.sampled_from([tuple(BackupType), tuple(BackupType), (INCREMENTAL,), (FULL,)]),
    window_days=st.sampled_from([1, 7, 7, 14]),
)


def standing(history: Sequence[Backup]) -> dict[str, Backup]:
    """What can be restored, found out the plain way: link after link, as often as it takes."""
    sound = {
        one.id: one
        for one in history
        if one.status in (BackupStatus.GOOD, BackupStatus.UNVERIFIED) and one.presence is Presence.WHOLE
        if one.type in (FULL, INCREMENTAL) and not one.safety
    }
    found = {name: one for name, one in sound.items() if one.type is FULL}
    while more := {name: one for name, one in sound.items() if name not in found and one.parent_id in found}:
        found |= {name: one for name, one in more.items() if one.base_id in found}
        if not any(one.base_id in found for one in more.values()):
            break
    return found


def recoverable(history: Sequence[Backup]) -> list[tuple[datetime, datetime]]:
    """The spans of moments that can be had back, each (after, up to]; a full's is its one moment."""
    links = standing(history)
    beginnings = {one.id: links[one.parent_id].recovery_point for one in links.values() if one.parent_id is not None}
    return [(beginnings.get(one.id, one.recovery_point), one.recovery_point) for one in links.values()]


def window(history: Sequence[Backup], policy: Policy, now: datetime) -> datetime | None:
    """Where the promised days begin; None: nothing is promised."""
    days = policy.days.get(INCREMENTAL, policy.window_days)
    good = [one for one in standing(history).values() if one.good and one.created_at <= now]
    promised = any(one.type is INCREMENTAL for one in good)
    return max(one.created_at for one in good) - timedelta(days=days) if promised else None


@given(history=histories(), policy=POLICIES, later=st.floats(-3, 40), order=st.randoms(use_true_random=False))
@examples(200)
def test_no_plan_breaks_a_chain_a_promise_or_a_floor(
    history: list[Backup], policy: Policy, later: float, order: Any
) -> None:
    now = max((one.created_at for one in history), default=NOW) + timedelta(days=later)
    leased = [one.id for one in history if order.random() < 0.05]
    shuffled = list(history)
    order.shuffle(shuffled)

    def decided(backups: Sequence[Backup]) -> Plan:
        return decide(backups, policy, now=now, leases={name: ["a restore"] for name in leased})

    made = decided(shuffled)
    assert made == decided(history)
    known = {one.id: one for one in history}
    living = dict(known)
    for gone in made.delete:
        one = living.pop(gone.backup_id)
        # Whatever moment the process dies at, nobody has lost what it needs, nor what was in use.
        assert not [other.id for other in living.values() if one.id in (other.parent_id, other.base_id)]
        assert not one.pinned
        assert not one.legal_hold
        assert one.id not in leased
    kept = list(living.values())

    begin = window(history, policy, now)
    if begin is not None:
        promised = [span for span in recoverable(history) if span[1] > begin]
        assert sorted(promised) == sorted(span for span in recoverable(kept) if span[1] > begin)
        before = [one for one in standing(history).values() if one.type is FULL and one.finished_at <= begin]
        verified = [one for one in before if one.good] or before
        if verified:
            anchor = max(verified, key=lambda one: one.recovery_point)
            assert max(one.recovery_point for one in kept if one in verified) == anchor.recovery_point

    counted = [one for one in history if one.good and one.type is FULL and not one.safety and one.created_at <= now]
    newest = sorted(counted, key=lambda one: one.age_key, reverse=True)[: max(1, policy.floors.get(FULL, 0))]
    assert {one.id for one in newest} <= living.keys()
    assert deleted(decided(kept)) == []


@given(history=histories(), window_days=st.sampled_from([1, 3, 7]))
@examples(100)
def test_cleanups_over_weeks_lose_no_moment_that_was_promised(history: list[Backup], window_days: int) -> None:
    """Each backup is followed by a cleanup, as at night; what increments could ever give back stays."""
    policy = replace(WEEK, window_days=window_days)
    living: list[Backup] = []
    ever: set[tuple[datetime, datetime]] = set()
    for made in history:
        living.append(made)
        ever |= {span for span in recoverable(living) if span[0] != span[1]}
        now = made.created_at
        gone = set(deleted(decide(living, policy, now=now)))
        living = [one for one in living if one.id not in gone]
        begin = window(living, policy, now)
        if begin is not None:
            assert {span for span in ever if span[1] > begin} <= set(recoverable(living))
