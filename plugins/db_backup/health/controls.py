"""The named controls beside the score (SPEC §6): each passes or fails with its evidence, or says why it cannot tell."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import timedelta

from db_backup.health.chains import chain_unbroken, log_kept_long_enough
from db_backup.health.encryption import encrypted, key_opens, key_rotated
from db_backup.health.exposure import rpo_met
from db_backup.health.history import Expectations, History
from db_backup.health.immutability import immutable_copy
from db_backup.health.placement import three_two_one, wanted_copies
from db_backup.health.report import Control, ControlResult, RecoveryTime
from db_backup.health.rooms import storage_has_room
from db_backup.health.wording import moment, names, without_backups, words
from db_backup.model import BackupStatus, BackupType
from db_backup.units import human_bytes, human_duration

_RESTORE_EVERY = timedelta(days=30)
_KIT_EVERY = timedelta(days=90)
_NEAR_LIMIT = 0.8
_USUAL_FACTOR = 2.0  # twice or half the usual size is a table lost, or something that should not be there
_USUAL_SAMPLE = 10
_LEAST_SAMPLE = 3

_EXPORT = "Run `db-backup kit export FILE`."

_PASS, _WARNING, _FAIL, _NOT_APPLICABLE = ControlResult


def controls(history: History, expectations: Expectations, recovery: Sequence[RecoveryTime]) -> tuple[Control, ...]:
    """All of them, in this order, for every entry."""
    return (
        rpo_met(history, expectations),
        _rto_met(recovery),
        _verified_restore(history),
        _no_failed_verification(history),
        _off_site_copy(history, expectations),
        three_two_one(history, expectations),
        wanted_copies(history, expectations),
        immutable_copy(history, expectations),
        encrypted(history, expectations),
        key_rotated(history, expectations),
        key_opens(history, expectations),
        storage_has_room(expectations),
        _size_below_limit(history, expectations),
        _usual_size(history),
        log_kept_long_enough(history, expectations),
        chain_unbroken(history, expectations),
        _no_future_dates(history),
        _break_glass_kit(history, expectations),
    )


def _rto_met(recovery: Sequence[RecoveryTime]) -> Control:
    """Missed when the last timed restore took too long, or when one of today's size would, at the same rate."""
    name = "RTO met"
    if not recovery:
        evidence = "Not measured yet: no restore was timed; a drill or `db-backup verify --level restore` times one."
        return Control(name=name, result=_NOT_APPLICABLE, evidence=evidence, objective=True)
    met = all(time.met for time in recovery)
    evidence = " ".join(_restore_time(time) for time in recovery)
    return Control(name=name, result=_PASS if met else _FAIL, evidence=evidence, objective=True)


def _restore_time(time: RecoveryTime) -> str:
    text = (
        f"{time.measured_on} was restored into a scratch server in {human_duration(time.measured_seconds)}, at "
        f"{moment(time.measured_at)}"
    )
    if time.predicted_for != time.measured_on and time.predicted_seconds is not None:
        setup = f", and {human_duration(time.setup_seconds)} for the server" if time.setup_seconds else ""
        text += (
            f"; at its rate of {human_bytes(time.bytes_per_second)}/s uncompressed{setup}, {time.predicted_for} would "
            f"take {human_duration(time.predicted_seconds)}"
        )
    return f"{text}; the target of {time.type} backups is {human_duration(time.target_seconds)}."


def _verified_restore(history: History) -> Control:
    name = "verified restore within 30 days"
    proven = [(backup.restored_at, backup.id) for backup in history.restorable if backup.restored_at is not None]
    if not proven:
        return Control(name=name, result=_FAIL, evidence="No backup that can be restored was proven by restoring it.")
    restored_at, backup_id = max(proven)
    age = history.age(restored_at)
    evidence = f"{backup_id} was last restored and compared {words(age)} ago, at {moment(restored_at)}."
    return Control(name=name, result=_PASS if age <= _RESTORE_EVERY else _FAIL, evidence=evidence)


def _no_failed_verification(history: History) -> Control:
    name = "no backup failed verification"
    bad = [b for b in history.stored if b.status in {BackupStatus.FAILED_VERIFICATION, BackupStatus.SUSPECT}]
    if bad:
        return Control(name=name, result=_FAIL, evidence=f"Not to be relied on: {names(bad)}.")
    if not history.stored:
        return without_backups(name)
    return Control(name=name, result=_PASS, evidence=f"None of {len(history.stored)} failed, and none is suspect.")


