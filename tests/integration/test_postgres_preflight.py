"""What PostgreSQL would refuse pg_dump, or leave out in silence, is said before a dump starts."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from db_backup.comparison import compare
from db_backup.engines.base import DumpRequest
from db_backup.engines.postgres import PostgresEngine, open_scratch
from db_backup.errors import (
    AccessDenied,
    ConfigurationError,
    FeatureNotAvailable,
    LoadFailed,
    PrivilegeMissing,
    ServerUnreachable,
    SourceError,
)
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation
from support.dumps import REQUEST, dump_of, load
from support.lab_postgres import PostgresLab
from support.postgres_server import PostgresServer

pytestmark = pytest.mark.integration

AsUser = Callable[[str, str], PostgresEngine]


@pytest.fixture
def as_user(postgres_server: PostgresServer, postgres_lab: PostgresLab) -> AsUser:
    """An engine for a database as a new user: ``as_user(database, "GRANT … TO {user}; ALTER ROLE {user} …")``."""

    def connect(database: str, grants: str) -> PostgresEngine:
        user, password = postgres_server.create_user()
        for statement in filter(None, grants.split(";")):
            postgres_server.run(statement.format(user=user), database=database)
        return PostgresEngine(postgres_server.connection(database, user=user, password=password), postgres_lab.options)

    return connect


@pytest.fixture
def database(postgres_server: PostgresServer) -> str:
    return postgres_server.create_database(
        "CREATE TABLE seen (id serial, a integer)",
        "INSERT INTO seen (a) VALUES (1), (2)",
        "CREATE SCHEMA inner_room",
        "CREATE TABLE inner_room.hidden (a integer)",
    )


READS_ALL = "GRANT pg_read_all_data TO {user}"


def test_a_user_that_may_read_everything_is_enough(database: str, as_user: AsUser) -> None:
    engine = as_user(database, READS_ALL)
    dumped = dump_of(engine)
    assert {table.name: table.rows for table in dumped.manifest.inventory.tables} == {
        "public.seen": 2,
        "inner_room.hidden": 0,
    }


@pytest.mark.parametrize(
    ("grants", "named"),
    [
        (
            "GRANT SELECT ON seen, seen_id_seq TO {user}; GRANT USAGE ON SCHEMA inner_room TO {user}",
            "inner_room.hidden",
        ),
        ("GRANT SELECT ON seen, seen_id_seq, inner_room.hidden TO {user}", "inner_room.hidden"),
        (
            "GRANT SELECT ON seen, inner_room.hidden TO {user}; GRANT USAGE ON SCHEMA inner_room TO {user}",
            "public.seen_id_seq",
        ),
        ("GRANT SELECT (a) ON seen TO {user}; GRANT SELECT ON seen_id_seq TO {user}", "public.seen"),
    ],
    ids=["table", "schema", "sequence", "only a column"],
)
def test_what_the_user_may_not_read_is_refused_by_name(database: str, as_user: AsUser, grants: str, named: str) -> None:
    engine = as_user(database, grants)
    with pytest.raises(PrivilegeMissing, match=f"'shop' was not backed up.*{named}") as caught:
        engine.preflight(REQUEST)
    assert "Grant SELECT" in caught.value.hint
    with pytest.raises(PrivilegeMissing):
        dump_of(engine)


def test_row_level_security_is_refused_until_the_user_bypasses_it(
    postgres_server: PostgresServer, database: str, as_user: AsUser
) -> None:
    postgres_server.run(
        "ALTER TABLE seen ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY few ON seen USING (a = 1)",
        database=database,
    )
    with pytest.raises(PrivilegeMissing, match=r"public\.seen.*row-level security.*BYPASSRLS"):
        as_user(database, READS_ALL).preflight(REQUEST)
    dumped = dump_of(as_user(database, READS_ALL + ";ALTER ROLE {user} BYPASSRLS"))
    assert {table.name: table.rows for table in dumped.manifest.inventory.tables}["public.seen"] == 2


def test_a_table_whose_owner_keeps_its_own_rules_is_proved_by_restoring_it(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, database: str
) -> None:
    """FORCE ROW LEVEL SECURITY holds for the scratch server's ordinary user too, who owns the table there."""
    postgres_server.run(
        "ALTER TABLE seen ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE seen FORCE ROW LEVEL SECURITY",
        "CREATE POLICY few ON seen USING (a = 1)",
        database=database,
    )
    source = PostgresEngine(postgres_lab.connection(database), postgres_lab.options)
    dumped = dump_of(source)
    with open_scratch(dumped.manifest.server, postgres_lab.options.scratch_path, Cancellation()) as scratch:
        target = load(PostgresEngine(scratch, source.options), database, dumped)
        assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()


