"""The command line as such: help, usage errors, exit codes. What the commands do is tested with real databases."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest

from db_backup.cli.failures import print_failure
from db_backup.cli.main import cli, main
from db_backup.cli.output import print_table, say
from db_backup.model import ConnectionInfo, EngineName
from db_backup.units import human_bytes, human_duration
from support.project import Project

pytestmark = pytest.mark.unit


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


COMMANDS = dict(every_command(cli))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_that_parses(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path, "--help"]) == 0
    text = capsys.readouterr().out
    examples = [line.split() for line in text.splitlines() if line.strip().startswith("db-backup ")]
    assert "Examples:" in text
    assert examples
    for words in examples:
        parses(words[1:])


def parses(arguments: list[str]) -> None:
    """The command exists and takes these arguments; nothing is run."""
    if arguments[0] == "--kit":
        arguments = arguments[2:]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and arguments:
        found = command.get_command(context, arguments[0])
        assert found is not None, arguments
        command, arguments = found, arguments[1:]
        context = click.Context(command)
    command.make_context(command.name, list(arguments))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_does(path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.name


@pytest.mark.parametrize("arguments", [["nonsense"], ["create", "--nonsense"], ["list", "--days", "many"], ["verify"]])
def test_bad_usage_ends_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_a_listing_loads_nothing_that_only_other_commands_need(tmp_path: Path) -> None:
    program = """
import sys
from db_backup.cli.main import main
assert main(["list"]) == 0
heavy = ("airflow", "alembic", "croniter", "obstore", "psycopg", "pymysql", "tink", "yaml", "zstandard")
ours = ("config", "connections.aws", "connections.azure", "connections.google", "engines", "storage", "stream")
print([name for name in (*heavy, *(f"db_backup.{room}" for room in ours)) if name in sys.modules])
"""
    shop = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(shop)) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    connection = ConnectionInfo("shop_db", EngineName.SQLITE, database=str(shop))
    project = Project(tmp_path / "project", {"shop": connection}, as_process=False)
    (backup,) = project.json("create", "shop", "--no-verify")["backups"]

    _, row, loaded = project.run_process([sys.executable, "-c", program]).stdout.splitlines()

    assert row.startswith(backup["id"])
    assert loaded == "[]"


def test_help_for_which_every_command_is_imported_loads_no_driver_of_a_database_and_no_cloud() -> None:
    program = """
import sys
from db_backup.cli.main import main
assert main(["--help"]) == 0
heavy = ("airflow", "alembic", "boto3", "croniter", "cryptography", "obstore", "psycopg", "pymysql", "rich", "tink")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("arguments", "is_frozen"), [("", True), ("['completion', 'bash']", False)])
def test_what_a_command_imports_is_kept_out_of_garbage_collection_in_its_own_process_alone(
    arguments: str, is_frozen: bool
) -> None:
    program = f"""
import gc, sys
from db_backup.cli.main import main
assert main({arguments}) == 0
print(gc.isenabled(), gc.get_freeze_count() > 0, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "completion", "bash"], capture_output=True, text=True, check=True
    )
    assert done.stderr.split() == ["True", str(is_frozen)]


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (12_500_000, "12.5 MB"), (3e15, "3000.0 TB")],
)
def test_sizes_read_in_human_units(count: float, words: str) -> None:
    assert human_bytes(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2.341, "2.34s"), (45.6, "46s"), (185, "3m 05s"), (15_000, "4h 10m"), (12 * 86400 + 3 * 3600, "12d 3h")],
)
def test_durations_read_in_human_units(seconds: float, words: str) -> None:
    assert human_duration(seconds) == words


@pytest.mark.parametrize(
    ("typed", "told"), [("stroages", "Did you mean 'storages'?"), ("make-coffee", "`db-backup --help` lists those")]
)
def test_a_misspelt_command_is_told_the_nearest(typed: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed]) == 2
    assert f"No such command '{typed}'. {told}" in capsys.readouterr().err


def test_a_table_is_whole_on_a_terminal_that_can_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich takes such a one to have 80 columns, whatever it is told."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)

    print_table(("BACKUP", "LOCATION"), [("backup_shop_full_2026-01-31_03-00-00", "/srv/" + "b" * 60)])

    assert terminal.getvalue().splitlines()[1].rstrip().endswith("b" * 60)


def test_what_others_have_written_steers_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes into a bucket writes reasons and warnings there, and a database has tables of any name."""
    planted = "gone\x1b[2J\x1b]0;title\x07\x9b2J\r it is whole"
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)

    print_table(("BACKUP", "REASON"), [("backup_shop_full_2026-01-31_03-00-00", planted)])
    print_failure(planted, planted)
    say(f"{planted}\n\tand more")

    shown = out.getvalue() + err.getvalue()
    assert shown.count("gone\N{REPLACEMENT CHARACTER}[2J") == 4
    assert not set("\x07\x9b\r") & set(shown)
    assert "\x1b[2J" not in shown
    assert "\n\tand more\n" in shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
