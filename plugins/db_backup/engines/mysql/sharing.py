"""One dump as several: which stream carries what. Pure.

Definitions come first, then the rows, then what would act on rows that are loaded: triggers and events.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from db_backup.engines.mysql.flavour import DumpPlan

MAIN = "main"


def stream_plans(plan: DumpPlan, sizes: Mapping[str, int], jobs: int) -> dict[str, DumpPlan]:
    """The plan of each stream by its name, in the order of loading; only one where there is nothing to share out.

    :param sizes: the size of each table whose rows the dump brings.
    :param jobs: how many streams may carry rows.
    """
    count = min(jobs, len(sizes)) if plan.rows else 1
    if count < 2:
        return {MAIN: plan}
    part = dataclasses.replace(
        plan,
        definitions=False,
        rows=False,
        triggers=False,
        events=False,
        counters=False,
        tables_without_rows=(),
        tells_steps=True,
    )
    plans = {
        f"data-{number}": dataclasses.replace(
            part, rows=True, tables=tables, counters=plan.counters and number == count
        )
        for number, tables in enumerate(share_out(sizes, count), start=1)
    }
    if not plan.definitions:
        return plans
    return {
        "definitions": dataclasses.replace(part, definitions=True),
        **plans,
        "triggers": dataclasses.replace(part, triggers=plan.triggers, events=plan.events),
    }


def share_out(sizes: Mapping[str, int], count: int) -> list[tuple[str, ...]]:
    """Each table to one of ``count`` shares, the largest first to the smallest share."""
    shares: list[list[str]] = [[] for _ in range(count)]
    totals = [0] * count
    for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        smallest = min(range(count), key=lambda number: (totals[number], len(shares[number])))
        shares[smallest].append(name)
        totals[smallest] += size
    return [tuple(sorted(share)) for share in shares]