def test_a_function_that_finds_nothing_without_its_search_path_fails_the_restore_by_name(
    postgres_server: PostgresServer, postgres_lab: PostgresLab
) -> None:
    """pg_dump's scripts run with an empty search_path (PostgreSQL manual, "pg_dump", "Notes")."""
    database = postgres_server.create_database(
        "CREATE FUNCTION inner_one(a integer) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT a + 1'",
        "CREATE FUNCTION outer_one(a integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql "
        "AS 'BEGIN RETURN inner_one(a); END'",
        "CREATE TABLE t (a integer)",
        "INSERT INTO t VALUES (1)",
        "CREATE INDEX by_outer ON t (outer_one(a))",
    )
    source = PostgresEngine(postgres_lab.connection(database), postgres_lab.options)
    dumped = dump_of(source)
    with (
        open_scratch(dumped.manifest.server, postgres_lab.options.scratch_path, Cancellation()) as scratch,
        pytest.raises(LoadFailed, match="inner_one"),
    ):
        load(PostgresEngine(scratch, source.options), database, dumped)


def test_a_pg_dump_of_an_older_minor_version_is_a_warning(
    postgres_server: PostgresServer,
    postgres_lab: PostgresLab,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    major = postgres_server.run("SHOW server_version_num")[0][0][:-4]
    tool = tmp_path / "pg_dump"
    tool.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "pg_dump (PostgreSQL) {major}.0"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    engine = PostgresEngine(postgres_lab.connection(database), postgres_lab.options)
    assert any(f"pg_dump is {major}.0, older than the server" in text for text in engine.preflight(REQUEST).warnings)


def test_large_objects_of_others_are_refused_by_number(
    postgres_server: PostgresServer, database: str, as_user: AsUser
) -> None:
    ((oid,),) = postgres_server.run("SELECT lo_from_bytea(0, 'x')", database=database)
    engine = as_user(database, READS_ALL)
    with pytest.raises(PrivilegeMissing, match=f"large objects {oid}"):
        engine.preflight(REQUEST)
    postgres_server.run(f"GRANT SELECT ON LARGE OBJECT {oid} TO {engine.connection.login}", database=database)
    dumped = dump_of(engine)
    assert "1 large objects" in " ".join(dumped.manifest.warnings)


def test_what_a_restore_will_need_is_warned_of(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, database: str
) -> None:
    role, _ = postgres_server.create_user()
    postgres_server.run(
        "CREATE EXTENSION hstore",
        "CREATE UNLOGGED TABLE fleeting (a integer)",
        "CREATE EXTENSION file_fdw",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        "CREATE FOREIGN TABLE elsewhere (a text) SERVER files OPTIONS (filename '/dev/null')",
        f"CREATE USER MAPPING FOR {role} SERVER files",
        f"ALTER TABLE seen OWNER TO {role}",
        f"ALTER DATABASE {database} SET work_mem = '8MB'",
        "CREATE TABLE priced (price money)",
        "CREATE TABLE doubled (a integer)",
        "INSERT INTO doubled VALUES (1), (1)",
        database=database,
    )
    with postgres_server.connect(database) as link, pytest.raises(Exception, match="duplicat"):
        link.execute("CREATE UNIQUE INDEX CONCURRENTLY doubled_once ON doubled (a)")
    engine = PostgresEngine(postgres_lab.connection(database), postgres_lab.options)
    told = "\n".join(engine.preflight(REQUEST).warnings)
    for what in (
        r"foreign tables are not in the backup: public.elsewhere",
        "fleeting",
        "extensions must be installed where this backup is restored: file_fdw, hstore",
        role,
        "work_mem=8MB",
        "Invalid indexes are not in the backup: public.doubled_once",
        "lc_monetary",
        "User mappings",
    ):
        assert what in told
    assert "doubled_once" not in {item.name for item in dump_of(engine).manifest.inventory.objects}


def test_the_estimate_is_near_what_the_dump_is(postgres_server: PostgresServer, postgres_lab: PostgresLab) -> None:
    database = postgres_server.create_database(
        "CREATE TABLE t (a text)", "INSERT INTO t SELECT repeat(md5(g::text), 30) FROM generate_series(1, 20000) g"
    )
    engine = PostgresEngine(postgres_lab.connection(database), postgres_lab.options)
    estimate = engine.preflight(REQUEST).estimated_plain_bytes
    assert estimate is not None
    assert 0.5 < estimate / len(dump_of(engine).plain) < 3


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"database": "no_such"}, SourceError, "no database 'no_such'"),
        ({"database": ""}, ConfigurationError, "names no database"),
        ({"login": "nobody_here"}, AccessDenied, "did not let 'nobody_here' in"),
        ({"password": ""}, AccessDenied, "no password supplied"),
        ({"host": "host.invalid"}, ServerUnreachable, "host.invalid"),
        ({"extra": {"sslmode": "require"}}, ServerUnreachable, "SSL"),
        ({"extra": {"sslmode": "sometimes"}}, ConfigurationError, "sslmode"),
    ],
)
def test_a_wrong_connection_is_told_by_what_is_wrong(
    postgres_server: PostgresServer,
    postgres_lab: PostgresLab,
    change: dict[str, object],
    error: type[Exception],
    says: str,
) -> None:
    connection: ConnectionInfo = dataclasses.replace(postgres_server.connection("postgres"), **change)
    with pytest.raises(error, match=says) as caught:
        PostgresEngine(connection, postgres_lab.options).check()
    assert postgres_server.password not in str(caught.value)


