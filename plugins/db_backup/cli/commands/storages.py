"""db-backup storages"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from db_backup.cli.failures import print_failure
from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import print_json, print_table, say
from db_backup.cli.runtime import json_option
from db_backup.jobs.usage import EntryUsage, StorageUsage, Usage, usage
from db_backup.units import human_bytes

_FIGURES = ("COPIES", "STORED", "A DAY", "FREE", "FULL IN")


@click.command("storages")
@click.option("--check", is_flag=True, help="Try each: its identity, then write, read and delete a small object.")
@click.option("--by-database", is_flag=True, help="What each database takes in each storage.")
@json_option
def command(check: bool, by_database: bool, as_json: bool) -> int:
    """Show what each storage holds, how fast that grows and when it is full; with --check, whether it works (exit
    code 1 when not).

    Growth is of what was retained on the last 30 days, as far as backups of those days noted it.

    \b
    Examples:
      db-backup storages
      db-backup storages --check
      db-backup storages --by-database
      db-backup storages --json
    """
    with opened_workspace() as workspace:
        found = usage(workspace, check=check)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _print(found, check, by_database)
    return 1 if any(storage.check is not None and not storage.check.works for storage in found.storages) else 0


def _print(found: Usage, check: bool, by_database: bool) -> None:
    columns = ["STORAGE", "LOCATION", "KIND", *_FIGURES] + (["CHECK"] if check else [])
    rows = [[*_row(storage), *([_checked(storage)] if check else [])] for storage in found.storages]
    print_table(columns, rows, right=_FIGURES)
    for storage in found.storages:
        for line in _remarks(storage):
            say(f"{storage.storage}: {line}")
        _print_check(storage)
    if by_database:
        click.echo()
        _print_databases(found)


def _row(storage: StorageUsage) -> list[str]:
    return [
        storage.storage,
        storage.location or "-",
        _kind(storage),
        f"{storage.copies:,}",
        human_bytes(storage.size_bytes),
        _pace(storage.growth_bytes_per_day),
        _free(storage),
        "-" if storage.full_in_days is None else f"{storage.full_in_days:.0f} days",
    ]


def _checked(storage: StorageUsage) -> str:
    if storage.check is None:  # nothing says how to reach it
        return "-"
    return "works" if storage.check.works else "does not work"


def _kind(storage: StorageUsage) -> str:
    if not storage.kind:
        return "not configured"
    return f"{storage.kind}, off-site" if storage.off_site else storage.kind


def _pace(bytes_per_day: float | None) -> str:
    if bytes_per_day is None:
        return "?"
    sign = "+" if bytes_per_day > 0 else "-" if bytes_per_day < 0 else ""
    return f"{sign}{human_bytes(abs(bytes_per_day))}"


def _free(storage: StorageUsage) -> str:
    """What is left of the tightest limit."""
    left = [] if storage.free_bytes is None else [storage.free_bytes]
    if storage.quota_bytes is not None:
        left.append(max(storage.quota_bytes - storage.size_bytes, 0))
    return human_bytes(min(left)) if left else "-"


def _remarks(storage: StorageUsage) -> Iterator[str]:
    if storage.unknown:
        yield f"how much room there is cannot be told: {storage.unknown}"
    if storage.forecast:
        yield f"{storage.forecast}."
    if not storage.kind:
        yield "the catalogue knows copies in it, and no configuration names it: they cannot be read."


def _print_check(storage: StorageUsage) -> None:
    if storage.check is None:
        return
    for warning in storage.check.warnings:
        say(f"Warning for {storage.storage}: {warning}", err=True)
    if not storage.check.works:
        print_failure(storage.check.error, storage.check.hint, about=storage.storage)


def _print_databases(found: Usage) -> None:
    rows = [_share(entry, storage.storage) for storage in found.storages for entry in storage.databases]
    totals = [_share(entry, "all") for entry in found.databases]
    columns = ("DATABASE", "STORAGE", "COPIES", "STORED", "A DAY", "OF WHICH")
    print_table(columns, sorted(rows + totals, key=lambda row: (row[0], row[1] == "all")), right=_FIGURES)


def _share(entry: EntryUsage, storage: str) -> Sequence[str]:
    types = ", ".join(f"{type} {human_bytes(size_bytes)}" for type, size_bytes in entry.by_type.items())
    pace = _pace(entry.growth_bytes_per_day)
    return (entry.database, storage, f"{entry.copies:,}", human_bytes(entry.size_bytes), pace, types)
