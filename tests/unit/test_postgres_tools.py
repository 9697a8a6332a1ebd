"""Which pg_dump is taken, what the tools are told, and what of their words is repeated."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from db_backup.engines.base import EngineOptions
from db_backup.engines.postgres import tools
from db_backup.engines.postgres.formats import Container, DumpFormat
from db_backup.engines.postgres.preflight import check_container, some
from db_backup.engines.postgres.session import tool_environment
from db_backup.engines.postgres.stock import stock_commands
from db_backup.errors import ConfigurationError, ToolMissing, ToolVersionMismatch
from db_backup.model import BackupType, Compression, ConnectionInfo, EngineName
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess
from support.factories import make_part

pytestmark = pytest.mark.unit

FORMAT = DumpFormat(Container.CUSTOM)
SECRET = r"pa:ss\word 'x"


def program(folder: Path, name: str, says: str, *, to: int = 1, status: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text(says)
    path = folder / name
    path.write_text(f"#!/bin/sh\n/bin/cat '{folder / name}.txt' >&{to}\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def versioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where packages put each version's programs, here; ``{major}`` is to be filled in."""
    place = tmp_path / "postgresql" / "{major}" / "bin"
    monkeypatch.setattr(tools, "_VERSIONED_FOLDER", str(place))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return place


def in_version(place: Path, major: int, says: str) -> Path:
    return program(Path(str(place).format(major=major)), "pg_dump", says)


def test_the_tool_on_path_is_taken_when_its_major_is_the_servers(tmp_path: Path, versioned: Path) -> None:
    first = program(tmp_path / "path", "pg_dump", "pg_dump (PostgreSQL) 15.3 (Debian 15.3-0+deb12u1)\n")
    in_version(versioned, 15, "pg_dump (PostgreSQL) 15.20\n")
    assert tools.find("pg_dump", "15") == tools.Tool(first, "15.3")


def test_another_major_on_path_is_passed_over_for_the_versioned_folder(tmp_path: Path, versioned: Path) -> None:
    program(tmp_path / "path", "pg_dump", "pg_dump (PostgreSQL) 18.1\n")
    right = in_version(versioned, 15, "pg_dump (PostgreSQL) 15.20\n")
    assert tools.find("pg_dump", "15") == tools.Tool(right, "15.20")


def test_only_another_major_is_refused_naming_both_and_the_package(tmp_path: Path, versioned: Path) -> None:
    program(tmp_path / "path", "pg_dump", "pg_dump (PostgreSQL) 18beta2\n")
    with pytest.raises(ToolVersionMismatch, match=r"pg_dump 15 is needed.*18beta2.*postgresql-client-15"):
        tools.find("pg_dump", "15", database="shop")


def test_no_tool_at_all_names_the_package(versioned: Path) -> None:
    with pytest.raises(ToolMissing, match=r"pg_dump.*postgresql-client-15"):
        tools.find("pg_dump", "15")


def test_something_that_is_not_postgresqls_is_not_taken(tmp_path: Path, versioned: Path) -> None:
    program(tmp_path / "path", "pg_dump", "usage: pg_dump\n")
    with pytest.raises(ToolVersionMismatch, match="of unknown version"):
        tools.find("pg_dump", "15")


def test_statements_and_rows_that_a_tool_quotes_are_not_repeated(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        "pg_restore",
        "pg_restore: while PROCESSING TOC:\n"
        'pg_restore: error: could not execute query: ERROR:  role "bob" does not exist\n'
        "Command was: CREATE USER MAPPING FOR bob SERVER s OPTIONS (\n"
        "    password 'hunter2'\n"
        ");\n"
        "pg_restore: error: COPY failed: ERROR:  invalid input\n"
        'CONTEXT:  COPY customers, line 1: "ada@example.com"\n'
        "pg_restore: hint: look there\n",
        to=2,
        status=1,
    )
    with ChildProcess([str(path)], cancellation=Cancellation(), stdout=False) as tool:
        assert tool.wait() == 1
        complaint = tools.complaint(tool)
    assert "hunter2" not in complaint
    assert "ada@" not in complaint
    assert 'role "bob" does not exist' in complaint
    assert "look there" in complaint


