"""db-backup health"""

from __future__ import annotations

import click

from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import print_json, print_table
from db_backup.cli.runtime import json_option
from db_backup.health import EntryHealth, Health
from db_backup.jobs.health_report import health_report


@click.command("health")
@json_option
def command(as_json: bool) -> int:
    """Score how well every database is protected, from 0 to 100, and say what would raise it.

    From 95 on it is excellent, from 80 good, from 60 a warning, below that critical. The overall score is the lowest
    one. Exit code 3 when it is critical, or when a recovery objective is missed.

    \b
    Examples:
      db-backup health
      db-backup health --json
    """
    with opened_workspace() as workspace:
        health = health_report(workspace)
    if as_json:
        print_json(health.model_dump(mode="json"))
    else:
        _print(health)
    return 3 if health.alarming else 0


def _print(health: Health) -> None:
    for entry in health.databases:
        _print_entry(entry)
    click.echo(f"Overall: {health.score} of 100, {health.status}")


def _print_entry(entry: EntryHealth) -> None:
    click.echo(f"{entry.database}: {entry.score} of 100, {entry.status}\n")
    print_table(
        ("COMPONENT", "POINTS", "REASON", "WHAT WOULD RAISE IT"),
        [
            (part.name, f"{float(part.points):.4g} of {part.max_points}", part.reason, part.improvement or "-")
            for part in entry.components
        ],
        right=("POINTS",),
    )
    click.echo()
    print_table(
        ("CONTROL", "RESULT", "EVIDENCE"),
        [(control.name, control.result.replace("_", " "), control.evidence) for control in entry.controls],
    )
    click.echo()
