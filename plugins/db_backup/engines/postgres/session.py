"""How we reach a PostgreSQL server: psycopg's parameters, the tools' environment, and errors in our own words."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from typing import Any, cast

import psycopg
from psycopg import conninfo

from db_backup.errors import (
    AccessDenied,
    BackupError,
    ConfigurationError,
    PrivilegeMissing,
    ScratchUnavailable,
    ServerUnreachable,
    SourceError,
)
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.stream.process import option_file

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_TIMEOUT_SECONDS = 10
# Values must print the same whatever the server, the database or the role has set (pg_dump sets the others itself).
_PRINTING = {"datestyle": "ISO", "timezone": "UTC", "bytea_output": "hex"}
# What the server, the database or the role allows its other sessions; a backup takes as long as it takes.
_UNLIMITED = {"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0"}
_IDLE_SESSION_TIMEOUT_SINCE = 140000  # as a setting at the start of a session, older servers would refuse it
# How long a server goes on sending to a replica of which it hears nothing: what we read goes to storages, which may
# keep us waiting.
_SLOW_READER = " -c wal_sender_timeout=1h"
# libpq's parameters that a connection's extra may hold, and the variables that tell them to the tools
# (PostgreSQL manual, "libpq", "Environment Variables").
_ENVIRONMENT = {
    "hostaddr": "PGHOSTADDR",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslsni": "PGSSLSNI",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "channel_binding": "PGCHANNELBINDING",
    "require_auth": "PGREQUIREAUTH",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
_DENIED = re.compile(
    r'authentication failed|no password supplied|no pg_hba\.conf entry|pg_hba\.conf rejects|role ".*" does not exist'
    r'|role ".*" is not permitted|permission denied for database|requires a valid client certificate'
)
_QUESTION = re.compile(r"Is the server running [^?]*\?")  # libpq's hint; ours asks the same
_PSYCOPG_ONLY = ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")


class MissingDatabase(SourceError):
    """The server answered, and has no database of this name."""


def _extras(connection: ConnectionInfo, names: Mapping[str, str] | tuple[str, ...]) -> dict[str, str]:
    if connection.extra.get("sslpassword"):
        raise ConfigurationError(
            f"The connection '{connection.conn_id}' has an sslpassword, which pg_dump can only be given in the open.",
            hint="Use a key file without a passphrase that only this user can read.",
        )
    return {name: str(connection.extra[name]) for name in names if connection.extra.get(name) not in {None, ""}}


def _options(connection: ConnectionInfo) -> str:
    """Session settings, of which the later ones win: limits are the connection's own where it has some."""
    own = str(connection.extra.get("options") or "")
    return " ".join(filter(None, (_words(_UNLIMITED), own, _words(_PRINTING))))


def _words(settings: Mapping[str, str]) -> str:
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def _parameters(connection: ConnectionInfo, database: str, *, replication: bool) -> dict[str, str]:
    addresses = {
        "host": connection.host,
        "port": str(connection.port or ""),
        "user": connection.login,
        "password": connection.password,
        "dbname": database,
    }
    return {
        **{name: value for name, value in addresses.items() if value},
        "options": _options(connection) + (_SLOW_READER if replication else ""),
        **({"replication": "true"} if replication else {}),
        "connect_timeout": str(CONNECT_TIMEOUT_SECONDS),
        "keepalives_idle": "60",  # seconds; the snapshot's connection is idle while the dump runs
        "application_name": "db-backup",
        "client_encoding": "UTF8",
        **_extras(connection, (*_ENVIRONMENT, *_PSYCOPG_ONLY)),
    }


def connect(
    connection: ConnectionInfo, *, entry: str | None = None, autocommit: bool = True, replication: bool = False
) -> Connection:
    """A connection, to be closed by the caller.

    :param entry: names the database in errors.
    :param replication: one that speaks the replication protocol, of no database.
    :raises ServerUnreachable, AccessDenied, ConfigurationError, SourceError:
    :raises ScratchUnavailable: instead of ServerUnreachable, where it is a scratch server.
    """
    if not connection.database:
        raise ConfigurationError(
            f"The connection '{connection.conn_id}' names no database.",
            hint="Write the database's name into its schema field.",
            database=entry,
        )
    try:
        link = psycopg.connect(
            "",
            autocommit=autocommit,
            **cast("dict[str, Any]", _parameters(connection, connection.database, replication=replication)),
        )
        with ExitStack() as unless_it_fails:
            unless_it_fails.callback(link.close)
            # One that is not autocommitting is in a transaction whenever it waits for us.
            if autocommit and not replication and link.info.server_version >= _IDLE_SESSION_TIMEOUT_SINCE:
                link.execute("SET idle_session_timeout = 0")
            unless_it_fails.pop_all()
    except psycopg.Error as error:
        raise _connect_error(connection, error, entry) from None  # its context could hold the parameters
    return link


