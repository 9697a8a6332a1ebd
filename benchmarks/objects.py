"""Encryption, several storages in one pass, and object storages: what each adds, beside the stock tools."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.engines import PYTHON_PATH, Arena, Case, fill_sqlite, workspace
from benchmarks.measuring import run
from benchmarks.results import Contest, compete
from db_backup.model import ConnectionInfo, EngineName
from support.cloud_server import running
from support.moto_server import S3Server
from support.ports import free_port
from support.project import Project

#: Of the slow S3, each connection: so slow that all parts which may be in flight are.
SLOW_MEGABYTES_A_SECOND = 12.0
_REPETITIONS = 3
_BUCKET = "bench"
_PASSES = {
    "one folder": ("plain", ("{folder}/one",)),
    "one folder, encrypted": ("encrypted", ("{folder}/one",)),
    "two folders": ("plain", ("{folder}/one", "{folder}/two")),
}


@dataclass(frozen=True)
class Objects:
    """What came of it, each against its first: ``passes`` and ``uploads`` of one stream, ``whole`` of a database.

    ``peaks``: of our process in MB, encrypted and not, with as many parts in flight as there may be.
    """

    passes: Contest
    uploads: Sequence[Contest]
    whole: Contest
    megabytes: int
    peaks: Mapping[str, float]


def measure_objects(rows: Mapping[str, Path], say: Callable[[str], None]) -> Objects:
    """Of one stream, and of a database, to folders, to an S3 that throws all away, and to moto, which is slow."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as name, _sink() as sink, _moto() as moto:
        folder = Path(name)
        stream = folder / "stream"
        with stream.open("wb") as target:
            for path in rows.values():
                with path.open("rb") as source:
                    shutil.copyfileobj(source, target)
        passes = _compete(_passes(folder, stream, sink), say)
        uploads = [
            _compete(_uploads("Upload to an S3 that throws everything away", folder, stream, sink), say),
            _compete(_uploads("Upload to moto", folder, rows["events"], moto, refused=("rclone",)), say),
        ]
        with _sink(SLOW_MEGABYTES_A_SECOND) as slow:
            whole, peak = _whole(rows, slow, say)
            peaks = {"the whole command": peak, **_peaks(folder, stream, rows["events"], slow, say)}
        return Objects(passes, uploads, whole, round(stream.stat().st_size / 1_000_000), peaks)


def _compete(arena: Arena, say: Callable[[str], None]) -> Contest:
    return compete(arena, _REPETITIONS, say)


def _passes(folder: Path, stream: Path, endpoint: str) -> Arena:
    """zstd, as it is the fastest: what encryption adds shows the most."""
    cases = []
    for name, (mode, places) in _PASSES.items():
        wanted = [place.format(folder=folder) for place in places]
        command = [sys.executable, "-m", "benchmarks.one_pass", "zstd", mode, str(stream), *wanted]
        cases.append(Case(f"{name}", command, int, _environment(endpoint), is_ours=True))
    return _arena("One pass, zstd", folder, cases)


def _uploads(title: str, folder: Path, stream: Path, endpoint: str, *, refused: Sequence[str] = ()) -> Arena:
    """From standard input, as a dump comes; ours hashes it twice on the way.

    :param refused: tools that cannot talk to this server: rclone asks moto for a version that moto does not know.
    """
    environment = _environment(endpoint)
    options = f"provider=Other,access_key_id=k,secret_access_key=s,no_check_bucket=true,endpoint='{endpoint}'"
    ours = [sys.executable, "-m", "benchmarks.one_pass", "none", "plain", str(stream), f"s3://{_BUCKET}/ours"]
    rivals = {
        "aws s3 cp - s3://…": f"aws --endpoint-url {endpoint} s3 cp - s3://{_BUCKET}/aws",
        "rclone rcat s3:…": f'rclone --config /dev/null rcat ":s3,{options}:{_BUCKET}/rclone"',
    }
    return _arena(
        title,
        folder,
        [
            Case("our pipeline alone, not compressed", ours, int, environment, is_ours=True),
            *(
                _shell(shown, script, stream, environment)
                for shown, script in rivals.items()
                if shown.split()[0] not in refused
            ),
        ],
    )


