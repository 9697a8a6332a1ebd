"""SQLite: a full backup is an image of the database file, exact or compacted; structure and data are SQL scripts.

source.py      the live file: opened read-only, held at one moment, its errors in words
staging.py     the image of that moment, in a private folder
contents.py    what a file holds: tables counted and hashed, objects listed, damage found
tables.py      which tables are the user's own, and how the rows of each are read and written
literals.py    values as SQL, to the bit
script.py      the frame of our scripts, and how they are taken apart again
image.py       full backups
structure.py   structure backups
rows.py        data backups
landing.py     plain bytes that become a file: checked, durable, never over another file that holds something
target.py      what a restore finds where it shall go
replacing.py   a whole new file that takes the place of another
selection.py   some of an image's tables, brought into another database
stock.py       how a person restores with stock tools
engine.py      the contract of ``engines.base`` over these
pages.py       a file as pages: their hashes, and the format of increments
increment.py   dumps of a chain
rebuilding.py  a file as it was, of a base and its increments
chain.py       the contract of ``engines.chain`` over these
"""

from db_backup.engines.sqlite.chain import SqliteChain
from db_backup.engines.sqlite.engine import SqliteEngine
from db_backup.engines.sqlite.landing import open_scratch

__all__ = ["SqliteChain", "SqliteEngine", "open_scratch"]