@contextmanager
def connected(
    connection: ConnectionInfo,
    *,
    entry: str | None = None,
    cancellation: Cancellation | None = None,
    replication: bool = False,
) -> Iterator[Connection]:
    """An autocommitting connection while the block runs; psycopg's errors in the block become ours.

    :param entry: names the database in errors.
    :param replication: as of ``connect``.
    :param cancellation: hangs up: a question that waits for a lock, or for a server that has stopped, may have no end.
    :raises Interrupted: it did.
    :raises ServerUnreachable, AccessDenied, PrivilegeMissing, ConfigurationError, SourceError:
    :raises ScratchUnavailable: instead of ServerUnreachable, where it is a scratch server.
    """
    watched = cancellation or Cancellation()
    with (
        _translated(connection, entry, watched),
        closing(connect(connection, entry=entry, replication=replication)) as link,
        watched.on_cancel(partial(_hang_up, link)),
    ):
        yield link


def _hang_up(link: Connection) -> None:
    """From any thread: whoever waits for the server's answer gets an error instead."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(link.fileno())) as line:  # it may be closed
        line.shutdown(socket.SHUT_RDWR)


def rows(connection: Connection, query: str, **values: object) -> list[tuple[Any, ...]]:
    """Run a query of ours; ``%(name)s`` are its values."""
    return connection.execute(query, values or None).fetchall()


def value(connection: Connection, query: str, **values: object) -> Any:
    """The only value of a query's only row."""
    return rows(connection, query, **values)[0][0]


@contextmanager
def tool_environment(connection: ConnectionInfo) -> Iterator[dict[str, str]]:
    """The variables with which the stock tools reach this database; the password lies in a 0600 file meanwhile."""
    variables = {
        "PGHOST": connection.host,
        "PGPORT": str(connection.port or ""),
        "PGUSER": connection.login,
        "PGDATABASE": connection.database,
        "PGOPTIONS": _options(connection),
        "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT_SECONDS),
        "PGAPPNAME": "db-backup",
        **{_ENVIRONMENT[name]: text for name, text in _extras(connection, _ENVIRONMENT).items()},
    }
    with ExitStack() as stack:
        if connection.password:
            secret = connection.password.replace("\\", "\\\\").replace(":", "\\:")
            variables["PGPASSFILE"] = str(stack.enter_context(option_file(f"*:*:*:*:{secret}\n")))
        yield {name: text for name, text in variables.items() if text}


def database_argument(connection: ConnectionInfo) -> str:
    """The database for a tool's ``-d``: a conninfo string, for a bare name with ``=`` in it would be read as one."""
    return conninfo.make_conninfo("", dbname=connection.database)


def is_scratch(connection: ConnectionInfo) -> bool:
    """Whether it leads to a server of ours that is thrown away afterwards."""
    return connection.scratch


def scratch_lost(what: str, entry: str | None) -> ScratchUnavailable:
    """A scratch server that has gone or has no room says nothing about the backup."""
    return ScratchUnavailable(
        f"The scratch server was lost: {what}.",
        hint="See that BACKUP_SCRATCH_PATH has room and that nothing ends its processes, and verify again.",
        database=entry,
    )


def one_line(text: object) -> str:
    """A server's or a tool's words, to be ended with a full stop."""
    return " ".join(_QUESTION.sub("", str(text)).split()).rstrip(".")


def _connect_error(connection: ConnectionInfo, error: psycopg.Error, entry: str | None) -> BackupError:
    """libpq gives no error code for a failed connection, only its text."""
    text = one_line(error)
    if isinstance(error, psycopg.ProgrammingError) or re.search(r"invalid \S+ value", text):
        return ConfigurationError(
            f"The connection '{connection.conn_id}' cannot be used: {text}.",
            hint="Correct its extra fields.",
            database=entry,
        )
    where = f"PostgreSQL at {connection.address} (connection '{connection.conn_id}')"
    if re.search(r'database ".*" does not exist', text):
        return MissingDatabase(
            f"There is no database '{connection.database}' at {connection.address}: {text}.",
            hint="Correct the schema field of the connection, or create the database.",
            database=entry,
        )
    if _DENIED.search(text):
        return AccessDenied(
            f"{where} did not let '{connection.login}' in: {text}.",
            hint="Correct the login and password of the connection, or the server's pg_hba.conf.",
            database=entry,
        )
    if is_scratch(connection):
        return scratch_lost(text, entry)
    return ServerUnreachable(
        f"{where} cannot be reached: {text}.",
        hint="Check that the server runs, and the host, the port and the TLS options of the connection.",
        database=entry,
    )


@contextmanager
def _translated(connection: ConnectionInfo, entry: str | None, cancellation: Cancellation) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise PrivilegeMissing(
            f"'{connection.login}' may not do this on {connection.address}: {one_line(error)}.",
            hint="Grant the right that the server names, or use a connection that has it.",
            database=entry,
        ) from error
    except psycopg.OperationalError as error:
        cancellation.check()
        if is_scratch(connection):
            raise scratch_lost(one_line(error), entry) from error
        raise ServerUnreachable(
            f"The connection to {connection.address} broke: {one_line(error)}.",
            hint="Look into the server's log, and run it again.",
            database=entry,
        ) from error
    except psycopg.Error as error:
        raise SourceError(
            f"PostgreSQL at {connection.address} refused a query: {one_line(error)}.",
            hint="Look into the server's log for what led to it.",
            database=entry,
        ) from error
