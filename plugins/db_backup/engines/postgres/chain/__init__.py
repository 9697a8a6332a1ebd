"""PostgreSQL's chains: the whole cluster copied by ``pg_basebackup``, then its write-ahead log, piece by piece."""

from db_backup.engines.postgres.chain.engine import PostgresChain

__all__ = ["PostgresChain"]
