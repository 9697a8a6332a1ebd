"""TLS to a MariaDB server that demands it: the driver and the tools follow the connection's extra alike."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from db_backup.comparison import compare
from db_backup.engines.mysql import MysqlEngine, connecting
from db_backup.errors import BackupError, ServerUnreachable
from db_backup.progress import Cancellation
from support.dumps import dump_of, load
from support.lab_mysql import MysqlLab
from support.mysql_server import MariaDbServer, missing_binaries

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(missing_binaries()), reason=missing_binaries())]


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder, and a server certificate of its for 127.0.0.1."""

    folder: Path

    @property
    def ca(self) -> str:
        return str(self.folder / "ca.pem")


def make_authority(folder: Path, name: str) -> Authority:
    folder.mkdir(mode=0o755)
    key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)

    def certificate(subject_name: x509.Name, public_key: Any, *, authority: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject_name)
            .issuer_name(subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / "ca.pem").write_bytes(certificate(subject, key.public_key(), authority=True))
    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    (folder / "server.pem").write_bytes(certificate(server, server_key.public_key(), authority=False))
    (folder / "server.key").write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    for path in folder.iterdir():
        path.chmod(0o644)
    return Authority(folder)


@pytest.fixture(scope="module")
def right(lab_folder: Path) -> Authority:
    return make_authority(lab_folder / "right-ca", "The right authority")


@pytest.fixture(scope="module")
def wrong(lab_folder: Path) -> Authority:
    return make_authority(lab_folder / "wrong-ca", "Another authority")


@pytest.fixture(scope="module")
def server(right: Authority) -> Iterator[MariaDbServer]:
    options = [
        f"--ssl-ca={right.ca}",
        f"--ssl-cert={right.folder / 'server.pem'}",
        f"--ssl-key={right.folder / 'server.key'}",
    ]
    with MariaDbServer.start(options=options) as server:
        server.run("CREATE DATABASE shop", "CREATE TABLE shop.t (a int)", "INSERT INTO shop.t VALUES (1)")
        server.run("SET GLOBAL require_secure_transport = ON")
        yield server


def engine(server: MariaDbServer, lab: MysqlLab, **extra: object) -> MysqlEngine:
    return MysqlEngine(server.connection("shop", extra=extra), lab.options)


@pytest.mark.parametrize("mode", ["PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"])
def test_a_backup_and_a_restore_go_over_tls(
    server: MariaDbServer, mysql_lab: MysqlLab, right: Authority, mode: str
) -> None:
    extra = {} if mode == "PREFERRED" else {"ssl": {"ca": right.ca}, "ssl_mode": mode}
    source = engine(server, mysql_lab, **extra)
    dumped = dump_of(source)
    target = load(source, "copy", dumped)
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
    source.drop_database("copy")


def test_another_authority_is_not_trusted(server: MariaDbServer, mysql_lab: MysqlLab, wrong: Authority) -> None:
    with pytest.raises(ServerUnreachable, match="certificate"):
        engine(server, mysql_lab, ssl={"ca": wrong.ca}).check()


def test_a_server_that_demands_tls_says_so_to_a_connection_without(server: MariaDbServer, mysql_lab: MysqlLab) -> None:
    with pytest.raises(BackupError) as caught:
        engine(server, mysql_lab, ssl_mode="DISABLED").check()
    assert caught.value.hint


def test_a_server_without_tls_is_used_in_plain_text_by_a_driver_that_takes_settings_for_a_demand(
    mysql_lab: MysqlLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pymysql 1.2 does; the one that is installed does not yet."""
    really = pymysql.connect

    def demanding(**options: Any) -> Any:
        if options.get("ssl"):
            raise pymysql.err.OperationalError(2026, "SSL is required but the server doesn't support it")
        return really(**options)

    monkeypatch.setattr(pymysql, "connect", demanding)
    connection = mysql_lab.connection("mysql")

    with connecting.connect(connection) as session:
        assert session.open
    strict = dataclasses.replace(connection, extra={**connection.extra, "ssl_mode": "REQUIRED"})
    with pytest.raises(ServerUnreachable):
        connecting.connect(strict)
