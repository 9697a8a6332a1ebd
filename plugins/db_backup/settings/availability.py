"""What is not there yet, as data: a later version makes a feature available by removing its line.

A variable or key listed here is refused, by name, when it is set away from its default: never accepted in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_NOTIFICATIONS = "notifications"

#: Variable → the feature that it belongs to.
NOT_YET_VARIABLES: Mapping[str, str] = {
    "BACKUP_NOTIFICATIONS_ENABLED": _NOTIFICATIONS,
    "BACKUP_NOTIFY_FAILURE": _NOTIFICATIONS,
    "BACKUP_NOTIFY_SUCCESS": _NOTIFICATIONS,
    "BACKUP_SLACK_WEBHOOK_URL": _NOTIFICATIONS,
    "BACKUP_SLACK_CONN_ID": _NOTIFICATIONS,
    "BACKUP_WEBHOOK_URL": _NOTIFICATIONS,
    "BACKUP_EMAIL_TO": _NOTIFICATIONS,
    "BACKUP_SMTP_CONN_ID": _NOTIFICATIONS,
    "BACKUP_ADMIN_ROLES": "the REST API",
}


@dataclass(frozen=True)
class NotYet:
    """A key of ``backup.yaml`` whose feature is not there; ``accepted`` are the values that ask for nothing."""

    feature: str
    accepted: tuple[object, ...] = (None,)


#: Keys of an entry and of ``defaults``.
NOT_YET_ENTRY_KEYS: Mapping[str, NotYet] = {
    "channels": NotYet(_NOTIFICATIONS, (None, {})),
}
