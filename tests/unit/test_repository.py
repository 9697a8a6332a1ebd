"""The files that make the project start anywhere: requirements, packages, commands."""

from __future__ import annotations

import os
import pkgutil
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import db_backup
from scripts import setup_venv

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"^[A-Za-z0-9._-]+")


def lines(name: str) -> list[str]:
    """Those of a file that are neither empty nor a comment."""
    every = (line.strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in every if line and not line.startswith("#")]


def package(requirement: str) -> str:
    match = NAME.match(requirement)
    assert match, f"not a requirement: {requirement}"
    return match[0].lower().replace("_", "-")


def test_requirements_in_asks_for_everything_that_the_package_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {package(line) for line in project["dependencies"] + project["optional-dependencies"]["airflow"]}
    assert needed <= {package(line) for line in lines("requirements.in")}


def test_requirements_txt_pins_all_that_requirements_in_asks_for() -> None:
    pinned = {package(line) for line in lines("requirements.txt")}
    assert {package(line) for line in lines("requirements.in")} <= pinned


def test_every_requirement_is_pinned_and_names_no_index() -> None:
    pin = re.compile(r"^[A-Za-z0-9._-]+(\[[a-z0-9,._-]+\])?==[A-Za-z0-9.+!]+( ; .+)?$")
    assert [line for line in lines("requirements.txt") if not pin.match(line)] == []
    assert "://" not in (ROOT / "requirements.txt").read_text()


def test_packages_txt_has_one_debian_package_a_line_in_order() -> None:
    packages = (ROOT / "packages.txt").read_text().splitlines()
    assert packages == sorted(set(packages))
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name) for name in packages)


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    commands = [line for line in lines(".ci/run") if not line.startswith(("set ", "cd "))]
    assert commands == ["exec make test"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert re.search(r"^ +make test$", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_every_command_of_the_readme_is_a_target_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text())) <= targets


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## [{db_backup.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_pools_that_airflow_makes_are_those_of_airflow_settings() -> None:
    pytest.importorskip("airflow", reason="pools are Airflow's")
    from db_backup.operators.pools import POOLS

    settings = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text())["airflow"]
    written = {(pool["pool_name"], pool["pool_slot"], pool["pool_description"]) for pool in settings["pools"]}
    assert set(POOLS) == written


def test_every_module_but_the_shells_and_the_resolver_of_connections_may_not_import_airflow() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (watched,) = [set(contract["source_modules"]) for contract in contracts if contract["type"] == "forbidden"]
    every = {f"db_backup.{module.name}" for module in pkgutil.iter_modules(db_backup.__path__)}
    assert every - watched == {
        f"db_backup.{name}" for name in ("__main__", "cli", "connections", "operators", "provider")
    }
    assert watched <= every


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "plugins" / "db_backup" / "py.typed").is_file()


def test_nothing_committed_names_a_package_registry_or_a_path_of_one_machine() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of committed files")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    forbidden = re.compile("|".join(["pypi" + r"\.org", "pythonhosted" + r"\.org", "/work" + "/", "/root" + "/"]))
    found = []
    for name in filter(None, listing.split("\0")):
        path = ROOT / name
        if path.is_file() and forbidden.search(path.read_bytes().decode(errors="ignore")):
            found.append(name)
    assert found == []


class TestPackageIndexes:
    def test_uv_uses_the_indexes_that_pip_uses(self) -> None:
        config = "global.index-url='https://mirror.example/simple'\nglobal.extra-index-url='file:///a file:///b'\n"
        variables = setup_venv.uv_environment(config, {})
        assert variables["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
        assert variables["UV_INDEX"] == "file:///a file:///b"

    def test_folders_of_wheels_are_separated_as_uv_wants_them(self) -> None:
        assert setup_venv.uv_environment("install.find-links='/a\\n/b'", {})["UV_FIND_LINKS"] == "/a,/b"

    def test_a_later_place_of_configuration_wins(self) -> None:
        config = "global.index-url='https://far.example'\n:env:.index-url='https://near.example'\n"
        assert setup_venv.uv_environment(config, {})["UV_DEFAULT_INDEX"] == "https://near.example"

    def test_what_the_person_set_for_uv_stays(self) -> None:
        mine = {"UV_DEFAULT_INDEX": "https://mine.example", "UV_INDEX_STRATEGY": "first-index"}
        assert setup_venv.uv_environment("global.index-url='https://mirror.example'", mine) == mine

    def test_the_default_index_stays_without_any_configuration(self) -> None:
        assert "UV_DEFAULT_INDEX" not in setup_venv.uv_environment("", {})


class TestSetupWithoutRights:
    """setup.sh with a made-up machine: its own PATH, on which a package is missing and the user is not root."""

    @pytest.fixture
    def machine(self, tmp_path: Path) -> Path:
        programs = tmp_path / "bin"
        programs.mkdir()
        for name in ("sh", "cat", "sort", "tr", "dirname"):
            (programs / name).symlink_to(shutil.which(name) or name)
        self.program(programs, "apt-get", "exit 99")
        self.program(programs, "id", "echo 1000")
        self.program(programs, "python3", "exit 0")
        self.program(programs, "dpkg-query", 'case "$3" in zstd) exit 1;; esac; printf installed')
        return programs

    @staticmethod
    def program(folder: Path, name: str, script: str) -> None:
        (folder / name).write_text(f"#!{shutil.which('sh')}\n{script}\n")
        (folder / name).chmod(0o755)

    @staticmethod
    def setup(machine: Path) -> subprocess.CompletedProcess[str]:
        command = [str(machine / "sh"), str(ROOT / "scripts" / "setup.sh")]
        return subprocess.run(command, env={"PATH": str(machine)}, check=False, capture_output=True, text=True)

    def test_it_prints_the_exact_command_and_stops(self, machine: Path) -> None:
        result = self.setup(machine)
        assert result.returncode == 1
        assert "apt-get update && apt-get install -y --no-install-recommends zstd" in result.stderr

    def test_it_does_not_ask_when_nothing_is_missing(self, machine: Path) -> None:
        self.program(machine, "dpkg-query", "printf installed")
        result = self.setup(machine)
        assert (result.returncode, result.stderr) == (0, "")

    def test_it_says_so_when_there_is_no_python(self, machine: Path) -> None:
        self.program(machine, "dpkg-query", "printf installed")
        self.program(machine, "python3", "exit 1")
        result = self.setup(machine)
        assert result.returncode == 1
        assert "No Python 3.11 or newer was found" in result.stderr
