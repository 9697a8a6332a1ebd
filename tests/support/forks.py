"""`db-backup` as a process, without a second of imports each time: one has imported, and forks for each command.

The forked process runs the real ``main`` on real arguments, in an environment, folder and session of its own, and may
be killed like any other. What it prints goes to a file.

python -m support.forks: reads requests and writes answers, a JSON document per line.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.project import Project

_TESTS = Path(__file__).parents[1]
_WITH_AIRFLOW = ("db_backup.operators", "db_backup.provider", "db_backup.__main__")


class Command:
    """One running `db-backup`."""

    def __init__(self, forks: Forks, pid: int, output: Path) -> None:
        self._forks = forks
        self.pid = pid
        self._output = output
        self.exit_code: int | None = None

    def wait(self) -> int:
        """Its exit code; negative for a signal."""
        if self.exit_code is None:
            self.exit_code = int(self._forks.ask(wait=self.pid)["exit_code"])
        return self.exit_code

    def kill(self) -> int:
        """SIGKILL; returns the exit code, which is another one than -9 when it had ended before."""
        os.kill(self.pid, signal.SIGKILL)  # still ours, for nobody else waits for it
        return self.wait()

    def kill_after(self, seconds: float) -> int:
        time.sleep(seconds)
        return self.kill()

    @property
    def said(self) -> str:
        """What it has written to stdout and stderr."""
        return self._output.read_text(errors="replace")


class Forks:
    """The process that forks."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._started = 0

    @classmethod
    @contextmanager
    def ready(cls) -> Iterator[Forks]:
        with (
            tempfile.TemporaryDirectory(prefix="forks-") as folder,
            subprocess.Popen(
                [sys.executable, "-m", "support.forks"],
                env={**os.environ, "PYTHONPATH": f"{_TESTS.parent / 'plugins'}:{_TESTS}"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as process,
        ):
            yield cls(process, Path(folder))
            process.communicate()  # the end of its input ends it

    def start(self, project: Project, *arguments: str, **environment: str) -> Command:
        self._started += 1
        output = self._folder / str(self._started)
        answer = self.ask(
            arguments=arguments,
            environment={**project.environment, **environment},
            folder=str(project.folder),
            output=str(output),
        )
        return Command(self, answer["pid"], output)

    def run(self, project: Project, *arguments: str, **environment: str) -> Command:
        """Start it and wait for its end."""
        command = self.start(project, *arguments, **environment)
        command.wait()
        return command

    def ask(self, **request: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def _serve() -> None:
    import db_backup

    for module in pkgutil.walk_packages(db_backup.__path__, "db_backup."):
        if not module.name.startswith(_WITH_AIRFLOW) and ".migrations" not in module.name:
            importlib.import_module(module.name)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = {"exit_code": os.waitstatus_to_exitcode(status)}
        else:
            answer = {"pid": _fork(**request)}
        print(json.dumps(answer), flush=True)


def _fork(arguments: list[str], environment: Mapping[str, str], folder: str, output: str) -> int:
    file = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
    pid = os.fork()
    if pid:
        os.close(file)
        return pid
    code = 1
    try:
        with Path(os.devnull).open() as nothing:
            os.dup2(nothing.fileno(), 0)
        for standard in (1, 2):
            os.dup2(file, standard)
        os.setsid()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        tempfile.tempdir = None  # TMPDIR is another one
        code = importlib.import_module("db_backup.cli.main").main(arguments)
    except BaseException:  # noqa: BLE001 - nothing may return into the parent's loop
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
