"""A plan in sentences: for a person at a terminal, and for one who approves it in Airflow."""

from __future__ import annotations

from collections.abc import Iterator

from db_backup.jobs.restore.request import PlannedRecovery, RestorePlan, Way
from db_backup.model import BackupStatus, EngineName
from db_backup.units import human_bytes, human_duration

_STATUS = {
    BackupStatus.GOOD: "verified",
    BackupStatus.UNVERIFIED: "not verified",
    BackupStatus.SUSPECT: "suspect",
    BackupStatus.FAILED_VERIFICATION: "failed its verification",
    BackupStatus.DELETING: "being deleted",
}
_MOMENT = "%Y-%m-%d %H:%M:%S UTC"


def plan_lines(plan: RestorePlan, *, triggers_dags: bool = False) -> tuple[str, ...]:
    """What will be done, one sentence or two a line; warnings last, each beginning with that word.

    :param triggers_dags: whether whoever carries it out triggers the hooks' DAGs, as Airflow does.
    """
    return tuple(_lines(plan, triggers_dags))


def database_name(plan: RestorePlan) -> str:
    """What a person types to say yes: the target's name, of a file without its folder."""
    name = plan.target_database
    return name.rpartition("/")[2] if plan.engine is EngineName.SQLITE else name


def needs_confirmation(plan: RestorePlan) -> bool:
    """Whether a person has to say yes: something is replaced, or a protected database that is there is changed."""
    return plan.way is Way.REPLACE or (plan.protected and plan.way not in {Way.NEW, Way.SCRATCH})


def _lines(plan: RestorePlan, triggers_dags: bool) -> Iterator[str]:
    yield from _source(plan)
    yield _way(plan)
    if plan.leftover:
        yield f"{plan.leftover}, which an earlier restore left, is dropped first, with all that is in it."
    if plan.tables and plan.way is not Way.TABLES:
        yield f"Only these tables are restored: {', '.join(plan.tables)}."
    if not plan.same_server:
        yield f"This is another server than the backup was taken of ({plan.source_address})."
    if plan.protected:
        yield "The target is protected by its configuration."
    if plan.way is Way.REPLACE:
        yield from _replacing(plan)
    elif plan.safety_backup_of:
        yield f"A safety backup of '{plan.safety_backup_of}' is made first."
    if plan.with_owners:
        yield "Owners and grants are restored too; roles that the server lacks are made, without login."
    if plan.checks:
        when = "before it is put in place" if plan.way is Way.REPLACE else "afterwards"
        count = f"{len(plan.checks)} check{'' if len(plan.checks) == 1 else 's'}"
        yield f"{count} of the configuration, and a comparison with the manifest, follow {when}."
    yield from _hooks(plan, triggers_dags)
    if plan.estimated_seconds is not None:
        yield f"Restores of it took about {human_duration(plan.estimated_seconds)}, for its size."
    for warning in plan.warnings:
        yield f"Warning: {warning}"


def _source(plan: RestorePlan) -> Iterator[str]:
    if plan.recovery is not None:
        yield from _rebuilding(plan, plan.recovery)
    else:
        yield (
            f"{plan.backup_id}: a {plan.type} backup of '{plan.entry}' as it was at {plan.recovery_point:{_MOMENT}}, "
            f"{plan.rows:,} rows, {human_bytes(plan.size_bytes)} stored, {_STATUS[plan.status]}."
        )
    if plan.from_storage is not None:
        yield f"It is read from the storage '{plan.from_storage}' and from no other."


def _rebuilding(plan: RestorePlan, recovery: PlannedRecovery) -> Iterator[str]:
    base, *increments = recovery.links
    following = f" and the {len(increments)} increments up to {increments[-1]}" if len(increments) > 1 else ""
    if len(increments) == 1:
        following = f" and the increment {increments[0]}"
    of_server = "" if plan.engine is EngineName.SQLITE else f" of '{recovery.source}'"
    yield (
        f"The database '{recovery.source_database}'{of_server} as it was at {recovery.asked}, by {base}{following}: "
        f"{human_bytes(plan.size_bytes)} stored, {_STATUS[plan.status]}."
    )
    if recovery.time is not None and recovery.leads_to is not None and recovery.leads_to < recovery.time:
        yield (
            f"The last of these was made at {recovery.leads_to:{_MOMENT}}: what was written from then to the moment "
            "asked for is not in it."
        )
    if recovery.time is not None and recovery.leads_to is None and plan.engine is EngineName.MYSQL:
        yield f"A binlog tells whole seconds: what was committed later in {recovery.time:%H:%M:%S} UTC may be in it."
    what = "The file" if plan.engine is EngineName.SQLITE else f"All of '{recovery.source}'"
    where = "" if plan.engine is EngineName.SQLITE else "in a scratch server "
    yield (
        f"{what} is rebuilt {where}in BACKUP_SCRATCH_PATH first, and this database taken out of it, which takes about "
        f"{human_bytes(recovery.scratch_bytes)} there; if any of these backups is damaged, that shows before anything "
        "is changed."
    )


def _way(plan: RestorePlan) -> str:
    target = f"{plan.target_address} ({plan.target_server})"
    objects = f"{plan.holds} object{'' if plan.holds == 1 else 's'}"
    examples = f", such as {', '.join(plan.examples)}" if plan.examples else ""
    match plan.way:
        case Way.NEW:
            return f"It becomes a new database: {target}."
        case Way.EMPTY:
            return f"It goes into a database that is there and is empty: {target}."
        case Way.REPLACE:
            return f"It REPLACES {target}, which holds {objects}{examples}."
        case Way.ROWS:
            return f"Its rows go into the empty tables of {target}."
        case Way.TABLES:
            return (
                f"Of it {', '.join(plan.tables)} {'is' if len(plan.tables) == 1 else 'are'} added to {target}, "
                f"which holds {objects}{examples}: those stay as they are."
            )
        case Way.SCRATCH:
            return f"It goes into {target} that is thrown away; nothing else is touched."


def _replacing(plan: RestorePlan) -> Iterator[str]:
    if plan.safety_backup_of:
        yield (
            f"A safety backup of '{plan.safety_backup_of}' is made first, and read back. What is written to the target "
            "between it and the moment of replacing is in neither: let nothing write to it meanwhile."
        )
    else:
        yield "No safety backup is made: what the target holds cannot be brought back."
    yield "It is loaded beside the target and compared; until it takes its place, the target stays in service."
    if plan.engine is EngineName.SQLITE:
        yield (
            "Programs that have the file open go on in the restored database; while one has it locked, it is not "
            "replaced."
        )
    elif plan.sessions is None:
        yield "Sessions on the target are ended then; nobody can know how many there are."
    elif plan.sessions:
        yield f"Sessions on the target are ended then: {plan.sessions} at present."


def _hooks(plan: RestorePlan, triggers_dags: bool) -> Iterator[str]:
    named = [(plan.before_dag, "before"), (plan.after_dag, "afterwards")]
    dags = [f"'{dag}' {when}" for dag, when in named if dag]
    if dags and triggers_dags:
        yield f"DAGs are triggered: {', '.join(dags)}."
    elif dags:
        yield f"DAGs that Airflow would trigger are NOT run from here: {', '.join(dags)}. Do by hand what they do."
