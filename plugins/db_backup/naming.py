"""Names and ids (DESIGN, "On storage"): one place that makes them and takes them apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from db_backup.errors import UnknownBackup
from db_backup.model import ENTRY_PATTERN, BackupType, Compression

ENTRY_NAME = re.compile(ENTRY_PATTERN)
_CONTINUED = re.compile(r"\.zz-([0-9]{3,})(?:\.|$)")
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

ENCRYPTED_SUFFIX = ".enc"

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


@dataclass(frozen=True)
class PartNames:
    """The bare file names of a backup's parts: id, the bare dump's suffix, numbers, the codec's suffix, ``.enc``.

    Of several streams each is numbered (``part-001``), in the order of loading. What did not fit into the first object
    of a stream goes on in ``zz-002`` and so on, a name that sorts behind that of the first, whatever its codec.

    :param dump_suffixes: one for each stream.
    """

    backup_id: str
    dump_suffixes: tuple[str, ...]
    compression: Compression
    encrypted: bool = False

    def name(self, stream: int, piece: int = 1) -> str:
        """Of the stream's first, second … piece. Both count from 1."""
        stem = f"{self.backup_id}.{self.dump_suffixes[stream - 1]}"
        part = f".part-{stream:03d}" if len(self.dump_suffixes) > 1 else ""
        continued = f".zz-{piece:03d}" if piece > 1 else ""
        return f"{stem}{part}{continued}{CODEC_SUFFIX[self.compression]}{ENCRYPTED_SUFFIX if self.encrypted else ''}"


def piece_of(part_path: str) -> int:
    """Which piece of its stream a part is, by its name; the first is 1."""
    continued = _CONTINUED.search(part_path)
    return int(continued[1]) if continued else 1


def plain_name(part_path: str, compression: Compression) -> str:
    """What a part is called once it is decrypted and decompressed."""
    return unencrypted_name(part_path).removesuffix(CODEC_SUFFIX[compression])


def unencrypted_name(part_path: str) -> str:
    """What a part is called once it is decrypted."""
    return part_path.removesuffix(ENCRYPTED_SUFFIX)


def backup_id_of_file(name: str) -> str:
    """The id that an artefact, manifest or state file name begins with: everything before the first dot."""
    return name.partition(".")[0]


def manifest_key(backup_id: str) -> str:
    return f"{METADATA_FOLDER}/{backup_id}.json"


def state_key(backup_id: str) -> str:
    return f"{METADATA_FOLDER}/{backup_id}.state.json"


def part_key(part_path: str) -> str:
    return f"{DATABASE_FOLDER}/{part_path}"
