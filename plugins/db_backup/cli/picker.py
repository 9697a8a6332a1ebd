"""Choosing a backup at a terminal: arrow keys, and typing narrows the list down."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Point
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import BufferControl, FormattedTextControl, HSplit, Layout, VSplit, Window
from prompt_toolkit.layout.controls import UIContent, UIControl
from prompt_toolkit.output import Output
from prompt_toolkit.output.defaults import create_output
from prompt_toolkit.styles import Style

from db_backup.cli.output import age, moment
from db_backup.errors import Interrupted, UsageError
from db_backup.model import BackupStatus, ProofResult, VerificationLevel
from db_backup.summary import BackupSummary
from db_backup.units import human_bytes

_STYLE = Style.from_dict(
    {"heading": "bold", "chosen": "reverse", "proven": "ansigreen", "failed": "ansired", "faint": "ansibrightblack"}
)
_KEYS = "  ↑ ↓ PgUp PgDn choose   type to narrow down   Enter takes it   Esc gives up"


def pick_backup(
    backups: Sequence[BackupSummary], *, terminal: Input | None = None, output: Output | None = None
) -> str:
    """Let a person choose one; returns its id. Drawn on stderr, for stdout may be a document.

    :param terminal: in place of stdin.
    :param output: in place of stderr.
    :raises Interrupted: Esc or Ctrl-C.
    :raises UsageError: there is none to choose.
    """
    if not backups:
        raise UsageError("There are no backups to choose from.", hint="See `db-backup list`.")
    chosen: str | None = _application(backups, terminal, output or create_output(stdout=sys.stderr)).run()
    if chosen is None:
        raise Interrupted("No backup was chosen.", hint="Nothing was done.")
    return chosen


def proof_words(backup: BackupSummary) -> str:
    """Whether it would restore, as far as that is proven."""
    if backup.status in {BackupStatus.FAILED_VERIFICATION, BackupStatus.SUSPECT}:
        return "✗ failed verification" if backup.status is BackupStatus.FAILED_VERIFICATION else "✗ suspect"
    if backup.proof_result is ProofResult.PASSED and backup.proof_level is not None:
        return "✓ proven by restore" if backup.proof_level is VerificationLevel.RESTORE else f"✓ {backup.proof_level}"
    return "unproven"


@dataclass(frozen=True)
class _Row:
    backup: BackupSummary
    cells: tuple[str, ...]
    searched: str

    @classmethod
    def of(cls, backup: BackupSummary) -> _Row:
        cells = (
            backup.database,
            f"{backup.type}, safety" if backup.safety else backup.type.value,
            f"{age(backup.created_at)} ago",
            human_bytes(backup.size_bytes),
            proof_words(backup),
        )
        return cls(backup, cells, " ".join((backup.id, *cells, moment(backup.created_at))).lower())


_COLUMNS = ("DATABASE", "TYPE", "AGE", "SIZE", "PROOF")
_RIGHT = frozenset({"AGE", "SIZE"})


class _List(UIControl):
    """The rows that the filter leaves. Only those on the screen are drawn: thousands cost no more than ten."""

    def __init__(self, backups: Sequence[BackupSummary]) -> None:
        self._all = [_Row.of(backup) for backup in backups]
        self._widths = [
            max(len(text) for text in column)
            for column in zip(_COLUMNS, *(row.cells for row in self._all), strict=True)
        ]
        self._wanted = self._widths[0]
        self._rows = self._all
        self.at = 0

    @property
    def chosen(self) -> BackupSummary | None:
        return self._rows[self.at].backup if self._rows else None

    @property
    def count(self) -> str:
        return f"{len(self._rows)} of {len(self._all)}"

    def narrow_down(self, typed: str) -> None:
        """To the rows that hold every word; what was chosen stays so while it is among them."""
        before = self.chosen
        words = typed.lower().split()
        self._rows = [row for row in self._all if all(word in row.searched for word in words)]
        self.at = next((number for number, row in enumerate(self._rows) if row.backup is before), 0)

    def move(self, rows: int) -> None:
        self.at = max(0, min(len(self._rows) - 1, self.at + rows))

    def fit(self, columns: int) -> None:
        """On a narrow terminal the name gives way: the id below tells it too, and the proof must be seen."""
        others = sum(self._widths[1:]) + 2 * len(self._widths) + 1
        self._widths[0] = min(self._wanted, max(len(_COLUMNS[0]), columns - others))

    def heading(self) -> StyleAndTextTuples:
        return [("class:heading", f"  {self._line(_COLUMNS)}")]

    def details(self) -> StyleAndTextTuples:
        backup = self.chosen
        if backup is None:
            return [("class:faint", "  Nothing matches.")]
        taken = f"{moment(backup.created_at)} UTC, {backup.rows:,} rows of {backup.tables} tables"
        return [("class:faint", f"  {backup.id}\n  {taken}\n{_KEYS}")]

    def create_content(self, width: int, height: int) -> UIContent:  # noqa: ARG002 - prompt_toolkit's signature
        return UIContent(self._drawn, line_count=len(self._rows), cursor_position=Point(0, self.at), show_cursor=False)

    def _drawn(self, number: int) -> StyleAndTextTuples:
        row = self._rows[number]
        *others, proof = row.cells
        text = self._line((*others, ""))
        if number == self.at:
            return [("class:chosen", f"> {text}{proof}")]
        style = {"✓": "class:proven", "✗": "class:failed"}.get(proof[0], "")
        return [("", f"  {text}"), (style, proof)]

    def _line(self, cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column in _RIGHT else cell.ljust(width)
            for column, cell, width in zip(_COLUMNS, cells, self._widths, strict=True)
        ]
        if len(cells[0]) > self._widths[0]:
            padded[0] = f"{cells[0][: self._widths[0] - 1]}…"
        padded[-1] = cells[-1]
        return "  ".join(padded)


def _application(backups: Sequence[BackupSummary], terminal: Input | None, output: Output) -> Application[str | None]:
    listed = _List(backups)
    typed = Buffer(multiline=False, on_text_changed=lambda buffer: listed.narrow_down(buffer.text))
    rows = Window(listed)
    search = VSplit(
        [
            Window(FormattedTextControl("Backup: "), width=8, height=1),
            Window(BufferControl(typed), height=1),
            Window(FormattedTextControl(lambda: listed.count), dont_extend_width=True, height=1),
        ]
    )
    heading = Window(FormattedTextControl(listed.heading), height=1)
    details = Window(FormattedTextControl(listed.details), height=3)
    application: Application[str | None] = Application(
        layout=Layout(HSplit([search, heading, rows, details]), focused_element=typed),
        key_bindings=_keys(listed, rows),
        style=_STYLE,
        input=terminal,
        output=output,
        before_render=lambda app: listed.fit(app.output.get_size().columns),
        full_screen=True,  # on the terminal's other screen: afterwards the first one is as it was
    )
    application.ttimeoutlen = 0.05  # seconds that a lone Esc waits for the rest of an arrow key's sequence
    return application


def _keys(listed: _List, rows: Window) -> KeyBindings:
    keys = KeyBindings()

    def a_page() -> int:
        return rows.render_info.window_height if rows.render_info else 1

    @keys.add("up")
    def up(_event: KeyPressEvent) -> None:
        listed.move(-1)

    @keys.add("down")
    def down(_event: KeyPressEvent) -> None:
        listed.move(1)

    @keys.add("pageup")
    def page_up(_event: KeyPressEvent) -> None:
        listed.move(-a_page())

    @keys.add("pagedown")
    def page_down(_event: KeyPressEvent) -> None:
        listed.move(a_page())

    @keys.add("enter")
    def take(event: KeyPressEvent) -> None:
        if listed.chosen is not None:
            event.app.exit(result=listed.chosen.id)

    @keys.add("escape", eager=True)
    @keys.add("c-c")
    @keys.add("c-d")
    def give_up(event: KeyPressEvent) -> None:
        event.app.exit(result=None)

    return keys
