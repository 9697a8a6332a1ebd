"""The keys that this worker has: those that backup.yaml names, and the files of BACKUP_KEYS_PATH."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from db_backup.config import KeyConfig
from db_backup.connections import portable_connection
from db_backup.encryption.key_file import Key, parse_key, read_key_file
from db_backup.encryption.kms import KmsRecipient
from db_backup.encryption.recipients import KeyRecipient, Recipient
from db_backup.errors import ConfigurationError, EncryptionKeyError, KeyUnavailable

PUBLIC_SUFFIX = ".public"


class KeysHere:
    """Looked up when they are asked for, and then kept.

    :param configured: ``keys:`` of backup.yaml. A name that is not among them is a file of ``folder``.
    :param folder: BACKUP_KEYS_PATH.
    :param environment: in place of the process's own.
    """

    def __init__(
        self, configured: Mapping[str, KeyConfig], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.configured = configured
        self.folder = folder
        self._environment = environment
        self._carried: dict[str, str] = {}
        self._named: dict[str, Recipient] = {}
        self._looking = threading.Lock()  # a rotation asks from several threads

    def carry(self, key_files: Mapping[str, str]) -> None:
        """Use the content of these key files too, by their bare names: a break-glass kit brings them along."""
        self._carried.update(key_files)

    def forget(self) -> None:
        """Look every key up again: it may have gone since."""
        self._named.clear()

    def named(self, name: str) -> Recipient:
        """The key that the configuration calls so.

        :raises KeyUnavailable: it is not here.
        :raises ConfigurationError: it is here and must not be used as it is, or its connection is wrong.
        """
        with self._looking:
            if name not in self._named:
                self._named[name] = self._look_up(name)
            return self._named[name]

    def opening(self, key_id: str) -> Recipient | None:
        """Any key here that can unwrap what this one wrapped, whatever it is called; unusable ones are passed over."""
        for recipient in self._all():
            if recipient.key_id == key_id and recipient.opens:
                return recipient
        return None

    def names(self) -> tuple[str, ...]:
        """Of all keys that there are to know of here, usable or not."""
        files = [path.name for path in self.key_files()] + list(self._carried)
        in_folder = (name.removesuffix(".json").removesuffix(PUBLIC_SUFFIX) for name in files)
        return tuple(dict.fromkeys([*self.configured, *in_folder]))

    def key_files(self) -> tuple[Path, ...]:
        """What lies in BACKUP_KEYS_PATH, in order of name."""
        try:
            return tuple(sorted(path for path in self.folder.iterdir() if path.suffix == ".json"))
        except OSError:
            return ()

    def file_of(self, name: str) -> Path | None:
        """Where the key lies or should lie, if it is a file."""
        configured = self.configured.get(name)
        if configured is None:
            whole, public = self.folder / f"{name}.json", self.folder / f"{name}{PUBLIC_SUFFIX}.json"
            return public if self._is_here(public) and not self._is_here(whole) else whole
        return self.folder / Path(configured.file).expanduser() if configured.file is not None else None

    def _is_here(self, path: Path) -> bool:
        return _exists(path) or path.name in self._carried

    def _all(self) -> Iterator[Recipient]:
        for name in self.configured:
            try:
                yield self.named(name)
            except (EncryptionKeyError, ConfigurationError):
                continue  # `named` tells of it where it is asked for
        for path in self.key_files():
            try:
                key = read_key_file(path)
            except (EncryptionKeyError, ConfigurationError):
                continue
            yield KeyRecipient(key.name, key, found_in="local")
        for name in self._carried:
            yield KeyRecipient(name, self._of_kit(name), found_in="local")

    def _look_up(self, name: str) -> Recipient:
        if name not in self.configured and ("/" in name or "\0" in name):
            raise KeyUnavailable(
                f"'{name}' cannot be the name of a key.",
                hint="The backup's state file was changed: put it back from another copy.",
            )
        path = self.file_of(name)
        if path is not None:
            carried = not _exists(path) and path.name in self._carried
            key = self._of_kit(path.name) if carried else read_key_file(path)
            return KeyRecipient(name, key, found_in="local")
        configured = self.configured[name]
        if configured.kms is not None:
            return KmsRecipient(name, configured.kms, configured.conn_id, self._environment)
        return KeyRecipient(name, self._of_connection(name, configured.conn_id or ""), found_in="airflow")

    def _of_kit(self, file_name: str) -> Key:
        return parse_key(self._carried[file_name], f"The key {file_name} of the kit")

    def _of_connection(self, name: str, conn_id: str) -> Key:
        environment = os.environ if self._environment is None else self._environment
        try:
            connection = portable_connection(conn_id, environment=environment)
        except ConfigurationError as error:
            raise KeyUnavailable(f"The key '{name}': {error.message}", hint=error.hint) from error
        if not connection.password:
            raise ConfigurationError(
                f"The connection '{conn_id}' of the key '{name}' has no password, which is where the key belongs.",
                hint="Put the whole content of the key file into its password field.",
            )
        return parse_key(connection.password, f"The password of the connection '{conn_id}'")


def _exists(path: Path) -> bool:
    """Where nobody may look, or under a name that no file can have: no; whoever reads it is told why."""
    try:
        return path.exists()
    except OSError:
        return False
