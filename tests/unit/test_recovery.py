"""What backups lead to, by their manifests alone: histories, gaps, the way to a moment, and times as people write."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from db_backup.errors import PointOutOfReach, UsageError
from db_backup.manifest import Chain, Manifest
from db_backup.model import BackupStatus, BackupType, EngineName
from db_backup.recovery import Gap, Held, History, Point, gaps, histories, parse_moment, route_to_time, told
from support.factories import MORNING, make_manifest

pytestmark = pytest.mark.unit

BERLIN = ZoneInfo("Europe/Berlin")


def at(minutes: float) -> datetime:
    return MORNING + timedelta(minutes=minutes)


def a_base(minutes: float, position: int, **fields: object) -> Manifest:
    return make_manifest(
        created_at=at(minutes), recovery_point=at(minutes), chain=Chain(to_position=str(position)), **fields
    )


def an_increment(parent: Manifest, minutes: float, position: int, **fields: object) -> Manifest:
    assert parent.chain is not None
    chain = Chain(
        base_id=parent.chain.base_id or parent.id,
        parent_id=parent.id,
        from_position=parent.chain.to_position,
        to_position=str(position),
    )
    return make_manifest(
        type=BackupType.INCREMENTAL,
        created_at=at(minutes),
        recovery_point=at(minutes),
        **{"chain": chain, "engine": parent.engine, **fields},
    )


def a_chain(start: float, count: int, *, every: float = 10, **fields: object) -> list[Manifest]:
    links = [a_base(start, 1, **fields)]
    for number in range(1, count + 1):
        links.append(an_increment(links[-1], start + number * every, number + 1))
    return links


def held(*manifests: Manifest) -> list[Held]:
    return [Held(manifest, BackupStatus.GOOD) for manifest in manifests]


def ids(links: Sequence[Manifest]) -> list[str]:
    return [link.id for link in links]


def the_history(backups: Sequence[Held]) -> History:
    (history,) = histories(backups)
    return history


def test_a_chain_is_one_history_in_whatever_order_its_backups_are_found() -> None:
    links = a_chain(0, 4)
    backups = held(*links)
    random.Random(5).shuffle(backups)

    history = the_history(backups)

    assert ids(history.links) == ids(links)
    assert (history.begins, history.ends, history.ended_by) == (at(0), at(40), "")
    assert history.is_continuous


def test_a_missing_link_ends_the_chain_before_it_and_is_named() -> None:
    links = a_chain(0, 4)

    history = the_history(held(*links[:2], *links[3:]))

    assert ids(history.links) == ids(links[:2])
    assert history.ended_by == f"{links[2].id} is gone"


def test_a_link_that_failed_its_verification_ends_the_chain_before_it() -> None:
    links = a_chain(0, 3)
    backups = held(*links)
    backups[2] = Held(links[2], BackupStatus.FAILED_VERIFICATION)

    history = the_history(backups)

    assert ids(history.links) == ids(links[:2])
    assert history.ended_by == f"{links[2].id} failed its verification"


def test_a_link_whose_files_are_not_whole_ends_the_chain_before_it() -> None:
    links = a_chain(0, 3)
    backups = held(*links)
    backups[2] = Held(links[2], BackupStatus.GOOD, "its part is gone")

    history = the_history(backups)

    assert ids(history.links) == ids(links[:2])
    assert history.ended_by == f"{links[2].id} is damaged: its part is gone"


@pytest.mark.parametrize("status", [BackupStatus.FAILED_VERIFICATION, BackupStatus.SUSPECT, BackupStatus.DELETING])
def test_nothing_leads_from_a_base_that_cannot_be_relied_on(status: BackupStatus) -> None:
    links = a_chain(0, 2)
    assert histories([Held(links[0], status), *held(*links[1:])]) == ()


def test_an_increment_that_does_not_begin_where_its_parent_ends_is_no_part_of_the_chain() -> None:
    links = a_chain(0, 2)
    assert links[2].chain is not None
    moved = links[2].model_copy(update={"chain": links[2].chain.model_copy(update={"from_position": "7"})})

    history = the_history(held(*links[:2], moved))

    assert ids(history.links) == ids(links[:2])
    assert history.ended_by == f"{moved.id} does not begin where {links[1].id} ends"


def test_an_increment_that_names_another_base_is_no_part_of_the_chain() -> None:
    links = a_chain(0, 1)
    other = a_base(-5, 1)
    assert links[1].chain is not None
    moved = links[1].model_copy(update={"chain": links[1].chain.model_copy(update={"base_id": other.id})})

    found = histories(held(links[0], other, moved))

    assert [ids(history.links) for history in found] == [[other.id], [links[0].id]]


def test_where_a_failed_increment_was_captured_again_the_chain_goes_on_along_the_new_one() -> None:
    links = a_chain(0, 2)
    again = an_increment(links[1], 25, 9)
    backups = [*held(*links[:2]), Held(links[2], BackupStatus.FAILED_VERIFICATION), *held(again)]

    history = the_history(backups)

    assert ids(history.links) == [*ids(links[:2]), again.id]
    assert history.ended_by == ""


def test_both_ends_of_a_chain_that_forks_are_histories() -> None:
    links = a_chain(0, 2)
    again = an_increment(links[1], 25, 9)
    assert {history.last.id for history in histories(held(*links, again))} == {links[2].id, again.id}


def test_a_safety_backup_leads_nowhere() -> None:
    assert histories(held(make_manifest(safety=True))) == ()


def test_structure_and_data_lead_nowhere() -> None:
    assert histories(held(make_manifest(type=BackupType.STRUCTURE), make_manifest(type=BackupType.DATA))) == ()


def test_between_two_chains_is_a_gap_with_the_reason_why_the_first_ended() -> None:
    first, second = a_chain(0, 3), a_chain(60, 2)
    found = histories(held(first[0], first[1], first[3], *second))
    assert gaps(found) == (Gap(at(10), at(60), f"{first[2].id} is gone"),)


def test_a_gap_that_nothing_broke_tells_why_the_next_full_was_made() -> None:
    why = "A full was made instead of an increment: the binlog was purged."
    first, second = a_chain(0, 1), a_chain(60, 0, warnings=("No max_slot_wal_keep_size is set.", why))
    (gap,) = gaps(histories(held(*first, *second)))
    assert gap.reason == f"{second[0].id} began a new chain: {why.removesuffix('.')}"


def test_chains_that_overlap_have_no_gap() -> None:
    assert gaps(histories(held(*a_chain(0, 4), *a_chain(35, 2)))) == ()


def test_between_fulls_that_stand_by_themselves_are_no_gaps_but_moments() -> None:
    found = histories(held(make_manifest(), make_manifest(created_at=at(60))))
    assert gaps(found) == ()
    assert not any(history.is_continuous for history in found)


def test_the_way_to_a_moment_takes_no_more_links_than_lead_there() -> None:
    links = a_chain(0, 4)
    found = histories(held(*links))
    assert route_to_time(found, at(15), entry="shop", zone=UTC).links == tuple(links[:3])
    assert route_to_time(found, at(15), entry="shop", zone=UTC).point == Point(time=at(15))


def test_what_a_log_tells_of_the_last_second_may_be_in_the_next_link() -> None:
    links = a_chain(0, 4)
    found = histories(held(*links))
    assert route_to_time(found, at(20), entry="shop", zone=UTC).links == tuple(links[:4])
    assert route_to_time(found, at(40), entry="shop", zone=UTC).links == tuple(links)


def test_the_newest_chain_that_leads_to_a_moment_is_taken() -> None:
    old, new = a_chain(0, 6), a_chain(35, 3)
    assert route_to_time(histories(held(*old, *new)), at(40), entry="shop", zone=UTC).links[0].id == new[0].id


def test_every_moment_of_a_window_has_a_way_and_no_moment_outside_has_one() -> None:
    chance = random.Random(20260131)
    for _ in range(200):
        start, manifests = 0.0, []
        for _chain in range(chance.randint(1, 3)):
            chain = a_chain(start, chance.randint(0, 4), every=chance.uniform(0.1, 30))
            start = (chain[-1].recovery_point - MORNING) / timedelta(minutes=1) + chance.uniform(-5, 30)
            start = round(max(start, 1), 3) + len(manifests)
            lost = chance.randrange(len(chain) + 3)
            manifests += [link for number, link in enumerate(chain) if number != lost]
        found = histories(held(*manifests))
        time = at(chance.uniform(-10, 150))
        within = [history for history in found if history.begins <= time <= history.ends]
        try:
            route = route_to_time(found, time, entry="shop", zone=UTC)
        except PointOutOfReach:
            assert not within
            continue
        assert within
        assert any(route.links == history.links[: len(route.links)] for history in within)
        assert route.links[0].recovery_point <= time <= max(link.recovery_point for link in route.links)


def test_the_moment_of_the_base_needs_no_increment() -> None:
    links = a_chain(0, 2)
    route = route_to_time(histories(held(*links)), at(0), entry="shop", zone=UTC)
    assert (route.links, route.point) == ((links[0],), Point())


def test_a_moment_that_is_shown_to_the_second_can_be_typed_as_it_is_shown() -> None:
    base = a_base(0, 1)
    base = base.model_copy(update={"recovery_point": base.recovery_point + timedelta(milliseconds=700)})
    found = histories(held(base))
    assert route_to_time(found, at(0), entry="shop", zone=UTC).links == (base,)
    with pytest.raises(PointOutOfReach):
        route_to_time(found, at(0) + timedelta(milliseconds=100), entry="shop", zone=UTC)


def test_a_file_goes_back_to_its_last_backup_before_the_moment() -> None:
    links = a_chain(0, 3, engine=EngineName.SQLITE)
    found = histories(held(*links))
    assert not found[0].is_continuous
    route = route_to_time(found, at(25), entry="shop", zone=UTC)
    assert (route.links, route.point) == (tuple(links[:3]), Point())
    with pytest.raises(PointOutOfReach, match="No backup of 'shop'"):
        route_to_time(found, at(31), entry="shop", zone=UTC)


def test_the_end_of_a_file_s_chain_that_was_named_leads_to_later_moments_and_another_chain_s_end_does_not() -> None:
    file, server = a_chain(0, 2, engine=EngineName.SQLITE), a_chain(0, 2)
    for count in (1, 2, 3):
        found = (History(tuple(file[:count])),)
        assert route_to_time(found, at(35), entry="shop", zone=UTC, named=True).links == tuple(file[:count])
    for history in (History(tuple(server)), History((make_manifest(),))):
        with pytest.raises(PointOutOfReach):
            route_to_time((history,), at(35), entry="shop", zone=UTC, named=True)


def test_where_a_file_s_chain_forks_the_last_backup_before_the_moment_is_taken_whichever_branch_has_it() -> None:
    links = a_chain(0, 2, engine=EngineName.SQLITE)
    again = an_increment(links[1], 30, 9)
    found = histories(held(*links, again))
    assert route_to_time(found, at(25), entry="shop", zone=UTC).links == tuple(links)
    assert route_to_time(found, at(30), entry="shop", zone=UTC).links == (*links[:2], again)


def test_a_moment_in_a_gap_is_refused_with_its_reason_and_the_nearest_on_both_sides() -> None:
    first, second = a_chain(0, 1), a_chain(60, 1)
    with pytest.raises(PointOutOfReach) as refused:
        route_to_time(histories(held(*first, *second)), at(30), entry="shop", zone=BERLIN)
    assert refused.value.message == (
        "No backup of 'shop' leads to 2026-01-31 03:30:00 UTC (2026-01-31 04:30:00 Europe/Berlin): "
        f"{second[0].id} began a new chain."
    )
    assert refused.value.hint == (
        "The nearest that can be restored: before it 2026-01-31 03:10:00 UTC (2026-01-31 04:10:00 Europe/Berlin), "
        "after it 2026-01-31 04:00:00 UTC (2026-01-31 05:00:00 Europe/Berlin)."
    )


def test_without_any_backup_the_refusal_says_so() -> None:
    with pytest.raises(PointOutOfReach, match="There is no backup of 'shop'"):
        route_to_time((), at(0), entry="shop", zone=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-09-29 14:05:00", "2025-09-29T12:05:00+00:00"),
        ("2025-09-29 14:05", "2025-09-29T12:05:00+00:00"),
        (" 2025-09-29T14:05:00.5 ", "2025-09-29T12:05:00.500000+00:00"),
        ("2025-12-29 14:05:00", "2025-12-29T13:05:00+00:00"),
        ("2025-09-29T14:05:00Z", "2025-09-29T14:05:00+00:00"),
        ("2025-09-29 14:05:00 UTC", "2025-09-29T14:05:00+00:00"),
        ("2025-09-29T14:05:00-05:00", "2025-09-29T19:05:00+00:00"),
        ("2025-10-26T02:30:00+01:00", "2025-10-26T01:30:00+00:00"),
    ],
)
def test_a_time_without_a_zone_is_one_of_the_configured_zone(text: str, moment: str) -> None:
    assert parse_moment(text, BERLIN).isoformat() == moment


@pytest.mark.parametrize("text", ["", "yesterday", "2025-09-29", "14:05", "2025-09-29 25:00:00", "2025-13-01 10:00"])
def test_what_is_no_moment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_moment(text, BERLIN)
    assert "2025-09-29 14:05:00" in refused.value.hint


def test_a_time_that_clocks_show_twice_is_refused_with_both_moments() -> None:
    with pytest.raises(UsageError) as refused:
        parse_moment("2025-10-26 02:30:00", BERLIN)
    assert "comes twice" in refused.value.message
    assert "2025-10-26T00:30:00Z or 2025-10-26T01:30:00Z" in refused.value.hint


def test_a_time_that_clocks_skip_is_refused() -> None:
    with pytest.raises(UsageError, match="is skipped"):
        parse_moment("2025-03-30 02:30:00", BERLIN)


def test_a_moment_is_told_in_utc_and_in_another_zone_only_where_that_differs() -> None:
    moment = datetime(2025, 9, 29, 12, 5, tzinfo=UTC)
    assert told(moment, UTC) == "2025-09-29 12:05:00 UTC"
    assert told(moment, BERLIN) == "2025-09-29 12:05:00 UTC (2025-09-29 14:05:00 Europe/Berlin)"
    assert parse_moment(told(moment, UTC), BERLIN) == moment
