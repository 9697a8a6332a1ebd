"""Where a page ended: opaque to callers, so that its content may change."""

from __future__ import annotations

import base64
from datetime import datetime

from pydantic import AwareDatetime, TypeAdapter

from db_backup.errors import UsageError

_PLACE = TypeAdapter(tuple[AwareDatetime, str])


def encode(created_at: datetime, backup_id: str) -> str:
    """The cursor of the page after this backup."""
    return base64.urlsafe_b64encode(_PLACE.dump_json((created_at, backup_id))).decode().rstrip("=")


def decode(cursor: str) -> tuple[datetime, str]:
    """:raises UsageError: no page ever ended with this cursor."""
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        return _PLACE.validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
    except ValueError as error:
        raise UsageError(
            f"'{cursor}' is not a cursor of the catalogue.",
            hint="Pass the next_cursor of the page before, unchanged, or none for the first page.",
        ) from error
