"""Names and ids (DESIGN, "On storage"): one place that makes them and takes them apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from db_backup.errors import UnknownBackup
from db_backup.model import ENTRY_PATTERN, BackupType, Compression

ENTRY_NAME = re.compile(ENTRY_PATTERN)
_BACKUP_ID = re.compile(
    r"backup_(?P<entry>[a-z0-9][a-z0-9_-]{0,47})_(?P<type>full|incremental|structure|data)"
    r"_(?P<moment>\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2})(?:-(?P<serial>[2-9]|[1-9]\d+))?",
    re.ASCII,
)
_MOMENT = "%Y-%m-%d_%H-%M-%S"

CODEC_SUFFIX = {
    Compression.GZIP: ".gz",
    Compression.BZIP2: ".bz2",
    Compression.ZSTD: ".zst",
    Compression.LZ4: ".lz4",
    Compression.XZ: ".xz",
    Compression.NONE: "",
}

DATABASE_FOLDER = "database"
METADATA_FOLDER = "metadata"


@dataclass(frozen=True)
class BackupName:
    """A backup id, taken apart. ``serial`` is 1 for the first backup of that second."""

    entry: str
    type: BackupType
    moment: datetime
    serial: int = 1

    def __str__(self) -> str:
        text = f"backup_{self.entry}_{self.type}_{self.moment.astimezone(UTC).strftime(_MOMENT)}"
        return text if self.serial == 1 else f"{text}-{self.serial}"


def parse_backup_id(text: str) -> BackupName:
    """:raises UnknownBackup: the text is not a backup id."""
    match = _BACKUP_ID.fullmatch(text)
    if match is None:
        raise UnknownBackup(
            f"'{text}' is not a backup id.",
            hint="See `db-backup list`; ids look like backup_shop_full_2026-01-31_03-00-00.",
        )
    try:
        moment = datetime.strptime(match["moment"], _MOMENT).replace(tzinfo=UTC)
    except ValueError as error:
        raise UnknownBackup(f"'{text}' is not a backup id: {error}.", hint="See `db-backup list`.") from error
    return BackupName(match["entry"], BackupType(match["type"]), moment, int(match["serial"] or 1))


def is_backup_id(text: str) -> bool:
    return _BACKUP_ID.fullmatch(text) is not None


def entry_of(text: str) -> str | None:
    """The entry of a backup id; None for what is no backup id."""
    try:
        return parse_backup_id(text).entry
    except UnknownBackup:
        return None


def part_names(backup_id: str, dump_suffixes: Sequence[str], compression: Compression) -> tuple[str, ...]:
    """The bare file names of a backup's parts, one for each stream: id, the bare dump's suffix, the codec's.

    Several are numbered, in the order of loading.
    """
    codec = CODEC_SUFFIX[compression]
    if len(dump_suffixes) == 1:
        return (f"{backup_id}.{dump_suffixes[0]}{codec}",)
    return tuple(f"{backup_id}.{suffix}.part-{number:03d}{codec}" for number, suffix in enumerate(dump_suffixes, 1))


def backup_id_of_file(name: str) -> str:
    """The id that an artefact, manifest or state file name begins with: everything before the first dot."""
    return name.partition(".")[0]


def manifest_key(backup_id: str) -> str:
    return f"{METADATA_FOLDER}/{backup_id}.json"


def state_key(backup_id: str) -> str:
    return f"{METADATA_FOLDER}/{backup_id}.state.json"


def part_key(part_path: str) -> str:
    return f"{DATABASE_FOLDER}/{part_path}"
