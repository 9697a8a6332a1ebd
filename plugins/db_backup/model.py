"""The closed sets and small values that every room shares. No I/O, no Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

#: What the name of an entry may be: it is part of ids, file names and paths.
ENTRY_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,47}$"
#: The longest retention: a century. Much beyond it there are no dates to count with.
MOST_DAYS = 36_500
#: The name of the storage that BACKUP_LOCAL_PATH makes.
LOCAL_STORAGE = "local"
#: The most streams of one dump.
MOST_JOBS = 64


class EngineName(StrEnum):
    SQLITE = "sqlite"
    MYSQL = "mysql"
    POSTGRES = "postgres"


class BackupType(StrEnum):
    FULL = "full"
    INCREMENTAL = "incremental"
    STRUCTURE = "structure"
    DATA = "data"


class Compression(StrEnum):
    GZIP = "gzip"
    BZIP2 = "bzip2"
    ZSTD = "zstd"
    LZ4 = "lz4"
    XZ = "xz"
    NONE = "none"


#: The levels a codec takes, as its stock tool numbers them; none takes none.
COMPRESSION_LEVELS: Mapping[Compression, range] = {
    Compression.GZIP: range(1, 10),
    Compression.BZIP2: range(1, 10),
    Compression.ZSTD: range(1, 20),
    Compression.LZ4: range(1, 13),
    Compression.XZ: range(1, 10),
}
#: What a codec uses when nobody asked: the smallest of gzip and bzip2, elsewhere the stock tool's own default. zstd 3
#: packs about like gzip 6, many times faster.
DEFAULT_COMPRESSION_LEVEL: Mapping[Compression, int] = {
    Compression.GZIP: 9,
    Compression.BZIP2: 9,
    Compression.ZSTD: 3,
    Compression.LZ4: 1,
    Compression.XZ: 6,
}


def level_for(compression: Compression, level: int | None) -> int | None:
    """The level to compress with: the one asked for, or the codec's default; None where the codec takes none.

    :raises ValueError: the codec does not take this level; the text says what it takes.
    """
    levels = COMPRESSION_LEVELS.get(compression)
    if level is None:
        return DEFAULT_COMPRESSION_LEVEL.get(compression)
    if levels is None:
        raise ValueError(f"{compression} takes no level, not {level}")
    if level not in levels:
        raise ValueError(f"{compression} takes a level from {levels[0]} to {levels[-1]}, not {level}")
    return level


class Method(StrEnum):
    LOGICAL = "logical"
    PHYSICAL = "physical"


class Scope(StrEnum):
    DATABASE = "database"
    SERVER = "server"


class Tier(StrEnum):
    STANDARD = "standard"
    CRITICAL = "critical"


class VerificationLevel(StrEnum):
    """How far a proof went; each level includes those before it."""

    CHECKSUM = "checksum"
    ARCHIVE = "archive"
    RESTORE = "restore"

    @property
    def rank(self) -> int:
        return list(VerificationLevel).index(self)


class ProofResult(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class BackupStatus(StrEnum):
    GOOD = "good"
    UNVERIFIED = "unverified"
    FAILED_VERIFICATION = "failed_verification"
    SUSPECT = "suspect"
    DELETING = "deleting"


@dataclass(frozen=True)
class ConnectionInfo:
    """A database connection, resolved from Airflow or from ``AIRFLOW_CONN_*``. The password never prints.

    For SQLite ``host`` is empty and ``database`` is the absolute path of the file.
    """

    conn_id: str
    engine: EngineName
    host: str = ""
    port: int | None = None
    login: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    extra: Mapping[str, object] = field(default_factory=dict, repr=False)
    scratch: bool = False  # set by scratch servers alone; never from what a person configured

    @property
    def address(self) -> str:
        """Where it leads, for people and for manifests; never with a secret."""
        if self.engine is EngineName.SQLITE:
            return self.database
        host = self.host or "localhost"
        return f"{host}:{self.port}/{self.database}" if self.port else f"{host}/{self.database}"


def utc_now() -> datetime:
    """The present moment, UTC, in microseconds."""
    return datetime.now(UTC)
