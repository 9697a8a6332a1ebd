"""Child processes die with us, however we die, and learn nothing that they need not know."""

from __future__ import annotations

import os
import resource
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from db_backup.errors import Interrupted, ToolError
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess, child_environment, option_file
from support.processes import family
from support.streams import MemorySink, Source, run_pump

pytestmark = pytest.mark.unit

_SHELL = "/bin/sh"
_PATIENCE_SECONDS = 20


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    before = family()
    yield
    assert family(ignoring=before) == set()  # servers that other tests have started may start what they like


def _shell(script: str, **options: object) -> ChildProcess:
    return ChildProcess([_SHELL, "-c", script], cancellation=Cancellation(), **options)  # type: ignore[arg-type]


def _is_gone(pid: int) -> bool:
    """Waits for it a while."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def _first_line(child: ChildProcess) -> str:
    text = b""
    while not text.endswith(b"\n"):
        assert select.select([child.stdout], [], [], _PATIENCE_SECONDS)[0], "the child said nothing"
        text += os.read(child.stdout.fileno(), 1)
    return text.decode().strip()


def test_what_goes_in_comes_out_and_the_status_is_read() -> None:
    with _shell("cat; exit 3", stdin=True) as child:
        child.write(b"in and ")
        child.write(memoryview(bytearray(b"out")))
        child.close_stdin()

        assert child.stdout.read(100) == b"in and out"
        assert child.wait(_PATIENCE_SECONDS) == 3


def test_a_child_without_input_reads_nothing_of_ours() -> None:
    with _shell("wc -c") as child:
        assert child.stdout.read(100).strip() == b"0"


def test_writing_to_a_child_that_has_gone_is_a_broken_pipe() -> None:
    with _shell("exit 1", stdin=True) as child:
        child.wait(_PATIENCE_SECONDS)
        with pytest.raises(BrokenPipeError):
            child.write(bytes(1 << 20))


def test_the_last_words_are_the_last_lines_of_standard_error() -> None:
    with _shell("seq 1 100 >&2; printf 'no newline' >&2") as child:
        child.wait(_PATIENCE_SECONDS)

        assert child.last_words.splitlines()[-3:] == ["99", "100", "no newline"]
        assert len(child.last_words.splitlines()) == 40


def test_a_child_that_floods_standard_error_is_not_held_up_and_fills_no_memory() -> None:
    with _shell("head -c 30000000 /dev/zero | tr '\\0' x >&2; echo done") as child:
        assert _first_line(child) == "done"
        assert child.wait(_PATIENCE_SECONDS) == 0
        assert len(child.last_words) <= 4096


def test_leaving_the_block_kills_the_child_and_its_own_children() -> None:
    with _shell("sleep 1000 & echo $!; wait") as child:
        grandchild = int(_first_line(child))

    assert _is_gone(grandchild)
    assert _is_gone(child.pid)


def test_an_error_in_the_block_kills_the_child_and_is_passed_on() -> None:
    with pytest.raises(RuntimeError), _shell("sleep 1000") as child:
        raise RuntimeError

    assert child.wait() == -signal.SIGKILL


@pytest.mark.parametrize("look", ["wait", "poll"])
def test_what_a_tool_leaves_behind_in_its_group_is_killed_when_it_ends(look: str) -> None:
    with _shell("sleep 1000 & echo $!; exit 0") as child:
        left_behind = int(_first_line(child))
        if look == "wait":
            assert child.wait(_PATIENCE_SECONDS) == 0
        else:
            while child.poll() is None:
                time.sleep(0.01)

        assert _is_gone(left_behind)


def test_a_tool_that_leaves_a_daemon_in_another_session_is_not_waited_for_for_ever() -> None:
    with _shell("setsid sh -c 'echo $$; exec sleep 1000' & read line", stdin=True) as child:
        daemon = int(_first_line(child))
        child.close_stdin()
        child.wait(_PATIENCE_SECONDS)
        assert Path(f"/proc/{daemon}").exists()
    os.kill(daemon, signal.SIGKILL)

    assert _is_gone(daemon)


def test_waiting_has_an_end() -> None:
    with _shell("sleep 1000") as child, pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.1)


def test_cancellation_kills_the_whole_group() -> None:
    cancellation = Cancellation()
    with ChildProcess([_SHELL, "-c", "sleep 1000 & echo $!; wait"], cancellation=cancellation) as child:
        grandchild = int(_first_line(child))
        threading.Timer(0.1, cancellation.cancel, ["by ada"]).start()

        assert child.wait(_PATIENCE_SECONDS) == -signal.SIGKILL
        assert _is_gone(grandchild)


def test_a_child_of_a_cancelled_run_does_not_live() -> None:
    cancellation = Cancellation()
    cancellation.cancel("before it began")
    with ChildProcess([_SHELL, "-c", "sleep 1000"], cancellation=cancellation) as child:
        assert child.wait(_PATIENCE_SECONDS) == -signal.SIGKILL


def test_a_silent_dump_is_stopped_by_cancellation_and_leaves_no_process() -> None:
    cancellation = Cancellation()
    threading.Timer(0.2, cancellation.cancel, ["by ada"]).start()
    with (
        ChildProcess([_SHELL, "-c", "echo begun; sleep 1000"], cancellation=cancellation) as child,
        pytest.raises(Interrupted, match="by ada"),
    ):
        run_pump(Source(child.stdout.fileno()), MemorySink(), cancellation=cancellation)

    assert child.wait() == -signal.SIGKILL


def test_a_child_does_not_outlive_us_when_we_are_killed_without_a_chance() -> None:
    tests = Path(__file__).parents[1]
    script = (
        "from db_backup.progress import Cancellation\n"
        "from db_backup.stream.process import ChildProcess\n"
        f"with ChildProcess([{_SHELL!r}, '-c', 'echo begun; exec sleep 1000'], cancellation=Cancellation()) as child:\n"
        "    child.stdout.read(6)\n"
        "    print(child.pid, flush=True)\n"
        "    child.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(tests.parent / "plugins")},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        assert Path(f"/proc/{orphan}").exists()
        parent.kill()

    assert _is_gone(orphan)


def test_a_child_that_was_not_yet_at_work_when_we_were_killed_does_not_begin(tmp_path: Path) -> None:
    """Nobody sends it the signal of its parent's death: it asks for that when its parent is dead already."""
    setpriv, waits, begun = shutil.which("setpriv"), tmp_path / "waits", tmp_path / "begun"
    slow = tmp_path / "setpriv"
    slow.write_text(
        f"#!/bin/sh\necho $$ >{waits}.new; mv {waits}.new {waits}; while test -e {waits}; do sleep 0.01; done\n"
        f'exec {setpriv} "$@"\n'
    )
    slow.chmod(0o755)
    script = (
        "from db_backup.progress import Cancellation\n"
        "from db_backup.stream.process import ChildProcess\n"
        f"tool = [{_SHELL!r}, '-c', 'touch {begun}; exec sleep 1000']\n"
        "with ChildProcess(tool, cancellation=Cancellation()) as child:\n"
        "    child.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2] / "plugins"),
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
        },
    ) as parent:
        while not waits.exists():
            assert parent.poll() is None
            time.sleep(0.01)
        orphan = int(waits.read_text())
        parent.kill()
    waits.unlink()

    assert _is_gone(orphan)
    assert not begun.exists()


