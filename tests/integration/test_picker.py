"""Choosing a backup by arrow keys and typing, at a real pseudo-terminal."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from prompt_toolkit.output.vt100 import Vt100_Output

from db_backup.cli.picker import pick_backup, proof_words
from db_backup.errors import UsageError
from db_backup.model import BackupStatus, ProofResult, VerificationLevel
from db_backup.summary import BackupSummary, summarise
from support.factories import MORNING, make_manifest, make_proof, make_state
from support.project import Project
from support.shop_database import sqlite_database
from support.terminal import TerminalSession

pytestmark = pytest.mark.integration

PROGRAM = """
import sys
from db_backup.cli.picker import pick_backup
from db_backup.errors import Interrupted
from test_picker import backups
try:
    print(pick_backup(backups(int(sys.argv[1]))))
except Interrupted as error:
    print(error.message)
    sys.exit(error.exit_code)
"""
UP, DOWN, PAGE_UP, PAGE_DOWN = "\x1b[A", "\x1b[B", "\x1b[5~", "\x1b[6~"
ENTER, ESCAPE, CONTROL_C, BACKSPACE = "\r", "\x1b", "\x03", "\x7f"
LINES = 30
AROUND = 5  # lines: the search, the heading and what is told below the list
PAGE = DummyOutput().get_size().rows - AROUND


def backups(count: int) -> list[BackupSummary]:
    """Newest first, an hour apart; every third one is of `crm`, and the second one is proven."""
    made = []
    for number in range(count):
        name = "crm" if number % 3 == 2 else "shop"
        manifest = make_manifest(entry=name, created_at=MORNING - timedelta(hours=number))
        made.append(summarise(manifest, make_state(manifest, *([make_proof()] if number == 1 else []))))
    return made


@contextmanager
def picking(count: int = 9) -> Iterator[TerminalSession]:
    root = Path(__file__).parents[2]
    path = os.pathsep.join(str(root / name) for name in ("plugins", "tests", "tests/integration"))
    command = [sys.executable, "-c", PROGRAM, str(count)]
    with TerminalSession(command, {**os.environ, "PYTHONPATH": path}, lines=LINES) as session:
        session.wait_for("Enter takes it")
        yield session


@pytest.mark.parametrize(
    ("keys", "number"),
    [
        (ENTER, 0),
        (DOWN + ENTER, 1),
        (DOWN * 5 + UP + ENTER, 4),
        (UP + ENTER, 0),
        (PAGE_DOWN + ENTER, PAGE),
        (PAGE_DOWN * 2 + PAGE_UP + ENTER, PAGE),
        ("crm" + ENTER, 2),
        ("CRM full" + DOWN + ENTER, 5),
        ("proven" + BACKSPACE + ENTER, 0),
        ("by restore" + ENTER, 1),
        (DOWN * 5 + "crm" + ENTER, 5),
        ("nothing like it" + ENTER + BACKSPACE * 15 + DOWN + ENTER, 1),
    ],
)
def test_arrow_keys_and_typing_choose(keys: str, number: int) -> None:
    with create_pipe_input() as terminal:
        terminal.send_text(keys)
        chosen = pick_backup(backups(100), terminal=terminal, output=DummyOutput())
    assert chosen == backups(100)[number].id


def test_what_is_chosen_at_a_terminal_goes_to_stdout() -> None:
    with picking() as session:
        session.type(DOWN * 2 + ENTER)
        code, out = session.finish()
    assert (code, out.strip()) == (0, backups(9)[2].id)


@pytest.mark.parametrize("key", [ESCAPE, CONTROL_C])
def test_escape_and_control_c_give_up(key: str) -> None:
    with picking() as session:
        session.type(key)
        code, out = session.finish()
    assert (code, out) == (130, "No backup was chosen.\n")


def test_a_list_of_thousands_is_shown_and_narrowed_down_at_once() -> None:
    with picking(5000) as session:
        session.type(PAGE_DOWN * 100 + ENTER)
        code, out = session.finish()
    assert (code, out.strip()) == (0, backups(5000)[(LINES - AROUND) * 100].id)


def test_each_row_tells_age_size_type_and_proof() -> None:
    with picking() as session:
        screen = shown(session.screen)
        session.type(ESCAPE)
        session.finish()
    rows = [" ".join(row.split()) for row in screen]
    assert any(re.fullmatch(r"> shop full \d+d ago 4\.1 kB unproven", row) for row in rows), rows
    assert any(re.fullmatch(r"shop full \d+d ago 4\.1 kB ✓ proven by restore", row) for row in rows), rows
    assert any(row.startswith("crm full") for row in rows)
    assert any(backups(9)[0].id in row for row in rows)
    assert "9 of 9" in rows[0]


def test_on_a_narrow_terminal_the_name_gives_way_to_the_proof() -> None:
    manifest = make_manifest(entry="a-database-with-a-name-as-long-as-a-name-may-be-")
    proven = summarise(manifest, make_state(manifest, make_proof()))
    drawn = []
    for columns in (60, 200):
        output = io.StringIO()
        terminal = Vt100_Output(output, lambda columns=columns: Size(30, columns), enable_cpr=False)
        with create_pipe_input() as keys:
            keys.send_text(ENTER)
            pick_backup([proven], terminal=keys, output=terminal)
        drawn.append(output.getvalue())
    narrow, wide = drawn
    assert "…" in narrow
    assert manifest.entry in wide
    assert all("✓ proven by restore" in text for text in drawn)


def shown(written: str) -> list[str]:
    """The lines of a first frame, which is written from top to bottom."""
    text = re.sub(r"\x1b\[(\d*)C", lambda move: " " * int(move[1] or 1), written)
    text = re.sub(r"\x1b(\[[0-9;?]*[a-zA-Z]|[=>])", "", text)
    return [line.rstrip() for line in text.replace("\r", "").split("\n")]


def test_the_proof_is_told_in_words() -> None:
    manifest = make_manifest()
    plain = summarise(manifest, make_state(manifest))
    proven = summarise(manifest, make_state(manifest, make_proof()))

    assert proof_words(plain) == "unproven"
    assert proof_words(proven) == "✓ proven by restore"
    assert proof_words(proven.model_copy(update={"proof_level": VerificationLevel.CHECKSUM})) == "✓ checksum"
    assert proof_words(proven.model_copy(update={"proof_result": ProofResult.INCONCLUSIVE})) == "unproven"
    assert proof_words(proven.model_copy(update={"status": BackupStatus.SUSPECT})) == "✗ suspect"
    failed = proven.model_copy(update={"status": BackupStatus.FAILED_VERIFICATION})
    assert proof_words(failed) == "✗ failed verification"


def test_nothing_to_choose_from_is_said() -> None:
    with pytest.raises(UsageError, match="no backups"):
        pick_backup([])


def test_a_restore_without_a_backup_lets_a_person_choose(tmp_path: Path) -> None:
    project = Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)
    older, newer = (project.json("create", "shop", "--no-verify")["backups"][0]["id"] for _ in range(2))
    command = [sys.executable, "-m", "db_backup", "restore", "--as", str(tmp_path / "copy.sqlite"), "--json"]

    with TerminalSession(command, project.environment) as session:
        session.wait_for("Enter takes it")
        session.type(DOWN + ENTER)
        code, out = session.finish()

    assert code == 0
    assert json.loads(out)["backup_id"] == older != newer
    assert (tmp_path / "copy.sqlite").exists()
