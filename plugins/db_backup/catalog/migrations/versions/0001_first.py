"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("entry", sa.String(length=48), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_seconds", sa.Float(), nullable=True),
        sa.Column("backup_id", sa.String(length=128), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("pid_namespace", sa.String(length=64), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_index("attempts_by_age", "attempts", ["started_at"], unique=False)
    op.create_index("attempts_by_entry", "attempts", ["entry", "started_at"], unique=False)
    op.create_index(
        "attempts_by_outcome", "attempts", ["outcome", "entry", "type", "started_at", "duration_seconds"], unique=False
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("act", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("entry", sa.String(length=48), nullable=True),
        sa.Column("backup_id", sa.String(length=128), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("audit_by_age", "audit", ["at", "number"], unique=False)
    op.create_table(
        "backups",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("entry", sa.String(length=48), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_day", sa.Date(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("plain_bytes", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("backups_by_age", "backups", ["created_at", "id"], unique=False)
    op.create_index(
        "backups_by_day",
        "backups",
        ["created_day", "entry", "type", "status", "created_at", "size_bytes", "plain_bytes"],
        unique=False,
    )
    op.create_index("backups_by_entry", "backups", ["entry", "created_at", "id"], unique=False)
    op.create_index("backups_by_entry_and_status", "backups", ["entry", "status", "created_at", "id"], unique=False)
    op.create_index("backups_by_entry_and_type", "backups", ["entry", "type", "created_at", "id"], unique=False)
    op.create_index(
        "backups_by_kind",
        "backups",
        ["entry", "type", "status", "created_at", "id", "created_day", "size_bytes", "plain_bytes"],
        unique=False,
    )
    op.create_index("backups_by_status", "backups", ["status", "created_at", "id"], unique=False)
    op.create_index("backups_by_type", "backups", ["type", "created_at", "id"], unique=False)
    op.create_index(
        "backups_by_type_and_status",
        "backups",
        ["type", "status", "created_at", "id", "entry", "created_day", "size_bytes", "plain_bytes"],
        unique=False,
    )
    op.create_table(
        "leases",
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("backup_id", sa.String(length=128), nullable=False),
        sa.Column("purpose", sa.String(length=255), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("pid_namespace", sa.String(length=64), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_index("leases_of_backup", "leases", ["backup_id"], unique=False)
    op.create_table(
        "locks",
        sa.Column("entry", sa.String(length=48), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=255), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("pid_namespace", sa.String(length=64), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("entry"),
        sa.UniqueConstraint("token"),
    )
    op.create_table(
        "outbox",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("channel", sa.String(length=255), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("outbox_unsent", "outbox", ["sent_at", "next_try_at"], unique=False)
    op.create_table(
        "storages",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("storage_id", sa.String(length=255), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "copies",
        sa.Column("storage", sa.String(length=255), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("entry", sa.String(length=48), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_day", sa.Date(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("plain_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["backups.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("storage", "id"),
    )
    op.create_index("copies_by_age", "copies", ["storage", "created_at", "id", "entry", "type", "status"], unique=False)
    op.create_index(
        "copies_by_entry", "copies", ["storage", "entry", "created_at", "id", "type", "status"], unique=False
    )
    op.create_index(
        "copies_by_kind",
        "copies",
        ["storage", "entry", "type", "status", "created_at", "created_day", "size_bytes", "plain_bytes"],
        unique=False,
    )
    op.create_index("copies_of_backup", "copies", ["id"], unique=False)