def _shell(shown: str, script: str, stream: Path, environment: Mapping[str, str]) -> Case:
    command = ["bash", "-c", f"{script} < {stream}"]
    return Case(f"`{shown}`", command, lambda _: stream.stat().st_size, environment, tool=shown.split(maxsplit=1)[0])


def _whole(rows: Mapping[str, Path], slow: str, say: Callable[[str], None]) -> tuple[Contest, float]:
    """The command, on a SQLite database; and its peak in MB with a slow S3 as its second storage."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as name:
        path = Path(name) / "shop.sqlite"
        fill_sqlite(path, rows)
        with workspace(ConnectionInfo(conn_id="bench", engine=EngineName.SQLITE, database=str(path))) as (
            folder,
            project,
        ):
            _configure(project, slow)
            done = run([sys.executable, "-m", "db_backup", "keys", "generate", "default"], project.environment, folder)
            say(done.stdout.strip())
            create = [sys.executable, "-m", "db_backup", "create", "--no-verify", "--compression", "zstd", "--json"]
            cases = [
                Case(f"`db-backup create`, {name}", [*create, entry], _stored, project.environment, is_ours=True)
                for entry, name in _ENTRIES.items()
            ]
            arena = Arena("The whole command, SQLite, zstd", sqlite3.sqlite_version, folder, project, cases)
            contest = _compete(arena, say)
            everywhere = run([*create, "everywhere"], project.environment, folder)
            return contest, everywhere.own_peak_mb


#: What the same database is backed up as.
_ENTRIES = {
    "plain": "one folder",
    "encrypted": "one folder, encrypted",
}


def _configure(project: Project, endpoint: str) -> None:
    common = {"conn_id": "shop_db"}
    entries = {
        "plain": common,
        "encrypted": {**common, "encrypt": True},
        "everywhere": {**common, "encrypt": True, "storages": ["local", "bucket"]},
    }
    storages = {"bucket": {"url": "s3://bench/whole", "conn_id": "aws_default"}}
    project.config.write_text(yaml.safe_dump({"version": 1, "storages": storages, "databases": entries}))
    project.environment |= {name: _environment(endpoint)[name] for name in ("AIRFLOW_CONN_AWS_DEFAULT",)}
    project.environment["BACKUP_KEYS_PATH"] = str(project.folder / "keys")
    project.environment.pop("AWS_CA_BUNDLE", None)


def _stored(said: str) -> int:
    return int(json.loads(said)["backups"][0]["size_bytes"])


def _peaks(folder: Path, stream: Path, third: Path, endpoint: str, say: Callable[[str], None]) -> Mapping[str, float]:
    """As much is on its way as may be: whoever receives it is slow."""
    found = {}
    cases = {"not compressed": ("none", "plain", third), "zstd, encrypted": ("zstd", "encrypted", stream)}
    for name, (codec, mode, source) in cases.items():
        target = f"s3://{_BUCKET}/slow-{mode}"
        command = [sys.executable, "-m", "benchmarks.one_pass", codec, mode, str(source), target]
        found[name] = run(command, _environment(endpoint), folder).own_peak_mb
        say(f"slow S3, {name}: {found[name]:.0f} MB")
    return found


def _arena(title: str, folder: Path, cases: Sequence[Case]) -> Arena:
    project = Project(folder / title.replace(" ", "-").replace(",", ""), {})
    return Arena(title, "", folder, project, cases)


def _environment(endpoint: str) -> dict[str, str]:
    """For all of them alike: this endpoint, and nothing of this machine's own settings."""
    extra = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "k", "password": "s", "extra": extra}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AIRFLOW"))}
    return {
        **kept,
        "PYTHONPATH": PYTHON_PATH,
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "us-east-1",
        # Newer clients would add checksums that the others do not make.
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    }


@contextmanager
def _sink(megabytes_a_second: float = 0.0) -> Iterator[str]:
    port = free_port()
    with running([sys.executable, "-m", "benchmarks.sink", str(port), str(megabytes_a_second)], port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _moto() -> Iterator[str]:
    with S3Server.start() as server:
        server.client().create_bucket(Bucket=_BUCKET)
        yield server.endpoint
