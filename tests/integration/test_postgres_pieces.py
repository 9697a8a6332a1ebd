"""PostgreSQL dumps in pieces: how tables are shared out, in every format, and what a failed load leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from db_backup.comparison import compare
from db_backup.engines.base import Engine
from db_backup.engines.postgres import PostgresEngine
from db_backup.engines.postgres.formats import Container, DumpFormat
from db_backup.engines.postgres.pieces import Piece, divide, in_order, is_divisible, pattern
from db_backup.errors import ArtefactCorrupt
from db_backup.model import BackupType
from db_backup.progress import Cancellation
from support.dumps import Dumped, before_loading, blocks, dump_of, load
from support.lab_postgres import PostgresLab
from support.postgres_server import PostgresServer

FULL, DATA = DumpFormat(Container.CUSTOM), DumpFormat(Container.CUSTOM, BackupType.DATA)
SIZES = {("public", "large"): 100, ("public", "middle"): 60, ("public", "small"): 50, ("public", "empty"): 0}


def tables(piece: Piece) -> set[str]:
    return {flag.partition("=")[2] for flag in piece.selection if flag.startswith("--table=")}


@pytest.mark.unit
def test_the_largest_table_goes_to_the_share_that_has_least() -> None:
    before, first, second, after = divide(FULL, SIZES, 2)
    assert [piece.name for piece in (before, first, second, after)] == ["pre-data", "data-1", "data-2", "post-data"]
    assert tables(second) == {pattern(("public", name)) for name in ("middle", "small")}
    assert tables(first) == set()
    left = {flag.partition("=")[2] for flag in first.selection if flag.startswith("--exclude-table-data=")}
    assert left == tables(second)


@pytest.mark.unit
def test_rows_alone_need_no_definitions() -> None:
    assert [piece.name for piece in divide(DATA, SIZES, 3)] == ["data-1", "data-2", "data-3"]


@pytest.mark.unit
@pytest.mark.parametrize("sizes", [{}, {("public", "only"): 5}])
def test_what_cannot_be_shared_out_is_one_piece(sizes: dict[tuple[str, str], int]) -> None:
    assert divide(FULL, sizes, 3) == (Piece(),)


@pytest.mark.unit
def test_of_very_many_tables_only_the_largest_are_named_to_the_tools() -> None:
    sizes = {("public", f"t{number:05}"): number for number in range(10_000)}
    pieces = divide(FULL, sizes, 4)
    named = set().union(*map(tables, pieces))
    assert 100 < len(named) <= 256
    assert pattern(("public", "t00001")) not in named


@pytest.mark.unit
def test_a_directory_and_a_structure_are_one_piece() -> None:
    assert not is_divisible(DumpFormat(Container.DIRECTORY), 3)
    assert not is_divisible(DumpFormat(Container.CUSTOM, BackupType.STRUCTURE), 3)
    assert not is_divisible(FULL, 1)
    assert is_divisible(FULL, 2)


def table(name: str) -> tuple[str, str]:
    return ("public", name)


@pytest.mark.unit
def test_tables_that_foreign_keys_join_are_loaded_after_those_that_they_refer_to() -> None:
    names = ("orders", "customers", "left", "right", "loner", "tree_1", "tree_2", "events_1", "events_2")
    holders = {table(name): [table(name)] for name in names if "_" not in name}
    holders |= {table(root): [table(f"{root}_1"), table(f"{root}_2")] for root in ("tree", "events")}
    keys = [
        ("orders", "customers"),
        ("customers", "left"),
        ("left", "right"),
        ("right", "left"),
        ("tree", "tree"),
        ("events", "orders"),
    ]
    order = in_order(holders, [(table(name), table(referred)) for name, referred in keys])
    groups = [sorted(name for _, name in group) for group in order]
    assert ["tree_1", "tree_2"] in groups
    assert [group for group in groups if "tree_1" not in group] == [
        ["left", "right"],
        ["customers"],
        ["orders"],
        ["events_1"],
        ["events_2"],
    ]

    sizes = {table(name): 100 for name in names}
    later = [tables(piece) for piece in divide(DATA, sizes, 4, order)[1:]]
    share = {name: number for number, named in enumerate(later, 1) for name in named}
    in_turn = [share.get(pattern(table(group[0])), 0) for group in groups if "tree_1" not in group]
    assert in_turn == sorted(in_turn)
    assert all(later)


@pytest.mark.unit
def test_of_very_many_tables_that_foreign_keys_join_the_last_are_named() -> None:
    chain = [table(f"t{number:05}") for number in range(1000)]
    order = in_order({name: [name] for name in chain}, list(pairwise(reversed(chain))))
    pieces = divide(DATA, dict.fromkeys(chain, 1), 3, order)
    named = set().union(*map(tables, pieces))
    assert named == {pattern(name) for name in chain[-256:]}


@pytest.mark.integration
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_user_who_cannot_set_foreign_keys_aside_loads_rows_in_their_order(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, jobs: int
) -> None:
    user, password = postgres_server.create_user("CREATEDB")
    database, name = postgres_lab.create_empty(), postgres_lab.fresh_name()
    postgres_lab.execute(
        database,
        "CREATE TABLE customers (id integer PRIMARY KEY)",
        "CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customers, text text)",
        "CREATE TABLE lines (order_id integer REFERENCES orders)",
        "INSERT INTO customers SELECT generate_series(1, 10)",
        "INSERT INTO orders SELECT i, i % 10 + 1, repeat('x', 500) FROM generate_series(1, 1000) AS n (i)",
        "INSERT INTO lines SELECT generate_series(1, 1000)",
    )
    source = postgres_lab.engine(database)
    dumped = dump_of(source, backup_type=BackupType.DATA, jobs=jobs)
    assert len(dumped.streams) == jobs
    modest = PostgresEngine(postgres_server.connection(database, user=user, password=password), postgres_lab.options)
    target = load(modest, name, *before_loading(source, BackupType.DATA), dumped)
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
    postgres_lab.drop(name)
    postgres_lab.drop(database)


@pytest.mark.integration
@pytest.mark.parametrize("backup_type", [BackupType.FULL, BackupType.DATA], ids=str)
@pytest.mark.parametrize("container", [Container.PLAIN, Container.TAR], ids=str)
def test_pieces_in_every_format_restore_together(
    postgres_lab: PostgresLab, container: Container, backup_type: BackupType
) -> None:
    database, name = postgres_lab.create_sample(), postgres_lab.fresh_name()
    options = dataclasses.replace(postgres_lab.options, postgres_format=container.value)
    source = postgres_lab.engine(database, options)
    dumped = dump_of(source, backup_type=backup_type, jobs=3)
    assert len(dumped.streams) == (5 if backup_type is BackupType.FULL else 3)
    target = load(source, name, *before_loading(source, backup_type), dumped)
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
    postgres_lab.drop(name)
    postgres_lab.drop(database)


@pytest.mark.integration
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_failed_load_of_rows_sets_sequences_back(postgres_lab: PostgresLab, jobs: int) -> None:
    database, name = postgres_lab.create_sample(), postgres_lab.fresh_name()
    postgres_lab.execute(database, "CREATE SEQUENCE tickets", "SELECT setval('tickets', 77)")
    source = postgres_lab.engine(database)
    dumped = dump_of(source, backup_type=BackupType.DATA, jobs=jobs)
    assert any("tickets: 77, called" in item.name for item in dumped.manifest.inventory.objects)
    target = load(source, name, *before_loading(source, BackupType.DATA))
    before = dump_of(target, backup_type=BackupType.DATA).manifest.inventory

    load_damaged(target, dumped)
    assert dump_of(target, backup_type=BackupType.DATA).manifest.inventory == before
    postgres_lab.drop(name)
    postgres_lab.drop(database)


def load_damaged(target: Engine, dumped: Dumped, meanwhile: Callable[[], None] = lambda: None) -> None:
    """All the streams, the last of which proves damaged at its end."""

    def damaged(plain: bytes) -> Iterator[bytes]:
        meanwhile()
        yield from blocks(plain)
        raise ArtefactCorrupt("The hash is another one.")

    *whole, last = dumped.streams
    with pytest.raises(ArtefactCorrupt):
        target.load([*map(blocks, whole), damaged(last)], dumped.manifest, Cancellation())


@pytest.fixture
def with_a_foreign_partition(postgres_lab: PostgresLab) -> tuple[str, str]:
    """A database, and another one where the rows behind a foreign partition of its are."""
    behind, database = postgres_lab.create_empty(), postgres_lab.create_empty()
    postgres_lab.execute(behind, "CREATE TABLE far (a integer)", "INSERT INTO far VALUES (5), (5)")
    there = postgres_lab.connection(behind)
    password = there.password.replace("'", "''")
    postgres_lab.execute(
        database,
        "CREATE EXTENSION postgres_fdw",
        "CREATE SERVER beyond FOREIGN DATA WRAPPER postgres_fdw "
        f"OPTIONS (host '{there.host}', port '{there.port}', dbname '{behind}')",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER beyond OPTIONS (user '{there.login}', password '{password}')",
        "CREATE TABLE split (a integer) PARTITION BY LIST (a)",
        "CREATE TABLE near PARTITION OF split FOR VALUES IN (1)",
        "CREATE FOREIGN TABLE far PARTITION OF split FOR VALUES IN (5) SERVER beyond",
        "INSERT INTO near VALUES (1)",
        "CREATE TABLE whole (a integer PRIMARY KEY)",
        "INSERT INTO whole VALUES (1)",
        "CREATE TABLE parts (a integer REFERENCES whole) PARTITION BY LIST (a)",
        "CREATE TABLE part PARTITION OF parts DEFAULT",
        "CREATE TABLE nobodys (a integer)",
    )
    return database, behind


@pytest.mark.integration
def test_a_failed_load_of_rows_takes_away_its_own_rows_alone(
    postgres_lab: PostgresLab, with_a_foreign_partition: tuple[str, str]
) -> None:
    database, behind = with_a_foreign_partition
    source, name = postgres_lab.engine(database), postgres_lab.fresh_name()
    dumped = dump_of(source, backup_type=BackupType.DATA, jobs=3)
    target = load(source, name, *before_loading(source, BackupType.DATA))
    load_damaged(target, dumped, lambda: postgres_lab.execute(name, "INSERT INTO nobodys VALUES (7)"))
    assert postgres_lab.counts(behind) == {"public.far": 2}
    rows = {"public.split": 2, "public.whole": 0, "public.parts": 0, "public.nobodys": 1}
    assert postgres_lab.counts(name) == rows


@pytest.mark.integration
def test_rows_behind_a_foreign_partition_are_none_of_a_structure(
    postgres_lab: PostgresLab, with_a_foreign_partition: tuple[str, str]
) -> None:
    source = postgres_lab.engine(with_a_foreign_partition[0])
    dumped = dump_of(source, backup_type=BackupType.STRUCTURE)
    target = load(source, postgres_lab.fresh_name(), dumped)
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
