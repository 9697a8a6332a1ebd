"""The parts of README.md that the benchmark writes: tables, and each aim with what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.increments import Increments
from benchmarks.objects import Objects
from benchmarks.results import Contest, Growth, Result, Spread

README = Path(__file__).with_name("README.md")
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Engines:
    """Backups of whole databases, beside what people type today."""

    contests: Mapping[str, Contest]
    listing: Spread
    growth: Growth


@dataclass(frozen=True)
class Measured:
    """What one run of the benchmark measured; a section that was left out is None.

    :param setting: what was measured on what: sentences.
    :param smaller_megabytes: of data in the databases of which increments are taken.
    """

    setting: Sequence[str]
    engines: Engines | None
    increments: Sequence[Increments] | None
    objects: Objects | None
    smaller_megabytes: int


def write(measured: Measured) -> None:
    """Replace the sections that were measured in README.md, each between its marks."""
    text = README.read_text()
    for name, section in render(measured).items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n\n{section}\n\n{end}{after}"
    README.write_text(text)


def render(measured: Measured) -> dict[str, str]:
    """The sections by name, as Markdown; each says of itself what it was measured on."""
    setting = "\n".join(f"- {line}" for line in measured.setting)
    sections = {}
    if measured.engines is not None:
        tables = [_table(contest) for contest in measured.engines.contests.values()]
        sections["engines"] = [*tables, "### Aims on 2 cores\n\n" + _aims(measured.engines)]
    if measured.increments is not None:
        size = f"{measured.smaller_megabytes} MB of rows in each database, each command once."
        sections["increments"] = [size, *(_increments(one) for one in measured.increments)]
    if measured.objects is not None:
        sections["objects"] = list(_objects(measured.objects))
    return {name: "\n\n".join([setting, *parts]) for name, parts in sections.items()}


def _objects(measured: Objects) -> Iterator[str]:
    yield f"One stream, or one database, of {measured.megabytes} MB, to moto a third of it; each command 3 times."
    for contest in (measured.passes, *measured.uploads, measured.whole):
        yield _table(contest)
    lines = ["| aim | the whole command | our pipeline alone |", "|---|---|---|"]
    lines += [f"| {' | '.join(cells)} |" for cells in _object_aims(measured)]
    yield "\n".join(lines)


def _object_aims(measured: Objects) -> Iterator[tuple[str, ...]]:
    whole, alone = (_times_as_long(contest, 1) for contest in (measured.whole, measured.passes))
    yield "encryption: at most 1.08 times as long", _at_most(1.08, whole), _at_most(1.08, alone)
    yield "a second folder in the same pass: at most 1.10 times", "", _at_most(1.10, _times_as_long(measured.passes, 2))
    command, *pipeline = measured.peaks.values()
    peaks = (f"{_verdict(peak <= 120)}: {peak:.0f} MB" for peak in (command, max(pipeline)))
    yield "our process peaks at 120 MB at most, with 4 parts in flight", *peaks


def _at_most(limit: float, ratio: Spread) -> str:
    return f"{_verdict(ratio.middle <= limit)}: {ratio}"


def _times_as_long(contest: Contest, index: int) -> Spread:
    """One of its results against the first: the inverse of being faster."""
    return contest.baseline.faster_than(list(contest.results.values())[index])


def _table(contest: Contest) -> str:
    lines = [
        f"### {contest.title} {contest.version}".rstrip(),
        "",
        "| command | wall, s | times as fast as the first | CPU, s | peak memory, MB: itself + its children"
        " | stored, MB | of the first's size |",
        "|---|---|---|---|---|---|---|",
        *(_row(result, contest.baseline) for result in contest.results.values()),
        *(f"| {_cell(name)} | not installed | | | | | |" for name in contest.absent),
    ]
    return "\n".join(lines)


def _increments(measured: Increments) -> str:
    full = measured.taken[0]
    lines = [
        f"| {measured.title} {measured.version} | rows changed | wall, s | of the full's time | stored, MB"
        " | of the full's size |",
        "|---|---|---|---|---|---|",
    ]
    for one in measured.taken:
        share = "-" if one.share is None else f"{one.share} %"
        time, size = one.wall_seconds / full.wall_seconds, one.stored_bytes / full.stored_bytes
        lines.append(
            f"| {_cell(one.name)} | {share} | {one.wall_seconds:.2f} | {time:.2f} | {one.stored_bytes / _MEGABYTE:.2f}"
            f" | {size:.3f} |"
        )
    lines += [f"| {_cell(name)} | not installed | | | | |" for name in measured.absent]
    return "\n".join(lines)


def _row(result: Result, baseline: Result) -> str:
    size = share = "-"
    if result.stored_bytes is not None and baseline.stored_bytes is not None:
        size = f"{result.stored_bytes / _MEGABYTE:.1f}"
        share = f"{result.stored_bytes / baseline.stored_bytes:.3f}"
    speed = "1" if result is baseline else str(result.faster_than(baseline))
    memory = f"{result.own_peak_mb:.0f} + {result.children_peak_mb:.0f}"
    return f"| {_cell(result.name)} | {result.wall} | {speed} | {result.cpu:.2f} | {memory} | {size} | {share} |"


def _cell(text: str) -> str:
    """Within a table even code must not hold a bare bar."""
    return text.replace("|", "\\|")


def _aims(measured: Engines) -> str:
    lines = ["| aim | `db-backup create`, whole | our pipeline alone |", "|---|---|---|"]
    lines += [f"| {' | '.join(cells)} |" for cells in _speed_aims(measured.contests)]
    lines += [f"| {aim} | {outcome} | |" for aim, outcome in _other_aims(measured)]
    return "\n".join(lines)


def _ours(contest: Contest, codec: str) -> list[Result]:
    return [contest.results[f"`db-backup create`, {codec}"], contest.results[f"our pipeline alone, {codec}"]]


def _speed_aims(contests: Mapping[str, Contest]) -> Iterator[tuple[str, ...]]:
    aims = (("postgres", 3.0), ("mariadb", 4.0), ("sqlite", 5.0))
    for name, times in aims:
        if (contest := contests.get(name)) is not None:
            ratios = [ours.faster_than(contest.baseline) for ours in _ours(contest, "gzip")]
            cells = (f"{_verdict(ratio.middle >= times)}: {ratio}" for ratio in ratios)
            yield (f"{contest.title}, gzip: {times:.0f} times as fast as {_cell(contest.baseline.name)}", *cells)
    if (contest := contests.get("postgres")) is not None:
        assert contest.baseline.stored_bytes is not None  # noqa: S101
        shares = [(ours.stored_bytes or 0) / contest.baseline.stored_bytes for ours in _ours(contest, "gzip")]
        cells = (f"{_verdict(share <= 1)}: {share:.3f} of it" for share in shares)
        yield ("PostgreSQL, gzip: never larger than with `gzip -9`", *cells)
        bare = contest.results["`pg_dump -Fc -Z0 > /dev/null`"]
        # How long it takes in units of the bare dump: the inverse of being faster.
        times_as_long = [bare.faster_than(ours) for ours in _ours(contest, "zstd")]
        cells = (f"{_verdict(ratio.middle <= 1.25)}: {ratio}" for ratio in times_as_long)
        yield ("PostgreSQL, zstd: at most 1.25 times as long as the bare dump to /dev/null", *cells)


def _other_aims(measured: Engines) -> Iterator[tuple[str, str]]:
    ours = [
        result
        for contest in measured.contests.values()
        for codec in ("gzip", "zstd")
        for result in _ours(contest, codec)
    ]
    peak = max(result.own_peak_mb for result in ours)
    yield "our process peaks at 100 MB at most", f"{_verdict(peak <= 100)}: {peak:.0f} MB"
    small, large = measured.growth.peak_mb
    sizes = " and ".join(f"{size / 1e9:.2f} GB" for size in measured.growth.plain_bytes)
    outcome = f"{_verdict(large <= small * 1.1)}: {small:.0f} MB and {large:.0f} MB for {sizes} (PostgreSQL, zstd)"
    yield "and no higher for four times the data", outcome
    listing = measured.listing
    yield "`db-backup list` in under 0.5 s", f"{_verdict(listing.middle < 0.5)}: {listing} s"


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"
