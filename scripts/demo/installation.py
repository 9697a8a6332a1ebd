"""The demo's Airflow as files: everything in `.airflow` under the project's root, nothing elsewhere."""

from __future__ import annotations

import base64
import configparser
import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".airflow"
LOGS = HOME / "logs"
SERVICE_LOGS = LOGS / "services"
CONFIGURATION = HOME / "airflow.cfg"
PASSWORDS = HOME / "passwords.json"
STORAGE = ROOT / "storage" / "backups"
USER = "admin"

_OURS = ("AIRFLOW", "BACKUP_", "MYSQL_BACKUP_", "PGSQL_BACKUP_")


@dataclass(frozen=True)
class Address:
    port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def free_address(first_port: int = 8080, ports: int = 100) -> Address:
    """The first address from 8080 up that nobody listens at; beyond them, any that the system gives."""
    for port in range(first_port, first_port + ports):
        if _is_free(port):
            return Address(port)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return Address(listener.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        # Without it the connections of an Airflow that has just stopped would count as someone listening.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def write_configuration(address: Address) -> None:
    """airflow.cfg, for its owner alone: it holds the keys, which stay the same from one start to the next."""
    keys = _known_keys()
    configuration = configparser.ConfigParser(interpolation=None)
    configuration.read_dict(
        {
            "core": {
                "dags_folder": str(ROOT / "dags"),
                "plugins_folder": str(ROOT / "plugins"),
                "load_examples": "False",
                "executor": "LocalExecutor",
                "parallelism": "4",
                "default_task_retry_delay": "5",  # nobody wants to wait minutes for a demo that fails
                "fernet_key": keys["fernet_key"],
                "simple_auth_manager_users": f"{USER}:admin",
                "simple_auth_manager_all_admins": "False",
                "simple_auth_manager_passwords_file": str(PASSWORDS),
                "execution_api_server_url": f"{address.url}/execution/",
            },
            "database": {"sql_alchemy_conn": f"sqlite:///{HOME / 'airflow.db'}"},
            "logging": {"base_log_folder": str(LOGS)},
            "api": {
                "host": address.host,
                "port": str(address.port),
                "base_url": address.url,
                "secret_key": keys["secret_key"],
            },
            "api_auth": {"jwt_secret": keys["jwt_secret"]},
            "usage_data_collection": {"enabled": "False"},
        }
    )
    with _private(CONFIGURATION) as file:
        configuration.write(file)


def password() -> str:
    """The administrator's password, generated once and kept in a file that Airflow reads too."""
    if PASSWORDS.is_file():
        known = json.loads(PASSWORDS.read_text())
        if USER in known:
            return str(known[USER])
    generated = secrets.token_urlsafe(12)
    with _private(PASSWORDS) as file:
        json.dump({USER: generated}, file)
    return generated


def environment() -> dict[str, str]:
    """For every process of the demo: none of the caller's Airflow or backup settings reaches it.

    What the project's ``.env`` may say of places and keys is set here: the demo's backups stay on this machine.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return inherited | {
        "AIRFLOW_HOME": str(HOME),
        "BACKUP_CONFIG": str(ROOT / "scripts" / "demo" / "backup.yaml"),
        "BACKUP_STORAGE_DISK": "local",
        "BACKUP_CLOUD_ENABLED": "false",
        "BACKUP_KEEP_LOCAL_COPY": "true",
        "BACKUP_ENCRYPT": "false",
        "BACKUP_LOCAL_PATH": str(STORAGE),
        "BACKUP_CATALOG_PATH": str(HOME / "db_backup_catalog.sqlite"),
        "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
    }


def _known_keys() -> dict[str, str]:
    known = configparser.ConfigParser(interpolation=None)
    known.read(CONFIGURATION)
    return {
        "fernet_key": known.get("core", "fernet_key", fallback=base64.urlsafe_b64encode(os.urandom(32)).decode()),
        "secret_key": known.get("api", "secret_key", fallback=secrets.token_hex(32)),
        # 64 bytes: shorter ones make Airflow warn.
        "jwt_secret": known.get("api_auth", "jwt_secret", fallback=secrets.token_hex(64)),
    }


def _private(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
