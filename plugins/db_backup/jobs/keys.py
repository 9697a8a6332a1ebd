"""The keys that backups are encrypted for: generated, and listed with what still needs them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path

from pydantic import Field

from db_backup.catalog import AuditAct
from db_backup.encryption.key_file import Key, KeyKind, generate_pair, generate_secret
from db_backup.encryption.keys_here import PUBLIC_SUFFIX
from db_backup.encryption.recipients import Recipient
from db_backup.errors import (
    ConfigurationError,
    EncryptionKeyError,
    ManifestError,
    ObjectMissing,
    UsageError,
)
from db_backup.frozen import FrozenModel
from db_backup.jobs.acts import audited
from db_backup.jobs.ahead import worked_ahead
from db_backup.jobs.merging import merged_state
from db_backup.jobs.new_file import new_file, refuse_taken
from db_backup.jobs.reach import Unanswered, ask
from db_backup.jobs.roots import ready_storages
from db_backup.jobs.sidecars import backup_ids, read_state
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo, State, WrappedKey
from db_backup.naming import ENTRY_NAME
from db_backup.storage import Storage
from db_backup.stream.private_folder import make_last_folder

_TAKEN = "A key is never overwritten: give the new one another name, such as one with the year in it."


class GeneratedKey(FrozenModel):
    """``files``: the key's, then its public half's if any. ``is_recipient``: new backups are encrypted for it."""

    name: str
    kind: KeyKind
    fingerprint: str
    files: tuple[Path, ...]
    is_recipient: bool


class KeyRecord(FrozenModel):
    """A key as this worker has it; nothing is asked of a key service.

    ``fingerprint``: of a service's key its address; empty where the key is not to be had. ``created_at``: None where
    only its keeper knows. ``is_recipient``: new backups are encrypted for it. ``opens``: it is here, and not a public
    half alone. ``error``: why it is not to be had.
    """

    name: str
    kind: str = ""
    fingerprint: str = ""
    created_at: datetime | None = None
    is_recipient: bool = False
    opens: bool = False
    error: str = ""


class ListedKey(KeyRecord):
    """``backups``: how many are wrapped for it; ``alone``: how many of them nothing else opens."""

    backups: int = 0
    alone: int = 0


class KeysReport(FrozenModel):
    """``backup_ids``: of the encrypted backups. ``unreached``: why backups of a storage could not be counted."""

    keys: tuple[ListedKey, ...]
    encrypted_backups: int
    backup_ids: frozenset[str] = Field(exclude=True)
    unreached: tuple[str, ...]


def generate_key(workspace: Workspace, name: str, *, public: bool, run: RunInfo) -> GeneratedKey:
    """Make a key and write it into its file, for the first and last time.

    :param public: make a pair: the private key, and the public half that a worker needs to write backups.
    :raises UsageError, ConfigurationError: the name cannot be one, or belongs to a key that is no file.
    :raises Refused: there is such a file.
    :raises BackupError: it cannot be written; nothing is left of it.
    """
    if not ENTRY_NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot be the name of a key.",
            hint="Use lower-case letters, digits, - and _, at most 48 of them, the first a letter or a digit.",
        )
    ready_storages(workspace, (workspace.settings.backup_storage_disk,))  # which keeps the audit trail
    with audited(workspace, AuditAct.KEY, run) as act:
        act.detail = f"generate {name}"
        made = generate_pair(name) if public else (generate_secret(name),)
        files = _files(workspace, name, made)
        for path in (*files, _public_half(files[0])):  # a whole key counts before the half that lies beside it
            refuse_taken(path, replace=False, taken=_TAKEN)
        _make_folder(workspace, files[0].parent)
        with ExitStack() as undo:
            for key, path in zip(made, files, strict=True):
                _write(key, path)
                undo.callback(path.unlink)
            undo.pop_all()
        act.detail = f"generated {name}, {made[0].kind}, fingerprint {made[0].fingerprint}"
    return GeneratedKey(
        name=name,
        kind=made[0].kind,
        fingerprint=made[0].fingerprint,
        files=files,
        is_recipient=name in workspace.keyring.recipients,
    )


def _files(workspace: Workspace, name: str, made: tuple[Key, ...]) -> tuple[Path, ...]:
    configured = workspace.config.keys.get(name)
    folder = workspace.settings.backup_keys_path
    if configured is None:
        own = folder / f"{name}.json"
    elif configured.file is not None:
        own = folder / Path(configured.file).expanduser()
    else:
        where = "a key service's" if configured.kms else f"the password of the connection '{configured.conn_id}'"
        raise ConfigurationError(
            f"backup.yaml says that the key '{name}' is {where}, and no file.",
            hint="Generate a key of another name; for a connection, put the content of its file into the password.",
        )
    is_half = own.name.endswith(f"{PUBLIC_SUFFIX}.json")
    if len(made) == 1:
        if is_half:
            raise UsageError(
                f"backup.yaml says that the key '{name}' is {own.name}, by its name a public half.",
                hint="Make a pair with --public-key, or generate a key of another name.",
            )
        return (own,)
    whole = own.with_name(f"{own.name.removesuffix(f'{PUBLIC_SUFFIX}.json')}.json") if is_half else own
    return whole, _public_half(whole)


def _public_half(whole: Path) -> Path:
    return whole.with_name(f"{whole.name.removesuffix('.json')}{PUBLIC_SUFFIX}.json")


def _make_folder(workspace: Workspace, folder: Path) -> None:
    is_new = not folder.exists()
    make_last_folder(
        folder, "BACKUP_KEYS_PATH" if folder == workspace.settings.backup_keys_path else "The key's folder"
    )
    if is_new:
        folder.chmod(0o700)


def _write(key: Key, path: Path) -> None:
    with new_file(path, replace=False, taken=_TAKEN, elsewhere="with BACKUP_KEYS_PATH") as output:
        if key.kind is KeyKind.PUBLIC:
            os.fchmod(output.fileno(), 0o644)
        output.write(key.to_json().encode())


def key_records(workspace: Workspace) -> tuple[KeyRecord, ...]:
    """Every key that is configured, or whose file lies in BACKUP_KEYS_PATH; those of new backups first."""
    keyring = workspace.keyring
    records = []
    for name in dict.fromkeys([*keyring.recipients, *keyring.keys.names()]):
        is_recipient = name in keyring.recipients
        try:
            recipient: Recipient = keyring.keys.named(name)
        except (EncryptionKeyError, ConfigurationError) as error:
            records.append(KeyRecord(name=name, is_recipient=is_recipient, error=str(error)))
            continue
        records.append(
            KeyRecord(
                name=name,
                kind=recipient.kind,
                fingerprint=recipient.key_id,
                created_at=recipient.created_at,
                is_recipient=is_recipient,
                opens=recipient.opens,
            )
        )
    return tuple(records)


def list_keys(workspace: Workspace) -> KeysReport:
    """Every key that is known here, and those that are not and that backups are wrapped for all the same."""
    states, unreached = live_states(workspace)
    wrapped_by_id = {backup_id: state.wrapped_keys for backup_id, state in states.items() if state.wrapped_keys}
    wrapped = list(wrapped_by_id.values())
    needed = Counter(key_id for wraps in wrapped for key_id in {wrap.key_id for wrap in wraps})
    alone = Counter(wraps[0].key_id for wraps in wrapped if len({wrap.key_id for wrap in wraps}) == 1)
    by_name = {wrap.recipient: wrap for wraps in wrapped for wrap in wraps}
    records = [_as_backups_know_it(record, by_name.get(record.name)) for record in key_records(workspace)]
    known = {record.fingerprint for record in records}
    return KeysReport(
        keys=tuple(
            ListedKey(**record.model_dump(), backups=needed[record.fingerprint], alone=alone[record.fingerprint])
            for record in (*records, *_unknown(known, (wrap for wraps in wrapped for wrap in wraps)))
        ),
        encrypted_backups=len(wrapped),
        backup_ids=frozenset(wrapped_by_id),
        unreached=tuple(map(str, unreached)),
    )


def _as_backups_know_it(record: KeyRecord, wrap: WrappedKey | None) -> KeyRecord:
    """Of a key that is not to be had, the fingerprint by which it is looked for."""
    if not record.error or wrap is None:
        return record
    return record.model_copy(update={"kind": wrap.kind, "fingerprint": wrap.key_id})


def _unknown(known: set[str], wraps: Iterator[WrappedKey]) -> Iterator[KeyRecord]:
    for wrap in wraps:
        if wrap.key_id not in known:
            known.add(wrap.key_id)
            error = "Backups are wrapped for it, and it is not here."
            yield KeyRecord(name=wrap.recipient, kind=wrap.kind, fingerprint=wrap.key_id, error=error)


def live_states(workspace: Workspace) -> tuple[dict[str, State], list[Unanswered]]:
    """The state of every backup that is not being deleted, by id, merged over its copies; and who did not answer."""
    found: dict[str, list[State]] = {}
    unanswered = []
    for storage in workspace.storages.values():
        answer = ask(workspace, storage, _states)
        if isinstance(answer, Unanswered):
            unanswered.append(answer)
            continue
        for state in answer:
            found.setdefault(state.id, []).append(state)
    merged = {backup_id: merged_state(states) for backup_id, states in found.items()}
    return {backup_id: state for backup_id, state in merged.items() if state.tombstone is None}, unanswered


def _states(storage: Storage) -> list[State]:
    states = []
    reading = worked_ahead(partial(read_state, storage), backup_ids(storage), at_once=storage.requests_at_once)
    for _, state in reading:
        try:
            states.append(state())
        except (ObjectMissing, ManifestError):
            continue  # lost, or deleted meanwhile: `catalog check` tells of it
    return states
