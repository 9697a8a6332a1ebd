"""Makes .venv and installs the pinned packages and the project into it. Standard library only: it runs before them.

`install` does nothing when its stamp shows that .venv was made from these very files; `compile` rewrites
requirements.txt from requirements.in. Package indexes are whatever pip is configured with on this machine.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
STAMP = VENV / ".made-from"
REQUIREMENTS = ROOT / "requirements.txt"

# uv reads none of pip's configuration: pip's setting, uv's variable, what separates several values there.
_UV_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
}


def main(arguments: list[str]) -> int:
    actions = {"install": install, "compile": compile_requirements}
    if len(arguments) != 1 or arguments[0] not in actions:
        print(f"usage: setup_venv.py {'|'.join(actions)}", file=sys.stderr)
        return 2
    try:
        actions[arguments[0]]()
    except subprocess.CalledProcessError as error:
        print(f"Exit status {error.returncode} from: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    return 0


def install() -> None:
    """Bring .venv to what requirements.txt and pyproject.toml say.

    :raises subprocess.CalledProcessError: a package could not be downloaded or built; its own message is on stderr.
    """
    wanted = fingerprint(ROOT)
    if STAMP.is_file() and STAMP.read_text() == wanted and _runs(VENV_PYTHON):
        return
    if not _runs(VENV_PYTHON):
        print("Making .venv")
        _run(sys.executable, "-m", "venv", "--clear", VENV)
    _install_uv()
    print("Installing the Python packages of requirements.txt")
    _uv("pip", "install", "--quiet", "--requirement", REQUIREMENTS)
    _uv("pip", "install", "--quiet", "--no-deps", "--editable", ROOT)
    _compile_all()
    STAMP.write_text(wanted)


def _compile_all() -> None:
    """What was installed before, which uv leaves as it is, too.

    Where PYTHONDONTWRITEBYTECODE is set, every process would otherwise compile all that it imports, again.
    """
    command: list[str | Path] = [VENV_PYTHON, "-m", "compileall", "-q", "-j", "0", VENV / "lib"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # a package may hold a file for another Python


def compile_requirements() -> None:
    """Pin everything that requirements.in asks for, for every platform and every Python from 3.11 up.

    :raises subprocess.CalledProcessError: the requirements contradict each other; uv's explanation is on stderr.
    """
    options = ["--python-version", "3.11", "--universal", "--no-emit-index-url", "--no-header", "--quiet"]
    _uv("pip", "compile", "requirements.in", *options, "--output-file", "requirements.txt")


def fingerprint(root: Path) -> str:
    """What .venv depends on: changes when it must be brought up to date."""
    digest = hashlib.sha256()
    for name in ("requirements.txt", "pyproject.toml", "scripts/setup_venv.py"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def pinned(requirements: str, package: str) -> str:
    """The package as requirements.txt pins it; unpinned while it is not there yet."""
    match = re.search(rf"^{re.escape(package)}==\S+", requirements, re.MULTILINE)
    return match[0] if match else package


def uv_environment(pip_config: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment that makes uv use the package indexes that pip uses.

    :param pip_config: what `pip config list` prints: ``global.index-url='https://…'``, weakest place first.
    :param environment: the present variables; what is set for uv in them stays.
    """
    variables = dict(environment)
    for line in pip_config.splitlines():
        name, _, value = line.partition("=")
        setting = name.rpartition(".")[2]
        if setting in _UV_VARIABLES:
            variable, separator = _UV_VARIABLES[setting]
            if variable not in environment:
                variables[variable] = separator.join(ast.literal_eval(value).split())
    # pip takes a pinned version from whichever index has it; uv does so only when told.
    variables.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return variables


def _install_uv() -> None:
    if not _runs(VENV_PYTHON, "-m", "pip", "--version"):
        _run(VENV_PYTHON, "-m", "ensurepip")
    uv = pinned(REQUIREMENTS.read_text(), "uv")
    _run(VENV_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", uv)


def _uv(*arguments: str | Path) -> None:
    config = subprocess.run(
        [VENV_PYTHON, "-m", "pip", "config", "list"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    environment = uv_environment(config, os.environ) | {"VIRTUAL_ENV": str(VENV)}
    subprocess.run([UV, *arguments], cwd=ROOT, env=environment, check=True)


def _run(*command: str | Path) -> None:
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _runs(*command: str | Path) -> bool:
    if not Path(command[0]).exists():
        return False
    arguments = command if len(command) > 1 else (*command, "-c", "")
    return subprocess.run(arguments, cwd=ROOT, check=False, capture_output=True).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
