"""Flavours, arguments and option files. The MySQL 8 arguments are built as its manual says; no such server ran here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from db_backup.engines.base import DumpRequest, EngineOptions
from db_backup.engines.mysql.connecting import explain, option_file_content, tls_options
from db_backup.engines.mysql.flavour import (
    DumpPlan,
    Flavour,
    Tool,
    dump_arguments,
    load_arguments,
    parse_tool,
    server_flavour,
    version_numbers,
)
from db_backup.engines.mysql.left_out import leave_out
from db_backup.engines.mysql.stock import stock_commands
from db_backup.errors import (
    AccessDenied,
    BackupError,
    ConfigurationError,
    PrivilegeMissing,
    ServerUnreachable,
    SourceError,
)
from db_backup.model import BackupType, ConnectionInfo, EngineName
from support.factories import make_manifest

if TYPE_CHECKING:
    from db_backup.engines.mysql.connecting import Session

pytestmark = pytest.mark.unit

OPTIONS = EngineOptions(staging_path=Path("staging"), scratch_path=Path("scratch"))
MARIADB_DUMP = Tool(Path("/usr/bin/mariadb-dump"), Flavour.MARIADB, (10, 11, 6))
MYSQL_DUMP = Tool(Path("/usr/bin/mysqldump"), Flavour.MYSQL, (8, 0, 36))


def connection(**extra: Any) -> ConnectionInfo:
    return ConnectionInfo(
        conn_id="shop", engine=EngineName.MYSQL, host="db", login="me", password="secret", database="d", extra=extra
    )


@pytest.mark.parametrize(
    ("printed", "flavour", "version"),
    [
        ("  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)", Flavour.MARIADB, (10, 11, 19)),
        (" from 11.4.2-MariaDB, client 10.19 for Linux (x86_64)", Flavour.MARIADB, (11, 4, 2)),
        ("  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)", Flavour.MARIADB, (10, 11, 19)),
        ("  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)", Flavour.MYSQL, (8, 0, 36)),
        ("  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)", Flavour.MYSQL, (5, 7, 44)),
        (" Ver 8.4.0-0 for Linux on x86_64 (Percona Server (GPL), Release 0)", Flavour.MYSQL, (8, 4, 0)),
    ],
)
def test_a_tool_is_what_it_prints_not_what_it_is_called(
    printed: str, flavour: Flavour, version: tuple[int, int, int]
) -> None:
    tool = parse_tool(Path("/usr/bin/mariadb-dump-or-mysqldump"), printed)
    assert (tool.flavour, tool.version) == (flavour, version)


@pytest.mark.parametrize(
    ("version", "comment", "flavour", "numbers"),
    [
        ("10.11.6-MariaDB-log", "Debian 12", Flavour.MARIADB, (10, 11, 6)),
        ("5.5.5-10.11.6-MariaDB", "", Flavour.MARIADB, (10, 11, 6)),
        ("10.6.16-13", "MariaDB Enterprise", Flavour.MARIADB, (10, 6, 16)),
        ("8.0.36-0ubuntu0.22.04.1", "(Ubuntu)", Flavour.MYSQL, (8, 0, 36)),
        ("8.0.35-27", "Percona Server (GPL)", Flavour.MYSQL, (8, 0, 35)),
    ],
)
def test_a_server_is_told_by_version_and_comment(
    version: str, comment: str, flavour: Flavour, numbers: tuple[int, int, int]
) -> None:
    assert (server_flavour(version, comment), version_numbers(version)) == (flavour, numbers)


def test_mariadb_dumps_one_database_without_its_name_and_reads_no_other_option_file() -> None:
    plan = DumpPlan("shop", ignored_views=("broken",), with_position=True, with_history=True)
    arguments = dump_arguments(MARIADB_DUMP, Path("/t/options"), plan, OPTIONS)
    assert arguments[1] == "--defaults-file=/t/options"
    assert arguments[-2:] == ["--", "shop"]
    assert {
        "--single-transaction",
        "--routines",
        "--events",
        "--triggers",
        "--hex-blob",
        "--skip-add-locks",
        "--default-character-set=utf8mb4",
        "--max-allowed-packet=1G",
        "--master-data=2",
        "--gtid",
        "--dump-history",
        "--ignore-table=shop.broken",
    } <= set(arguments)
    assert not {"--databases", "--set-gtid-purged=OFF", "--column-statistics=0"} & set(arguments)


def test_mysql_8_arguments_as_its_manual_says_without_a_server_to_try_them_on() -> None:
    arguments = dump_arguments(MYSQL_DUMP, Path("/t/options"), DumpPlan("shop", with_position=True), OPTIONS)
    assert {"--source-data=2", "--set-gtid-purged=OFF", "--no-tablespaces", "--column-statistics=0"} <= set(arguments)
    assert not {"--master-data=2", "--gtid", "--dump-history"} & set(arguments)


def test_mysql_5_7_arguments_as_its_manual_says_without_a_server_to_try_them_on() -> None:
    tool = Tool(Path("/usr/bin/mysqldump"), Flavour.MYSQL, (5, 7, 44))
    arguments = dump_arguments(tool, Path("/t/options"), DumpPlan("shop", with_position=True), OPTIONS)
    assert "--master-data=2" in arguments
    assert "--column-statistics=0" not in arguments


def test_settings_become_arguments() -> None:
    options = EngineOptions(
        staging_path=Path("staging"),
        scratch_path=Path("scratch"),
        mysql_single_transaction=False,
        mysql_routines=False,
        mysql_triggers=False,
        mysql_events=False,
    )
    arguments = dump_arguments(MARIADB_DUMP, Path("o"), DumpPlan("shop"), options)
    assert {"--lock-tables", "--skip-routines", "--skip-triggers", "--skip-events"} <= set(arguments)
    assert "--single-transaction" not in arguments


@pytest.mark.parametrize(
    ("flavour", "version", "knows"),
    [
        (Flavour.MARIADB, (10, 11, 8), True),
        (Flavour.MARIADB, (10, 11, 7), False),
        (Flavour.MARIADB, (10, 3, 39), False),
        (Flavour.MARIADB, (11, 4, 2), True),
        (Flavour.MYSQL, (8, 4, 0), False),
    ],
)
def test_only_clients_that_know_the_sandbox_are_given_it(
    flavour: Flavour, version: tuple[int, int, int], knows: bool
) -> None:
    tool = Tool(Path("/usr/bin/mariadb"), flavour, version)
    assert tool.knows_sandbox is knows
    assert ("--sandbox" in load_arguments(tool, Path("o"), "d")) is knows


def test_no_argument_holds_the_password() -> None:
    for tool in (MARIADB_DUMP, MYSQL_DUMP):
        assert "secret" not in " ".join(dump_arguments(tool, Path("o"), DumpPlan("d"), OPTIONS))
    assert 'password="secret"' in option_file_content(connection(), mariadb_tool=True)


def test_the_option_file_says_tcp_so_that_localhost_means_the_same_to_every_client() -> None:
    assert "protocol=tcp" in option_file_content(connection(), mariadb_tool=True)
    by_socket = option_file_content(connection(unix_socket="/run/my.sock"), mariadb_tool=True)
    assert 'socket="/run/my.sock"' in by_socket
    assert "host=" not in by_socket


@pytest.mark.parametrize(
    ("extra", "mode", "mariadb", "mysql"),
    [
        ({}, "PREFERRED", "ssl\nskip-ssl-verify-server-cert", "ssl-mode=PREFERRED"),
        ({"ssl_mode": "disabled"}, "DISABLED", "skip-ssl", "ssl-mode=DISABLED"),
        ({"ssl_mode": "REQUIRED"}, "REQUIRED", "ssl", "ssl-mode=REQUIRED"),
        ({"ssl": {"ca": "/c a.pem"}}, "VERIFY_CA", 'ssl-ca="/c a.pem"', 'ssl-ca="/c a.pem"'),
        ({"ssl": '{"ca": "/ca.pem"}'}, "VERIFY_CA", "ssl-verify-server-cert", "ssl-mode=VERIFY_CA"),
        ({"ssl_ca": "/ca.pem", "ssl_mode": "VERIFY_IDENTITY"}, "VERIFY_IDENTITY", "ssl-verify-server-cert", "ssl-ca"),
        ({"ssl": {"cert": "/c.pem", "key": "/k.pem"}}, "REQUIRED", 'ssl-cert="/c.pem"', 'ssl-key="/k.pem"'),
    ],
)
def test_tls_options_reach_every_tool(extra: dict[str, object], mode: str, mariadb: str, mysql: str) -> None:
    assert tls_options(connection(**extra)).mode == mode
    assert mariadb in option_file_content(connection(**extra), mariadb_tool=True)
    assert mysql in option_file_content(connection(**extra), mariadb_tool=False)


@pytest.mark.parametrize(
    "extra",
    [{"ssl_mode": "SOMETIMES"}, {"ssl_mode": "VERIFY_CA"}, {"ssl": "{broken"}, {"ssl": 7}],
)
def test_a_tls_extra_that_cannot_be_meant_is_refused(extra: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tls_options(connection(**extra))
    assert caught.value.hint


def test_a_line_break_cannot_slip_an_option_in() -> None:
    sly = ConnectionInfo(conn_id="x", engine=EngineName.MYSQL, login='me"\nssl-verify-server-cert=0')
    with pytest.raises(ConfigurationError):
        option_file_content(sly, mariadb_tool=True)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Exception(2003, "Can't connect"), ServerUnreachable),
        (TimeoutError("timed out"), ServerUnreachable),
        (Exception(1045, "Access denied for user 'me'@'x' (using password: YES)"), AccessDenied),
        (Exception(1049, "Unknown database 'd'"), SourceError),
        (Exception(1142, "SELECT command denied"), PrivilegeMissing),
        (Exception(1064, "You have an error"), SourceError),
    ],
)
def test_errors_of_the_server_become_errors_with_a_hint(error: Exception, expected: type[BackupError]) -> None:
    explained = explain(error, connection(), doing="dump")
    assert type(explained) is expected
    assert explained.hint
    assert "secret" not in str(explained)


def test_definitions_rows_and_triggers_are_asked_for_apart() -> None:
    structure = dump_arguments(MARIADB_DUMP, Path("o"), DumpPlan("shop", rows=False), OPTIONS)
    assert {"--no-data", "--routines", "--events", "--triggers"} <= set(structure)
    assert "--no-create-info" not in structure
    nothing = DumpPlan("shop", definitions=False, rows=False, triggers=False, events=False)
    rows = dump_arguments(MARIADB_DUMP, Path("o"), dataclasses.replace(nothing, rows=True), OPTIONS)
    assert {"--no-create-info", "--skip-routines", "--skip-events", "--skip-triggers"} <= set(rows)
    assert "--no-data" not in rows
    triggers = dump_arguments(MARIADB_DUMP, Path("o"), dataclasses.replace(nothing, triggers=True), OPTIONS)
    assert {"--no-create-info", "--no-data", "--skip-routines", "--skip-events", "--triggers"} <= set(triggers)
    some = dump_arguments(
        MARIADB_DUMP, Path("o"), dataclasses.replace(nothing, rows=True, tables=("--a", "b")), OPTIONS
    )
    assert some[-4:] == ["--", "shop", "--a", "b"]


def test_each_flavour_leaves_rows_out_in_its_own_words() -> None:
    plan = DumpPlan("shop", definitions=False, triggers=False, tables_without_rows=("a", "b"))
    mariadb, mysql = (dump_arguments(tool, Path("o"), plan, OPTIONS) for tool in (MARIADB_DUMP, MYSQL_DUMP))
    assert {"--ignore-table-data=shop.a", "--ignore-table-data=shop.b"} <= set(mariadb)
    assert {"--ignore-table=shop.a", "--ignore-table=shop.b"} <= set(mysql)


def test_a_full_backup_of_mysql_refuses_to_leave_rows_out() -> None:
    unasked = cast("Session", None)
    request = DumpRequest("shop", BackupType.FULL, ("sessions",))
    with pytest.raises(ConfigurationError, match="mysqldump") as caught:
        leave_out(unasked, "shop", Flavour.MYSQL, request)
    assert "structure and data" in caught.value.hint


@pytest.mark.parametrize(
    ("flavour", "client", "dump"), [("MySQL", "mysql", "mysqldump"), ("MariaDB", "mariadb", "mariadb-dump")]
)
def test_a_person_loads_rows_with_the_triggers_set_aside(flavour: str, client: str, dump: str) -> None:
    server = make_manifest().server.model_copy(update={"flavour": flavour})
    steps = [step.command for step in stock_commands(make_manifest().parts, BackupType.DATA, server)]
    assert [command.split()[0] for command in steps] == [dump, client, "gunzip", client]
    assert "DROP TRIGGER" in steps[1]
    assert steps[2].split("| ")[1].startswith(f"{client} --binary-mode")
