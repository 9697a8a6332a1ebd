"""The contract of ``engines.chain`` as tests. ``test_chains.py`` runs them over every chain engine's real source.

One chain is told per engine, and the tests of its class share it; what they add to the source, no other test counts on.
What only one engine can get wrong, and writers beside it, is in that engine's own tests.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from db_backup.comparison import compare, compare_tables
from db_backup.engines.base import DumpRequest, EngineOptions
from db_backup.engines.chain import ChainEngine, Link
from db_backup.errors import (
    ArtefactCorrupt,
    ArtefactError,
    BackupError,
    ChainBroken,
    LoadFailed,
    PointOutOfReach,
    ServerUnreachable,
)
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.recovery import Point
from support import processes
from support.chain_lab import ChainLab, Told, differences, tell
from support.chains import ENTRY, Taken, links, take_full, take_increment
from support.dumps import blocks, files_in

_INCREMENT = DumpRequest(ENTRY, BackupType.INCREMENTAL)
_LONG = timedelta(days=1)


class _LeftEarly(Exception):
    pass


class ChainContract:
    """``lab_class``: of the engine's source, which runs for one class of tests."""

    lab_class: ClassVar[type[ChainLab]]

    @pytest.fixture(scope="class")
    @classmethod
    def lab(cls) -> Iterator[ChainLab]:
        with tempfile.TemporaryDirectory(prefix="labs-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            with cls.lab_class.open(folder) as lab:
                yield lab

    @pytest.fixture(scope="class")
    @classmethod
    def told(cls, lab: ChainLab) -> Told:
        return tell(lab)

    @pytest.fixture
    def here(self, lab: ChainLab, private: Path) -> EngineOptions:
        return lab.lab.private_options(private)

    @pytest.fixture
    def alone(self, lab: ChainLab, here: EngineOptions) -> ChainEngine:
        """The engine without a connection: what reads and rebuilds needs none."""
        return lab.chain(here, ConnectionInfo(conn_id="", engine=lab.lab.engine_name))

    # What is taken

    def test_a_full_has_a_position_that_increments_can_follow(self, lab: ChainLab, told: Told) -> None:
        full = told.taken[0].manifest
        assert full.chain is not None
        assert full.chain.to_position
        assert full.chain.from_position is None
        assert (full.scope, full.method) == (lab.chain().scope, lab.chain().method)
        assert full.format
        lab.chain().prove_chain(full)

    def test_each_increment_begins_exactly_where_the_backup_before_it_ended(self, told: Told) -> None:
        for before, increment in zip(told.taken, told.taken[1:], strict=False):
            chain = increment.manifest.chain
            assert chain is not None
            assert chain.from_position == before.ends_at
            assert chain.to_position
            assert increment.manifest.recovery_point >= before.manifest.recovery_point
            assert increment.manifest.recovery_point <= increment.manifest.finished_at

    def test_an_increment_in_which_nothing_changed_is_a_backup_too(self, told: Told) -> None:
        changed, empty = told.taken[1:3]
        assert empty.manifest.parts
        assert empty.manifest.format == changed.manifest.format
        assert empty.manifest.plain_bytes <= changed.manifest.plain_bytes

    def test_the_stock_commands_name_every_step_and_no_secret(self, lab: ChainLab, told: Told) -> None:
        for taken in told.taken:
            steps = lab.chain().stock_commands(taken.manifest.parts, taken.manifest.format)
            assert all(step.description and step.command for step in steps)
            assert any(part.path in step.command for step in steps for part in taken.manifest.parts)
            assert not lab.lab.password or not any(lab.lab.password in step.command for step in steps)

    def test_check_names_the_server(self, lab: ChainLab, told: Told) -> None:
        server = lab.chain().check()
        assert (server.engine, server.version) == (lab.lab.engine_name, told.taken[0].manifest.server.version)
        assert server.identity == told.taken[0].manifest.server.identity

    def test_an_unreachable_server_is_named_by_its_address_and_without_the_password(
        self, lab: ChainLab, told: Told
    ) -> None:
        connection = lab.unreachable
        address = f"{connection.host}:{connection.port}" if connection.host else connection.database
        engine = lab.chain(connection=connection)
        full = told.taken[0]
        for attempt in (
            engine.check,
            lambda: engine.preflight(_INCREMENT),
            lambda: take_full(engine),
            lambda: take_increment(engine, full),
        ):
            with pytest.raises(ServerUnreachable) as caught:
                attempt()
            assert address in caught.value.message
            assert caught.value.hint
            assert not lab.lab.password or lab.lab.password not in str(caught.value)

    # What is kept, and for how long

    def test_what_was_captured_and_never_published_is_captured_again(
        self, lab: ChainLab, told: Told, alone: ChainEngine
    ) -> None:
        engine, parent = lab.chain(), told.taken[-1]
        lost = take_increment(engine, parent)
        lab.change(3)
        contents = lab.contents()
        once, again = take_increment(engine, parent), take_increment(engine, parent)
        engine.prove_chain(parent.manifest)
        assert once.manifest.chain is not None
        assert lost.manifest.chain is not None
        assert once.manifest.chain.from_position == lost.manifest.chain.from_position
        if once.ends_at == again.ends_at:
            assert once.streams == again.streams
        with alone.open_rebuilt(links([*told.taken, again]), Point(), Cancellation()) as rebuilt:
            assert differences(contents, lab.contents_at(rebuilt.connection)) == ()

    def test_a_parent_that_is_another_sources_breaks_the_chain(self, lab: ChainLab, told: Told) -> None:
        engine, parent = lab.chain(), told.taken[-1]
        other = Taken(lab.of_another_source(parent.manifest), parent.streams)
        for attempt in (lambda: engine.prove_chain(other.manifest), lambda: take_increment(engine, other)):
            with pytest.raises(ChainBroken) as caught:
                attempt()
            assert caught.value.hint
            assert not caught.value.worth_a_full

    # Archives

    def test_read_archive_needs_no_server_and_finds_what_the_manifest_says(
        self, told: Told, alone: ChainEngine, private: Path
    ) -> None:
        for taken in told.taken:
            found = alone.read_archive(taken.read(), taken.manifest, Cancellation())
            assert compare_tables(taken.manifest.inventory, found) == ()
        assert files_in(private) == []

    @pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
    @pytest.mark.parametrize("which", [0, 1], ids=["the full", "an increment"])
    def test_read_archive_finds_a_truncation(
        self, told: Told, alone: ChainEngine, private: Path, which: int, kept: float
    ) -> None:
        for cut in cut_off(told.taken[which], kept):
            with pytest.raises(ArtefactError):
                alone.read_archive(cut.read(), cut.manifest, Cancellation())
        assert files_in(private) == []

    # The source, rebuilt

    def test_the_chain_rebuilt_to_its_end_is_what_the_source_held_and_leaves_nothing(
        self, lab: ChainLab, told: Told, alone: ChainEngine, private: Path
    ) -> None:
        before = processes.family()
        with alone.open_rebuilt(links(told.taken), Point(), Cancellation()) as rebuilt:
            assert rebuilt.time >= told.taken[0].manifest.recovery_point
            assert rebuilt.time <= told.taken[-1].manifest.finished_at
            assert rebuilt.position
            assert set(rebuilt.databases) == set(told.taken[0].manifest.databases)
            assert differences(told.contents[-1], lab.contents_at(rebuilt.connection)) == ()
            running = processes.family(ignoring=before)
        assert processes.still_alive(running) == set()
        assert files_in(private) == []

    def test_the_moment_of_a_backup_leads_to_what_the_source_held_then(
        self, lab: ChainLab, told: Told, alone: ChainEngine
    ) -> None:
        point = Point(time=told.taken[1].manifest.recovery_point)
        with alone.open_rebuilt(links(told.taken), point, Cancellation()) as rebuilt:
            assert differences(told.contents[1], lab.contents_at(rebuilt.connection)) == ()
            assert point.time is not None
            assert rebuilt.time <= point.time

    def test_a_full_alone_is_rebuilt_with_the_inventory_of_its_manifest(
        self, lab: ChainLab, told: Told, alone: ChainEngine
    ) -> None:
        full = told.taken[0]
        with alone.open_rebuilt([full.link], Point(), Cancellation()) as rebuilt:
            found = alone.take_inventory(rebuilt, full.manifest, Cancellation())
            assert compare(full.manifest.inventory, found) == ()
            assert differences(told.contents[0], lab.contents_at(rebuilt.connection)) == ()

    def test_a_moment_before_the_full_is_out_of_reach(self, told: Told, alone: ChainEngine, private: Path) -> None:
        point = Point(time=told.taken[0].manifest.created_at - _LONG)
        with pytest.raises(PointOutOfReach) as caught:
            enter(alone, links(told.taken), point)
        assert caught.value.hint
        assert files_in(private) == []

    def test_a_moment_after_the_end_is_answered_as_the_engine_says(
        self, lab: ChainLab, told: Told, alone: ChainEngine
    ) -> None:
        point = Point(time=told.taken[1].manifest.finished_at + _LONG)
        if not lab.leads_beyond_its_end:
            with pytest.raises(PointOutOfReach):
                enter(alone, links(told.taken[:2]), point)
            return
        with alone.open_rebuilt(links(told.taken[:2]), point, Cancellation()) as rebuilt:
            assert differences(told.contents[1], lab.contents_at(rebuilt.connection)) == ()

    @pytest.mark.parametrize(
        "chosen",
        [
            pytest.param([], id="nothing"),
            pytest.param([1, 2], id="no full"),
            pytest.param([0, 2, 3], id="one is missing"),
            pytest.param([0, 2, 1, 3], id="in another order"),
            pytest.param([0, 1, 1, 2], id="one twice"),
            pytest.param([0, 0, 1], id="two fulls"),
        ],
    )
    def test_links_that_do_not_follow_each_other_are_refused(
        self, told: Told, alone: ChainEngine, private: Path, chosen: list[int]
    ) -> None:
        before = processes.family()
        with pytest.raises(ChainBroken):
            enter(alone, links(told.taken[number] for number in chosen))
        assert processes.family(ignoring=before) == set()
        assert files_in(private) == []

    @pytest.mark.parametrize("which", [0, 1], ids=["the full", "an increment"])
    def test_a_stream_that_is_cut_off_is_refused(
        self, told: Told, alone: ChainEngine, private: Path, which: int
    ) -> None:
        """Even where nobody has taken its hash."""
        before = processes.family()
        main = next(iter(told.taken[which].streams))
        cut = told.taken[which].with_stream(main, told.taken[which].streams[main][:-700])
        with pytest.raises((ArtefactError, LoadFailed)):
            enter(alone, links([*told.taken[:which], cut, *told.taken[which + 1 : 2]]))
        assert processes.family(ignoring=before) == set()
        assert files_in(private) == []

    @pytest.mark.parametrize("which", [0, 1], ids=["the full", "an increment"])
    def test_damage_that_the_reader_finds_at_the_very_end_is_passed_on(
        self, told: Told, alone: ChainEngine, private: Path, which: int
    ) -> None:
        damaged = told.taken[which]

        def read(stream: str) -> Iterator[bytes]:
            yield from blocks(damaged.streams[stream])
            raise ArtefactCorrupt("The hash is another one.")

        chain = links(told.taken[:2])
        chain[which] = Link(damaged.manifest, read)
        with pytest.raises(ArtefactCorrupt, match="The hash is another one"):
            enter(alone, chain)
        assert files_in(private) == []

    def test_a_rebuilding_that_is_cancelled_in_the_middle_stops_and_leaves_nothing(
        self, told: Told, alone: ChainEngine, private: Path
    ) -> None:
        before = processes.family()
        cancellation = Cancellation()
        increment = told.taken[1]

        def read(stream: str) -> Iterator[bytes]:
            cancellation.cancel("the test says so")
            yield from blocks(increment.streams[stream])

        with pytest.raises(BackupError):
            enter(alone, [told.taken[0].link, Link(increment.manifest, read)], cancellation=cancellation)
        assert processes.family(ignoring=before) == set()
        assert files_in(private) == []

    # Nothing is left behind

    def test_leaving_early_kills_what_runs_and_leaves_no_file(
        self, lab: ChainLab, told: Told, here: EngineOptions, private: Path
    ) -> None:
        engine = lab.chain(here)
        before = processes.family()
        opened: Sequence[Callable[[], contextlib.AbstractContextManager[Any]]] = (
            lambda: engine.open_full(DumpRequest(ENTRY), Cancellation()),
            lambda: engine.open_increment(_INCREMENT, told.taken[0].link, Cancellation()),
        )
        for opening in opened:
            with contextlib.suppress(_LeftEarly), opening() as dump:
                os.read(dump.streams[0].fileno(), 10)
                running = processes.family(ignoring=before)
                raise _LeftEarly
            assert processes.still_alive(running) == set()
            assert files_in(private) == []

    def test_a_cancellation_that_came_before_starts_nothing(
        self, lab: ChainLab, told: Told, here: EngineOptions, private: Path
    ) -> None:
        engine = lab.chain(here)
        before = processes.family()
        cancellation = Cancellation()
        cancellation.cancel("the test says so")
        for attempt in (
            lambda: take_full(engine, cancellation),
            lambda: take_increment(engine, told.taken[-1], cancellation),
            lambda: enter(engine, links(told.taken), cancellation=cancellation),
        ):
            with pytest.raises(BackupError):
                attempt()
        assert processes.family(ignoring=before) == set()
        assert files_in(private) == []

    # At the very end, for the source is not the same afterwards

    def test_a_source_whose_history_is_lost_gets_a_new_full_and_goes_on_from_there(
        self, lab: ChainLab, told: Told, alone: ChainEngine
    ) -> None:
        engine, parent = lab.chain(), told.taken[-1]
        engine.prove_chain(parent.manifest)
        lab.break_history()
        for attempt in (lambda: engine.prove_chain(parent.manifest), lambda: take_increment(engine, parent)):
            with pytest.raises(ChainBroken) as caught:
                attempt()
            assert caught.value.hint
        full = take_full(engine)
        engine.published(full.manifest)
        lab.change(4)
        increment = take_increment(engine, full)
        contents = lab.contents()
        with alone.open_rebuilt(links([full, increment]), Point(), Cancellation()) as rebuilt:
            assert differences(contents, lab.contents_at(rebuilt.connection)) == ()
        with pytest.raises(ChainBroken):
            enter(alone, links([*told.taken, increment]))


def enter(
    engine: ChainEngine, chain: list[Link], point: Point | None = None, cancellation: Cancellation | None = None
) -> None:
    with engine.open_rebuilt(chain, point or Point(), cancellation or Cancellation()):
        pass


def cut_off(taken: Taken, kept: float) -> Iterator[Taken]:
    """The backup with each of its streams cut off."""
    for name, plain in taken.streams.items():
        yield taken.with_stream(name, plain[: int(len(plain) * kept)])
