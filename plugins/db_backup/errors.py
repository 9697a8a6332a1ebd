"""Every error that a person can meet, as one tree.

Each error says what failed, for which database and backup, and in ``hint`` what to do about it. ``exit_code`` is what
``db-backup`` exits with (SPEC §3). Secrets never appear in a message: callers pass only text that is safe to print.

    BackupError                      1
    ├── UsageError                   2   what was asked for does not exist or cannot be
    │   ├── ConfigurationError       2   a setting, backup.yaml or a connection is wrong
    │   │   ├── FeatureNotAvailable  2   set away from its default before the feature exists
    │   │   └── ConnectionNotFound   2
    │   ├── UnknownDatabase          2
    │   ├── UnknownBackup            2
    │   └── UnknownStorage           2
    ├── SourceError                  1   the database server or its dump
    │   ├── ServerUnreachable        1
    │   ├── AccessDenied             1   wrong password, or the user may not log in
    │   ├── PrivilegeMissing         1   logged in, but the dump would leave something out
    │   ├── SourceUnsupported        1   this server or object cannot be backed up this way
    │   ├── DumpFailed               1   the dump tool said so
    │   └── DumpIncomplete           1   the dump tool said it went well, and it did not
    ├── ToolError                    1
    │   ├── ToolMissing              1
    │   └── ToolVersionMismatch      1
    ├── LimitExceeded                1
    │   ├── SizeLimitExceeded        1
    │   └── TimeLimitExceeded        1
    ├── StorageError                 1
    │   ├── StorageAccessDenied      1
    │   ├── StorageFull              1
    │   ├── StorageNotMounted        1   `.storage-id` is missing or another one
    │   ├── StorageConflict          1   somebody else wrote this name first
    │   ├── ObjectMissing            1
    │   ├── ObjectCold               1   archived: it must be thawed before it can be read
    │   └── ObjectLocked             1   the storage keeps it from being deleted until a moment
    ├── EncryptionKeyError           1   a key that opens backups, not what is in them
    │   ├── KeyUnavailable           1   it is not here, or its keeper does not answer
    │   ├── WrongKey                 1   it is here and does not open this backup
    │   └── WrapDamaged              1   the right key is here, and the wrapped data key is not as it was written
    ├── ArtefactError                3   what is stored is not what was written
    │   ├── ArtefactMissing          3
    │   ├── ArtefactTruncated        3
    │   ├── ArtefactCorrupt          3
    │   └── ArtefactSwapped          3   whole, and of another part or another backup
    ├── ManifestError                1   a sidecar that cannot be read, or a newer major version
    ├── CatalogError                 1
    │   └── PublishedUnindexed       1   the backup is made and whole; the catalogue does not know it
    ├── KitError                     1   a break-glass kit that cannot be read
    │   └── WrongPassphrase          1
    ├── ActUnaudited                 1   what was asked for is done; its audit line is missing
    ├── EntryLocked                  1   another backup of the same entry is at work
    ├── ChainBroken                  1   an increment cannot follow, or the links of a chain do not
    ├── PointOutOfReach              1   no chain leads to the moment that was asked for
    ├── LoadFailed                   1   the restore tool said so
    ├── RestoreMismatch              3   restored, but not what the manifest says
    ├── HealthTooLow                 3   the score is lower than is asked for
    ├── ScratchUnavailable           1   no scratch server: a proof becomes inconclusive
    ├── Refused                      4   would overwrite or orphan something
    │   └── TargetNotEmpty           4
    └── Interrupted                130
"""

from __future__ import annotations


class BackupError(Exception):
    """Root of the tree.

    :param message: one sentence: what failed, for which database and backup.
    :param hint: one sentence: what the person can do.
    :param database: the entry concerned, where there is one.
    :param backup_id: the backup concerned, where there is one.
    :ivar storage: the storage whose copy of that backup could not be read; None: nothing speaks against a copy.
    """

    exit_code: int = 1

    def __init__(
        self, message: str, *, hint: str = "", database: str | None = None, backup_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.database = database
        self.backup_id = backup_id
        self.storage: str | None = None

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class UsageError(BackupError):
    exit_code = 2


class ConfigurationError(UsageError):
    pass


class FeatureNotAvailable(ConfigurationError):
    pass


class ConnectionNotFound(ConfigurationError):
    pass


class UnknownDatabase(UsageError):
    pass


class UnknownBackup(UsageError):
    pass


class UnknownStorage(UsageError):
    pass


class SourceError(BackupError):
    pass


class ServerUnreachable(SourceError):
    pass


class AccessDenied(SourceError):
    pass


class PrivilegeMissing(SourceError):
    pass


class SourceUnsupported(SourceError):
    pass


class DumpFailed(SourceError):
    pass


class DumpIncomplete(SourceError):
    pass


class ToolError(BackupError):
    pass


class ToolMissing(ToolError):
    pass


class ToolVersionMismatch(ToolError):
    pass


class LimitExceeded(BackupError):
    pass


class SizeLimitExceeded(LimitExceeded):
    pass


class TimeLimitExceeded(LimitExceeded):
    pass


class StorageError(BackupError):
    pass


class StorageAccessDenied(StorageError):
    pass


class StorageFull(StorageError):
    pass


class StorageNotMounted(StorageError):
    pass


class StorageConflict(StorageError):
    pass


class ObjectMissing(StorageError):
    pass


class ObjectCold(StorageError):
    pass


class ObjectLocked(StorageError):
    pass


class EncryptionKeyError(BackupError):
    pass


class KeyUnavailable(EncryptionKeyError):
    pass


class WrongKey(EncryptionKeyError):
    pass


class WrapDamaged(EncryptionKeyError):
    pass


class ArtefactError(BackupError):
    exit_code = 3


class ArtefactMissing(ArtefactError):
    pass


class ArtefactTruncated(ArtefactError):
    pass


class ArtefactCorrupt(ArtefactError):
    pass


class ArtefactSwapped(ArtefactError):
    pass


class ManifestError(BackupError):
    pass


class CatalogError(BackupError):
    pass


class PublishedUnindexed(CatalogError):
    pass


class KitError(BackupError):
    pass


class WrongPassphrase(KitError):
    pass


class ActUnaudited(BackupError):
    pass


class EntryLocked(BackupError):
    pass


class ChainBroken(BackupError):
    """An increment cannot follow, or the links of a chain do not.

    :param worth_a_full: no history is lost; a full is only cheaper, or the next thing to take.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        database: str | None = None,
        backup_id: str | None = None,
        worth_a_full: bool = False,
    ) -> None:
        super().__init__(message, hint=hint, database=database, backup_id=backup_id)
        self.worth_a_full = worth_a_full


class PointOutOfReach(BackupError):
    pass


class LoadFailed(BackupError):
    pass


class RestoreMismatch(BackupError):
    exit_code = 3


class HealthTooLow(BackupError):
    exit_code = 3


class ScratchUnavailable(BackupError):
    pass


class Refused(BackupError):
    exit_code = 4


class TargetNotEmpty(Refused):
    pass


class Interrupted(BackupError):
    exit_code = 130
