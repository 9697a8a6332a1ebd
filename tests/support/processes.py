"""Looking at processes through /proc, as an administrator would."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Set
from pathlib import Path

Process = tuple[int, str]  # pid, start time: together unique until the next boot

_DYING_SECONDS = 30


def _status(pid: int) -> tuple[int, str, str] | None:
    """Parent, state and start time; None when it is gone (proc(5), /proc/pid/stat, fields 4, 3 and 22)."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[1]), fields[0], fields[19]
    return None


def _all_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def family(*, of: int | None = None, ignoring: Set[Process] = frozenset()) -> set[Process]:
    """The living descendants of a process (None: of this one), without the families of children to be ignored."""
    known = {pid: status for pid in _all_pids() if (status := _status(pid)) is not None and status[1] != "Z"}
    ignored = {pid for pid, _ in ignoring}
    found: set[int] = set()
    parents = {os.getpid() if of is None else of}
    while parents:
        parents = {pid for pid, (parent, _, _) in known.items() if parent in parents and pid not in ignored}
        found |= parents
    return {(pid, known[pid][2]) for pid in found}


def still_alive(processes: Set[Process]) -> set[Process]:
    """Those that run still, whoever their parent is by now. Who was killed is given the time to die: under load it may
    outlive its killer's next lines.
    """
    deadline = time.monotonic() + _DYING_SECONDS
    while (alive := _alive(processes)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return alive


def _alive(processes: Set[Process]) -> set[Process]:
    return {
        (pid, started)
        for pid, started in processes
        if (status := _status(pid)) is not None and status[1] != "Z" and status[2] == started
    }


def signal_all(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and all its descendants, wherever they lead sessions of their own."""
    for member in (pid, *(child for child, _ in family(of=pid))):
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, number)


def that_show(secret: str) -> list[str]:
    """Every process of this machine whose command line or environment holds the text."""
    shown = []
    for pid in _all_pids():
        for file in ("cmdline", "environ"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                content = Path(f"/proc/{pid}/{file}").read_bytes()
                if secret.encode() in content:
                    shown.append(f"{pid} {file}: {content!r}")
    return shown


def at_work_in(folder: Path) -> list[str]:
    """Every living process that lies in the folder, or whose command line or environment names it."""
    found = []
    for pid in _all_pids():
        status = _status(pid)
        if status is None or status[1] == "Z" or pid == os.getpid():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            place = Path(f"/proc/{pid}")
            words = (place / "cmdline").read_bytes()
            named = str(folder).encode() in words + (place / "environ").read_bytes()
            if named or str((place / "cwd").readlink()).startswith(str(folder)):
                found.append(f"{pid} {' '.join(words.decode(errors='replace').split(chr(0))).strip()}")
    return found
