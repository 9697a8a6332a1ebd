"""Reads the environment and the project's ``.env`` into :class:`Settings`, and refuses what is wrong, all at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from db_backup.errors import ConfigurationError
from db_backup.settings.definition import MASK, Settings, details_of, missing_feature, text_of, variable_names
from db_backup.settings.places import Places, airflow_home, project_root
from db_backup.settings.problems import Problem, did_you_mean, explain, nearest, refusal

_PREFIXES = ("BACKUP_", "MYSQL_BACKUP_", "PGSQL_BACKUP_")


class _Variables(PydanticBaseSettingsSource):
    """One place that variables come from. An empty value counts as not set, as ``NAME=`` in ``.env`` is meant."""

    def __init__(self, settings_class: type[BaseSettings], variables: Mapping[str, str], places: Places) -> None:
        super().__init__(settings_class)
        self._variables = variables
        self._places = places

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        text = self._variables.get(field_name.upper(), "").strip()
        is_path = field.annotation is Path
        return (self._places.absolute(text) if text and is_path else text or None), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def load_settings(environment: Mapping[str, str] | None = None, *, root: Path | None = None) -> Settings:
    """The settings as they stand: environment, then ``.env`` in the project's root, then defaults.

    An unknown ``BACKUP_…``, ``MYSQL_BACKUP_…`` or ``PGSQL_BACKUP_…`` variable is refused in ``.env``, which is ours;
    in the environment it is left alone, for other programs use these prefixes too.

    :param environment: in place of the process's own.
    :param root: in place of :func:`project_root`.
    :raises ConfigurationError: values that cannot be, or unknown names; each with the nearest valid one.
    :raises FeatureNotAvailable: a setting away from its default whose feature is not there yet.
    """
    environment = os.environ if environment is None else environment
    places = Places(root or project_root(environment), airflow_home(environment))
    file_variables = read_dotenv(places.root / ".env")
    defaults = {
        name.upper(): details_of(field)["default"]
        for name, field in Settings.model_fields.items()
        if field.annotation is Path
    }
    origins = _origins(environment, file_variables)
    problems = [
        _unknown(name) for name in file_variables if name.startswith(_PREFIXES) and name not in variable_names()
    ]
    sources = tuple(_Variables(Settings, variables, places) for variables in (environment, file_variables, defaults))
    try:
        settings = Settings(_build_sources=(sources, {}))
    except ValidationError as error:
        # Not chained: pydantic's own message would print every value.
        raise refusal("Settings", problems + [_wrong(details, origins) for details in error.errors()]) from None
    settings._origins = origins
    settings._root = places.root
    problems += _not_yet(settings)
    if problems:
        raise refusal("Settings", problems)
    return settings


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a ``.env`` file, taken literally (``$`` stands for itself); none when there is no file.

    :raises ConfigurationError: it cannot be read, or a line is no assignment.
    """
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"{path} cannot be read: {reason}.", hint="Make it readable for the user who runs this, or remove it."
        ) from error
    variables = {}
    for binding in bindings:
        if binding.error or (binding.key and binding.value is None):
            raise ConfigurationError(
                f"{path}, line {binding.original.line}: this is not an assignment.", hint="Write NAME=value."
            )
        if binding.key is not None:
            variables[binding.key] = binding.value or ""
    return variables


def _origins(environment: Mapping[str, str], file_variables: Mapping[str, str]) -> dict[str, str]:
    origins = {}
    for name in variable_names():
        if environment.get(name, "").strip():
            origins[name] = "environment"
        elif file_variables.get(name, "").strip():
            origins[name] = ".env"
    return origins


def _unknown(name: str) -> Problem:
    fix = did_you_mean(nearest(name, variable_names())) or "See docs/configuration.md for those there are."
    return Problem(f"{name} (.env)", "there is no such setting.", fix)


def _wrong(error: ErrorDetails, origins: Mapping[str, str]) -> Problem:
    name = str(error["loc"][0]).upper()
    secret = Settings.model_fields[name.lower()].annotation is SecretStr or "@" in str(error["input"])  # of a login
    what, fix = explain(error, show_value=not secret)
    return Problem(f"{name} ({origins.get(name, 'default')})", what, fix or f"Remove {name} to use its default.")


def _not_yet(settings: Settings) -> list[Problem]:
    problems = []
    for name in variable_names():
        feature = missing_feature(name, settings)
        if feature is not None:
            field = Settings.model_fields[name.lower()]
            shown = text_of(getattr(settings, name.lower()))
            what = f"'{shown}' asks for what this version does not have yet: {feature}."
            default = details_of(field)["default"]
            fix = f"Remove {name}" + (f", or set it to {default}." if default and shown != MASK else ".")
            problems.append(Problem(f"{name} ({settings.source_of(name)})", what, fix, not_yet=True))
    return problems
