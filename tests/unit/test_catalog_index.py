"""The catalogue's index: what is recorded is found again, exactly."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db_backup.catalog import AttemptOutcome, BackupQuery, Catalog, Tally
from db_backup.errors import ManifestError, UnknownBackup, UsageError
from db_backup.manifest import Copy, Manifest, RunInfo, State, Tombstone
from db_backup.model import BackupStatus, BackupType, ProofResult, VerificationLevel
from db_backup.summary import BackupSummary, summarise
from support.catalog_places import CatalogPlace, catalog_place, shared_catalog
from support.factories import MORNING, make_manifest, make_part, make_proof, make_state

pytestmark = pytest.mark.unit
__all__ = ["catalog_place", "shared_catalog"]

Pair = tuple[Manifest, State]
RUN = RunInfo(origin="cli", actor="ada", host="tower")


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.fixture
def catalog(catalog_place: CatalogPlace) -> Iterator[Catalog]:
    with catalog_place.open() as opened:
        yield opened


def record(catalog: Catalog, *pairs: Pair) -> None:
    for manifest, state in pairs:
        catalog.record(manifest, state)


def pair(*, hours: int = 0, entry: str = "shop", type: BackupType = BackupType.FULL, good: bool = True) -> Pair:
    created_at = MORNING + timedelta(hours=hours)
    manifest = make_manifest(entry=entry, type=type, created_at=created_at)
    return manifest, make_state(manifest, *([make_proof()] if good else []))


def everything(catalog: Catalog, query: BackupQuery, limits: Iterator[int]) -> list[BackupSummary]:
    """All pages of a query, each of the next size."""
    found: list[BackupSummary] = []
    cursor = None
    while True:
        page = catalog.page(query, limit=next(limits), cursor=cursor)
        found.extend(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return found


def copies_in(*names: str) -> tuple[Copy, ...]:
    return tuple(Copy(storage=name, storage_id="1", created_at=MORNING) for name in names)


@st.composite
def histories(draw: st.DrawFn) -> list[Pair]:
    """Backups of a few entries, many of them of one second, with proofs, copies and marks."""
    keys = st.tuples(
        st.sampled_from(["shop", "crm", "main-my"]), st.sampled_from(BackupType), st.integers(0, 3), st.integers(1, 3)
    )
    pairs = []
    for entry, type_, seconds, serial in draw(st.lists(keys, unique=True, max_size=25)):
        manifest = make_manifest(
            entry=entry,
            type=type_,
            created_at=MORNING + timedelta(seconds=seconds),
            serial=serial,
            warnings=tuple(draw(st.lists(st.text(max_size=20), max_size=2))),
            retention_days=draw(st.integers(0, 400)),
        )
        proofs = draw(
            st.lists(
                st.builds(
                    make_proof,
                    level=st.sampled_from(VerificationLevel),
                    result=st.sampled_from(ProofResult),
                    duration_seconds=st.floats(0, 1e6),
                    reason=st.text(max_size=20),
                ),
                max_size=2,
            )
        )
        tombstone = Tombstone(marked_at=MORNING, reason="expired", actor="ada") if draw(st.booleans()) else None
        copies = copies_in(*draw(st.lists(st.sampled_from(["local", "s3"]), max_size=3)))
        state = make_state(manifest, *proofs, copies=copies, pinned=draw(st.booleans()), tombstone=tombstone)
        pairs.append((manifest, state))
    return pairs


queries = st.builds(
    BackupQuery,
    database=st.none() | st.sampled_from(["shop", "crm", "nothing"]),
    type=st.none() | st.sampled_from(BackupType),
    status=st.none() | st.sampled_from(BackupStatus),
    since=st.none() | st.integers(0, 4).map(lambda seconds: MORNING + timedelta(seconds=seconds)),
    storage=st.none() | st.sampled_from(["local", "s3", "nowhere"]),
)


def meets(summary: BackupSummary, query: BackupQuery) -> bool:
    return (
        query.database in (None, summary.database)
        and query.type in (None, summary.type)
        and query.status in (None, summary.status)
        and (query.since is None or summary.created_at >= query.since)
        and (query.storage is None or query.storage in summary.storages)
    )


@settings(max_examples=60, deadline=None)
@given(history=histories(), query=queries, limits=st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_pages_hold_each_backup_of_the_query_once_newest_first_and_unchanged(
    shared_catalog: Catalog, history: list[Pair], query: BackupQuery, limits: list[int]
) -> None:
    shared_catalog.replace_index([])
    record(shared_catalog, *history)

    found = everything(shared_catalog, query, itertools.cycle(limits))

    expected = [summarise(*each) for each in history if meets(summarise(*each), query)]
    expected.sort(key=lambda summary: (summary.created_at, summary.id), reverse=True)
    assert [item.model_dump_json() for item in found] == [item.model_dump_json() for item in expected]


@settings(max_examples=30, deadline=None)
@given(history=histories(), query=queries)
def test_statistics_are_the_sums_over_the_backups_of_the_query(
    shared_catalog: Catalog, history: list[Pair], query: BackupQuery
) -> None:
    shared_catalog.replace_index(history)

    statistics = shared_catalog.statistics(query)

    meant = [summary for summary in (summarise(*each) for each in history) if meets(summary, query)]
    assert statistics.total == tally(meant)
    for entry in ("shop", "crm", "main-my"):
        assert statistics.by_database.get(entry, Tally()) == tally([it for it in meant if it.database == entry])
    for type_ in BackupType:
        assert statistics.by_type.get(type_, Tally()) == tally([it for it in meant if it.type is type_])
    for status in BackupStatus:
        assert statistics.by_status.get(status, Tally()) == tally([it for it in meant if it.status is status])
    assert statistics.by_day == ({MORNING.date(): tally(meant)} if meant else {})
    for storage in ("local", "s3"):
        stored = [it for it in meant if storage in it.storages and query.storage in (None, storage)]
        assert statistics.by_storage.get(storage, Tally()) == tally(stored)


@settings(max_examples=20, deadline=None)
@given(history=histories())
def test_reindexing_gives_byte_identical_summaries(shared_catalog: Catalog, history: list[Pair]) -> None:
    shared_catalog.replace_index([])
    record(shared_catalog, *history)
    before = everything(shared_catalog, BackupQuery(), itertools.repeat(10))
    sidecars = [(manifest.to_json(), state.to_json()) for manifest, state in history]

    count = shared_catalog.replace_index(
        (Manifest.from_json(left, source="m"), State.from_json(right, source="s")) for left, right in sidecars
    )

    after = everything(shared_catalog, BackupQuery(), itertools.repeat(10))
    assert count == len(history)
    assert [item.model_dump_json() for item in after] == [item.model_dump_json() for item in before]


def tally(summaries: list[BackupSummary]) -> Tally:
    return Tally(
        backups=len(summaries),
        size_bytes=sum(summary.size_bytes for summary in summaries),
        plain_bytes=sum(summary.plain_bytes for summary in summaries),
    )


def test_recording_again_replaces_what_was_known(catalog: Catalog) -> None:
    manifest, state = pair(good=False)
    record(catalog, (manifest, state))
    proven = make_state(manifest, make_proof(), copies=copies_in("s3"))

    record(catalog, (manifest, proven))

    assert catalog.get(manifest.id) == summarise(manifest, proven)
    assert list(catalog.ids()) == [manifest.id]
    assert catalog.statistics(BackupQuery()).by_storage.keys() == {"s3"}


def test_a_forgotten_backup_is_gone_from_every_list(catalog: Catalog) -> None:
    manifest, state = pair()
    record(catalog, (manifest, state))

    catalog.forget(manifest.id)
    catalog.forget(manifest.id)  # and again: no error

    assert list(catalog.ids()) == []
    assert catalog.page(BackupQuery(storage="local")).items == ()
    with pytest.raises(UnknownBackup):
        catalog.get(manifest.id)


def test_a_backup_is_found_by_its_id_and_by_each_of_its_files(catalog: Catalog) -> None:
    parts = (make_part("backup_shop_full_2026-01-31_03-00-00.part-001.gz"), make_part("other-name.gz"))
    manifest = make_manifest(parts=parts[:1])
    record(catalog, (manifest, make_state(manifest)))

    for name in (
        manifest.id,
        parts[0].path,
        f"database/{parts[0].path}",
        f"/srv/backups/database/{parts[0].path}",
        f"metadata/{manifest.id}.json",
        f"{manifest.id}.state.json",
    ):
        assert catalog.get(name).id == manifest.id


def test_a_file_that_no_backup_has_is_not_taken_for_its_namesake(catalog: Catalog) -> None:
    manifest, state = pair()
    record(catalog, (manifest, state))

    with pytest.raises(UnknownBackup, match="has no file called") as refusal:
        catalog.get(f"{manifest.id}.dump.gz.old")
    assert f"{manifest.id}.dump.gz" in refusal.value.hint


def test_an_unknown_backup_names_the_nearest_known_one(catalog: Catalog) -> None:
    record(catalog, pair(), pair(hours=24), pair(entry="crm"))

    with pytest.raises(UnknownBackup) as refusal:
        catalog.get("backup_shop_full_2026-01-31_03-00-01")
    assert refusal.value.hint == "Did you mean backup_shop_full_2026-01-31_03-00-00?"

    with pytest.raises(UnknownBackup) as refusal:
        catalog.get("backup_shpo_full_2026-02-01_03-00-00.dump.gz")
    assert refusal.value.hint == "Did you mean backup_shop_full_2026-02-01_03-00-00?"


def test_an_unknown_backup_that_is_like_none_leads_to_the_list(catalog: Catalog) -> None:
    with pytest.raises(UnknownBackup, match="no backup 'x'") as refusal:
        catalog.get("x")
    assert "db-backup list" in refusal.value.hint


@pytest.mark.parametrize(
    "cursor", ["", "x", "AAAA", "W10", "bnVsbA", "WzEsMl0", "☃", "WyIyMDI2LTAxLTMxVDAzOjAwOjAwIiwieCJd"]
)
def test_a_cursor_that_no_page_ended_with_is_refused(catalog: Catalog, cursor: str) -> None:
    with pytest.raises(UsageError, match="not a cursor"):
        catalog.page(BackupQuery(), cursor=cursor)


@pytest.mark.parametrize("limit", [-1, 0, 1001])
def test_a_page_has_a_size(catalog: Catalog, limit: int) -> None:
    with pytest.raises(UsageError, match=f"cannot have {limit} backups"):
        catalog.page(BackupQuery(), limit=limit)


def test_a_backup_that_arrives_while_pages_are_read_moves_none_of_them(catalog: Catalog) -> None:
    record(catalog, *(pair(hours=hours) for hours in range(4)))
    first = catalog.page(BackupQuery(), limit=2)

    record(catalog, pair(hours=10))
    second = catalog.page(BackupQuery(), limit=2, cursor=first.next_cursor)

    assert [item.created_at for item in (*first.items, *second.items)] == [
        MORNING + timedelta(hours=hours) for hours in (3, 2, 1, 0)
    ]
    assert second.next_cursor is None


def test_the_newest_backup_is_told_by_entry_type_and_proof(catalog: Catalog) -> None:
    older, newer = pair(hours=1), pair(hours=2, good=False)
    data = pair(hours=3, type=BackupType.DATA, good=False)
    record(catalog, older, newer, data, pair(hours=9, entry="crm"))

    def newest_id(*arguments: BackupType, verified_only: bool = False) -> str | None:
        found = catalog.newest("shop", *arguments, verified_only=verified_only)
        return found.id if found else None

    assert newest_id() == data[0].id
    assert newest_id(BackupType.FULL) == newer[0].id
    assert newest_id(BackupType.FULL, verified_only=True) == older[0].id
    assert newest_id(BackupType.STRUCTURE) is None
    assert catalog.newest("nothing") is None


def test_a_safety_backup_is_never_the_newest_however_many_there_are(catalog: Catalog) -> None:
    real = pair()
    record(catalog, real)
    for minutes in range(60):
        created_at = MORNING + timedelta(hours=1, minutes=minutes)
        manifest = make_manifest(created_at=created_at, safety=True)
        record(catalog, (manifest, make_state(manifest, make_proof())))

    assert [summary.safety for summary in catalog.newest_first(BackupQuery(database="shop"))] == [True] * 60 + [False]
    for verified_only in (False, True):
        newest = catalog.newest("shop", verified_only=verified_only)
        assert newest is not None
        assert newest.id == real[0].id


def test_a_backup_that_is_being_deleted_is_never_the_newest(catalog: Catalog) -> None:
    manifest, _ = pair()
    tombstone = Tombstone(marked_at=MORNING, reason="expired", actor="ada")
    record(catalog, (manifest, make_state(manifest, make_proof(), tombstone=tombstone)))

    assert catalog.newest("shop") is None


def test_a_proven_backup_under_suspicion_is_not_offered_as_verified(catalog: Catalog) -> None:
    manifest, _ = pair()
    record(catalog, (manifest, make_state(manifest, make_proof(), suspect_reason="its disk reports errors")))

    assert catalog.newest("shop", verified_only=True) is None


def test_days_are_those_of_utc(catalog: Catalog) -> None:
    manifest = make_manifest(created_at=datetime.fromisoformat("2026-02-01T00:30:00+02:00"))
    record(catalog, (manifest, make_state(manifest)))

    assert catalog.statistics(BackupQuery()).by_day.keys() == {date(2026, 1, 31)}


def test_since_is_compared_as_a_moment_whatever_its_zone(catalog: Catalog) -> None:
    record(catalog, pair())

    in_tokyo = datetime.fromisoformat("2026-01-31T12:00:00+09:00")

    assert in_tokyo.astimezone(UTC) == MORNING
    assert len(catalog.page(BackupQuery(since=in_tokyo)).items) == 1
    assert len(catalog.page(BackupQuery(since=in_tokyo + timedelta(microseconds=1))).items) == 0


def test_success_and_durations_are_those_of_the_attempts(catalog: Catalog) -> None:
    ends = [AttemptOutcome.SUCCEEDED, AttemptOutcome.FAILED, AttemptOutcome.SKIPPED, AttemptOutcome.INTERRUPTED]
    for outcome in (*ends, AttemptOutcome.SUCCEEDED):
        catalog.finish_attempt(catalog.begin_attempt("shop", BackupType.FULL, RUN), outcome)
    catalog.begin_attempt("shop", BackupType.FULL, RUN)
    catalog.finish_attempt(catalog.begin_attempt("crm", BackupType.FULL, RUN), AttemptOutcome.FAILED)

    figures = catalog.statistics(BackupQuery(database="shop")).attempts

    assert (figures.succeeded, figures.failed, figures.interrupted, figures.skipped, figures.running) == (2, 1, 1, 1, 1)
    assert figures.success_rate == 0.5
    assert figures.longest_seconds is not None
    assert figures.average_seconds is not None
    assert 0 <= figures.average_seconds <= figures.longest_seconds


def test_no_attempts_have_no_rate(catalog: Catalog) -> None:
    figures = catalog.statistics(BackupQuery()).attempts

    assert (figures.success_rate, figures.average_seconds, figures.longest_seconds) == (None, None, None)


def test_reindexing_drops_what_storage_does_not_hold(catalog: Catalog) -> None:
    kept, lost = pair(), pair(hours=1)
    record(catalog, kept, lost)

    assert catalog.replace_index(iter([kept])) == 1
    assert list(catalog.ids()) == [kept[0].id]


def test_reindexing_keeps_what_is_recorded_while_it_reads(catalog: Catalog) -> None:
    old, fresh = pair(), pair(hours=1)
    proven = (old[0], make_state(old[0], make_proof(), pinned=True))
    record(catalog, old)

    def reads_slowly() -> Iterator[Pair]:
        yield old
        record(catalog, fresh, proven)

    catalog.replace_index(reads_slowly())

    assert sorted(catalog.ids()) == sorted([old[0].id, fresh[0].id])
    assert catalog.get(old[0].id) == summarise(*proven)


def test_a_reindexing_that_fails_leaves_the_index_as_it_was(catalog: Catalog) -> None:
    record(catalog, pair())

    def breaks() -> Iterator[Pair]:
        yield pair(hours=1)
        raise ManifestError("m.json is not a manifest.")

    with pytest.raises(ManifestError):
        catalog.replace_index(breaks())
    assert list(catalog.ids()) == [pair()[0].id]


def test_more_backups_than_one_batch_are_reindexed_and_listed(catalog: Catalog) -> None:
    pairs = [pair(hours=hours) for hours in range(1203)]

    assert catalog.replace_index(iter(pairs)) == 1203
    assert list(catalog.ids()) == sorted(manifest.id for manifest, _ in pairs)
    assert len(everything(catalog, BackupQuery(), itertools.repeat(1000))) == 1203
