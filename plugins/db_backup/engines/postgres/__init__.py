"""PostgreSQL: consistent logical fulls with ``pg_dump``, restored with ``pg_restore`` or ``psql``."""

from db_backup.engines.postgres.engine import PostgresEngine
from db_backup.engines.postgres.scratch import open_scratch

__all__ = ["PostgresEngine", "open_scratch"]
