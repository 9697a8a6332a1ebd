"""What both sidecars are made of: their kinds of values, and how they are written and read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from db_backup.errors import ManifestError

LARGEST = 2**63 - 1  # integer that a catalogue holds


def _bare_file_name(value: str) -> str:
    if value in {"", ".", ".."} or not value.isprintable() or "/" in value or "\\" in value:
        raise ValueError("must be a bare file name, without a folder")
    return value


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


BareFileName = Annotated[
    str,
    AfterValidator(_bare_file_name),
    WithJsonSchema({"type": "string", "pattern": r"^(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]+$"}),
]
BackupId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # names files: no dot, no folder
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class SidecarModel(BaseModel):
    """Part of a sidecar: immutable, and it keeps fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow")


D = TypeVar("D", bound=BaseModel)


def dump(document: BaseModel) -> bytes:
    """As it lies in a storage: for people too."""
    return (json.dumps(document.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def load(cls: type[D], document: bytes, source: str, version_field: str, known: int) -> D:
    """Read what ``dump`` wrote; ``source``: whom errors name.

    :raises ManifestError: not JSON, not such a document, or of a newer major version.
    """
    try:
        fields = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise ManifestError(
            f"{source} is not a {cls.__name__.lower()}: {error}.", hint="Restore the file from another copy."
        ) from error
    version = fields.get(version_field) if isinstance(fields, dict) else None
    if type(version) is not int:  # true is no version
        raise ManifestError(
            f"{source} is not a {cls.__name__.lower()}: it has no {version_field}.",
            hint="Restore the file from another copy.",
        )
    if version > known:
        raise ManifestError(
            f"{source} has {version_field} {version!r}; this program knows up to {known}.",
            hint="Use the release of db-backup that wrote it, or a newer one.",
        )
    try:
        return cls.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ManifestError(
            f"{source} is not a valid {cls.__name__.lower()}: {where}: {first['msg']}.",
            hint="Restore the file from another copy.",
        ) from error
