"""What a MariaDB backup refuses, and what it warns of, on a real server with real users."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from db_backup.comparison import compare
from db_backup.engines.mysql import MysqlEngine, connecting
from db_backup.errors import (
    AccessDenied,
    PrivilegeMissing,
    ServerUnreachable,
    SourceError,
    ToolMissing,
    ToolVersionMismatch,
)
from db_backup.progress import Cancellation
from support.dumps import REQUEST, dump_of, load
from support.lab_mysql import MysqlLab
from support.mysql_server import MariaDbServer

pytestmark = pytest.mark.integration

EVERYTHING = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "LOCK TABLES")


@pytest.fixture
def database(mysql_lab: MysqlLab) -> Iterator[str]:
    name = mysql_lab.create_sample()
    yield name
    mysql_lab.drop(name)


def engine_as(lab: MysqlLab, server: MariaDbServer, database: str, *grants: str, user: str = "limited") -> MysqlEngine:
    password = server.create_user(user, *grants)
    return MysqlEngine(server.connection(database, user=user, password=password), lab.options)


def warnings(engine: MysqlEngine) -> str:
    return "\n".join(engine.preflight(REQUEST).warnings)


@pytest.mark.parametrize("missing", ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"])
def test_a_missing_privilege_is_refused_and_the_hint_is_the_statement_that_helps(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, missing: str
) -> None:
    others = ", ".join(name for name in EVERYTHING if name != missing)
    engine = engine_as(mysql_lab, mysql_server, database, f"{others} ON {database}.*", "SELECT ON mysql.proc")
    with pytest.raises(PrivilegeMissing, match=f"lacks {missing} ") as caught:
        dump_of(engine)
    mysql_server.run(caught.value.hint.rstrip(";"))
    assert dump_of(engine).manifest.inventory.tables


def test_routines_that_the_user_cannot_see_are_refused_and_the_hint_helps(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    engine = engine_as(mysql_lab, mysql_server, database, f"{', '.join(EVERYTHING)} ON {database}.*")
    with pytest.raises(PrivilegeMissing, match="stored routines") as caught:
        dump_of(engine)
    mysql_server.run(caught.value.hint.rstrip(";"))
    objects = {item.name for item in dump_of(engine).manifest.inventory.objects}
    assert {"count_orders", "vat"} <= objects


def test_rights_on_single_tables_are_not_enough(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    engine = engine_as(mysql_lab, mysql_server, database, f"SELECT, SHOW VIEW, TRIGGER ON {database}.marks")
    with pytest.raises(PrivilegeMissing):
        dump_of(engine)


def test_rights_through_a_default_role_count(mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str) -> None:
    engine = engine_as(mysql_lab, mysql_server, database)
    mysql_server.run(
        "CREATE OR REPLACE ROLE backups",
        f"GRANT {', '.join(EVERYTHING)} ON `{database[:4]}%`.* TO backups",
        "GRANT SELECT ON mysql.proc TO backups",
        "GRANT backups TO limited@'%'",
        "SET DEFAULT ROLE backups FOR limited@'%'",
    )
    assert dump_of(engine).manifest.inventory.tables
    mysql_server.run("DROP ROLE backups")


def test_everything_but_reload_is_enough_and_the_rest_is_a_warning(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    grants = (f"{', '.join(EVERYTHING)} ON {database}.*", "SELECT ON mysql.*")
    assert "GRANT RELOAD ON *.* TO" in warnings(engine_as(mysql_lab, mysql_server, database, *grants))
    assert "RELOAD" not in warnings(engine_as(mysql_lab, mysql_server, database, *grants, "RELOAD ON *.*"))


def test_an_invalid_view_is_left_out_and_its_sql_is_kept_as_a_warning(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    mysql_server.run(
        "CREATE TABLE gone (a int)",
        "CREATE VIEW broken AS SELECT a + 1 AS b FROM gone",
        "CREATE VIEW on_broken AS SELECT b FROM broken",
        "DROP TABLE gone",
        database=database,
    )
    source = MysqlEngine(mysql_lab.connection(database), mysql_lab.options)
    dumped = dump_of(source)
    (kept,) = [warning for warning in dumped.manifest.warnings if "'broken'" in warning]
    assert "`gone`.`a` + 1" in kept
    assert not {"broken", "on_broken"} & {item.name for item in dumped.manifest.inventory.objects}
    copy = mysql_lab.fresh_name()
    found = load(source, copy, dumped).take_inventory(dumped.manifest, Cancellation())
    assert compare(dumped.manifest.inventory, found) == ()
    mysql_lab.drop(copy)


def test_what_cannot_be_kept_exactly_is_a_warning(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    mysql_server.run(
        "CREATE TABLE loose (a float) ENGINE = MyISAM",
        "CREATE TABLE numbered (a int DEFAULT nextval(invoice_numbers))",
        "CREATE DEFINER = nobody@nowhere PROCEDURE orphan() SELECT 1",
        database=database,
    )
    said = warnings(MysqlEngine(mysql_lab.connection(database), mysql_lab.options))
    assert "locked against writing while the dump ran: loose (MyISAM)" in said
    assert "FLOAT columns in tables without a primary key" in said
    assert f"name their sequence together with the database '{database}': numbered" in said
    assert "nobody@nowhere" in said


def test_a_float_loses_the_digits_that_the_warning_names(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    mysql_server.run(
        "CREATE TABLE rounded (id int PRIMARY KEY, narrow float, wide double)",
        "INSERT INTO rounded VALUES (1, 16777215, 16777215)",
        database=database,
    )
    source = MysqlEngine(mysql_lab.connection(database), mysql_lab.options)
    dumped = dump_of(source)
    copy = mysql_lab.fresh_name()
    load(source, copy, dumped)
    question = "SELECT narrow = wide, wide = 16777215 FROM rounded"
    assert mysql_server.run(question, database=database) == [(1, 1)]
    assert mysql_server.run(question, database=copy) == [(0, 1)]
    (told,) = [warning for warning in dumped.manifest.warnings if "6 digits" in warning]
    assert "rounded" in told
    mysql_lab.drop(copy)


def test_the_estimate_is_near_what_the_dump_is(mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str) -> None:
    mysql_lab.fill(database, megabytes=10)
    mysql_server.run("ANALYZE TABLE filler", database=database)
    engine = MysqlEngine(mysql_lab.connection(database), mysql_lab.options)
    estimate = engine.preflight(REQUEST).estimated_plain_bytes
    assert estimate is not None
    assert 0.5 < estimate / len(dump_of(engine).plain) < 3


def test_a_tool_that_is_older_than_the_server_is_a_warning(
    mysql_lab: MysqlLab, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "mariadb-dump"
    tool.write_text(
        '#!/bin/sh\n[ "$1" = --version ] || exit 1\n'
        'echo "mariadb-dump  Ver 10.19 Distrib 10.5.23-MariaDB, for debian-linux-gnu (x86_64)"\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "older than the server" in warnings(MysqlEngine(mysql_lab.connection(database), mysql_lab.options))


def test_without_the_right_to_lock_tables_myisam_is_only_warned_of(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    mysql_server.run("CREATE TABLE loose (a int) ENGINE = MyISAM", database=database)
    grants = (f"SELECT, SHOW VIEW, TRIGGER, EVENT ON {database}.*", "SELECT ON mysql.*")
    engine = engine_as(mysql_lab, mysql_server, database, *grants)
    assert "may be newer than the snapshot" in warnings(engine)
    assert dump_of(engine).manifest.inventory.tables


def test_a_database_that_does_not_exist_is_named(mysql_lab: MysqlLab) -> None:
    with pytest.raises(SourceError, match="'no_such_database' does not exist"):
        MysqlEngine(mysql_lab.connection("no_such_database"), mysql_lab.options).check()


def test_a_password_beyond_ascii_and_full_of_quotes_opens_pymysql_and_the_tools_alike(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    password = "\"ß' \\#ł;= 💾"
    mysql_server.run(
        "CREATE OR REPLACE USER awkward@'%' IDENTIFIED BY '" + password.replace("\\", "\\\\").replace("'", "''") + "'",
        "GRANT ALL ON *.* TO awkward@'%'",
    )
    engine = MysqlEngine(mysql_server.connection(database, user="awkward", password=password), mysql_lab.options)
    assert dump_of(engine).manifest.inventory.tables


def test_a_unix_socket_in_the_extra_is_used_by_pymysql_and_the_tools(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    connection = dataclasses.replace(
        mysql_server.connection(database, extra={"unix_socket": str(mysql_server.socket_path)}), host="", port=1
    )
    assert dump_of(MysqlEngine(connection, mysql_lab.options)).manifest.inventory.tables


def test_a_server_without_tls_is_refused_when_the_connection_demands_it(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    connection = mysql_server.connection(database, extra={"ssl_mode": "REQUIRED"})
    with pytest.raises(ServerUnreachable, match="does not offer TLS"):
        MysqlEngine(connection, mysql_lab.options).check()


def test_a_locked_account_is_an_access_error(mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str) -> None:
    engine = engine_as(mysql_lab, mysql_server, database, user="locked")
    mysql_server.run("ALTER USER locked@'%' ACCOUNT LOCK")
    with pytest.raises(AccessDenied):
        engine.check()


def test_without_client_tools_the_package_is_named(
    mysql_lab: MysqlLab, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing) as caught:
        MysqlEngine(mysql_lab.connection(database), mysql_lab.options).preflight(REQUEST)
    assert "mariadb-client" in caught.value.hint


def test_a_tool_of_the_other_flavour_is_refused_whatever_its_name(
    mysql_lab: MysqlLab, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "mariadb-dump"
    tool.write_text('#!/bin/sh\necho "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolVersionMismatch) as caught:
        MysqlEngine(mysql_lab.connection(database), mysql_lab.options).preflight(REQUEST)
    assert "mariadb-client" in caught.value.hint


def test_a_server_that_does_not_answer_is_given_up(
    mysql_lab: MysqlLab, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a session waits for a lock; one that has stopped altogether looks no different from outside."""
    monkeypatch.setattr(connecting, "ANSWER_TIMEOUT_SECONDS", 1)
    connection = mysql_lab.connection(database)
    holder, waiter = connecting.connect(connection), connecting.connect(connection)
    try:
        connecting.query(holder, "LOCK TABLES marks WRITE")
        with pytest.raises(pymysql.err.OperationalError) as caught:
            connecting.query(waiter, "SELECT * FROM marks")
    finally:
        holder.close()
        waiter.close()
    error = connecting.explain(caught.value, connection, doing="examine")
    assert isinstance(error, ServerUnreachable)
    assert "timed out" in error.message
