"""The break-glass kit: one JSON document, sealed under a passphrase as an age file, which `age -d` opens too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

import pyrage
from pydantic import BaseModel, Field, ValidationError

from db_backup.connections import connection_text, connection_variable
from db_backup.errors import KitError, UsageError, WrongPassphrase
from db_backup.frozen import FrozenModel

KIT_VERSION = 1
LEAST_PASSPHRASE = 12
"""Characters. Whoever finds the file may try passphrases for years; age's scrypt makes each try cost a second."""

_ARMOUR_BEGINS = b"-----BEGIN AGE ENCRYPTED FILE-----"
_ARMOUR_ENDS = b"-----END AGE ENCRYPTED FILE-----"
_BINARY_BEGINS = b"age-encryption.org/v1"
_WRONG = "Decryption failed"  # what age's library says of a passphrase, and of nothing else but a damaged header
_TO_A_KEY = "No matching keys found"
_TOO_MUCH_WORK = "Excessive work"
_ANOTHER_COPY = "Take another copy of the kit, or export a new one where Airflow still runs."

#: What belongs to the machine that the kit comes from: a machine that only reads with a kit uses its own.
_OF_THE_MACHINE = frozenset(
    {"BACKUP_CATALOG_CONN_ID", "BACKUP_CATALOG_PATH", "BACKUP_SCRATCH_PATH", "BACKUP_STAGING_PATH", "BACKUP_FILE_GROUP"}
)


class Kit(FrozenModel):
    """All that a restore needs besides the storage. It never prints.

    ``settings``: variables as they were set, paths absolute. ``configuration``: the text of backup.yaml; None where
    there was none. ``connections``: Airflow's fields by connection id. ``keys``: the content of key files by bare name.
    """

    kit_version: int
    program_version: str
    exported_at: datetime
    exported_by: str
    host: str
    settings: Mapping[str, str] = Field(repr=False)
    configuration: str | None = Field(repr=False)
    connections: Mapping[str, Mapping[str, Any]] = Field(repr=False)
    keys: Mapping[str, str] = Field(default_factory=dict, repr=False)

    def variables(self) -> dict[str, str]:
        """Settings and connections as environment variables."""
        connections = {connection_variable(name): connection_text(fields) for name, fields in self.connections.items()}
        return {**self.settings, **connections}

    def environment(self, own: Mapping[str, str]) -> dict[str, str]:
        """``own``, and what the kit adds to it: a variable that is set there wins."""
        added = {name: text for name, text in self.variables().items() if name not in _OF_THE_MACHINE}
        return {**added, **{name: text for name, text in own.items() if text.strip() or name not in added}}

    def seal(self, passphrase: str) -> bytes:
        """The kit as an armoured age file.

        :raises UsageError: the passphrase is too short.
        """
        if len(passphrase) < LEAST_PASSPHRASE:
            raise UsageError(
                f"The passphrase has {len(passphrase)} characters, and it takes {LEAST_PASSPHRASE} at least.",
                hint="Take five words that do not belong together, and keep them apart from the kit.",
            )
        sealed: bytes = pyrage.passphrase.encrypt(self.model_dump_json(indent=2).encode(), passphrase, armored=True)
        return sealed

    @classmethod
    def unseal(cls, sealed: bytes, passphrase: str, *, source: str) -> Self:
        """:param source: the file, as messages name it.

        :raises WrongPassphrase: or the first lines of the file are damaged.
        :raises KitError: it is no kit, damaged, cut off, or of a newer program.
        """
        text = sealed.strip()
        if not text.startswith((_ARMOUR_BEGINS, _BINARY_BEGINS)):
            raise KitError(
                f"{source} is not a break-glass kit: it does not begin as an age file does.",
                hint="Name the file that `db-backup kit export` wrote.",
            )
        if text.startswith(_ARMOUR_BEGINS) and not text.endswith(_ARMOUR_ENDS):
            raise KitError(f"{source} is cut off: its last line is missing.", hint=_ANOTHER_COPY)
        try:
            content = pyrage.passphrase.decrypt(sealed, passphrase)
        except pyrage.DecryptError as error:
            raise _cannot_open(source, str(error)) from None
        return cls._read(content, source)

    @classmethod
    def _read(cls, content: bytes, source: str) -> Self:
        try:
            version = _Version.model_validate_json(content).kit_version
        except ValidationError:  # not chained: pydantic's own message would print what is in the kit
            raise KitError(
                f"{source} could be opened, and what is in it is no break-glass kit.",
                hint="Name the file that `db-backup kit export` wrote.",
            ) from None
        if version != KIT_VERSION:
            raise KitError(
                f"{source} is a kit of version {version}, and this program reads version {KIT_VERSION}.",
                hint="Install the release of db-backup that wrote it, or a later one; `age -d` opens it too.",
            )
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            fields = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors()}))
            raise KitError(f"{source} is damaged: its {fields} cannot be read.", hint=_ANOTHER_COPY) from None


class _Version(BaseModel):
    kit_version: int


def _cannot_open(source: str, reason: str) -> KitError:
    if reason == _WRONG:
        return WrongPassphrase(
            f"The passphrase does not open {source}.",
            hint="Type it again; if it is surely right, the first lines of the file are damaged: take another copy.",
        )
    if reason == _TO_A_KEY:
        return KitError(
            f"{source} is encrypted to a key, not under a passphrase: `db-backup kit export` did not write it.",
            hint="Open it with `age -d -i KEYFILE`.",
        )
    if reason.startswith(_TOO_MUCH_WORK):
        return KitError(
            f"{source} was sealed with more work than this machine would do in a minute.",
            hint="Open it on a faster machine.",
        )
    return KitError(f"{source} is damaged or cut off ({reason}).", hint=_ANOTHER_COPY)
