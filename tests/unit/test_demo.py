"""The demo's Airflow: where it listens, what it keeps, and that nothing of it stays."""

from __future__ import annotations

import configparser
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.demo import installation, services
from scripts.demo.errors import DemoFailed
from scripts.demo.installation import Address
from scripts.demo.services import Services, wait_until

pytestmark = pytest.mark.unit


class TestInstallation:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(installation, "CONFIGURATION", tmp_path / "airflow.cfg")
        monkeypatch.setattr(installation, "PASSWORDS", tmp_path / "passwords.json")
        return tmp_path

    def configuration(self) -> configparser.ConfigParser:
        written = configparser.ConfigParser(interpolation=None)
        written.read(installation.CONFIGURATION)
        return written

    def test_a_port_in_use_is_passed_over(self) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            taken = listener.getsockname()[1]
            assert installation.free_address(first_port=taken).port != taken

    def test_a_port_that_someone_holds_on_every_address_is_in_use_too(self) -> None:
        with socket.socket() as listener:
            listener.bind(("0.0.0.0", 0))  # noqa: S104 - what the demo must notice
            listener.listen()
            taken = listener.getsockname()[1]
            assert installation.free_address(first_port=taken).port != taken

    def test_it_listens_on_this_machine_alone_and_asks_for_a_password(self) -> None:
        installation.write_configuration(Address(8123))
        written = self.configuration()
        assert written["api"]["host"] == "127.0.0.1"
        assert written["core"]["simple_auth_manager_all_admins"] == "False"
        assert written["core"]["execution_api_server_url"] == "http://127.0.0.1:8123/execution/"

    def test_keys_and_password_are_for_their_owner_and_stay_the_same(self) -> None:
        installation.write_configuration(Address(8123))
        first, password = self.configuration(), installation.password()
        installation.write_configuration(Address(8124))
        second = self.configuration()
        assert first["api_auth"]["jwt_secret"] == second["api_auth"]["jwt_secret"]
        assert first["core"]["fernet_key"] == second["core"]["fernet_key"]
        assert password == installation.password()
        for path in (installation.CONFIGURATION, installation.PASSWORDS):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_the_secret_of_tokens_is_long_enough_for_airflow(self) -> None:
        installation.write_configuration(Address(8123))
        assert len(self.configuration()["api_auth"]["jwt_secret"].encode()) >= 64

    def test_the_callers_settings_do_not_reach_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BACKUP_STORAGE_DISK", "s3")
        monkeypatch.setenv("BACKUP_CLOUD_ENABLED", "true")
        monkeypatch.setenv("AIRFLOW_CONN_CAR_MARKETPLACE_DB", "postgres://production/shop")
        monkeypatch.setenv("MYSQL_BACKUP_EVENTS", "false")
        environment = installation.environment()
        assert environment["BACKUP_STORAGE_DISK"] == "local"
        assert environment["BACKUP_CLOUD_ENABLED"] == "false"
        assert "AIRFLOW_CONN_CAR_MARKETPLACE_DB" not in environment
        assert "MYSQL_BACKUP_EVENTS" not in environment

    def test_it_writes_within_the_project(self) -> None:
        environment = installation.environment()
        for name in ("AIRFLOW_HOME", "BACKUP_LOCAL_PATH", "BACKUP_CATALOG_PATH"):
            assert Path(environment[name]).is_relative_to(installation.ROOT)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the demo finds its processes in /proc")
class TestServices:
    @pytest.fixture
    def started(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
        """One service that has a child of its own, in another session, as Airflow's tasks have."""
        program = tmp_path / "airflow"
        program.write_text("#!/bin/sh\necho started\nsetsid sleep 300 &\nexec sleep 300\n")
        program.chmod(0o755)
        monkeypatch.setattr(services, "_AIRFLOW", program)
        monkeypatch.setattr(services, "STATE", tmp_path / "demo.json")
        monkeypatch.setattr(services, "SERVICE_LOGS", tmp_path)
        monkeypatch.setattr(services, "FOR_A_RUN", ("scheduler",))
        group = Services.new(Address(8123))
        group.start("scheduler", once=False)
        wait_until(lambda: len(group.all_processes()) == 2, 30, "The service did not start", ["scheduler"])
        yield group
        group.stop()

    def test_stopping_ends_the_services_and_what_they_started(self, started: Services) -> None:
        assert started.stop() == 2
        assert started.all_processes() == []

    def test_another_command_finds_them(self, started: Services) -> None:
        known = Services.known()
        assert known is not None
        assert known.running()
        known.stop()
        assert Services.known() is None

    def test_processes_of_others_are_left_alone(self, started: Services) -> None:
        other = Services.new(Address(8124))
        assert other.stop() == 0
        assert len(started.all_processes()) == 2

    def test_a_service_that_ended_by_itself_is_noticed_with_its_log(self, started: Services) -> None:
        os.kill(started.process_ids["scheduler"], 9)
        wait_until(lambda: not started.running(), 30, "The service is still there", [])
        with pytest.raises(DemoFailed, match="scheduler has ended by itself") as failure:
            started.check()
        assert failure.value.details == "started"

    @pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is part of util-linux")
    def test_services_started_once_end_with_the_command_that_started_them(
        self, started: Services, tmp_path: Path
    ) -> None:
        command = os.fork()
        if command == 0:
            Services(mark="once", port=1).start("scheduler", once=True)
            time.sleep(300)
            os._exit(0)
        orphan = Services(mark="once", port=1)
        try:
            wait_until(lambda: len(orphan.all_processes()) == 2, 30, "The service did not start", ["scheduler"])
            os.kill(command, 9)
            os.waitpid(command, 0)
            wait_until(lambda: len(orphan.all_processes()) < 2, 30, "The service outlived its command", [])
        finally:
            orphan.stop()
