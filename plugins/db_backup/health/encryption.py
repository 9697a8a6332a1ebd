"""Whether backups are encrypted as they should be, and whether what opens them is there and not too old."""

from __future__ import annotations

from datetime import timedelta

from db_backup.health.history import BackupRecord, Expectations, History
from db_backup.health.report import Control, ControlResult
from db_backup.health.wording import moment, names, without_backups, words

ROTATE_EVERY = timedelta(days=365)
_CANARY_WITHIN = timedelta(days=2)  # it is sent daily, and a day may be missed

_PASS, _WARNING, _FAIL, _NOT_APPLICABLE = ControlResult


def encrypted(history: History, expectations: Expectations) -> Control:
    """Plain backups fail it, but for those that are left of the time before encryption was asked for: these warn."""
    name = "encrypted"
    if not history.stored:
        return without_backups(name)
    plain = [backup for backup in history.stored if not backup.encrypted]
    if not plain:
        return Control(name=name, result=_PASS, evidence=f"All {len(history.stored)} are encrypted.")
    evidence = f"{len(plain)} of {len(history.stored)} are stored as plain text: {names(plain)}."
    if not expectations.encrypted:
        if any(backup.of_server for backup in plain):
            evidence += (
                " Encryption is recommended: backups of a server hold the changes of all its databases, password hashes"
                " included."
            )
        return Control(name=name, result=_FAIL, evidence=evidence)
    if history.stored[0].encrypted:
        evidence += " Encryption is asked for by now, and these go with their days."
        return Control(name=name, result=_WARNING, evidence=evidence)
    return Control(name=name, result=_FAIL, evidence=f"{evidence} Encryption is asked for, and the newest has none.")


def key_rotated(history: History, expectations: Expectations) -> Control:
    """By the oldest of the keys that new backups are encrypted for."""
    name = "key rotated within 365 days"
    if not expectations.encrypted and not any(backup.encrypted for backup in history.stored):
        return Control(name=name, result=_NOT_APPLICABLE, evidence="No backup is encrypted, so there is no key.")
    missing = [f"'{key.name}': {key.missing}" for key in expectations.keys if key.missing]
    if missing:
        evidence = f"New backups are to be encrypted for keys that are not to be had. {' '.join(missing)}"
        return Control(name=name, result=_FAIL, evidence=evidence)
    dated = sorted((key.created_at, key.name) for key in expectations.keys if key.created_at is not None)
    undated = [f"'{key.name}'" for key in expectations.keys if key.created_at is None]
    kept_elsewhere = f" The age of {', '.join(undated)} is known to its keeper alone." if undated else ""
    if not dated:
        evidence = kept_elsewhere.strip() or "No entry asks for encryption, so no key is in use."
        return Control(name=name, result=_NOT_APPLICABLE, evidence=evidence)
    created_at, oldest = dated[0]
    age = history.age(created_at)
    evidence = f"The key '{oldest}' is {words(age)} old, of {moment(created_at)}.{kept_elsewhere}"
    if age > ROTATE_EVERY:
        advice = "Generate a new key, name it in BACKUP_ENCRYPTION_KEY_ID, and run `db-backup keys rotate`."
        return Control(name=name, result=_FAIL, evidence=f"{evidence} {advice}")
    return Control(name=name, result=_PASS, evidence=evidence)


def key_opens(history: History, expectations: Expectations) -> Control:
    """What backup_verification's daily canary found: a lost key is to be noticed before a restore needs it."""
    name = "encryption key opens the newest backup"
    newest = next((backup for backup in history.stored if backup.encrypted), None)
    if newest is None:
        return Control(name=name, result=_NOT_APPLICABLE, evidence="No backup is encrypted.")
    canary = expectations.canary
    if canary is None:
        return Control(name=name, result=_WARNING if _is_due(history, newest) else _NOT_APPLICABLE, evidence=_UNTRIED)
    tried = f"{canary.backup_id}, {words(history.age(canary.at))} ago"
    if canary.opened is None:
        return Control(name=name, result=_NOT_APPLICABLE, evidence=f"Not tried of {tried}: {canary.reason}")
    if not canary.opened:
        return Control(name=name, result=_FAIL, evidence=f"The key of {tried}, was not to be opened: {canary.reason}")
    if history.age(canary.at) > _CANARY_WITHIN:
        evidence = f"The last key that was opened is that of {tried}. {_TRY}"
        return Control(name=name, result=_WARNING, evidence=evidence)
    return Control(name=name, result=_PASS, evidence=f"The key of {tried}, was really opened.")


_TRY = "The daily DAG backup_verification tries it, and so does `db-backup keys list --check`."
_UNTRIED = f"No key was tried yet. {_TRY}"


def _is_due(history: History, newest: BackupRecord) -> bool:
    return history.age(newest.created_at) > _CANARY_WITHIN
