"""The closed sets and small values that every room shares. No I/O, no Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum


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
