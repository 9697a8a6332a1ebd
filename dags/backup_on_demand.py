"""Backups that somebody asks for, from the trigger form in Airflow's UI or over its REST API."""

from __future__ import annotations

from airflow.sdk import dag

from db_backup.operators.on_demand import on_demand_params, select_asked
from db_backup.operators.protection import cleanup, outcome, protect
from db_backup.operators.scheduling import on_demand_plan

PLAN = on_demand_plan()

DOC = """
### Backups on demand

Asks for databases, type, compression and so on; what is left empty is as the configuration says. Each database is
backed up and verified on its own; **cleanup** then deletes old backups of these entries and this type. **outcome**
prints what came of each, and fails the run when a task failed. Toggles such as `BACKUP_ENABLED` do not stop what a
person asks for.

Over REST, with only the keys that are wanted; values that cannot be are refused with status 400, and a key that is not
in the form fails the first task:

    POST /api/v2/dags/backup_on_demand/dagRuns
    {"logical_date": null, "conf": {"databases": ["shop"], "type": "structure", "compression": "zstd"}}
"""


@dag(**PLAN.dag_arguments, params=on_demand_params(), doc_md=DOC)
def backup_on_demand() -> None:
    databases = select_asked()
    protected = protect(
        databases,
        type="{{ params.type }}",
        compression="{{ params.compression }}",
        level="{{ params.level }}",
        storage="{{ params.storage }}",
        encrypt="{{ params.encrypt }}",
        retention_days="{{ params.retention }}",
        verify="{{ params.verify }}",
    )
    clean = cleanup(
        database=databases,
        type="{{ params.type }}",
        retention_days="{{ params.retention }}",
        enabled="{{ params.cleanup }}",
    )
    protected >> clean >> outcome(databases, follow_ups=[clean])


backup_on_demand()
