"""`db-backup create` that is killed when all bytes are stored, and nothing has its final name yet.

python -m support.killed_create ARGUMENTS: those of ``create``; the environment names the project.
"""

from __future__ import annotations

import os
import signal
import sys
from unittest import mock

from db_backup.cli.main import main
from db_backup.jobs.creation import Creation


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    with mock.patch.object(Creation, "_commit", die):
        main(["create", *sys.argv[1:]])
