"""SQLite: a full backup is an exact image of the database file, taken with SQLite's own backup interface.

source.py      the live file: opened read-only, held at one moment, its errors in words
staging.py     the image of that moment, in a private folder
contents.py    what a file holds: tables counted and hashed, objects listed, damage found
landing.py     plain bytes that become a file: checked, durable, never over another file
engine.py      the contract of ``engines.base`` over these
"""

from db_backup.engines.sqlite.engine import SqliteEngine
from db_backup.engines.sqlite.landing import open_scratch

__all__ = ["SqliteEngine", "open_scratch"]
