"""Tools that start quickly, and data folders that are made once: most tests would do little else than wait for them.

For who calls ``initdb`` or ``mariadb-install-db`` by its name, the first call with the same options runs the real tool,
and the next ones get a copy of what it made. PostgreSQL's tools are found without Debian's wrappers in Perl. The tests
of scratch servers themselves take the fixture ``real_setup``, which takes all this back.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from support import postgres_server

_ORIGINAL = "DB_BACKUP_TESTS_PATH"
_SCRIPT = """#!/bin/bash
options=("$TZ" "$LANG" "$LC_ALL")
for option; do
    case "$option" in
        --datadir=*|--pgdata=*) data="${{option#*=}}" ;;
        --tmpdir=*) ;;
        *) options+=("$option") ;;
    esac
done
[ -n "$data" ] || exec {real} "$@"
made={templates}/{name}-$(printf '%s\\0' "${{options[@]}}" | sha256sum | cut -c 1-32)
[ -d "$made" ] && exec cp -r "$made" "$data"
{real} "$@" || exit
half=$(mktemp -d {templates}/XXXXXX)
cp -r "$data" "$half/data" && mv -T "$half/data" "$made" 2> /dev/null  # another one was quicker
rm -r "$half"
exit 0
"""


def put_first(folder: Path) -> None:
    """Before all that ``PATH`` has, for this process and its children.

    :param folder: holds what is made; every user may enter it.
    """
    os.environ.setdefault(_ORIGINAL, os.environ["PATH"])
    tools, templates = folder / "tools", folder / "templates"
    if not tools.exists():
        templates.mkdir()
        templates.chmod(0o1777)  # the servers' users write here
        tools.mkdir(mode=0o755)
        for name, real in _real_tools().items():
            words = {"name": name, "real": shlex.quote(str(real)), "templates": shlex.quote(str(templates))}
            (tools / name).write_text(_SCRIPT.format(**words))
            (tools / name).chmod(0o755)
    os.environ["PATH"] = os.pathsep.join(map(str, filter(None, [tools, postgres_server.binaries(), real_path()])))


def real_path() -> str:
    """``PATH`` as it was."""
    return os.environ[_ORIGINAL]


def _real_tools() -> dict[str, Path]:
    """As far as they are installed."""
    found = {}
    if (postgres := postgres_server.binaries()) is not None:
        found["initdb"] = postgres / "initdb"
    if (mariadb := shutil.which("mariadb-install-db", path=real_path())) is not None:
        found["mariadb-install-db"] = Path(mariadb)
    return found
