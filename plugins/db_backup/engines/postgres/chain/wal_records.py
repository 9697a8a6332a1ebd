"""What lies in a chain's WAL, read by ``pg_waldump`` before a server replays it."""

from __future__ import annotations

import pwd
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from db_backup.engines.postgres import tools
from db_backup.engines.postgres.chain.base_tar import WAL_FOLDER
from db_backup.engines.postgres.chain.position import format_lsn, parse_lsn
from db_backup.engines.scratch_home import ids
from db_backup.errors import ScratchUnavailable
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess

_RECORD = re.compile(r"rmgr: .*?, lsn: ([0-9A-F]+/[0-9A-F]+), prev [0-9A-F]+/[0-9A-F]+, desc: (.*)")
# It reads records as the server does (xlogreader.c), to which such a place is the end of the WAL, too.
_NO_MORE_RECORDS = re.compile(r"error in WAL record at|could not find a valid record after")


@dataclass(frozen=True)
class WalRecord:
    """:param description: what ``pg_waldump`` prints of it, with times in UTC."""

    lsn: int
    description: str


class WalRecords:
    """The records of one resource manager in the WAL of ``home / "data"``, in order; to be gone through once.

    :param manager: as ``pg_waldump --rmgr=list`` names it.
    :param start: where a record begins.
    :param end: where the chain's last record ends.
    """

    def __init__(
        self,
        pg_waldump: tools.Tool,
        home: Path,
        user: pwd.struct_passwd | None,
        manager: str,
        *,
        timeline: int,
        start: int,
        end: int,
    ) -> None:
        self.to_the_end = False  # once all were read: whether they went on to the chain's end
        self._home = home
        self._user = user
        self._is_empty = start >= end
        self._arguments = [
            str(pg_waldump.path),
            f"--path={home / 'data' / WAL_FOLDER}",
            f"--timeline={timeline}",
            f"--start={format_lsn(start)}",
            f"--end={format_lsn(end)}",
            f"--rmgr={manager}",
        ]

    def read(self, cancellation: Cancellation) -> Generator[WalRecord]:
        """:raises ScratchUnavailable: it cannot be read here.
        :raises ToolError, Interrupted:
        """
        if self._is_empty:
            self.to_the_end = True
            return
        with ChildProcess(
            self._arguments,
            cancellation=cancellation,
            environment={"TZ": "UTC"},
            user=ids(self._user),
            cwd=self._home,
        ) as process:
            with open(process.stdout.fileno(), encoding="utf-8", errors="replace", closefd=False) as lines:
                for line in lines:
                    if match := _RECORD.match(line):
                        yield WalRecord(parse_lsn(match[1]), match[2])
            status = process.wait()
            cancellation.check()  # a stop kills it
            if status and not (status == 1 and _NO_MORE_RECORDS.search(process.last_words)):
                raise ScratchUnavailable(
                    f"The write-ahead log of the chain cannot be looked into: pg_waldump failed with status {status}: "
                    f"{tools.complaint(process) or 'it said nothing'}.",
                    hint="Mend what it names, and run it again.",
                )
            self.to_the_end = not status
