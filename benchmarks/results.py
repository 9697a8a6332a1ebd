"""Contests run by turns, and what they say: medians with their spread, ratios run by run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.engines import Arena, Case
from benchmarks.measuring import Run, run


@dataclass(frozen=True)
class Spread:
    """Of several repetitions."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), median(values), max(values))

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Result:
    """One contestant's runs, in the order of the repetitions; ``stored_bytes``: the largest of them."""

    name: str
    runs: Sequence[Run]
    stored_bytes: int | None

    @property
    def wall(self) -> Spread:
        return Spread.of([one.wall_seconds for one in self.runs])

    @property
    def cpu(self) -> float:
        return median(one.cpu_seconds for one in self.runs)

    @property
    def own_peak_mb(self) -> float:
        return max(one.own_peak_mb for one in self.runs)

    @property
    def children_peak_mb(self) -> float:
        return max(one.children_peak_mb for one in self.runs)

    def faster_than(self, other: Result) -> Spread:
        """How many times as fast, each repetition against the other's of the same repetition."""
        pairs = zip(other.runs, self.runs, strict=True)
        return Spread.of([theirs.wall_seconds / mine.wall_seconds for theirs, mine in pairs])


@dataclass(frozen=True)
class Contest:
    """All results over one engine's database; the first is the baseline."""

    title: str
    version: str
    results: Mapping[str, Result]
    absent: Sequence[str]

    @property
    def baseline(self) -> Result:
        return next(iter(self.results.values()))


def compete(arena: Arena, repetitions: int, say: Callable[[str], None]) -> Contest:
    """Every case once per repetition, by turns, so that a disturbance hits all alike; one round before does not count.

    :raises RuntimeError: a command failed.
    """
    absent = [case.name for case in arena.cases if case.tool and shutil.which(case.tool) is None]
    cases = [case for case in arena.cases if case.name not in absent]
    runs: dict[str, list[Run]] = {case.name: [] for case in cases}
    sizes: dict[str, list[int]] = {case.name: [] for case in cases}
    for case in (case for case in cases if case.is_ours):
        _once(arena, case)
    for repetition in range(repetitions):
        first = repetition % len(cases)
        for case in (*cases[first:], *cases[:first]):
            done, size = _once(arena, case)
            say(f"{arena.title}, {repetition + 1} of {repetitions}: {case.name}: {done.wall_seconds:.2f} s")
            runs[case.name].append(done)
            sizes[case.name] += [] if size is None else [size]
    results = {name: Result(name, runs[name], max(sizes[name], default=None)) for name in runs}
    return Contest(arena.title, arena.version, results, absent)


def _once(arena: Arena, case: Case) -> tuple[Run, int | None]:
    done = run(case.command, case.environment, arena.folder)
    return done, case.stored_bytes(done.stdout)


@dataclass(frozen=True)
class Growth:
    """Our process's peak over two sizes of one database."""

    plain_bytes: Sequence[int]
    peak_mb: Sequence[float]


def listing_seconds(arena: Arena, repetitions: int) -> Spread:
    """``db-backup list``, each time in a new process."""
    command = [sys.executable, "-m", "db_backup", "list"]
    timings = [run(command, arena.project.environment, arena.folder).wall_seconds for _ in range(repetitions + 1)]
    return Spread.of(timings[1:])
