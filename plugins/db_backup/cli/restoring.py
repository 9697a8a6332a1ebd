"""Restores as a person sees them: what can be restored, what will be done, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

import click

from db_backup.cli.output import age, moment, print_table, say
from db_backup.cli.proofs import last_proof
from db_backup.cli.runtime import answering, at_terminal
from db_backup.errors import Refused, UsageError
from db_backup.jobs.restore import (
    Recovered,
    RestorePlan,
    RestoreReport,
    Way,
    database_name,
    needs_confirmation,
    plan_lines,
)
from db_backup.model import EngineName
from db_backup.recovery import Point, parse_moment
from db_backup.summary import BackupSummary
from db_backup.units import human_bytes, human_duration


def print_restorable(backups: Sequence[BackupSummary]) -> None:
    """One line each: how old, how large, of which type, and how well proved."""
    if not backups:
        click.echo("No backups.")
        return
    print_table(
        ("BACKUP", "DATABASE", "AGE", "SIZE", "TYPE", "STATUS", "PROOF"),
        [
            (
                backup.id,
                backup.database,
                age(backup.created_at),
                human_bytes(backup.size_bytes),
                f"{backup.type} (safety)" if backup.safety else backup.type.value,
                backup.status.value,
                last_proof(backup),
            )
            for backup in backups
        ],
        right=("AGE", "SIZE"),
    )


def asked_point(
    zone: tzinfo, to_time: str | None, to_lsn: str | None, to_gtid: str | None, to_position: str | None
) -> Point | None:
    """The point that options name; None: they name none.

    :param zone: of a time that tells none.
    :raises UsageError: they name two, or none where one is given; or it is no time.
    """
    given = {"--to-time": to_time, "--to-lsn": to_lsn, "--to-gtid": to_gtid, "--to-position": to_position}
    named = [option for option, text in given.items() if text is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} are two points.", hint="Name one of them.")
    if not named:
        return None
    if not (given[named[0]] or "").strip():
        raise UsageError(f"{named[0]} is empty.", hint="Name the point, or leave the option out.")
    time = None if to_time is None else parse_moment(to_time, zone)
    return Point(time=time, lsn=to_lsn, gtid=to_gtid, position=to_position)


def confirm(plan: RestorePlan, typed: str | None) -> None:
    """Show the plan, and let a person who can type say yes by typing the database's name.

    Where nobody can, ``--force`` is a yes; a protected database wants its name all the same, with ``--confirm``.

    :param typed: what ``--confirm`` gave.
    :raises Refused: it was not said yes; nothing was changed.
    :raises Interrupted: Ctrl-C was the answer.
    """
    for line in plan_lines(plan):
        say(line, err=True)
    name = database_name(plan)
    if typed is None and needs_confirmation(plan):
        if at_terminal():
            typed = _ask(name, plan)
        elif plan.protected:
            raise Refused(
                f"{plan.target_address} is protected, and nobody can be asked here. Nothing was changed.",
                hint=f"Say yes with --confirm {name}.",
                database=plan.entry,
                backup_id=plan.backup_id,
            )
    if typed is not None and typed != name:
        raise Refused(
            f"'{typed}' is not the name of the database. Nothing was changed.",
            hint=f"Its name is '{name}'.",
            database=plan.entry,
            backup_id=plan.backup_id,
        )


def print_report(report: RestoreReport, plan: RestorePlan) -> None:
    """A table, then on stderr what a person must look at and was not told with the plan."""
    bytes_a_second = report.plain_bytes / seconds if (seconds := report.fetch_seconds + report.load_seconds) else 0
    passed = sum(check.passed for check in report.checks)
    cells = {
        "RESTORED TO": report.target if report.in_place else report.restored_to,
        "TABLES": f"{report.tables:,}",
        "ROWS": f"{report.rows:,}",
        "DIFFERENCES": f"{len(report.differences):,}",
        "CHECKS": f"{passed} of {len(report.checks)} passed" if report.checks else "-",
        "TOOK": human_duration(report.duration_seconds),
        "RATE": f"{human_bytes(bytes_a_second)}/s" if bytes_a_second else "-",
    }
    print_table(
        list(cells), [list(cells.values())], right=("TABLES", "ROWS", "DIFFERENCES", "TOOK", "RATE"), blocks=True
    )
    for line in _verdict(report, plan):
        say(line)
    for difference in report.differences:
        say(f"  {difference}", err=True)
    for warning in (warning for warning in report.warnings if warning not in plan.warnings):
        say(f"Warning: {warning}", err=True)


def _verdict(report: RestoreReport, plan: RestorePlan) -> list[str]:
    lines = []
    if not report.differences:
        like = "as they were rebuilt" if report.recovered else "as the manifest says"
        lines.append(f"All {report.tables:,} tables with {report.rows:,} rows are {like}.")
    elif report.in_place:
        lines.append(f"{report.backup_id} was restored, and differs from its manifest:")
    else:
        untouched = "was not made" if report.way is Way.NEW else "is as it was"
        lines.append(
            f"{report.target} {untouched}: what was restored differs, and is left as {report.restored_to}; "
            "the next restore to it drops that."
        )
    if report.recovered is not None:
        lines.insert(0, _recovered(report.recovered, plan.engine))
    if report.thaw is not None:
        lines.insert(0, f"Thawed first, which took {human_duration(report.thaw.waited_seconds)}.")
    if report.safety_backup_id:
        lines.insert(0, f"Safety backup of what was there before: {report.safety_backup_id}")
    if report.way is Way.SCRATCH:
        timing = (report.fetch_seconds, report.load_seconds, report.check_seconds)
        fetched, loaded, checked = map(human_duration, timing)
        lines.append(f"Tested in a scratch server: fetched in {fetched}, loaded in {loaded}, compared in {checked}.")
    return lines


def _recovered(recovered: Recovered, engine: EngineName) -> str:
    place, _, _ = recovered.position.partition(" ")
    up_to = "" if engine is EngineName.SQLITE else f", up to {place}"  # a file has the hash of its pages for a place
    count = len(recovered.links)
    return (
        f"It is the database '{recovered.source_database}' as it was at {recovered.asked}: the last change in it is of "
        f"{moment(recovered.reached)} UTC{up_to}. It was rebuilt of {count} backup{'' if count == 1 else 's'} in "
        f"{human_duration(recovered.rebuild_seconds)}."
    )


def _ask(name: str, plan: RestorePlan) -> str:
    verb = "replace" if plan.way is Way.REPLACE else "change"
    with answering():
        answer: str = click.prompt(f"Type '{name}' to {verb} it", err=True, default="", show_default=False)
    return answer.strip()