def test_what_is_not_there_yet_is_refused(postgres_lab: PostgresLab) -> None:
    connection = postgres_lab.connection("postgres")
    with pytest.raises(FeatureNotAvailable, match="incremental"):
        PostgresEngine(connection, postgres_lab.options).preflight(DumpRequest("shop", BackupType.INCREMENTAL))


def test_tls_options_reach_psycopg_and_pg_dump(tmp_path: Path, postgres_lab: PostgresLab) -> None:
    with PostgresServer.start() as server:
        database = server.create_database("CREATE TABLE t (a integer)")
        authority = demand_tls(server)
        connection = server.connection(
            database, extra={"sslmode": "verify-full", "sslrootcert": str(authority), "cursor": "dictcursor"}
        )
        dumped = dump_of(PostgresEngine(connection, postgres_lab.options))
        assert [table.name for table in dumped.manifest.inventory.tables] == ["public.t"]

        plain_text = dataclasses.replace(connection, extra={"sslmode": "disable"})
        with pytest.raises(AccessDenied, match="no encryption"):
            PostgresEngine(plain_text, postgres_lab.options).check()
        stranger = make_certificate(tmp_path, "stranger")
        untrusted = dataclasses.replace(connection, extra={"sslmode": "verify-full", "sslrootcert": str(stranger)})
        with pytest.raises(ServerUnreachable, match="certificate verify failed"):
            PostgresEngine(untrusted, postgres_lab.options).check()


def make_certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key beside it."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return folder / f"{name}.crt"


def demand_tls(server: PostgresServer) -> Path:
    """Make the server refuse everything but TLS; its certificate."""
    data = server.folder / "data"
    certificate = make_certificate(data, "server")
    for file in (certificate, certificate.with_suffix(".key")):
        file.chmod(0o600)
        os.chown(file, data.stat().st_uid, data.stat().st_gid)  # the server's user must own its key
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    server.run("ALTER SYSTEM SET ssl_cert_file = 'server.crt'", "ALTER SYSTEM SET ssl_key_file = 'server.key'")
    server.run("ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
    return certificate
