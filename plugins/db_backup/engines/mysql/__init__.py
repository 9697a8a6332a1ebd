"""MySQL and MariaDB, dumped by their own tools."""

from db_backup.engines.mysql.engine import MysqlEngine
from db_backup.engines.mysql.scratch import open_scratch

__all__ = ["MysqlEngine", "open_scratch"]
