"""The catalogue: an SQL index over manifests and states, and what is only here (DESIGN, "Catalogue")."""

from db_backup.catalog.records import (
    Attempt,
    AttemptFigures,
    AttemptOutcome,
    AuditAct,
    AuditOrigin,
    AuditOutcome,
    AuditRecord,
    BackupPage,
    BackupQuery,
    Held,
    HeldByDay,
    Lease,
    Lock,
    Statistics,
    SweepReport,
    Tally,
)
from db_backup.catalog.repository import Catalog

__all__ = [
    "Attempt",
    "AttemptFigures",
    "AttemptOutcome",
    "AuditAct",
    "AuditOrigin",
    "AuditOutcome",
    "AuditRecord",
    "BackupPage",
    "BackupQuery",
    "Catalog",
    "Held",
    "HeldByDay",
    "Lease",
    "Lock",
    "Statistics",
    "SweepReport",
    "Tally",
]
