"""A dump that gives way where it and another session would wait for each other.

``BACKUP STAGE BLOCK_DDL`` lets an ALTER TABLE go on that was running before, up to its last step. One that works in
place waits there for the end of the backup with its table locked, even against reading (seen on MariaDB 10.11; one that
copies does not). When the dump comes to this table, it waits for the ALTER TABLE.

Where RELOAD is not granted, tables without transactions are held by LOCK TABLES. Who wants to write to one waits for
it, and has the right of way before the dump that wants to read it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from db_backup.engines.mysql.connecting import query, session_for
from db_backup.errors import BackupError, DumpFailed
from db_backup.model import ConnectionInfo
from db_backup.stream.process import ChildProcess

EVERY_SECONDS = 2.0
_ANSWER_SECONDS = 5.0  # the dump's end waits for a question that was asked
_TIMES = 3  # in a row: a table may be locked for a moment
# Everybody sees the sessions of the same account; these are the statements of the dump tools.
_WAITING = """SELECT 1 FROM information_schema.processlist WHERE user = SUBSTRING_INDEX(USER(), '@', 1)
    AND id <> CONNECTION_ID() AND state IN ('Waiting for table metadata lock', 'Waiting for table level lock')
    AND info REGEXP '^(SELECT /[*]!40001|SHOW )' LIMIT 1"""


class Watch:
    """``has_given_way``: whether the tools were killed, so that the other session could go on."""

    def __init__(self, connection: ConnectionInfo, tools: Sequence[ChildProcess]) -> None:
        self.has_given_way = False
        self.done = threading.Event()
        self._connection = connection
        self._tools = tools

    def watch(self) -> None:
        """Until it is done. A server that does not answer is asked again; one that is gone ends the dump by itself."""
        while not self.done.is_set():
            try:
                self._ask()
            except BackupError:
                self.done.wait(EVERY_SECONDS)
            else:
                return

    def _ask(self) -> None:
        """:raises SourceError: the server does not answer."""
        with session_for(self._connection, "watch the dump of", answer_seconds=_ANSWER_SECONDS) as session:
            times = 0
            while times < _TIMES and not self.done.wait(EVERY_SECONDS):
                times = times + 1 if query(session, _WAITING) else 0
        if not self.done.is_set():
            self.has_given_way = True
            for tool in self._tools:
                tool.kill()

    def check(self, entry: str) -> None:
        """:raises DumpFailed: it has given way."""
        if self.has_given_way:
            raise DumpFailed(
                f"The dump of '{entry}' came to a table that another session had locked, which waited for the dump's "
                "end (an ALTER TABLE, or a write to a table without transactions): the dump was given up.",
                hint="Nothing was kept; run it again. Grant RELOAD where tables without transactions are written to.",
                database=entry,
            )


@contextmanager
def giving_way(connection: ConnectionInfo, tools: Sequence[ChildProcess]) -> Iterator[Watch]:
    """While the block runs, tools that wait for somebody who waits for them are killed."""
    watch = Watch(connection, tools)
    thread = threading.Thread(target=watch.watch, name="giving-way")
    thread.start()
    try:
        yield watch
    finally:
        watch.done.set()
        thread.join()