def connection(**extra: object) -> ConnectionInfo:
    return ConnectionInfo(
        conn_id="shop_db",
        engine=EngineName.POSTGRES,
        host="db.example",
        port=6543,
        login="ada",
        password=SECRET,
        database="a=b",
        extra=extra,
    )


def test_the_password_reaches_tools_in_a_private_file_alone() -> None:
    with tool_environment(connection()) as environment:
        assert not any(SECRET in value for value in environment.values())
        path = Path(environment["PGPASSFILE"])
        assert path.read_text() == "*:*:*:*:pa\\:ss\\\\word 'x\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_every_tls_option_of_the_connection_reaches_the_tools() -> None:
    options = {"sslmode": "verify-full", "sslrootcert": "/ca.pem", "sslcert": "/me.pem", "sslkey": "/me.key"}
    with tool_environment(connection(**options, cursor="realdictcursor")) as environment:
        assert {name: text for name, text in environment.items() if name.startswith("PGSSL")} == {
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": "/ca.pem",
            "PGSSLCERT": "/me.pem",
            "PGSSLKEY": "/me.key",
        }
        assert environment["PGDATABASE"] == "a=b"


def test_limits_are_lifted_before_the_connections_own_settings_and_what_changes_how_values_print_is_set_last() -> None:
    with tool_environment(connection(options="-c timezone=Asia/Tokyo -c statement_timeout=9s")) as environment:
        assert environment["PGOPTIONS"].endswith("-c datestyle=ISO -c timezone=UTC -c bytea_output=hex")
        before, own, after = environment["PGOPTIONS"].partition("-c timezone=Asia/Tokyo -c statement_timeout=9s")
        assert own
        assert "-c statement_timeout=0 -c lock_timeout=0 " in before
        assert "timeout" not in after


def test_a_passphrase_that_tools_could_only_get_in_the_open_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="sslpassword"), tool_environment(connection(sslpassword="x")):
        pass


@pytest.mark.parametrize(
    ("compression", "beginning"),
    [
        (Compression.GZIP, "gunzip -c 'odd name.dump' | pg_restore "),
        (Compression.ZSTD, "zstd -dc 'odd name.dump' | pg_restore "),
        (Compression.NONE, "cat 'odd name.dump' | pg_restore "),
    ],
)
def test_stock_commands_decompress_with_the_codecs_own_tool(
    tmp_path: Path, compression: Compression, beginning: str
) -> None:
    options = EngineOptions(staging_path=tmp_path, scratch_path=tmp_path, postgres_no_owner=False)
    create, load = stock_commands([make_part("odd name.dump", compression=compression)], FORMAT, options)
    assert create.command == "createdb --template=template0 restored"
    assert load.command.startswith(beginning)
    assert "--no-owner" not in load.command
    assert "--no-privileges" in load.command


def test_a_format_that_pg_dump_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"PGSQL_BACKUP_FORMAT=zip .*custom, plain, tar, directory"):
        check_container("zip")


def test_a_long_list_is_cut_with_how_many_more() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some([str(number) for number in range(8)]) == "0, 1, 2, 3, 4 and 3 more"


@pytest.mark.parametrize("container", Container)
@pytest.mark.parametrize("backup_type", [BackupType.FULL, BackupType.STRUCTURE, BackupType.DATA])
def test_the_manifest_tells_what_the_bytes_are(container: Container, backup_type: BackupType) -> None:
    dump_format = DumpFormat(container, backup_type)
    assert DumpFormat.parse(str(dump_format)) == dump_format


def test_the_formats_of_earlier_releases_are_known() -> None:
    assert DumpFormat.parse("pg_dump custom") == DumpFormat(Container.CUSTOM, BackupType.FULL)
    assert DumpFormat.parse("pg_dump plain") == DumpFormat(Container.PLAIN, BackupType.FULL)
