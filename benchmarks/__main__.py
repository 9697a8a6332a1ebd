"""python -m benchmarks [--full] [--only SECTION]: run the contests and rewrite their tables in benchmarks/README.md."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import db_backup
from benchmarks import report
from benchmarks.data import write_rows
from benchmarks.engines import ENGINES, Arena
from benchmarks.increments import measure_increments
from benchmarks.machine import describe, load_warning
from benchmarks.measuring import run
from benchmarks.objects import measure_objects
from benchmarks.results import Contest, Growth, Spread, compete, listing_seconds

_SECTIONS = ("engines", "increments", "objects")


@dataclass(frozen=True)
class Profile:
    """How much of it.

    :param smaller_megabytes: in each database of which increments are taken, for these take many backups each.
    :param grown_megabytes: two sizes at which our process's memory is compared.
    """

    name: str
    megabytes: int
    smaller_megabytes: int
    repetitions: int
    grown_megabytes: tuple[int, int]


_QUICK = Profile("quick", megabytes=150, smaller_megabytes=25, repetitions=3, grown_megabytes=(500, 2000))
_FULL = Profile("full", megabytes=500, smaller_megabytes=80, repetitions=5, grown_megabytes=(500, 2000))
_LISTINGS = 7


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--full", action="store_true", help="more data and more repetitions")
    parser.add_argument("--only", choices=_SECTIONS, help="one section; the others stay as they are")
    parser.add_argument("--megabytes", type=int, help="of data in each database (nothing is written to README.md)")
    arguments = parser.parse_args()
    profile = _FULL if arguments.full else _QUICK
    if megabytes := arguments.megabytes:
        profile = Profile("trial", megabytes, megabytes, 2, (megabytes, 4 * megabytes))
    measured = measure(profile, [arguments.only] if arguments.only else _SECTIONS)
    for section in report.render(measured).values():
        print(section)
    if not arguments.megabytes:
        report.write(measured)


def measure(profile: Profile, sections: Sequence[str]) -> report.Measured:
    """These sections, one after the other."""
    load = os.getloadavg()[0]
    engines = increments = objects = None
    with _rows(profile.megabytes) as rows:
        if "engines" in sections:
            engines = _engines(rows, profile)
        if "increments" in sections:
            folder = Path(tempfile.mkdtemp(dir=next(iter(rows.values())).parent))
            increments = measure_increments(write_rows(folder, profile.smaller_megabytes), _say)
        if "objects" in sections:
            objects = measure_objects(rows, _say)
    return report.Measured(_setting(profile, load), engines, increments, objects, profile.smaller_megabytes)


def _engines(rows: Mapping[str, Path], profile: Profile) -> report.Engines:
    contests: dict[str, Contest] = {}
    listing: Spread | None = None
    growth: Growth | None = None
    for name, arena_of in ENGINES.items():
        _say(f"filling a database with {profile.megabytes} MB: {name}")
        with arena_of(rows) as arena:
            contests[name] = compete(arena, profile.repetitions, _say)
            listing = listing or listing_seconds(arena, _LISTINGS)
            if arena.grow is not None:
                growth = _grown(arena, profile)
    assert listing is not None  # noqa: S101
    assert growth is not None  # noqa: S101
    return report.Engines(contests, listing, growth)


def _grown(arena: Arena, profile: Profile) -> Growth:
    """Let the database grow to each of the two sizes, and back it up."""
    assert arena.grow is not None  # noqa: S101
    command = [sys.executable, "-m", "db_backup", "create", "shop", "--no-verify", "--compression", "zstd", "--json"]
    sizes, peaks = [], []
    for megabytes in profile.grown_megabytes:
        arena.grow(round(megabytes / profile.megabytes))
        done = run(command, arena.project.environment, arena.folder)
        sizes.append(int(json.loads(done.stdout)["backups"][0]["plain_bytes"]))
        peaks.append(done.own_peak_mb)
        _say(f"{arena.title}, {sizes[-1] / 1e9:.2f} GB: {peaks[-1]:.0f} MB")
    return Growth(sizes, peaks)


def _setting(profile: Profile, load: float) -> list[str]:
    lines = [
        f"Profile `{profile.name}`, {datetime.now(UTC):%Y-%m-%d}: {profile.megabytes} MB of generated rows,"
        f" every command {profile.repetitions} times, by turns, unless it is said otherwise; medians, and the"
        " lowest and highest.",
        *(f"{line}." for line in describe()),
        load_warning(load),
    ]
    return [line for line in lines if line]


@contextmanager
def _rows(megabytes: int) -> Iterator[dict[str, Path]]:
    """The data, and a place for Python's compiled files, which an installed program has after its first start."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as name:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = f"{name}/compiled"
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(Path(db_backup.__file__).parent)], check=True)
        yield write_rows(Path(name), megabytes)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
