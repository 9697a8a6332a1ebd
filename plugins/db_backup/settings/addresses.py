"""Addresses of storages: ``s3://bucket/prefix``, ``gs://…``, ``azure://container/…``, and ``file:///folder``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from db_backup.settings.problems import WrongValue, nearest


class StorageKind(StrEnum):
    """What a storage is: a disk, or whose object storage."""

    DISK = "disk"
    S3 = "s3"
    GCS = "gcs"
    AZURE = "azure"


#: What an address may begin with.
_SCHEMES: Mapping[str, StorageKind] = {
    "file": StorageKind.DISK,
    "s3": StorageKind.S3,
    "gs": StorageKind.GCS,
    "azure": StorageKind.AZURE,
    "abfs": StorageKind.AZURE,
    "abfss": StorageKind.AZURE,
    "wasb": StorageKind.AZURE,
    "wasbs": StorageKind.AZURE,
}
_USUAL = {"gcs": "gs", "gcp": "gs", "s3a": "s3", "s3n": "s3", "az": "azure", "adl": "azure"}

#: Amazon S3, "General purpose bucket naming rules"; Google, "About Cloud Storage buckets"; Azure, "Naming and
#: referencing containers, blobs, and metadata".
_NAMES: Mapping[StorageKind, tuple[re.Pattern[str], str]] = {
    StorageKind.S3: (
        re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
        "3 to 63 lower-case letters, digits, dots and hyphens",
    ),
    StorageKind.GCS: (
        re.compile(r"(?!.*\.\.)(?=[^.]{1,63}(\.[^.]{1,63})*$)[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"),
        "3 to 63 lower-case letters, digits, hyphens, underscores and dots",
    ),
    StorageKind.AZURE: (
        re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"),
        "3 to 63 lower-case letters, digits and single hyphens",
    ),
}
_AZURE_HOST = re.compile(r"([a-z0-9]{3,24})\.(?:blob|dfs)\.([a-z0-9.-]+)")


@dataclass(frozen=True)
class StorageAddress:
    """A storage's address taken apart.

    ``bucket`` is the container on Azure. ``prefix`` has no slash at its ends and may be empty. Of a disk there is only
    the ``folder``, which is absolute.
    ``account`` is the storage account, where an Azure address names it (``abfss://container@account.dfs.…/prefix``).
    """

    kind: StorageKind
    bucket: str = ""
    prefix: str = ""
    account: str = ""
    folder: Path = Path()

    @classmethod
    def parse(cls, url: str) -> Self:
        """:raises WrongValue: it leads to no storage."""
        scheme, found, rest = url.partition("://")
        kind = _SCHEMES.get(scheme)
        if not found or kind is None:
            raise WrongValue("an address such as s3://bucket/prefix, gs://… or azure://…", _with_scheme(url))
        if kind is StorageKind.DISK:
            return cls(kind, folder=_folder(rest))
        if "?" in rest or "#" in rest:
            raise WrongValue("an address without ? and #: what they say belongs into the connection")
        host, _, path = rest.partition("/")
        bucket, _, account_host = host.partition("@")
        pattern, rule = _NAMES[kind]
        if not pattern.fullmatch(bucket):
            what = "container" if kind is StorageKind.AZURE else "bucket"
            raise WrongValue(f"an address whose {what} has {rule}")
        prefix = path.strip("/")
        if prefix and not all(_is_segment(segment) for segment in prefix.split("/")):
            raise WrongValue("an address whose folders have names that are not empty and do not begin with a dot")
        return cls(kind, bucket, prefix, _account(kind, account_host) if account_host else "")

    def __str__(self) -> str:
        """As it is shown: never with a login."""
        if self.kind is StorageKind.DISK:
            return str(self.folder)
        scheme = "gs" if self.kind is StorageKind.GCS else self.kind.value
        return f"{scheme}://{self.bucket}/{self.prefix}".rstrip("/")


def _folder(path: str) -> Path:
    if not path.startswith("/") or path == "/":
        raise WrongValue("the address of an absolute folder, such as file:///mnt/backups")
    return Path(os.path.normpath(unquote(path)))


def _is_segment(text: str) -> bool:
    return bool(text) and not text.startswith(".") and text.isprintable() and "\\" not in text


def _account(kind: StorageKind, host: str) -> str:
    found = _AZURE_HOST.fullmatch(host)
    if kind is not StorageKind.AZURE or found is None:
        raise WrongValue("an address such as s3://bucket/prefix, without a login")
    return found[1]


def _with_scheme(url: str) -> str | None:
    """The address with the scheme that was probably meant."""
    scheme, found, rest = url.partition("://")
    if not found:
        return None
    close = _USUAL.get(scheme.lower()) or nearest(scheme, set(_SCHEMES) - {"file"})
    return f"{close}://{rest}" if close and "@" not in rest else None
