"""An encrypted upload to a slow S3, with as many parts on their way as there may be, peaks at 120 MB at most."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks.measuring import run
from support.cloud_server import running
from support.ports import free_port

pytestmark = pytest.mark.unit

_CORES = 2  # with more of them the ring of blocks is larger
_MEGABYTES_A_SECOND = 5.0  # of each connection: less than the pipeline makes
_PLAIN_BYTES = 100_000_000


def test_an_encrypted_upload_with_four_parts_in_flight_peaks_under_120_megabytes(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    with plain.open("wb") as target:  # digits, of which zstd makes half
        while target.tell() < _PLAIN_BYTES:
            target.write(os.urandom(1 << 20).hex().encode())
    port = free_port()
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:_CORES]))
    extra = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "k", "password": "s", "extra": extra}
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(root / part) for part in ("", "plugins", "tests")),
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
    }
    one_pass = [sys.executable, "-m", "benchmarks.one_pass", "zstd", "encrypted", str(plain), "s3://bucket/prefix"]

    with running([sys.executable, "-m", "benchmarks.sink", str(port), str(_MEGABYTES_A_SECOND)], port):
        done = run(["taskset", "--cpu-list", cores, *one_pass], environment, tmp_path)

    assert int(done.stdout) > 40_000_000, "too little to fill four parts and one more"
    assert done.own_peak_mb < 120
