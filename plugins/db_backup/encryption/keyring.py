"""Which keys there are, and which of them opens a backup."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from db_backup.config import KeyConfig
from db_backup.encryption.data_key import DataKey
from db_backup.encryption.keys_here import KeysHere
from db_backup.encryption.kms import SERVICES
from db_backup.encryption.recipients import Recipient, damaged
from db_backup.errors import BackupError, ConfigurationError, EncryptionKeyError, KeyUnavailable, WrapDamaged, WrongKey
from db_backup.manifest import Manifest, State, WrappedKey
from db_backup.model import utc_now

#: The key that is meant where BACKUP_ENCRYPTION_KEY_ID names none.
DEFAULT_KEY = "default"

#: Which of several obstacles says most about why a backup stays shut.
_TELLING: tuple[type[BackupError], ...] = (WrongKey, WrapDamaged, KeyUnavailable)


class Keyring:
    """The key-encryption keys of the configuration; nothing is read or asked before it is needed.

    :param configured: ``keys:`` of backup.yaml.
    :param folder: BACKUP_KEYS_PATH.
    :param recipients: BACKUP_ENCRYPTION_KEY_ID; none: the key ``default``.
    :param environment: in place of the process's own.
    """

    def __init__(
        self,
        configured: Mapping[str, KeyConfig],
        folder: Path,
        recipients: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.recipients = tuple(dict.fromkeys(recipients)) or (DEFAULT_KEY,)
        self.keys = KeysHere(configured, folder, environment)
        self._guard = threading.Lock()
        self._made: dict[str, DataKey] = {}
        self._opened: dict[tuple[str, str], DataKey] = {}

    def new_data_key(self, backup_id: str) -> tuple[DataKey, tuple[WrappedKey, ...]]:
        """A fresh data key for this backup, and its wraps: one for each recipient.

        It stays at hand in this process, so that the backup can be proved where nothing here can unwrap it.

        :raises KeyUnavailable, ConfigurationError: it cannot be wrapped for all of them.
        """
        data_key = DataKey.generate()
        wraps = tuple(_wrapped(recipient, data_key, backup_id) for recipient in self._wanted())
        with self._guard:
            self._made[backup_id] = data_key
        return data_key, wraps

    def data_key(self, manifest: Manifest, state: State) -> DataKey:
        """The key of this backup's parts: at hand from its making, or unwrapped.

        :raises KeyUnavailable: no key that it is wrapped for is here, or its keeper does not answer.
        :raises WrongKey: a key of that name is here and does not open it.
        :raises WrapDamaged: the right key is here, and what it should open is not as it was written.
        """
        with self._guard:
            at_hand = self._made.get(manifest.id) or self._opened.get(_identity(manifest))
        if at_hand is not None and _fits(at_hand, manifest):
            return at_hand
        opened = self.unwrap(manifest, state)
        with self._guard:
            self._opened[_identity(manifest)] = opened
        return opened

    def unwrap(self, manifest: Manifest, state: State) -> DataKey:
        """The key of this backup's parts, really unwrapped now by a key of this worker: none that is at hand counts.

        :raises KeyUnavailable, WrongKey, WrapDamaged: as :meth:`data_key`; every wrap was tried, and the message tells
            of each.
        """
        obstacles: list[tuple[WrappedKey, BackupError]] = []
        # A key that is at hand opens at once; a service that is out of reach is waited for, each time.
        for wrapped in sorted(state.wrapped_keys, key=lambda wrapped: wrapped.kind in SERVICES):
            try:
                return self._opened_by(wrapped, manifest)
            except (EncryptionKeyError, ConfigurationError) as error:
                obstacles.append((wrapped, error))
        obstacles.sort(key=lambda obstacle: state.wrapped_keys.index(obstacle[0]))
        raise _shut(manifest, obstacles)

    def can_open(self, manifest: Manifest, state: State) -> bool:
        """Whether this worker can unwrap the backup's data key by a key of its own, not only as its maker."""
        try:
            self.unwrap(manifest, state)
        except EncryptionKeyError:
            return False
        return True

    def is_made_here(self, manifest: Manifest) -> bool:
        """Whether the data key is at hand from the backup's making in this process."""
        with self._guard:
            return manifest.id in self._made

    def rewrap(self, manifest: Manifest, state: State) -> tuple[WrappedKey, ...]:
        """The same data key, wrapped for the recipients alone; what is so already stays as it is.

        Where one wrap must change, all are made afresh of the key that was unwrapped: of one that is kept nobody would
        know whether it opens, and the others are about to go.

        :raises KeyUnavailable, WrongKey, WrapDamaged, ConfigurationError:
        """
        wanted = self._wanted()
        if self.is_wrapped(state):
            return state.wrapped_keys
        data_key = self.data_key(manifest, state)
        # The newest are tried first (jobs/merging.py), also where the clock of another machine ran ahead.
        newest = max((wrapped.wrapped_at for wrapped in state.wrapped_keys), default=utc_now())
        moment = max(utc_now(), newest + timedelta(microseconds=1))
        wraps = (_wrapped(recipient, data_key, manifest.id) for recipient in wanted)
        return tuple(wrapped.model_copy(update={"wrapped_at": moment}) for wrapped in wraps)

    def is_wrapped(self, state: State) -> bool:
        """Whether the data key is wrapped for exactly the recipients' keys, as they are now, and once for each: where
        two copies' states differ, one of the wraps may be damaged.

        :raises KeyUnavailable, ConfigurationError: one of them is not here.
        """
        wraps = [(wrapped.recipient, wrapped.kind, wrapped.key_id) for wrapped in state.wrapped_keys]
        wanted = [(recipient.name, recipient.kind, recipient.key_id) for recipient in self._wanted()]
        return sorted(wraps) == sorted(wanted)

    def is_offline(self, state: State) -> bool:
        """Whether the backup is wrapped for public keys alone, of which just these halves are here: so it is meant."""
        try:
            keepers = [(wrapped, self.keys.named(wrapped.recipient)) for wrapped in state.wrapped_keys]
        except (EncryptionKeyError, ConfigurationError):
            return False
        return bool(keepers) and all(
            not recipient.opens and recipient.key_id == wrapped.key_id for wrapped, recipient in keepers
        )

    def _wanted(self) -> tuple[Recipient, ...]:
        return tuple(map(self.keys.named, self.recipients))

    def _opened_by(self, wrapped: WrappedKey, manifest: Manifest) -> DataKey:
        try:
            data_key = DataKey.from_bytes(self._opener(wrapped).unwrap(wrapped, manifest.id))
        except ValueError:
            raise damaged(wrapped, manifest.id) from None
        if not _fits(data_key, manifest):
            raise WrongKey(
                f"The wrap for '{wrapped.recipient}' opens the data key {data_key.fingerprint}, and {manifest.id} is "
                f"encrypted with {', '.join(sorted(_ciphers(manifest)))}.",
                hint="Put back the backup's state file from another copy.",
                backup_id=manifest.id,
            )
        return data_key

    def _opener(self, wrapped: WrappedKey) -> Recipient:
        """The key of that fingerprint, by whichever name it is known here.

        :raises KeyUnavailable, WrongKey, ConfigurationError: there is none; says what is here instead.
        """
        missing: BackupError | None = None
        named: Recipient | None = None
        try:
            named = self.keys.named(wrapped.recipient)
        except (EncryptionKeyError, ConfigurationError) as error:
            missing = error
        if named is not None and named.key_id == wrapped.key_id and named.opens:
            return named
        other = self.keys.opening(wrapped.key_id)
        if other is not None:
            return other
        if named is None:
            raise missing or KeyUnavailable(f"The key '{wrapped.recipient}' is not here.")
        if named.key_id == wrapped.key_id:
            return named  # a public half, which says so itself
        raise WrongKey(
            f"The key '{named.name}' that is here is {named.key_id}, another than {wrapped.key_id}.",
            hint=f"Put the key {wrapped.key_id} into BACKUP_KEYS_PATH, under any name.",
        )


