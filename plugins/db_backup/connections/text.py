"""How a connection is written in an ``AIRFLOW_CONN_<ID>`` variable: as a URI or as JSON, by Airflow's own rules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from db_backup.errors import ConfigurationError

_KEYS = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")


@dataclass(frozen=True)
class AirflowConnection:
    """A connection with Airflow's fields, whatever it was read from. It never prints."""

    conn_type: str
    host: str
    login: str
    password: str
    schema: str
    port: int | None
    extra: Mapping[str, object]

    def __repr__(self) -> str:
        return f"AirflowConnection({self.conn_type})"

    @property
    def fields(self) -> dict[str, object]:
        """What is set, as Airflow writes a connection in JSON; with its password."""
        values = {key: getattr(self, key, None) for key in _KEYS}
        return {key: dict(self.extra) if key == "extra" else value for key, value in values.items() if value}


def connection_variable(conn_id: str) -> str:
    """The name of the environment variable that stands for a connection."""
    return f"AIRFLOW_CONN_{conn_id.upper()}"


def connection_text(fields: Mapping[str, object]) -> str:
    """The value of such a variable, in Airflow's JSON."""
    return json.dumps(dict(fields))


def parse_connection(conn_id: str, text: str) -> AirflowConnection:
    """What an ``AIRFLOW_CONN_…`` variable says, by the rules of ``airflow.sdk.Connection.from_uri`` and ``from_json``.

    :raises ConfigurationError: it is neither; nothing of the text is in the message.
    """
    text = text.strip()
    try:
        return _parse_json(text) if text.startswith("{") else _parse_uri(text)
    except _Malformed as error:
        # Not chained: the causes quote pieces of the text, and the password is one of them.
        raise ConfigurationError(
            f"{connection_variable(conn_id)} is not a connection: {error}.",
            hint="Write it as postgres://user:password@host:5432/database, each part URL-encoded, or as JSON: "
            '{"conn_type": "postgres", "host": …, "login": …, "password": …, "schema": …}.',
        ) from None


class _Malformed(ValueError):
    """What is wrong with a connection's text, without a piece of it."""


def _parse_json(text: str) -> AirflowConnection:
    try:
        values = json.loads(text)
    except ValueError:
        raise _Malformed("it begins like JSON and is none") from None
    unknown = [key for key in values if key not in _KEYS]
    if unknown:
        raise _Malformed(f"it has the unknown key '{unknown[0]}' ({', '.join(_KEYS)} are known)")
    texts = {key: values.get(key) or "" for key in ("conn_type", "host", "login", "password", "schema")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise _Malformed(f"its '{key}' is not a text")
    try:
        port = int(values["port"]) if values.get("port") else None
    except (TypeError, ValueError):
        raise _Malformed("its port is not a number") from None
    return AirflowConnection(
        conn_type=normal_type(texts["conn_type"]),
        host=texts["host"],
        login=texts["login"],
        password=texts["password"],
        schema=texts["schema"],
        port=port,
        extra=_parse_extra(values.get("extra")),
    )


def _parse_uri(text: str) -> AirflowConnection:
    if "://" not in text or text.count("://") > 2:
        raise _Malformed("it is neither a URI nor JSON")
    nested = text.count("://") == 2  # "http://https://host": the host has a protocol of its own
    try:
        scheme = urlsplit(text).scheme
        rest = text.replace(f"{scheme}://", "" if nested else "//")
        parts = urlsplit(rest)
        port = parts.port
    except ValueError:
        raise _Malformed("its host or port cannot be read; URL-encode the user and the password") from None
    if nested and any(mark in rest.split("://", 1)[0] for mark in "@:"):
        raise _Malformed("it has a second protocol after the user")
    host = _host_of(parts)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return AirflowConnection(
        conn_type=normal_type(scheme),
        host=f"{parts.scheme}://{host}" if nested and host else host,
        login=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        schema=unquote(parts.path[1:]),
        port=port,
        extra=_parse_extra(query["__extra__"]) if "__extra__" in query else query,
    )


def _host_of(parts: SplitResult) -> str:
    """The host; ``hostname`` lower-cases it, which an encoded path (``sqlite://%2Fdata%2FShop.db``) must not be."""
    host = unquote(parts.hostname or "")
    if "/" in host:
        host = unquote(parts.netloc.rpartition("@")[2].partition(":")[0])
    return host


def normal_type(conn_type: str) -> str:
    """As Airflow names the type itself: it takes ``postgresql``, and dashes in place of underscores, in URIs."""
    return "postgres" if conn_type == "postgresql" else conn_type.replace("-", "_")


def _parse_extra(extra: object) -> dict[str, object]:
    if not extra:
        return {}
    try:
        values = json.loads(extra) if isinstance(extra, str) else extra
    except ValueError:
        raise _Malformed("its extra is not JSON") from None
    if not isinstance(values, dict):
        raise _Malformed("its extra is not a JSON object")
    return values
