"""`db-backup create` that is killed: when all bytes are stored and nothing has its final name yet, or just after that.

python -m support.killed_create before|after ARGUMENTS: of the commit; the others are those of ``create``. The
environment names the project.
"""

from __future__ import annotations

import os
import signal
import sys
from unittest import mock

from db_backup.cli.main import main
from db_backup.jobs import create
from db_backup.jobs.placing import Placing


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    when, *arguments = sys.argv[1:]
    owner, name = (Placing, "commit_parts") if when == "before" else (create, "_index")
    with mock.patch.object(owner, name, die):
        main(["create", *arguments])
