"""The half of the engine contract that a restore leans on, as tests; ``test_restoring.py`` runs them over every engine.

What the restore of ``jobs.restore`` does with these methods, ``replace`` does here in short: a leftover is dropped, the
replacement is made beside the target, loaded, compared, and takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from db_backup.comparison import compare
from db_backup.engines.base import Engine, LoadOptions
from db_backup.errors import (
    ArtefactCorrupt,
    ArtefactError,
    BackupError,
    LoadFailed,
    SourceError,
    TargetNotEmpty,
    UsageError,
)
from db_backup.model import BackupType
from db_backup.progress import Cancellation
from support.dumps import Dumped, blocks, dump_of, load
from support.lab import EngineLab

_WHOLE_DATABASES = (BackupType.FULL, BackupType.STRUCTURE)
_ACCIDENTS = (
    "INSERT INTO marks (id, word) VALUES (9, 'too much')",
    "UPDATE marks SET word = 'changed' WHERE id = 1",
    "DELETE FROM marks WHERE id = 2",
    "DELETE FROM orders",
    "DROP TABLE right_side",
)


def _flipped(place: float) -> Callable[[bytes], Iterator[bytes]]:
    """What a restore reads of a file of which one byte has turned over: the hash shows it at the end."""

    def content(plain: bytes) -> Iterator[bytes]:
        damaged = bytearray(plain)
        damaged[int((len(plain) - 1) * place)] ^= 0xFF
        yield from blocks(bytes(damaged))
        raise ArtefactCorrupt("The hash is another one.")

    return content


def _cut_off(plain: bytes) -> Iterator[bytes]:
    """What a restore reads of a file that ends too early, of which nobody has taken the hash."""
    yield from blocks(plain[: len(plain) * 2 // 3])


class RestoreContract:
    """``lab_fixture`` names the session's fixture of one engine's lab.

    ``everything_odd_can_be_dumped``: by the engine's stock tool, and comes out the same of a restored database.
    """

    lab_fixture: ClassVar[str]
    everything_odd_can_be_dumped: ClassVar[bool] = True

    @pytest.fixture
    def lab(self, request: pytest.FixtureRequest) -> EngineLab:
        lab: EngineLab = request.getfixturevalue(self.lab_fixture)
        return lab

    @pytest.fixture(scope="class")
    @classmethod
    def unchanged(cls, request: pytest.FixtureRequest) -> Iterator[str]:
        """A database that every test leaves as it is."""
        lab: EngineLab = request.getfixturevalue(cls.lab_fixture)
        database = lab.create_sample()
        yield database
        lab.drop(database)

    @pytest.fixture(scope="class")
    @classmethod
    def full(cls, request: pytest.FixtureRequest, unchanged: str) -> Dumped:
        lab: EngineLab = request.getfixturevalue(cls.lab_fixture)
        return dump_of(lab.engine(unchanged))

    @pytest.fixture(scope="class")
    @classmethod
    def structure(cls, request: pytest.FixtureRequest, unchanged: str) -> Dumped:
        lab: EngineLab = request.getfixturevalue(cls.lab_fixture)
        return dump_of(lab.engine(unchanged), backup_type=BackupType.STRUCTURE)

    @pytest.fixture
    def dumped(self, backup_type: BackupType, full: Dumped, structure: Dumped) -> Dumped:
        return structure if backup_type is BackupType.STRUCTURE else full

    @pytest.fixture
    def database(self, lab: EngineLab) -> Iterator[str]:
        database = lab.create_sample()
        yield database
        lab.drop(lab.engine(database).replacement_name())
        lab.drop(database)

    @pytest.fixture
    def new_name(self, lab: EngineLab) -> Iterator[str]:
        name = lab.fresh_name()
        yield name
        lab.drop(lab.engine(name).replacement_name())
        lab.drop(name)

    # What is there

    @pytest.mark.parametrize("replacing", [False, True])
    def test_a_target_that_does_not_exist_has_no_occupancy(
        self, lab: EngineLab, unchanged: str, full: Dumped, replacing: bool
    ) -> None:
        name = lab.fresh_name()
        examination = lab.engine(name).examine_target(full.manifest, LoadOptions(), replace=replacing)
        assert examination.occupancy is None
        server = lab.engine(unchanged).check()
        assert examination.server == server.model_copy(update={"address": examination.server.address})
        assert not lab.exists(name)

    @pytest.mark.parametrize("replacing", [False, True])
    def test_examining_a_filled_target_says_what_is_in_it_and_changes_nothing(
        self, lab: EngineLab, unchanged: str, full: Dumped, replacing: bool
    ) -> None:
        before = lab.stock_dump(unchanged)
        occupancy = lab.engine(unchanged).examine_target(full.manifest, LoadOptions(), replace=replacing).occupancy
        assert occupancy is not None
        assert occupancy.objects >= len(lab.own_counts(unchanged))
        assert occupancy.rows
        assert occupancy.examples
        assert not occupancy.sessions
        assert occupancy.size_bytes
        assert lab.stock_dump(unchanged) == before
        assert not lab.exists(lab.engine(unchanged).replacement_name())

    @pytest.mark.parametrize("backup_type", _WHOLE_DATABASES, ids=str)
    def test_an_empty_database_is_seen_to_be_empty_and_can_be_loaded_into(self, lab: EngineLab, dumped: Dumped) -> None:
        empty = lab.create_empty()
        target = lab.engine(empty)
        occupancy = target.examine_target(dumped.manifest, LoadOptions(), replace=False).occupancy
        assert occupancy is not None
        assert (occupancy.objects, occupancy.rows, occupancy.examples) == (0, False, ())
        target.load(dumped.read(), dumped.manifest, Cancellation())
        assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
        lab.drop(empty)

    def test_rows_need_their_tables_which_are_objects_without_rows(
        self, lab: EngineLab, unchanged: str, new_name: str, structure: Dumped
    ) -> None:
        source = lab.engine(unchanged)
        rows = dump_of(source, backup_type=BackupType.DATA)
        target = load(source, new_name, structure)
        occupancy = target.examine_target(rows.manifest, LoadOptions(), replace=False).occupancy
        assert occupancy is not None
        assert (bool(occupancy.objects), occupancy.rows) == (True, False)
        lab.execute(new_name, "DROP TABLE empty_table")
        with pytest.raises(BackupError, match="empty_table"):
            target.examine_target(rows.manifest, LoadOptions(), replace=False)

    # In the place of the old one

    def test_the_name_of_a_replacement_is_always_the_same_and_nobody_elses(
        self, lab: EngineLab, unchanged: str
    ) -> None:
        names = [unchanged, *(f"{unchanged}{'x' * (60 - len(unchanged.rpartition('/')[2]))}{end}" for end in "ab")]
        replacements = [lab.engine(name).replacement_name() for name in names]
        assert replacements == [lab.engine(name).replacement_name() for name in names]
        assert len({*names, *replacements}) == 2 * len(names)

    @pytest.mark.parametrize("backup_type", _WHOLE_DATABASES, ids=str)
    def test_a_replacement_takes_the_place_of_the_old_database(
        self, lab: EngineLab, database: str, dumped: Dumped
    ) -> None:
        lab.execute(database, *_ACCIDENTS)
        replace(lab, lab.engine(database), dumped)
        found = lab.engine(database).take_inventory(dumped.manifest, Cancellation())
        assert compare(dumped.manifest.inventory, found) == ()

    def test_a_replacement_takes_a_name_that_nobody_has(
        self, lab: EngineLab, unchanged: str, new_name: str, full: Dumped
    ) -> None:
        replace(lab, lab.engine(new_name), full, maker=lab.engine(unchanged))
        found = lab.engine(new_name).take_inventory(full.manifest, Cancellation())
        assert compare(full.manifest.inventory, found) == ()

    def test_what_is_dumped_of_the_restored_database_is_what_was_dumped_of_the_original(
        self, lab: EngineLab, database: str
    ) -> None:
        """By us, of every type; and by the engine's stock tool, as text."""
        before, by_stock_tools = _inventories(lab, database), lab.stock_dump(database)
        dumped = dump_of(lab.engine(database))
        lab.execute(database, *_ACCIDENTS)
        assert lab.stock_dump(database) != by_stock_tools
        replace(lab, lab.engine(database), dumped)
        lab.engine(database).refresh_statistics(Cancellation())
        assert lab.stock_dump(database) == by_stock_tools
        assert _inventories(lab, database) == before

    def test_everything_odd_is_in_the_restored_database_as_it_was(self, lab: EngineLab) -> None:
        """Also what no inventory holds: the definitions, by the engine's stock tool."""
        nasty = lab.create_nasty()
        before = self._by_stock_tools(lab, nasty)
        dumped = dump_of(lab.engine(nasty))
        replace(lab, lab.engine(nasty), dumped)
        assert self._by_stock_tools(lab, nasty) == before
        assert compare(dumped.manifest.inventory, dump_of(lab.engine(nasty)).manifest.inventory) == ()
        lab.drop(nasty)

    def _by_stock_tools(self, lab: EngineLab, database: str) -> list[str]:
        """Sorted: what hashes an enum puts its rows into other partitions when it is restored."""
        return sorted(lab.stock_dump(database).splitlines()) if self.everything_odd_can_be_dumped else []

    def test_the_old_database_is_in_service_until_it_is_replaced(
        self, lab: EngineLab, database: str, full: Dumped
    ) -> None:
        seen = []

        def content(plain: bytes) -> Iterator[bytes]:
            yield plain[: len(plain) // 2]
            lab.execute(database, "INSERT INTO left_side (id) VALUES (5)")
            seen.append(lab.counts(database)[lab.table("left_side")])
            yield plain[len(plain) // 2 :]

        replacement = make_replacement(lab.engine(database), full, content)
        seen.append(lab.counts(database)[lab.table("left_side")])
        lab.engine(database).replace_with(replacement, Cancellation())
        seen.append(lab.counts(database)[lab.table("left_side")])
        assert seen == [1, 1, 0]

    # What goes wrong on the way

    @pytest.mark.parametrize(
        "content",
        [_flipped(0), _flipped(0.5), _flipped(1), _cut_off],
        ids=["start", "middle", "end", "truncated"],
    )
    def test_damage_leaves_the_target_as_it_was_and_a_second_attempt_works(
        self, lab: EngineLab, database: str, full: Dumped, content: Callable[[bytes], Iterator[bytes]]
    ) -> None:
        lab.execute(database, *_ACCIDENTS)
        before = lab.stock_dump(database)
        with pytest.raises((LoadFailed, ArtefactError)):
            replace(lab, lab.engine(database), full, content)
        assert lab.stock_dump(database) == before
        replace(lab, lab.engine(database), full)
        found = lab.engine(database).take_inventory(full.manifest, Cancellation())
        assert compare(full.manifest.inventory, found) == ()

    def test_a_cancellation_leaves_the_target_as_it_was_and_a_second_attempt_works(
        self, lab: EngineLab, database: str
    ) -> None:
        lab.fill(database, megabytes=1)
        dumped = dump_of(lab.engine(database))
        lab.execute(database, *_ACCIDENTS)
        before = lab.stock_dump(database)
        cancellation = Cancellation()

        def content(plain: bytes) -> Iterator[bytes]:
            for number, block in enumerate(blocks(plain)):
                if number == 2:
                    cancellation.cancel("the test says so")
                yield block

        with pytest.raises(BackupError):
            replace(lab, lab.engine(database), dumped, content, cancellation=cancellation)
        assert lab.stock_dump(database) == before
        replace(lab, lab.engine(database), dumped)
        assert compare(dumped.manifest.inventory, dump_of(lab.engine(database)).manifest.inventory) == ()

    def test_a_cancellation_before_the_swap_replaces_nothing(self, lab: EngineLab, database: str, full: Dumped) -> None:
        lab.execute(database, *_ACCIDENTS)
        before = lab.stock_dump(database)
        replacement = make_replacement(lab.engine(database), full)
        cancellation = Cancellation()
        cancellation.cancel("the test says so")
        with pytest.raises(BackupError):
            lab.engine(database).replace_with(replacement, cancellation)
        assert lab.stock_dump(database) == before

    def test_what_an_interrupted_restore_has_left_is_dropped_by_the_next(
        self, lab: EngineLab, database: str, full: Dumped, structure: Dumped
    ) -> None:
        engine = lab.engine(database)
        load(engine, engine.replacement_name(), structure)
        lab.execute(engine.replacement_name(), "INSERT INTO left_side (id) VALUES (77)")
        replace(lab, engine, full)
        assert compare(full.manifest.inventory, engine.take_inventory(full.manifest, Cancellation())) == ()

    # Single tables

    def test_chosen_tables_alone_make_a_new_database(
        self, lab: EngineLab, unchanged: str, new_name: str, full: Dumped
    ) -> None:
        chosen = LoadOptions(tables=(lab.table("customers"), lab.table("orders")))
        assert lab.engine(new_name).examine_target(full.manifest, chosen, replace=False).occupancy is None
        target = lab.engine(unchanged).create_database(new_name)
        target.load(full.read(), full.manifest, Cancellation(), chosen)
        assert set(lab.own_counts(new_name)) - {"sqlite_sequence"} == set(chosen.tables)
        assert _tables(target, full, chosen.tables) == _listed(full, chosen.tables)

    def test_a_dropped_table_comes_back_into_a_database_that_has_moved_on(
        self, lab: EngineLab, database: str, full: Dumped
    ) -> None:
        lab.execute(database, "DROP TABLE marks", "INSERT INTO left_side (id) VALUES (5)")
        before = lab.own_counts(database)
        chosen = LoadOptions(tables=(lab.table("marks"),))
        target = lab.engine(database)
        assert target.examine_target(full.manifest, chosen, replace=False).occupancy is not None
        target.load(full.read(), full.manifest, Cancellation(), chosen)
        assert lab.own_counts(database) == {**before, lab.table("marks"): 3}
        assert _tables(target, full, chosen.tables) == _listed(full, chosen.tables)

    def test_chosen_tables_are_found_in_all_streams_of_a_dump(
        self, lab: EngineLab, unchanged: str, new_name: str
    ) -> None:
        dumped = dump_of(lab.engine(unchanged), jobs=2)
        chosen = LoadOptions(tables=tuple(map(lab.table, ("marks", "customers", "empty_table"))), jobs=2)
        target = lab.engine(unchanged).create_database(new_name)
        target.load(dumped.read(), dumped.manifest, Cancellation(), chosen)
        assert set(lab.own_counts(new_name)) - {"sqlite_sequence"} == set(chosen.tables)
        assert _tables(target, dumped, chosen.tables) == _listed(dumped, chosen.tables)

    def test_a_table_that_is_there_is_never_loaded_over(self, lab: EngineLab, unchanged: str, full: Dumped) -> None:
        before = lab.stock_dump(unchanged)
        chosen = LoadOptions(tables=(lab.table("marks"),))
        target = lab.engine(unchanged)
        with pytest.raises(TargetNotEmpty, match="marks"):
            target.examine_target(full.manifest, chosen, replace=False)
        with pytest.raises(TargetNotEmpty, match="marks"):
            target.load(full.read(), full.manifest, Cancellation(), chosen)
        assert lab.stock_dump(unchanged) == before

    @pytest.mark.parametrize("content", [_flipped(0.5), _cut_off], ids=["flipped", "truncated"])
    def test_damage_brings_no_table(
        self, lab: EngineLab, database: str, full: Dumped, content: Callable[[bytes], Iterator[bytes]]
    ) -> None:
        lab.execute(database, "DROP TABLE marks")
        before = lab.stock_dump(database)
        chosen = LoadOptions(tables=(lab.table("marks"),))
        with pytest.raises((LoadFailed, ArtefactError)):
            lab.engine(database).load([content(full.plain)], full.manifest, Cancellation(), chosen)
        assert lab.stock_dump(database) == before

    def test_a_table_that_the_backup_does_not_hold_is_told_with_the_nearest_name(
        self, lab: EngineLab, full: Dumped
    ) -> None:
        chosen = LoadOptions(tables=(lab.table("mark"),))
        with pytest.raises(UsageError) as caught:
            lab.engine(lab.fresh_name()).examine_target(full.manifest, chosen, replace=False)
        assert lab.table("marks") in str(caught.value)

    def test_tables_are_chosen_from_full_backups_only(self, lab: EngineLab, structure: Dumped) -> None:
        chosen = LoadOptions(tables=(lab.table("marks"),))
        with pytest.raises(UsageError):
            lab.engine(lab.fresh_name()).examine_target(structure.manifest, chosen, replace=False)

    # Questions

    def test_a_question_is_answered_by_its_first_value(self, lab: EngineLab, unchanged: str) -> None:
        engine = lab.engine(unchanged)
        assert engine.ask("SELECT count(*) FROM marks", Cancellation()) == 3
        assert engine.ask("SELECT word, id FROM marks ORDER BY id", Cancellation()) == "first"
        assert engine.ask("SELECT id FROM empty_table", Cancellation()) is None

    @pytest.mark.parametrize(
        "query",
        [
            "DELETE FROM marks",
            "DROP TABLE marks",
            "CREATE TABLE more (id integer)",
            "SELECT 1; DELETE FROM marks",
            "COMMIT; DELETE FROM marks",
            "SELECT * FROM nowhere",
        ],
    )
    def test_a_question_cannot_write(self, lab: EngineLab, unchanged: str, query: str) -> None:
        before = lab.counts(unchanged)
        with pytest.raises(SourceError) as caught:
            lab.engine(unchanged).ask(query, Cancellation())
        assert caught.value.hint
        assert lab.counts(unchanged) == before


def make_replacement(
    target: Engine,
    dumped: Dumped,
    content: Callable[[bytes], Iterator[bytes]] = blocks,
    *,
    maker: Engine | None = None,
    cancellation: Cancellation | None = None,
) -> str:
    """Beside the target, instead of what an earlier one has left; loaded and compared.

    :param maker: an engine of the same server whose database exists; None: the target's does.
    """
    maker = maker or target
    name = target.replacement_name()
    if maker.database_exists(name):
        maker.drop_database(name)
    made = maker.create_database(name)
    streams = [content(plain) for plain in dumped.streams]
    made.load(streams, dumped.manifest, cancellation or Cancellation())
    assert compare(dumped.manifest.inventory, made.take_inventory(dumped.manifest, Cancellation())) == ()
    return name


def replace(
    lab: EngineLab,
    target: Engine,
    dumped: Dumped,
    content: Callable[[bytes], Iterator[bytes]] = blocks,
    *,
    maker: Engine | None = None,
    cancellation: Cancellation | None = None,
) -> None:
    target.examine_target(dumped.manifest, LoadOptions(), replace=True)
    name = make_replacement(target, dumped, content, maker=maker, cancellation=cancellation)
    target.replace_with(name, Cancellation())
    assert not lab.exists(name)


def _inventories(lab: EngineLab, database: str) -> dict[BackupType, object]:
    return {
        backup_type: dump_of(lab.engine(database), backup_type=backup_type).manifest.inventory
        for backup_type in (BackupType.FULL, BackupType.STRUCTURE, BackupType.DATA)
    }


def _listed(dumped: Dumped, names: tuple[str, ...]) -> set[object]:
    return {table for table in dumped.manifest.inventory.tables if table.name in names}


def _tables(target: Engine, dumped: Dumped, names: tuple[str, ...]) -> set[object]:
    inventory = target.take_inventory(dumped.manifest, Cancellation())
    return {table for table in inventory.tables if table.name in names}