def _off_site_copy(history: History, expectations: Expectations) -> Control:
    name = "off-site copy exists"
    for backup in history.restorable:
        if elsewhere := sorted(expectations.off_site.intersection(backup.storages)):
            age = words(history.age(backup.created_at))
            evidence = f"{backup.id}, {age} old, has a copy in {', '.join(elsewhere)}."
            return Control(name=name, result=_PASS, evidence=evidence)
    places = sorted({storage for backup in history.live for storage in backup.storages})
    evidence = f"All copies are in {', '.join(places)}, on this site." if places else "There is no copy anywhere."
    return Control(name=name, result=_FAIL, evidence=evidence)


def _size_below_limit(history: History, expectations: Expectations) -> Control:
    """The newest backup of each type against BACKUP_MAX_SIZE_MB; a warning from 80 % on (SPEC §2)."""
    name = "size below the limit"
    limit = expectations.max_size_bytes
    if limit is None:
        return Control(name=name, result=_NOT_APPLICABLE, evidence="BACKUP_MAX_SIZE_MB=0: there is no limit.")
    if not history.live:
        return without_backups(name)
    newest = [history.of_type(backup_type)[:1] for backup_type in BackupType]
    largest = max((backups[0] for backups in newest if backups), key=lambda backup: backup.size_bytes)
    share = largest.size_bytes / limit
    result = _FAIL if share > 1 else _WARNING if share >= _NEAR_LIMIT else _PASS
    evidence = f"{largest.id} has {human_bytes(largest.size_bytes)}, {share:.0%} of BACKUP_MAX_SIZE_MB."
    if result is not _PASS:
        evidence += " Raise the limit before backups stop at it, or find out what grew."
    return Control(name=name, result=result, evidence=evidence)


def _usual_size(history: History) -> Control:
    """The newest full's plain size, which no codec changes, against the median of those before it."""
    name = "size within the usual range"
    newest, *earlier = history.of_type(BackupType.FULL)[: 1 + _USUAL_SAMPLE] or (None,)
    if newest is None or len(earlier) < _LEAST_SAMPLE:
        evidence = f"Too few full backups to tell what is usual: it takes {_LEAST_SAMPLE} before the newest."
        return Control(name=name, result=_NOT_APPLICABLE, evidence=evidence)
    usual = statistics.median(backup.plain_bytes for backup in earlier)
    within = usual / _USUAL_FACTOR <= newest.plain_bytes <= usual * _USUAL_FACTOR
    evidence = (
        f"{newest.id} holds {human_bytes(newest.plain_bytes)} uncompressed; "
        f"the median of the {len(earlier)} before it is {human_bytes(usual)}."
    )
    return Control(name=name, result=_PASS if within else _FAIL, evidence=evidence)


def _no_future_dates(history: History) -> Control:
    name = "no backup dated in the future"
    if history.future:
        evidence = f"Not counted in the score, for a clock was wrong: {names(history.future)}."
        return Control(name=name, result=_FAIL, evidence=evidence)
    return Control(name=name, result=_PASS, evidence=f"None lies after {moment(history.now)}.")


def _break_glass_kit(history: History, expectations: Expectations) -> Control:
    """Passwords of connections change unseen, so a kit grows old even where backup.yaml stays as it is."""
    name, kit = "break-glass kit", expectations.kit
    if kit is None:
        evidence = "There is no backup.yaml, so there is nothing that a kit would hold."
        return Control(name=name, result=_NOT_APPLICABLE, evidence=evidence)
    if kit.exported_at is None:
        evidence = "None was exported, as far as the catalogue knows: without Airflow, its connections are gone."
        return Control(name=name, result=_WARNING, evidence=f"{evidence} {_EXPORT}")
    age = history.age(kit.exported_at)
    evidence = f"The newest was exported {words(age)} ago, at {moment(kit.exported_at)}"
    if kit.outdated:
        evidence = f"{evidence}, and backup.yaml has changed since. {_EXPORT}"
    elif age > _KIT_EVERY:
        evidence = f"{evidence}: connections may have changed since. {_EXPORT}"
    else:
        return Control(name=name, result=_PASS, evidence=f"{evidence}; backup.yaml is still the same.")
    return Control(name=name, result=_WARNING, evidence=evidence)