def _wrapped(recipient: Recipient, data_key: DataKey, backup_id: str) -> WrappedKey:
    """For one recipient; where that can open, it is seen to.

    :raises WrapDamaged: the recipient does not give back what it was given.
    """
    wrapped = recipient.wrap(data_key.to_bytes(), backup_id)
    if recipient.opens and recipient.unwrap(wrapped, backup_id) != data_key.to_bytes():
        raise damaged(wrapped, backup_id)
    return wrapped


def _ciphers(manifest: Manifest) -> frozenset[str]:
    return frozenset(part.cipher.key_id for part in manifest.parts if part.cipher is not None)


def _identity(manifest: Manifest) -> tuple[str, str]:
    return manifest.id, ",".join(sorted(_ciphers(manifest)))


def _fits(data_key: DataKey, manifest: Manifest) -> bool:
    return _ciphers(manifest) == {data_key.fingerprint}


def _shut(manifest: Manifest, obstacles: Sequence[tuple[WrappedKey, BackupError]]) -> BackupError:
    """Why no key here opens it, of the class that says most."""
    if not obstacles:
        return KeyUnavailable(
            f"The state of {manifest.id} has no wrapped data key, without which nothing opens it.",
            hint="Put back the backup's state file (metadata/….state.json) from another copy, then run `db-backup "
            "catalog reindex`.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    kind, telling = next(
        ((kind, error) for kind in _TELLING for _, error in obstacles if isinstance(error, kind)),
        (KeyUnavailable, obstacles[0][1]),
    )
    wrapped_for = ", ".join(f"'{wrapped.recipient}' ({wrapped.kind} {wrapped.key_id})" for wrapped, _ in obstacles)
    reasons = " ".join(error.message for _, error in obstacles)
    return kind(
        f"No key here opens {manifest.id}, which is wrapped for {wrapped_for}. {reasons}",
        hint=telling.hint,
        database=manifest.entry,
        backup_id=manifest.id,
    )
