"""Structure and data of odd SQLite databases come back to the bit, by us and by the stock shell."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from db_backup.comparison import compare, compare_tables
from db_backup.engines.sqlite import SqliteEngine
from db_backup.errors import LoadFailed, SourceUnsupported
from db_backup.model import BackupType
from db_backup.progress import Cancellation
from support.dumps import Dumped, blocks, dump_of, load
from support.lab_sqlite import SqliteLab

pytestmark = pytest.mark.integration

AWKWARD = (Path(__file__).parents[1] / "support" / "awkward_sqlite.sql").read_text()
STRUCTURE, DATA = BackupType.STRUCTURE, BackupType.DATA


@pytest.fixture(params=["UTF-8", "UTF-16le", "UTF-16be"])
def source(request: pytest.FixtureRequest, sqlite_lab: SqliteLab) -> Iterator[SqliteEngine]:
    path = sqlite_lab.fresh_name()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA encoding = '{request.param}';" + AWKWARD)
    yield engine(sqlite_lab, path)
    sqlite_lab.drop(path)


def engine(lab: SqliteLab, path: str) -> SqliteEngine:
    return SqliteEngine(lab.connection(path), lab.options)


def both(source: SqliteEngine) -> tuple[Dumped, Dumped]:
    return dump_of(source, backup_type=STRUCTURE), dump_of(source, backup_type=DATA)


def ask(path: str, *questions: str) -> list[list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        return [connection.execute(question).fetchall() for question in questions]


QUESTIONS = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1, 2",
    "PRAGMA user_version",
    "PRAGMA application_id",
    "PRAGMA encoding",
    "SELECT CAST(value AS BLOB), typeof(value) FROM texts ORDER BY rowid",
    "SELECT * FROM numbers ORDER BY rowid",
    "SELECT typeof(free), typeof(i), typeof(r), typeof(n), typeof(t), typeof(b) FROM numbers ORDER BY rowid",
    "SELECT rowid, value FROM rowids ORDER BY rowid",
    "SELECT oid, * FROM hides_rowid",
    "SELECT * FROM sqlite_sequence ORDER BY name",
    "SELECT * FROM computed ORDER BY a",
    "SELECT * FROM widened",
    "SELECT count(*) FROM log",
    "SELECT rowid, title, body FROM words WHERE words MATCH 'fox'",
    "SELECT rowid FROM found WHERE found MATCH 'dogs'",
    "SELECT docid FROM old_words WHERE old_words MATCH 'older'",
    "SELECT docid FROM old_found WHERE old_found MATCH 'jumping'",
    "SELECT * FROM boxes WHERE x1 > 4 ORDER BY id",
    "SELECT * FROM grid",
)


def assert_same(source: SqliteEngine, restored: str, data: Dumped) -> None:
    """Everything but the text that a contentless index never kept."""
    for question, expected, found in zip(
        QUESTIONS, ask(source.connection.database, *QUESTIONS), ask(restored, *QUESTIONS), strict=True
    ):
        assert found == expected, question
    target = SqliteEngine(dataclasses.replace(source.connection, database=restored), source.options)
    assert compare(data.manifest.inventory, target.take_inventory(data.manifest, Cancellation())) == ()
    assert (
        ask(restored, "PRAGMA integrity_check")[0][0] == ask(source.connection.database, "PRAGMA integrity_check")[0][0]
    )


def test_everything_odd_comes_back_as_it_was(source: SqliteEngine, sqlite_lab: SqliteLab) -> None:
    structure, data = both(source)
    target = load(source, sqlite_lab.fresh_name(), structure, data)
    assert_same(source, target.connection.database, data)
    for dumped in (structure, data):
        found = source.read_archive([blocks(dumped.plain)], dumped.manifest, Cancellation())
        assert compare_tables(dumped.manifest.inventory, found) == ()


def test_the_stock_shell_alone_rebuilds_it(source: SqliteEngine, tmp_path: Path) -> None:
    structure, data = both(source)
    restored = tmp_path / "restored.sqlite"
    for dumped, flags in ((structure, []), (data, ["-cmd", ".dbconfig enable_trigger off"])):
        done = subprocess.run(
            ["sqlite3", "-bail", *flags, str(restored)],
            input=dumped.plain,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
    assert_same(source, str(restored), data)


def test_what_statements_cannot_carry_is_told(source: SqliteEngine) -> None:
    warnings = dump_of(source, backup_type=DATA).manifest.warnings
    assert any("'forgetful'" in warning for warning in warnings)


def test_a_database_in_another_encoding_takes_no_rows(sqlite_lab: SqliteLab, tmp_path: Path) -> None:
    source = engine(sqlite_lab, sqlite_lab.create_sample())
    data = dump_of(source, backup_type=DATA)
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as connection:
        connection.executescript("PRAGMA encoding = 'UTF-16le';")
        script = dump_of(source, backup_type=STRUCTURE).plain.decode().replace("PRAGMA encoding = 'UTF-8';\n", "")
        connection.executescript(script)
    with pytest.raises(LoadFailed, match="UTF-16le"):
        engine(sqlite_lab, str(other)).load([blocks(data.plain)], data.manifest, Cancellation())


def test_a_structure_that_needs_its_application_is_refused(sqlite_lab: SqliteLab, tmp_path: Path) -> None:
    path = tmp_path / "application.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.create_collation("german", lambda left, right: (left > right) - (left < right))
        connection.executescript("CREATE TABLE t (a TEXT); CREATE INDEX i ON t (a COLLATE german);")
    with pytest.raises(SourceUnsupported, match="german") as caught:
        dump_of(engine(sqlite_lab, str(path)), backup_type=STRUCTURE)
    assert "full backups" in caught.value.hint


def test_a_virtual_table_whose_module_is_missing_is_refused(sqlite_lab: SqliteLab, tmp_path: Path) -> None:
    path = tmp_path / "module.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE t (a); PRAGMA writable_schema = ON;"
            "INSERT INTO sqlite_master "
            "VALUES ('table', 'far', 'far', 0, 'CREATE VIRTUAL TABLE far USING elsewhere(a)');"
        )
    for backup_type in (STRUCTURE, DATA):
        with pytest.raises(SourceUnsupported, match=r"'far'.*'elsewhere'"):
            dump_of(engine(sqlite_lab, str(path)), backup_type=backup_type)


def test_a_script_can_open_no_other_file(sqlite_lab: SqliteLab, tmp_path: Path) -> None:
    source = engine(sqlite_lab, sqlite_lab.create_sample())
    structure, data = both(source)
    stolen = tmp_path / "stolen.sqlite"
    attack = f"ATTACH '{stolen}' AS x;\n".encode()
    wicked = structure.plain.replace(b"BEGIN;\n", b"COMMIT;\n" + attack + b"BEGIN;\n", 1).replace(b"COMMIT;\n", b"", 1)
    with pytest.raises(LoadFailed):
        source.create_database(sqlite_lab.fresh_name()).load([[wicked]], structure.manifest, Cancellation())
    target = load(source, sqlite_lab.fresh_name(), structure)
    with pytest.raises(LoadFailed):
        target.load([[data.plain.replace(b"BEGIN;\n", b"BEGIN;\n" + attack, 1)]], data.manifest, Cancellation())
    assert not stolen.exists()
