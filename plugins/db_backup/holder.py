"""Who holds a claim, and whether that process still lives: Linux's own identity of a process."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STATE, _START_TIME = 0, 19  # fields of /proc/PID/stat after the command's name: proc(5), fields 3 and 22
_GONE = {"Z", "X"}  # a zombie does no work any more


@dataclass(frozen=True)
class Holder:
    """A process. Its pid means something only in its namespace, in this boot, with this start time."""

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    process_started: int  # clock ticks since boot

    @classmethod
    def this_process(cls, host: str) -> Holder:
        """The process that asks: after a fork another one than before."""
        pid = os.getpid()
        return cls(
            host=host,
            boot_id=_BOOT_ID.read_text(encoding="ascii").strip(),
            pid_namespace=str(Path("/proc/self/ns/pid").readlink()),
            pid=pid,
            process_started=_start_time(_stat(pid)),
        )

    @classmethod
    def nobody(cls) -> Holder:
        """What holds a reservation: no process, on no host, so that whoever asks goes by ``expires_at`` alone."""
        return cls(host="", boot_id="", pid_namespace="", pid=0, process_started=0)

    @classmethod
    def of(cls, columns: Mapping[Any, Any]) -> Holder:
        """The holder of a row of ``locks``, ``leases`` or ``attempts``, or of a claim in an object storage.

        :raises KeyError: they name none.
        """
        return cls(**{field.name: columns[field.name] for field in dataclasses.fields(cls)})

    def columns(self) -> dict[str, str | int]:
        """What such a row or claim says of its holder."""
        return dataclasses.asdict(self)

    def is_dead(self, *, seen_from: Holder, expires_at: datetime, now: datetime) -> bool:
        """Whether it is certain that this process has ended.

        On the same host the kernel tells. Of another host, or another container that bears the same host name, only
        the end of its heartbeat tells: ``expires_at`` has passed.
        """
        if self.host == seen_from.host:
            if self.boot_id != seen_from.boot_id:
                return True
            if self.pid_namespace == seen_from.pid_namespace:
                return not _runs(self.pid, self.process_started)
        return expires_at <= now


def _runs(pid: int, process_started: int) -> bool:
    """Whether the process of that pid and start time works still."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's: it is there
    try:
        fields = _stat(pid)
    except (FileNotFoundError, PermissionError):
        return True  # there, and hidden from us (hidepid, proc(5)): it may be the one
    except ProcessLookupError:
        return False
    return fields[_STATE] not in _GONE and _start_time(fields) == process_started


def _stat(pid: int) -> list[str]:
    status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return status.rpartition(")")[2].split()  # the command's name may hold spaces and parentheses


def _start_time(fields: list[str]) -> int:
    return int(fields[_START_TIME])
