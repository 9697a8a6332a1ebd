"""Which keys there are, and which of them opens a backup."""

from __future__ import annotations

from collections.abc import Sequence

from db_backup.encryption.data_key import DataKey
from db_backup.errors import KeyUnavailable
from db_backup.manifest import Manifest, State, WrappedKey


class Keyring:
    """The key-encryption keys of the configuration; nothing is read or asked before it is needed."""

    def new_data_key(self, backup_id: str, recipients: Sequence[str] = ()) -> tuple[DataKey, tuple[WrappedKey, ...]]:
        """A fresh data key for this backup, and its wraps: one for each recipient; none named: the configured ones.

        It stays at hand in this process, so that the backup can be proved where nothing here can unwrap it.

        :raises KeyUnavailable, ConfigurationError: it cannot be wrapped for all of them.
        """
        raise NotImplementedError

    def data_key(self, manifest: Manifest, state: State) -> DataKey:
        """The key of this backup's parts: at hand from its making, or unwrapped.

        :raises KeyUnavailable: no key that it is wrapped for is here, or its keeper does not answer.
        :raises WrongKey: a key of that name is here and does not open it.
        """
        raise KeyUnavailable(f"No key opens {manifest.id} ({len(state.wrapped_keys)} wraps).", backup_id=manifest.id)

    def can_open(self, manifest: Manifest, state: State) -> bool:
        """Whether this worker can unwrap the backup's data key by a key of its own, not only as its maker."""
        raise NotImplementedError

    def rewrap(self, manifest: Manifest, state: State, recipients: Sequence[str] = ()) -> tuple[WrappedKey, ...]:
        """The same data key, wrapped for these recipients alone; what is so already stays as it is.

        :raises KeyUnavailable, WrongKey, ConfigurationError:
        """
        raise NotImplementedError
