"""Child processes as this product needs them: in their own group, killed with us, with a clean environment.

No shell and no pipeline of processes: each tool is one child whose exit status is read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from db_backup.errors import ToolError
from db_backup.progress import Cancellation
from db_backup.stream.private_folder import private_folder

PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031  # fcntl(2); named in Python 3.10+ only on Linux
_STDERR_LINES = 40
_LAST_WORDS_SECONDS = 2.0  # a daemon that the tool left in a session of its own may hold the pipe open
_REMEDY = {
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Raise the limit of open files (ulimit -n), then run it again."),
    **dict.fromkeys((errno.ENOMEM, errno.EAGAIN), "Free memory or raise the limit of processes, then run it again."),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room there, or set TMPDIR to a folder that has it."),
}
_ALLOWED_ENVIRONMENT = ("PATH", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH")


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What children may see: an allow-list, the C locale in UTF-8, and ``extra``. No AIRFLOW_*, no cloud keys."""
    environment = {name: os.environ[name] for name in _ALLOWED_ENVIRONMENT if name in os.environ}
    return {**environment, "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", **(extra or {})}


@contextmanager
def option_file(content: str) -> Iterator[Path]:
    """A file that only this user can read (0600, in a 0700 folder), for passwords; gone when the block ends, and when
    the process is killed, as soon as another one is made.

    :raises ToolError: it cannot be written.
    """
    parent = Path(tempfile.gettempdir())
    with ExitStack() as stack:
        try:
            path = stack.enter_context(private_folder(parent, "options")) / "options"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
        except OSError as error:
            raise ToolError(
                f"The file in {parent} that hands a tool its password could not be written: {error.strerror}.",
                hint=_REMEDY.get(error.errno or 0, "Set TMPDIR to a folder that this user can write to."),
            ) from error
        yield path


def widen_pipe(descriptor: int) -> None:
    """Ask for a 1 MiB pipe; the kernel's limit for unprivileged users may refuse, and 64 KiB works too."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, PIPE_BYTES)


# Whoever was killed before the signal was asked for never sends it: by then the child has another parent.
_UNLESS_ORPHANED = ("/bin/sh", "-c", 'test "$PPID" = "$0" && exec "$@"')


def _with_parent_death_signal(arguments: Sequence[str]) -> list[str]:
    """Killed with us even by SIGKILL. Linux sends the signal when the *thread* that started the child ends."""
    if (setpriv := shutil.which("setpriv")) is None:
        return list(arguments)
    return [setpriv, "--pdeathsig", "KILL", "--", *_UNLESS_ORPHANED, str(os.getpid()), *arguments]


class ChildProcess:
    """One running tool. Use it as a context manager: leaving the block kills and reaps what still runs.

    Start it in a thread that outlives it. ``cancellation`` kills the whole process group.

    :param arguments: the command; never holds a secret, for process lists are public.
    :param stdin: whether ``write`` will feed it; otherwise it reads nothing.
    :param stdout: whether ``stdout`` will be read; otherwise what it prints is dropped.
    :param user: uid to run as (with its gid and no other group), or None for ours.
    :raises ToolError: it could not be started.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cancellation: Cancellation,
        stdin: bool = False,
        stdout: bool = True,
        environment: Mapping[str, str] | None = None,
        user: tuple[int, int] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = Path(arguments[0]).name
        self._cancellation = cancellation
        try:
            self._process = subprocess.Popen(
                _with_parent_death_signal(arguments),
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=child_environment(environment),
                start_new_session=True,
                bufsize=0,
                cwd=cwd,
                user=user[0] if user else None,
                group=user[1] if user else None,
                extra_groups=[] if user else None,
            )
        except OSError as error:
            raise ToolError(
                f"The tool '{self.name}' could not be started: {error.strerror}.",
                hint=_REMEDY.get(error.errno or 0, f"See that this user may run {arguments[0]}."),
            ) from error
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                widen_pipe(pipe.fileno())
        self._group_runs = True
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._stderr_reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._stderr_reader.start()
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        self._exit.enter_context(self._cancellation.on_cancel(self.kill))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()
        self.kill()
        with contextlib.suppress(BrokenPipeError):
            self.close_stdin()
        self.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> IO[bytes]:
        """The unbuffered pipe that the tool prints to."""
        assert self._process.stdout is not None  # noqa: S101 - started with stdout=True, by whoever reads it
        return self._process.stdout

    def write(self, block: bytes | bytearray | memoryview) -> None:
        """Feed the tool all of ``block``.

        :raises BrokenPipeError: the tool has stopped reading; its exit status says why.
        """
        assert self._process.stdin is not None  # noqa: S101
        view = memoryview(block)
        while view:
            view = view[os.write(self._process.stdin.fileno(), view) :]

    def close_stdin(self) -> None:
        """Tell the tool that its input has ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self, timeout_seconds: float | None = None) -> int:
        """The exit status; negative for a signal.

        :raises subprocess.TimeoutExpired: it runs still.
        """
        status = self._process.wait(timeout_seconds)
        self._kill_group()
        self._stderr_reader.join(_LAST_WORDS_SECONDS)
        return status

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        status = self._process.poll()
        if status is not None:
            self._kill_group()
        return status

    @property
    def last_words(self) -> str:
        """The last lines that it wrote to standard error."""
        return "\n".join(self._stderr.copy()).strip()

    def kill(self) -> None:
        """SIGKILL to the whole group; nothing happens when it is gone."""
        self._process.poll()
        self._kill_group()

    def _kill_group(self) -> None:
        """The last time is right after the tool itself has ended, before its number can be another group's."""
        if self._group_runs:
            self._group_runs = self._process.returncode is None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None  # noqa: S101
        with self._process.stderr as pipe:
            pending = b""
            while chunk := pipe.read(4096):
                *lines, pending = (pending + chunk).split(b"\n")
                self._stderr.extend(line.decode(errors="replace") for line in lines)
                pending = pending[-4096:]
            if pending:
                self._stderr.append(pending.decode(errors="replace"))


def version_text(tool: Path) -> str:
    """What a program prints when it is asked for its version.

    :raises ToolError: it could not be started.
    """
    with ChildProcess([str(tool), "--version"], cancellation=Cancellation()) as process:
        text = process.stdout.read(1000).decode(errors="replace")
        process.wait()
    return text.strip()
