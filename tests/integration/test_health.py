"""`db-backup health` over a real catalogue: backups of a real SQLite database, and made-up ones of other days."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup.catalog import AttemptOutcome, Catalog
from db_backup.manifest import Chain, Manifest, RunInfo, State
from db_backup.model import BackupType, Scope, utc_now
from support.factories import make_manifest, make_part, make_proof, make_state
from support.moto_server import S3Server
from support.project import Project
from support.shop_database import sqlite_database, unreachable

pytestmark = pytest.mark.integration

RUN = RunInfo(origin="cli")
OPENS = "encryption key opens the newest backup"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)


def made_up(*days: float, type: BackupType = BackupType.FULL, **overrides: Any) -> Iterator[tuple[Manifest, State]]:
    """Verified backups of `shop`, that many days old."""
    for age in days:
        created_at = utc_now() - timedelta(days=age)
        moments = {"finished_at": created_at + timedelta(minutes=1), "recovery_point": created_at}
        manifest = make_manifest(created_at=created_at, type=type, **moments, **overrides)
        proof = make_proof(checked_at=manifest.finished_at, evidence={"restore_seconds": 2.5})
        yield manifest, make_state(manifest, proof)


def remember(project: Project, *days: float, **overrides: Any) -> None:
    """Put them into the catalogue alone."""
    with Catalog.open(project.catalog) as catalog:
        for manifest, state in made_up(*days, **overrides):
            catalog.record(manifest, state)


def only_entry(document: dict[str, Any]) -> dict[str, Any]:
    (entry,) = document["databases"]
    return dict(entry)


def points(entry: dict[str, Any]) -> dict[str, float]:
    return {component["name"]: component["points"] for component in entry["components"]}


def results(entry: dict[str, Any]) -> dict[str, str]:
    return {control["name"]: control["result"] for control in entry["controls"]}


def test_an_entry_without_backups_is_there_and_critical(project: Project) -> None:
    document = project.json("health", exit_code=3)

    assert (document["score"], document["status"]) == (20, "critical")
    assert only_entry(document)["database"] == "shop"
    assert points(only_entry(document))["recent backup age"] == 0


def test_a_proven_backup_of_today_is_told_of_with_all_its_evidence(project: Project) -> None:
    project.json("create", "shop")

    document = project.json("health")
    entry = only_entry(document)

    # 30 for age, 25 for the proof, 5 for one type, 10/7 for one backup, 5 for compression, 20 for no failures
    assert (document["score"], document["status"]) == (86, "good")
    passed = {name for name, result in results(entry).items() if result == "pass"}
    assert passed - {"storage has room"} == {  # which depends on the disk that this runs on
        "RPO met",
        "RTO met",
        "verified restore within 30 days",
        "no backup failed verification",
        "every wanted copy exists",
        "size below the limit",
        "no backup dated in the future",
    }
    assert results(entry)["off-site copy exists"] == results(entry)["encrypted"] == "fail"


def test_a_well_kept_database_has_all_points(project: Project) -> None:
    remember(project, 0.1, 1, 2, 3, 4, 5, 6)
    remember(project, 3.5, type=BackupType.STRUCTURE)

    document = project.json("health")

    assert (document["score"], document["status"]) == (100, "excellent")
    assert [part["improvement"] for part in only_entry(document)["components"]] == [""] * 6


def test_the_worst_database_decides(project: Project, tmp_path: Path) -> None:
    remember(project, 0.1, 1, 2, 3, 4, 5, 6)
    config = yaml.safe_load(project.config.read_text())
    config["databases"]["forgotten"] = {"conn_id": "shop_db"}
    project.config.write_text(yaml.safe_dump(config))

    document = project.json("health", exit_code=3)

    scores = {entry["database"]: entry["score"] for entry in document["databases"]}
    assert scores == {"shop": 95, "forgotten": 20}
    assert document["score"] == 20


def test_a_missed_objective_ends_with_3_though_the_score_is_high(project: Project) -> None:
    remember(project, 1.1, 2, 3, 4, 5, 6, 7)

    document = project.json("health", exit_code=3)

    assert document["status"] == "good"
    assert results(only_entry(document))["RPO met"] == "fail"


def test_an_entry_is_held_against_its_own_objectives(project: Project) -> None:
    remember(project, 0.1)  # 2 hours and 24 minutes, restored in 2.5 seconds
    remember(project, 0.2, type=BackupType.STRUCTURE)
    usual = {time["type"]: time["target_seconds"] for time in only_entry(project.json("health"))["recovery_times"]}
    assert usual == {"full": 1800, "structure": 300}

    for minutes, targets in ((60, {"full": 3600, "structure": 300}), (1, {"full": 60, "structure": 60})):
        objectives(project, rto_minutes=minutes)
        times = only_entry(project.json("health"))["recovery_times"]
        assert {time["type"]: time["target_seconds"] for time in times} == targets
        assert {time["measured_seconds"] for time in times} == {2.5}

    objectives(project, rpo_minutes=120)
    document = project.json("health", exit_code=3)
    assert results(only_entry(document))["RPO met"] == "fail"
    assert "the target is 2h 00m" in project.run("health").stdout


def objectives(project: Project, **minutes: int) -> None:
    config = yaml.safe_load(project.config.read_text())
    config["databases"]["shop"]["objectives"] = minutes
    project.config.write_text(yaml.safe_dump(config))


def test_failed_and_killed_attempts_count_and_running_ones_do_not(project: Project) -> None:
    remember(project, 0.1)
    with Catalog.open(project.catalog) as catalog:
        catalog.finish_attempt(catalog.begin_attempt("shop", BackupType.FULL, RUN), AttemptOutcome.FAILED, error="no")
        for outcome in (AttemptOutcome.SUCCEEDED, AttemptOutcome.SUCCEEDED, AttemptOutcome.SKIPPED):
            catalog.finish_attempt(catalog.begin_attempt("shop", BackupType.FULL, RUN), outcome)
        catalog.begin_attempt("shop", BackupType.FULL, RUN)
        assert points(only_entry(project.json("health")))["error trend"] == pytest.approx(20 * 2 / 3)

        begin_and_die(project)
        assert points(only_entry(project.json("health")))["error trend"] == pytest.approx(20 * 2 / 4)


def begin_and_die(project: Project) -> None:
    """An attempt of a process that ends without a word."""
    script = (
        "import os; from pathlib import Path; from db_backup.catalog import Catalog;"
        "from db_backup.manifest import RunInfo; from db_backup.model import BackupType;"
        f"Catalog.open(Path({str(project.catalog)!r})).begin_attempt('shop', BackupType.FULL, RunInfo(origin='cli'));"
        "os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)


def test_more_backups_than_a_page_holds_are_all_counted(project: Project) -> None:
    with Catalog.open(project.catalog) as catalog:
        catalog.replace_index(made_up(*(0.001 * number for number in range(1, 1006))))

    components = {part["name"]: part for part in only_entry(project.json("health"))["components"]}

    assert components["verification"]["reason"] == "1005 of 1005 backups verified."


def test_a_lower_size_limit_is_noticed_before_a_backup_stops_at_it(project: Project) -> None:
    remember(project, 0.1, parts=(make_part("backup.dump.gz", stored_bytes=900_000),))

    assert results(only_entry(project.json("health", BACKUP_MAX_SIZE_MB="2")))["size below the limit"] == "pass"
    assert results(only_entry(project.json("health", BACKUP_MAX_SIZE_MB="1")))["size below the limit"] == "warning"
    assert results(only_entry(project.json("health", BACKUP_MAX_SIZE_MB="0")))["size below the limit"] == (
        "not_applicable"
    )


def test_a_person_reads_reasons_and_what_to_do(project: Project) -> None:
    done = project.run("health")

    assert done.returncode == 3
    assert "shop: 20 of 100, critical" in done.stdout
    assert "There is no backup to restore from." in done.stdout
    assert "db-backup create shop" in done.stdout
    assert "not applicable" in done.stdout
    assert done.stdout.rstrip().endswith("Overall: 20 of 100, critical")


@pytest.fixture
def served(tmp_path: Path) -> Project:
    """`shop`, a database of the server `main`, neither of which is asked anything."""
    project = Project(tmp_path / "served", {"main": unreachable(), "shop": unreachable()}, as_process=False)
    shop = {"conn_id": "shop_db", "server": "main"}
    document = {"version": 1, "servers": {"main": {"conn_id": "main_db"}}, "databases": {"shop": shop}}
    project.config.write_text(yaml.safe_dump(document))
    return project


@pytest.mark.parametrize(
    ("base", "increment", "result"),
    [(("gone",), ("gone", "crm"), "pass"), (("crm",), ("crm", "gone"), "pass"), (("crm",), ("crm",), "fail")],
)
def test_a_database_meets_its_rpo_by_the_chain_of_its_server_that_tells_of_it(
    served: Project, base: tuple[str, ...], increment: tuple[str, ...], result: str
) -> None:
    """The connection leads to the database `gone`; its own backup is four days old."""
    remember(served, 4.0)
    more = {"entry": "main", "scope": Scope.SERVER}
    ((full, state),) = made_up(1.0, **more, databases=base)
    chain = Chain(base_id=full.id, parent_id=full.id)
    increments = made_up(0.01, type=BackupType.INCREMENTAL, **more, databases=increment, chain=chain)
    with Catalog.open(served.catalog) as catalog:
        for backup in ((full, state), *increments):
            catalog.record(*backup)

    entries = {entry["database"]: entry for entry in served.json("health", exit_code=3)["databases"]}
    assert results(entries["shop"])["RPO met"] == result
    assert results(entries["main"])["RPO met"] == "pass"
    assert results(entries["main"])["chain unbroken"] == "pass"


def test_a_chain_that_broke_is_told_by_the_audit_trail(project: Project) -> None:
    project.config.write_text(
        yaml.safe_dump({"databases": {"shop": {"conn_id": "shop_db", "types": ["full", "incremental"]}}})
    )
    full = project.json("create", "shop", "--type", "incremental", "--no-verify")["backups"][0]["id"]
    assert results(only_entry(project.json("health")))["chain unbroken"] == "not_applicable"
    (part,) = (part["path"] for part in project.manifest(full)["parts"] if part["stream"] == "pages")
    pages = project.storage / "database" / part
    pages.write_bytes(bytes(pages.stat().st_size))
    project.json("create", "shop", "--type", "incremental", "--no-verify")
    (told,) = (one for one in only_entry(project.json("health"))["controls"] if one["name"] == "chain unbroken")
    assert told["result"] == "warning"
    assert full in told["evidence"]


def test_an_encrypted_backup_that_is_locked_off_site_passes_all_that_asks_for_it(
    project: Project, s3_server: S3Server
) -> None:
    extra = {"endpoint_url": s3_server.endpoint, "region_name": s3_server.region}
    connection = {"conn_type": "aws", "login": s3_server.key_id, "password": s3_server.secret, "extra": extra}
    project.environment["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(connection)
    vault = {"url": f"s3://{s3_server.new_bucket(locked=True)}/b", "object_lock": "governance", "off_site": True}
    entry = {"conn_id": "shop_db", "encrypt": True, "storages": ["local", "vault"]}
    document = {"version": 1, "storages": {"vault": {**vault, "quota_mb": 100}}, "databases": {"shop": entry}}
    project.config.write_text(yaml.safe_dump(document))
    about = ("off-site copy exists", "immutable copy", "encrypted", "key rotated within 365 days", OPENS)

    project.environment["BACKUP_KEYS_PATH"] = str(project.folder / "keys")
    project.json("keys", "generate", "default")
    project.json("create", "shop")
    project.json("keys", "list", "--check")
    found = results(only_entry(project.json("health")))
    assert {name: found[name] for name in about} == dict.fromkeys(about, "pass")

    (project.folder / "keys" / "default.json").unlink()
    project.run("keys", "list", "--check")
    lost = results(only_entry(project.json("health")))
    assert {name for name in about if lost[name] == "fail"} == {"key rotated within 365 days", OPENS}
