"""Chains of MySQL and MariaDB servers: a dump of all databases with its position, and the binlog from there on."""

from db_backup.engines.mysql.chain.engine import MysqlChain

__all__ = ["MysqlChain"]
