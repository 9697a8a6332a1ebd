"""The components of the score, by the table of SPEC §6."""

from __future__ import annotations

import math
from datetime import timedelta
from fractions import Fraction

from db_backup.health.history import TREND_WINDOW, AttemptRecord, History
from db_backup.health.report import Component
from db_backup.model import BackupStatus, BackupType
from db_backup.units import human_duration

_FRESH = timedelta(hours=24)
_STALE = timedelta(hours=72)
_MICROSECOND = timedelta(microseconds=1)
_ENOUGH_TYPES = 2
_ENOUGH_BACKUPS = 7

_AGE_POINTS = 30
_VERIFICATION_POINTS = 25
_DIVERSITY_POINTS = 10
_COVERAGE_POINTS = 10
_COMPRESSION_POINTS = 5
_TREND_POINTS = 20


def components(history: History) -> tuple[Component, ...]:
    """Together at most 100 points."""
    return (
        _recent_backup_age(history),
        _verification(history),
        _diversity(history),
        _retention_coverage(history),
        _compression(history),
        _error_trend(history),
    )


def rounded(points: Fraction | int) -> int:
    """The nearest whole number; a half is rounded up."""
    return math.floor(points + Fraction(1, 2))


def _recent_backup_age(history: History) -> Component:
    advice = f"Make a full backup: `db-backup create {history.entry}`."
    if not history.restorable:
        reason = "There is no backup to restore from."
        return _component("recent backup age", Fraction(0), _AGE_POINTS, reason, advice)
    newest = history.restorable[0]
    age = history.age(newest.created_at)
    left = Fraction((_STALE - age) // _MICROSECOND, (_STALE - _FRESH) // _MICROSECOND)
    points = _AGE_POINTS * min(max(left, Fraction(0)), Fraction(1))
    reason = f"The newest restorable backup, {newest.id}, is {human_duration(age.total_seconds())} old"
    rule = "." if points == _AGE_POINTS else "; from 24 hours on points are lost, at 72 hours all are."
    return _component("recent backup age", points, _AGE_POINTS, reason + rule, advice)


def _verification(history: History) -> Component:
    verified = sum(backup.status is BackupStatus.GOOD for backup in history.live)
    unproven = sum(backup.status is BackupStatus.UNVERIFIED for backup in history.live)
    bad = len(history.live) - verified - unproven
    advice = []
    if unproven:
        listing = f"`db-backup list --database {history.entry} --status unverified`"
        advice.append(f"Prove what is unverified ({unproven}): {listing} names them, `db-backup verify` proves them.")
    if bad:
        advice.append(f"Replace what failed verification or is suspect ({bad}) by new backups.")
    if not history.live:
        advice.append("Make a backup and verify it.")
    reason = f"{verified} of {_count(len(history.live), 'backup')} verified."
    points = _VERIFICATION_POINTS * _share(verified, len(history.live))
    return _component("verification", points, _VERIFICATION_POINTS, reason, " ".join(advice))


def _diversity(history: History) -> Component:
    counted = (one for one in history.live if one.type is not BackupType.INCREMENTAL or one.id not in history.broken)
    types = sorted({backup.type for backup in counted})
    points = Fraction(_DIVERSITY_POINTS * min(len(types), _ENOUGH_TYPES), _ENOUGH_TYPES)
    reason = f"There are backups of {_count(len(types), 'type')}" + (f": {', '.join(types)}." if types else ".")
    wanted = "backups of another type as well" if types else "backups of two types"
    advice = f"Take {wanted} (`types:` of the entry in backup.yaml)."
    return _component("diversity", points, _DIVERSITY_POINTS, reason, advice)


def _retention_coverage(history: History) -> Component:
    kept = len(history.live)
    points = Fraction(_COVERAGE_POINTS * min(kept, _ENOUGH_BACKUPS), _ENOUGH_BACKUPS)
    reason = f"{_count(kept, 'backup')} kept; {_ENOUGH_BACKUPS} or more give all points."
    advice = f"Let {_count(_ENOUGH_BACKUPS - kept, 'more backup')} be made, and keep them."
    return _component("retention coverage", points, _COVERAGE_POINTS, reason, advice)


def _compression(history: History) -> Component:
    compressed = sum(backup.compressed for backup in history.live)
    points = _COMPRESSION_POINTS * _share(compressed, len(history.live))
    reason = f"{compressed} of {_count(len(history.live), 'backup')} compressed."
    advice = "Let new backups be compressed (`compression: gzip`)." if history.live else "Make a compressed backup."
    return _component("compression", points, _COMPRESSION_POINTS, reason, advice)


def _error_trend(history: History) -> Component:
    last = [attempt for attempt in history.attempts if history.now - attempt.started_at <= TREND_WINDOW]
    before = [
        attempt for attempt in history.attempts if TREND_WINDOW < history.now - attempt.started_at <= 2 * TREND_WINDOW
    ]
    increase = max(_failure_rate(last) - _failure_rate(before), Fraction(0))
    days = TREND_WINDOW.days
    reason = f"Last {days} days: {_failures(last)}; the {days} days before: {_failures(before)}."
    advice = "Mend what makes attempts fail: `db-backup databases --check` shows what a backup would meet now."
    return _component("error trend", _TREND_POINTS * (1 - increase), _TREND_POINTS, reason, advice)


def _component(name: str, points: Fraction, max_points: int, reason: str, advice: str) -> Component:
    return Component(
        name=name,
        points=points,
        max_points=max_points,
        reason=reason,
        improvement="" if points == max_points else advice,
    )


def _share(part: int, whole: int) -> Fraction:
    """None of nothing."""
    return Fraction(part, whole) if whole else Fraction(0)


def _failure_rate(attempts: list[AttemptRecord]) -> Fraction:
    return _share(sum(attempt.failed for attempt in attempts), len(attempts))


def _failures(attempts: list[AttemptRecord]) -> str:
    if not attempts:
        return "no attempts"
    failed = sum(attempt.failed for attempt in attempts)
    return f"{failed} of {_count(len(attempts), 'attempt')} failed ({failed / len(attempts):.0%})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
