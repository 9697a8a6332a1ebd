"""TLS in front of a server that speaks plain HTTP, with a certificate that only its own file vouches for."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.faulty_proxy import FaultyProxy

_ADDRESS = "127.0.0.1"


class _TlsProxy(FaultyProxy):
    def speak_tls(self, certificate: Path) -> None:
        """Before the first request."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    @property
    def endpoint(self) -> str:
        return super().endpoint.replace("http://", "https://")


@contextmanager
def tls_proxy(endpoint: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """An https:// endpoint that leads to an http:// one, and the PEM file of the authority behind its certificate."""
    authority, certificate = _certificates(folder)
    with _TlsProxy.before(endpoint) as proxy:
        assert isinstance(proxy, _TlsProxy)
        proxy.speak_tls(certificate)
        yield proxy.endpoint, authority


def _certificates(folder: Path) -> tuple[Path, Path]:
    """The authority's certificate, and the server's with its key."""
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _ADDRESS)])
    now = datetime.now(UTC)

    def begun(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    of_authority = begun(authority_name, authority_key).add_extension(x509.BasicConstraints(True, None), critical=True)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(_ADDRESS))])
    of_server = begun(server_name, server_key).add_extension(address, critical=False)
    pem, sha = serialization.Encoding.PEM, hashes.SHA256()
    authority, certificate = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(of_authority.sign(authority_key, sha).public_bytes(pem))
    key = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate.write_bytes(of_server.sign(authority_key, sha).public_bytes(pem) + key)
    return authority, certificate
