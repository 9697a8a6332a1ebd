"""Whether increments can be restored, and whether the next one will find where to go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from db_backup.health.history import BackupRecord, Expectations, History
from db_backup.health.report import Control, ControlResult
from db_backup.health.wording import moment, words
from db_backup.model import BackupType

_OUTAGE = timedelta(days=1)  # which is to be survived beyond what has happened already
_REPLAY_WITHIN = timedelta(days=8)  # a week, and a day for it to happen
_REPLAY_FIRST = timedelta(days=2)  # a day until it is due, and another
# What engines warn of when history may be given up by its size, not by its age.
_HISTORY_AT_RISK = ("replication slot", "max_binlog_total_size")

_PASS, _WARNING, _FAIL, _NOT_APPLICABLE = ControlResult


def chain_unbroken(history: History, expectations: Expectations) -> Control:
    """Fails when the newest increments cannot be restored; warns for a week of what was lost before they began, and
    where nobody has replayed them lately.
    """
    name = "chain unbroken"
    increments = history.of_type(BackupType.INCREMENTAL)
    if not (increments or history.breaks or expectations.increments):
        return _no_increments(name)
    if increments and increments[0].id in history.broken:
        evidence = f"{increments[0].id} cannot be restored, for {history.broken[increments[0].id]}."
        base = next((one for one in history.live if one.id == increments[0].base_id), increments[0])
        fulls = (one for one in history.restorable if one.type is BackupType.FULL)
        newer = [full for full in fulls if full.created_at > base.created_at]
        if newer:
            return Control(name=name, result=_WARNING, evidence=f"{evidence} {newer[-1].id} has begun a new chain.")
        advice = f"Begin a new chain: `db-backup create {history.entry} --type full`."
        return Control(name=name, result=_FAIL, evidence=f"{evidence} {advice}")
    if history.breaks:
        last = history.breaks[0]
        evidence = (
            f"At {moment(last.at)} increments could not go on, so some moments cannot be recovered: {last.reason}"
        )
        return Control(name=name, result=_WARNING, evidence=evidence)
    if not increments:
        return Control(name=name, result=_NOT_APPLICABLE, evidence="No increment was taken yet.")
    evidence = f"Every backup from {increments[0].base_id} to {increments[0].id} is there, and none has failed"
    unproven = _not_replayed(history, increments)
    evidence += f", but {unproven}" if unproven else "."
    return Control(name=name, result=_WARNING if unproven else _PASS, evidence=evidence)


def _not_replayed(history: History, increments: Sequence[BackupRecord]) -> str | None:
    """backup_verification replays each chain once a week: where it could not, only checksums speak for increments."""
    replays = [(one.restored_at, one.id) for one in increments if one.restored_at is not None]
    if replays:
        replayed_at, replayed = max(replays)
        if history.age(replayed_at) <= _REPLAY_WITHIN:
            return None
        last = f"increments were last replayed for proof up to {replayed}, {words(history.age(replayed_at))} ago."
    elif history.age(min(one.created_at for one in increments)) <= _REPLAY_FIRST:
        return None
    else:
        last = "no increment was ever replayed for proof."
    return f"{last} Run `db-backup verify {increments[0].id} --level restore`."


def log_kept_long_enough(history: History, expectations: Expectations) -> Control:
    """What the server keeps must outlast the longest time between two increments, and an outage (FACTS §6)."""
    name = "slot/binlog retention long enough"
    links = [one for one in history.restorable if one.of_server]
    if not history.of_type(BackupType.INCREMENTAL) and not expectations.increments:
        evidence = "No incremental backups are taken, so no binlog or slot is needed."
        return Control(name=name, result=_NOT_APPLICABLE, evidence=evidence)
    if not links:
        evidence = "Increments are taken of no server, so no binlog or slot is needed."
        return Control(name=name, result=_NOT_APPLICABLE, evidence=evidence)
    newest = links[0]
    longest = max(_distances(history, links), default=timedelta(0))
    if newest.log_kept_seconds is not None:
        kept, wanted = timedelta(seconds=newest.log_kept_seconds), longest + _OUTAGE
        evidence = (
            f"The server keeps its history for {words(kept)}; the longest time from one increment to the next was "
            f"{words(longest)}, and {words(_OUTAGE)} more are wanted for an outage."
        )
        if kept < wanted:
            return Control(name=name, result=_FAIL, evidence=evidence)
    else:
        evidence = "No time is set after which the server gives up its history."
    at_risk = [text for text in newest.warnings if any(risk in text for risk in _HISTORY_AT_RISK)]
    if at_risk:
        return Control(name=name, result=_WARNING, evidence=" ".join(at_risk))
    return Control(name=name, result=_PASS, evidence=evidence)


def _distances(history: History, links: list[BackupRecord]) -> Iterator[timedelta]:
    """From each backup of a chain to the one that follows it, and from the newest to now."""
    known = {link.id: link for link in links}
    for link in links:
        if link.parent_id in known:
            yield abs(link.created_at - known[link.parent_id].created_at)
    yield history.age(links[0].created_at)


def _no_increments(name: str) -> Control:
    return Control(name=name, result=_NOT_APPLICABLE, evidence="No incremental backups are taken.")
