"""The fields of an Airflow connection to a cloud, read as Airflow's providers read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from db_backup.connections.airflow import mask_in_task
from db_backup.connections.text import AirflowConnection, connection_variable
from db_backup.errors import ConfigurationError

_NOTHING = AirflowConnection("", "", "", "", "", None, {})


@dataclass(frozen=True)
class Fields:
    """A connection's fields, or those of none at all. What is wrong with one is told without its value.

    ``exists``: somebody defined the connection.
    """

    conn_id: str
    connection: AirflowConnection = _NOTHING

    @property
    def exists(self) -> bool:
        return self.connection is not _NOTHING

    @property
    def host(self) -> str:
        return self.connection.host

    @property
    def login(self) -> str:
        return self.connection.login

    @property
    def password(self) -> str:
        mask_in_task(self.connection.password)
        return self.connection.password

    def value(self, name: str) -> object:
        """A field of the extra; older forms of Airflow wrote it as ``extra__<type>__<name>``."""
        extra = self.connection.extra
        return extra.get(name, extra.get(f"extra__{self.connection.conn_type}__{name}"))

    def text(self, name: str) -> str:
        """Empty where there is none. :raises ConfigurationError: it is no text."""
        value = self.value(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.wrong(f"its {name} is not a text", f"Write {name} in quotes.")
        return value.strip()

    def secret(self, name: str) -> str:
        """As :meth:`text`; Airflow masks it in a task's log from now on."""
        text = self.text(name)
        mask_in_task(text)
        return text

    def flag(self, name: str) -> bool:
        """Whether it is true; a connection that is a URI has only texts."""
        value = self.value(name)
        return value.strip().lower() == "true" if isinstance(value, str) else bool(value)

    def mapping(self, name: str) -> Mapping[str, object]:
        """An object, or the text of one; empty where there is none. :raises ConfigurationError: it is neither."""
        value = self.value(name)
        if isinstance(value, str) and value.strip():
            try:
                value = json.loads(value)
            except ValueError:
                raise self.wrong(f"its {name} is not JSON", f"Paste the whole JSON document into {name}.") from None
        if not value:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(f"its {name} is not a JSON object", f'Write {name} as {{"name": value}}.')
        return value

    def trust(self, name: str) -> tuple[Path | None, bool]:
        """Of a field that is false, or the path of a PEM file: the file, and whether certificates are checked at all.

        :raises ConfigurationError: there is no such file.
        """
        value = self.value(name)
        if isinstance(value, str) and value.strip().lower() in {"false", "true"}:
            value = value.strip().lower() == "true"
        if not isinstance(value, str) or not value.strip():
            return None, value is not False
        path = Path(value.strip()).expanduser()
        if not path.is_file():
            raise self.wrong(f"its {name} names {path}, and there is no such file", "Put the certificate there.")
        return path, True

    def wrong(self, what: str, fix: str) -> ConfigurationError:
        """What is wrong with the connection, completed by what to do."""
        return ConfigurationError(f"The connection '{self.conn_id}' cannot be used: {what}.", hint=fix)

    def lacking(self, what: str, example: str) -> ConfigurationError:
        """Nothing here gives credentials. ``what``: where they were looked for; ``example``: the connection in JSON."""
        variable = connection_variable(self.conn_id)
        if self.exists:
            told = f"The connection '{self.conn_id}' has no credentials, and there are none {what}."
        else:
            told = f"There is no connection '{self.conn_id}', and there are no credentials {what}."
        return ConfigurationError(told, hint=f"Fill it in in Airflow, or set {variable}='{example}'.")
