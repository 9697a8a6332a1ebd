"""Starts and stops the demo's Airflow: its services in the background, each with a log, found again by a mark.

`airflow standalone` is not used: it starts a triggerer that the backup does not need, and its log servers listen on
every address of the machine. Processes are found by a variable that only they and their children carry, so that
stopping reaches every one of them, and nothing else, even after a crash. Linux only (/proc).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from scripts.demo.errors import DemoFailed
from scripts.demo.installation import HOME, ROOT, SERVICE_LOGS, Address, environment

MARK = "DB_BACKUP_DEMO"
STATE = HOME / "demo.json"
MIGRATED = HOME / "migrated-to"
_AIRFLOW = ROOT / ".venv" / "bin" / "airflow"
_COMMANDS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
FOR_A_RUN = ("api-server", "scheduler", "dag-processor")


@dataclass
class Services:
    """What runs: kept in a file, so that the next command finds it."""

    mark: str
    port: int
    process_ids: dict[str, int] = field(default_factory=dict)

    @property
    def address(self) -> Address:
        return Address(self.port)

    @classmethod
    def new(cls, address: Address) -> Services:
        return cls(mark=uuid.uuid4().hex, port=address.port)

    @classmethod
    def known(cls) -> Services | None:
        """Those of an earlier command, running or not."""
        try:
            return cls(**json.loads(STATE.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def start(self, name: str, *, once: bool) -> None:
        """:param once: the service ends with this process, however that ends."""
        command = [str(_AIRFLOW), *_COMMANDS[name]]
        if once:
            command = ["setpriv", "--pdeathsig", "TERM", *command]
        SERVICE_LOGS.mkdir(parents=True, exist_ok=True)
        with _log(name).open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                # SPT_NOENV: a process that renames itself must not write its new name over the mark.
                env=environment() | {MARK: self.mark, "SPT_NOENV": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.process_ids[name] = process.pid
        STATE.write_text(json.dumps(asdict(self)))

    def running(self) -> bool:
        """Whether every service that a run needs is alive."""
        marked = set(self.all_processes())
        return all(self.process_ids.get(name) in marked for name in FOR_A_RUN)

    def check(self) -> None:
        """:raises DemoFailed: a service has ended by itself; with the end of its log."""
        marked = set(self.all_processes())
        for name, process_id in self.process_ids.items():
            if process_id not in marked:
                raise DemoFailed(f"Airflow's {name} has ended by itself; its log is {_log(name)}.", tail(name))

    def all_processes(self) -> list[int]:
        """Services, their workers, and what those have started."""
        mark = f"{MARK}={self.mark}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
            except (OSError, ProcessLookupError):
                continue
            if mark in variables and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        return found

    def stop(self, patience_seconds: float = 25) -> int:
        """End them all and return how many there were.

        Services are asked first, so that a running task ends cleanly; then what they have left; then all is killed.
        """
        before = self.all_processes()
        services = set(self.process_ids.values())
        _signal([process for process in before if process in services], signal.SIGTERM)
        self._wait_until_gone(services, patience_seconds)
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = self.all_processes()
            _signal(left, number)
            self._wait_until_gone(set(left), 5)
        STATE.unlink(missing_ok=True)
        return len(before)

    def _wait_until_gone(self, processes: set[int], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while processes.intersection(self.all_processes()) and time.monotonic() < deadline:
            time.sleep(0.1)


def is_migrated() -> bool:
    """Whether this very release of Airflow has made its database ready before."""
    return MIGRATED.is_file() and MIGRATED.read_text() == _airflow_version() and (HOME / "airflow.db").is_file()


def migrate() -> None:
    """Make Airflow's own database, or bring it up to date.

    :raises DemoFailed: with the end of the log.
    """
    SERVICE_LOGS.mkdir(parents=True, exist_ok=True)
    with _log("migrate").open("wb") as log:
        status = subprocess.run(
            [_AIRFLOW, "db", "migrate"],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if status:
        raise DemoFailed(f"`airflow db migrate` ended with status {status}.", tail("migrate"))
    MIGRATED.write_text(_airflow_version())


def wait_until(done: Callable[[], bool], seconds: float, or_else: str, services: Iterable[str]) -> None:
    """:raises DemoFailed: the time is over; says `or_else` and shows the ends of these services' logs."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            logs = "\n".join(f"--- {name}\n{tail(name)}" for name in services)
            raise DemoFailed(f"{or_else} within {seconds:.0f} seconds.", logs)
        time.sleep(0.5)


def tail(name: str, lines: int = 20) -> str:
    """The last lines of a service's log."""
    try:
        text = _log(name).read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(line[:300] for line in text.splitlines()[-lines:])


def _airflow_version() -> str:
    return version("apache-airflow-core")


def _log(name: str) -> Path:
    return SERVICE_LOGS / f"{name}.log"


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue
