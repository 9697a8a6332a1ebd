"""Reaching a MySQL or MariaDB server: one reading of the connection for pymysql and for the client tools.

Extras are those of Airflow's MySQL connection: ``ssl`` (a mapping, or its JSON), ``ssl_mode``, ``unix_socket``, and the
flat ``ssl_ca``, ``ssl_cert``, ``ssl_key``, ``ssl_capath``, ``ssl_cipher``.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import pymysql
from pymysql.constants import CR
from pymysql.cursors import Cursor

from db_backup.errors import (
    AccessDenied,
    BackupError,
    ConfigurationError,
    PrivilegeMissing,
    ServerUnreachable,
    SourceError,
)
from db_backup.model import ConnectionInfo

Session: TypeAlias = "pymysql.connections.Connection[Cursor]"

DEFAULT_PORT = 3306
CONNECT_TIMEOUT_SECONDS = 10
# No question of ours takes longer, and a server that has stopped would be waited for without an end.
ANSWER_TIMEOUT_SECONDS = 600
_TLS_FILES = ("ca", "capath", "cert", "key", "cipher")
_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
_UNREACHABLE = {2002, 2003, 2005, 2006, 2013, 2026, 1040, 1129, 1130}
_DENIED = {1045, 1698, 1862, 1820, 1524, 3118, 4151}
_NO_PRIVILEGE = {1044, 1142, 1143, 1227, 1370, 1410, 1419}
_UNKNOWN_DATABASE = 1049


@dataclass(frozen=True)
class TlsOptions:
    """What the connection says about TLS; ``mode`` is one of MySQL's ``--ssl-mode`` values."""

    mode: str
    files: Mapping[str, str]

    @property
    def required(self) -> bool:
        return self.mode in {"REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"}

    @property
    def verified(self) -> bool:
        return self.mode in {"VERIFY_CA", "VERIFY_IDENTITY"}


def tls_options(connection: ConnectionInfo) -> TlsOptions:
    """:raises ConfigurationError: an extra that cannot be understood."""
    extra = connection.extra
    nested = _mapping(connection, extra.get("ssl"))
    files = {
        name: str(value) for name in _TLS_FILES if (value := nested.get(name) or extra.get(f"ssl_{name}")) is not None
    }
    # Naming a CA means that the server is to be checked against it, as in pymysql and mysqlclient.
    default = "VERIFY_CA" if {"ca", "capath"} & files.keys() else "REQUIRED" if files or nested else "PREFERRED"
    mode = str(extra.get("ssl_mode") or default).upper()
    if mode not in _MODES:
        raise ConfigurationError(
            f"The connection '{connection.conn_id}' has ssl_mode '{mode}', which is none of {', '.join(_MODES)}.",
            hint="Correct the extra of the connection.",
        )
    if mode in {"VERIFY_CA", "VERIFY_IDENTITY"} and not {"ca", "capath"} & files.keys():
        raise ConfigurationError(
            f"The connection '{connection.conn_id}' has ssl_mode {mode} and names no CA certificate.",
            hint='Add "ssl": {"ca": "/path/to/ca.pem"} to its extra.',
        )
    return TlsOptions(mode, files)


def _mapping(connection: ConnectionInfo, value: object) -> Mapping[str, object]:
    if isinstance(value, str) and value.strip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ConfigurationError(
                f"The extra 'ssl' of the connection '{connection.conn_id}' is not valid JSON: {error}.",
                hint='Write it as {"ca": "/path/to/ca.pem"}.',
            ) from error
    if value is None or value is False:
        return {}
    if isinstance(value, Mapping):
        return {str(name): item for name, item in value.items()}
    raise ConfigurationError(
        f"The extra 'ssl' of the connection '{connection.conn_id}' must be a mapping of certificate files.",
        hint='Write it as {"ca": "/path/to/ca.pem"}, or use "ssl_mode": "REQUIRED".',
    )


def unix_socket(connection: ConnectionInfo) -> str | None:
    value = connection.extra.get("unix_socket")
    return str(value) if value else None


def connect(connection: ConnectionInfo, *, database: str | None = None, answer_seconds: float | None = None) -> Session:
    """A new session in autocommit mode and UTF-8.

    :param database: the database to use; ``None`` takes the connection's, ``""`` none.
    :param answer_seconds: how long the server may take for an answer; ``None``: longer than any question of ours takes.
    :raises ServerUnreachable, AccessDenied, SourceError: as the server or the network says.
    """
    tls = tls_options(connection)
    name = connection.database if database is None else database
    socket = unix_socket(connection)
    patience = ANSWER_TIMEOUT_SECONDS if answer_seconds is None else answer_seconds
    try:
        session = _session(
            tls,
            socket,
            host=connection.host or "localhost",
            port=connection.port or DEFAULT_PORT,
            user=connection.login,
            password=connection.password.encode(),  # pymysql would encode text as Latin-1, the tools send UTF-8
            database=name or None,
            charset="utf8mb4",
            connect_timeout=min(CONNECT_TIMEOUT_SECONDS, patience),
            read_timeout=patience,
            autocommit=True,
        )
    except (pymysql.err.MySQLError, OSError) as error:
        raise explain(error, connection, doing="connect to", database=name) from error
    if tls.required and not socket and not _is_encrypted(session):
        session.close()
        raise ServerUnreachable(
            f"The server of '{connection.address}' does not offer TLS, and the connection demands it ({tls.mode}).",
            hint="Switch TLS on at the server, or change ssl_mode in the connection's extra.",
        )
    return session


@contextmanager
def session_for(
    connection: ConnectionInfo,
    doing: str,
    *,
    database: str | None = None,
    answer_seconds: float | None = None,
) -> Iterator[Session]:
    """A session while the block runs; pymysql's errors in the block become ours.

    :param doing: as ``explain`` has it. :param database, answer_seconds: as ``connect`` has them.
    :raises ServerUnreachable, AccessDenied, PrivilegeMissing, SourceError:
    """
    session = connect(connection, database=database, answer_seconds=answer_seconds)
    try:
        yield session
    except pymysql.err.MySQLError as error:
        raise explain(error, connection, doing=doing) from error
    finally:
        session.close()


def _session(tls: TlsOptions, socket: str | None, **options: Any) -> Session:
    try:
        return pymysql.connect(unix_socket=socket, **options, **_pymysql_tls(tls, socket))
    except pymysql.err.OperationalError as error:
        # To pymysql 1.2 and later, settings for TLS are a demand for it.
        if tls.required or error.args[0] != CR.CR_SSL_CONNECTION_ERROR:
            raise
        return pymysql.connect(unix_socket=socket, **options, ssl_disabled=True)


def _pymysql_tls(tls: TlsOptions, socket: str | None) -> dict[str, Any]:
    if tls.mode == "DISABLED" or socket is not None:
        return {"ssl_disabled": True}
    # With settings and a server without TLS, pymysql before 1.2 goes on in plain text: that is what "preferred" means.
    if not tls.verified:
        return {"ssl": _unverified(tls.files)}
    return {"ssl": {**tls.files, "check_hostname": tls.mode == "VERIFY_IDENTITY", "verify_mode": "required"}}


def _unverified(files: Mapping[str, str]) -> ssl.SSLContext:
    """Without the system's authorities: pymysql's own context reads them each time, which takes longer than to connect.

    :raises OSError: the certificate, its key or the ciphers cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if "cert" in files:
        context.load_cert_chain(files["cert"], files.get("key"))
    if "cipher" in files:
        context.set_ciphers(files["cipher"])
    return context


def _is_encrypted(session: Session) -> bool:
    rows = query(session, "SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    return bool(rows and rows[0][1])


def option_file_content(connection: ConnectionInfo, *, mariadb_tool: bool) -> str:
    """The ``[client]`` section that leads a client tool to the same server in the same way."""
    tls, socket = tls_options(connection), unix_socket(connection)
    lines = [f"user={_quoted(connection.login)}", f"password={_quoted(connection.password)}"]
    if socket is not None:
        lines += [f"socket={_quoted(socket)}", "protocol=socket"]
    else:
        # Without the protocol, the tools read "localhost" as the default socket and pymysql as TCP.
        lines += [f"host={_quoted(connection.host or 'localhost')}", f"port={connection.port or DEFAULT_PORT}"]
        lines += ["protocol=tcp", *_tool_tls(tls, mariadb_tool)]
    return "\n".join(["[client]", *lines, ""])


def _tool_tls(tls: TlsOptions, mariadb_tool: bool) -> list[str]:
    files = [f"ssl-{name}={_quoted(path)}" for name, path in tls.files.items()]
    if not mariadb_tool:
        return [f"ssl-mode={tls.mode}", *(files if tls.required else [])]
    if tls.mode == "DISABLED":
        return ["skip-ssl"]
    # "ssl" alone goes on in plain text too, but ``connect``, which comes first, has refused such a server by then.
    # MariaDB's tools cannot check the chain without the host name: VERIFY_CA becomes the stricter of the two.
    verify = "ssl-verify-server-cert" if tls.verified else "skip-ssl-verify-server-cert"
    return ["ssl", *files, verify]


def _quoted(value: str) -> str:
    if "\n" in value or "\r" in value or "\x00" in value:
        raise ConfigurationError(
            "The login, password, host or a TLS path of a MySQL connection holds a line break or a NUL character.",
            hint="Correct the connection.",
        )
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def query(session: Session, statement: str, arguments: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
    """The rows of one statement, with errors left as pymysql raises them."""
    with session.cursor() as cursor:
        cursor.execute(statement, arguments)
        return list(cursor.fetchall())


def ask(session: Session, question: str) -> object:
    """The first value of the first row of somebody's query, which cannot write to a table, however it is put."""
    query(session, "SET SESSION TRANSACTION READ ONLY")  # also what a procedure begins after a COMMIT of its own
    query(session, "START TRANSACTION READ ONLY")
    rows = query(session, question)
    return rows[0][0] if rows else None


def identifier(name: str) -> str:
    """A name as SQL writes it."""
    return "`" + name.replace("`", "``") + "`"


def error_code(error: BaseException) -> int:
    """The server's or client's error number; 0 when there is none."""
    code = error.args[0] if error.args else 0
    return code if isinstance(code, int) else 0


def explain(error: Exception, connection: ConnectionInfo, *, doing: str, database: str | None = None) -> BackupError:
    """The error of our tree for what pymysql raised while ``doing`` something to this connection's database."""
    code = error_code(error)
    said = str(error.args[1]) if len(error.args) > 1 else str(error)
    where = connection.address
    if isinstance(error, OSError) or code in _UNREACHABLE:
        return ServerUnreachable(
            f"Cannot {doing} '{where}': the server cannot be reached ({said}).",
            hint=f"Is the server running, and are host and port of the connection '{connection.conn_id}' right?",
        )
    if code in _DENIED:
        return AccessDenied(
            f"Cannot {doing} '{where}': the server refuses the login '{connection.login}' (error {code}).",
            hint=f"Check login and password of the connection '{connection.conn_id}'.",
        )
    if code == _UNKNOWN_DATABASE:
        return SourceError(
            f"The database '{database or connection.database}' does not exist on the server of '{where}'.",
            hint=f"Check the schema of the connection '{connection.conn_id}'.",
        )
    if code in _NO_PRIVILEGE:
        return PrivilegeMissing(
            f"Cannot {doing} '{where}': {said}.",
            hint=f"Grant what is missing to the user '{connection.login}'.",
        )
    return SourceError(f"Cannot {doing} '{where}': {said} (error {code}).", hint="See the server's error log.")
