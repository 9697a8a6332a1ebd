"""What the trigger forms share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from db_backup.errors import UsageError
from db_backup.settings.problems import did_you_mean, nearest


def refuse_unknown_keys(dag_id: str, conf: Mapping[str, Any] | None, params: Mapping[str, Any]) -> None:
    """What is no param Airflow makes one, unlooked at: "compresion" would change nothing, in silence.

    :param conf: the run's.
    :param params: the DAG's own.
    :raises UsageError:
    """
    for key in conf or {}:
        if key not in params:
            hint = did_you_mean(nearest(key, params)) or f"There are: {', '.join(params)}."
            raise UsageError(f"A run of {dag_id} takes no '{key}'.", hint=hint)