def test_a_child_sees_only_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW_CONN_SHOP", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "MYSQL_PWD"):
        monkeypatch.setenv(name, "secret")
    with _shell("env", environment={"PGPASSFILE": "/somewhere"}) as child:
        seen = child.stdout.read(100_000).decode()

    assert "secret" not in seen
    assert "PGPASSFILE=/somewhere" in seen
    assert "LC_ALL=C.UTF-8" in seen


def test_the_environment_has_a_path_and_no_home() -> None:
    environment = child_environment({"PGTZ": "UTC"})

    assert environment["PATH"] == os.environ["PATH"]
    assert (environment["HOME"], environment["PGTZ"]) == ("/nonexistent", "UTC")


def test_a_child_inherits_no_descriptor_of_ours(tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        with _shell("ls -l /proc/self/fd") as child:
            assert b"secret" not in child.stdout.read(100_000)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_child_of_another_user_has_no_group_of_ours_and_is_killed_as_well() -> None:
    with _shell("id -u; id -G; sleep 1000", user=(65_534, 65_534)) as child:
        assert [_first_line(child), _first_line(child)] == ["65534", "65534"]

    assert child.wait() == -signal.SIGKILL


def test_an_option_file_is_for_us_alone_and_gone_afterwards() -> None:
    before = os.umask(0)
    try:
        with option_file("[client]\npassword=secret\n") as path:
            assert path.read_text() == "[client]\npassword=secret\n"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)

    assert not path.parent.exists()


def test_an_option_file_is_gone_after_an_error_too() -> None:
    with pytest.raises(RuntimeError), option_file("password=secret") as path:
        raise RuntimeError

    assert not path.parent.exists()


def test_an_option_file_of_a_killed_process_is_removed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import time\n"
        "from db_backup.stream.process import option_file\n"
        "with option_file('password=secret'):\n"
        "    print('there', flush=True)\n"
        "    time.sleep(1000)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "plugins"), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with option_file("ours"):
            assert len(list(tmp_path.iterdir())) == 2, "the first one lives"
        process.kill()
    (left,) = tmp_path.iterdir()
    assert (left / "options").read_text() == "password=secret"

    with option_file("ours") as path:
        assert list(tmp_path.iterdir()) == [path.parent]
    assert list(tmp_path.iterdir()) == []


def _with_no_descriptor_left(action: Callable[[], object]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        action()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_are_told_with_the_name_of_the_tool() -> None:
    with pytest.raises(ToolError, match="'sh' could not be started: Too many open files") as caught:
        _with_no_descriptor_left(lambda: _shell("exit 0"))
    assert "ulimit -n" in caught.value.hint


def test_an_option_file_that_cannot_be_written_names_its_folder_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ToolError, match="Too many open files") as caught:
        _with_no_descriptor_left(lambda: ExitStack().enter_context(option_file("password=secret")))
    assert str(tmp_path) in caught.value.message
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(ToolError, match="No such file") as caught, option_file("password=secret"):
        pytest.fail("there is no such folder")
    assert "TMPDIR" in caught.value.hint


def test_a_tool_that_cannot_be_executed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no setpriv
    with pytest.raises(ToolError, match="'pg_dump' could not be started: No such file or directory") as caught:
        ChildProcess([str(tmp_path / "pg_dump")], cancellation=Cancellation())
    assert str(tmp_path / "pg_dump") in caught.value.hint
