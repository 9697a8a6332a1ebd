"""The catalogue in PostgreSQL: made where there is none, refused with a reason where it cannot be used."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from db_backup.catalog import AttemptOutcome, BackupQuery, Catalog, postgres, tables
from db_backup.errors import CatalogError, ConfigurationError
from db_backup.model import BackupType, ConnectionInfo, EngineName
from support.catalog_places import InPostgres, new_postgres_place
from support.factories import make_manifest, make_state
from support.postgres_server import PostgresServer
from support.project import Project, connection_variable

pytestmark = pytest.mark.integration


@pytest.fixture
def place(postgres_server: PostgresServer) -> InPostgres:
    return new_postgres_place(postgres_server)


def refused(place: InPostgres, **changes: object) -> CatalogError:
    connection = dataclasses.replace(place.connection, **changes)  # type: ignore[arg-type]
    with pytest.raises(CatalogError) as refusal:
        Catalog.open_postgres(connection)
    assert connection.password not in str(refusal.value)
    assert "test_postgres" in refusal.value.message, "the connection is named"
    return refusal.value


def test_the_migrations_make_exactly_the_tables_of_the_code(place: InPostgres) -> None:
    place.open().close()
    with place.database().read() as opened:
        assert compare_metadata(MigrationContext.configure(opened), tables.metadata) == []


def test_it_says_where_it_is_and_never_its_password(place: InPostgres) -> None:
    with place.open() as catalog:
        address = f"127.0.0.1:{place.connection.port}/{place.connection.database}"
        assert catalog.name == f"PostgreSQL {address} (connection 'test_postgres')"
        assert place.connection.password not in repr(catalog._database._place)


def test_a_wrong_password_is_called_that(place: InPostgres) -> None:
    refusal = refused(place, password="hunter2hunter2")
    assert "did not let" in refusal.message
    assert "Correct the login and password" in refusal.hint


def test_a_server_that_is_not_there_is_called_unreachable(place: InPostgres) -> None:
    refusal = refused(place, port=1)
    assert "cannot be reached" in refusal.message
    assert "127.0.0.1:1/" in refusal.message


def test_a_database_that_is_not_there_is_named(place: InPostgres) -> None:
    refusal = refused(place, database="nowhere")
    assert "no database 'nowhere'" in refusal.message


def test_a_connection_without_a_database_is_a_wrong_configuration(place: InPostgres) -> None:
    with pytest.raises(ConfigurationError, match="names no database"):
        Catalog.open_postgres(dataclasses.replace(place.connection, database=""))


def test_a_user_who_may_not_create_tables_is_told_what_is_missing(
    place: InPostgres, postgres_server: PostgresServer
) -> None:
    user, password = postgres_server.create_user()
    refusal = refused(place, login=user, password=password)
    assert f"may not be used by '{user}': permission denied" in refusal.message
    assert "owner" in refusal.hint


def test_a_user_who_may_not_read_the_tables_is_told_so(place: InPostgres, postgres_server: PostgresServer) -> None:
    place.open().close()
    user, password = postgres_server.create_user()
    assert f"may not be used by '{user}': permission denied" in refused(place, login=user, password=password).message


def test_somebody_elses_database_is_refused_and_left_alone(place: InPostgres, postgres_server: PostgresServer) -> None:
    owner = place.connection.login
    database = place.connection.database
    postgres_server.run("CREATE TABLE orders (id int)", f"ALTER TABLE orders OWNER TO {owner}", database=database)

    refusal = refused(place)

    assert "not a catalogue" in refusal.message
    assert "search_path" in refusal.hint
    names = postgres_server.run("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=database)
    assert names == [("orders",)]


def test_a_schema_of_its_own_in_somebody_elses_database_is_enough(
    place: InPostgres, postgres_server: PostgresServer
) -> None:
    database = place.connection.database
    extra = {"options": "-c search_path=backups"}
    postgres_server.run("CREATE TABLE orders (id int)", database=database)
    assert "no schema to lie in" in refused(place, extra=extra).message

    postgres_server.run(f"CREATE SCHEMA backups AUTHORIZATION {place.connection.login}", database=database)
    with Catalog.open_postgres(dataclasses.replace(place.connection, extra=extra)) as catalog:
        manifest = make_manifest()
        catalog.record(manifest, make_state(manifest))
        assert [item.id for item in catalog.page(BackupQuery()).items] == [manifest.id]
    assert postgres_server.run("SELECT count(*) FROM backups.backups", database=database) == [(1,)]


def test_a_catalogue_of_a_newer_program_is_refused(place: InPostgres, postgres_server: PostgresServer) -> None:
    place.open().close()
    postgres_server.run("UPDATE alembic_version SET version_num = '0999'", database=place.connection.database)

    assert f"schema 0999; this program knows schemas up to {tables.SCHEMA}" in refused(place).message


def test_a_replica_can_be_read_and_is_refused_for_writing(place: InPostgres, postgres_server: PostgresServer) -> None:
    place.open().close()
    with postgres_server.standby() as replica:
        connection = dataclasses.replace(place.connection, port=replica.port)
        with Catalog.open_postgres(connection) as catalog:
            assert catalog.page(BackupQuery()).items == ()
            with pytest.raises(CatalogError, match="can only be read") as refusal:
                catalog.forget("x")
    assert "primary" in refusal.value.hint


def test_a_connection_that_breaks_is_called_that(place: InPostgres, postgres_server: PostgresServer) -> None:
    def lose_the_connection() -> None:
        with place.database().read() as connection:
            number = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            postgres_server.run(f"SELECT pg_terminate_backend({number}, 10000)")
            connection.exec_driver_sql("SELECT 1")

    place.open().close()
    with pytest.raises(CatalogError, match="cannot be reached any more"):
        lose_the_connection()


def test_a_writer_that_never_ends_is_not_waited_for_without_end(
    place: InPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.open() as catalog, place.database().write():
        assert "'30s'" in postgres._BEGIN_WRITING
        monkeypatch.setattr(postgres, "_BEGIN_WRITING", postgres._BEGIN_WRITING.replace("'30s'", "'100ms'"))
        with pytest.raises(CatalogError, match="was busy for 30 seconds"):
            catalog.forget("x")


def test_readers_do_not_wait_for_a_writer_and_see_nothing_half_done(place: InPostgres) -> None:
    with place.open() as catalog:
        manifest = make_manifest()
        catalog.record(manifest, make_state(manifest))
        with place.database().write() as connection:
            connection.execute(tables.backups.delete())
            assert list(catalog.ids()) == [manifest.id]


def test_texts_that_postgres_cannot_hold_are_written_down_readably(place: InPostgres) -> None:
    with place.open() as catalog:
        attempt = catalog.begin_attempt("shop", BackupType.FULL, make_manifest().run)
        catalog.finish_attempt(attempt, AttemptOutcome.FAILED, error="the tool said \0 and \udcff")
        (found,) = catalog.attempts()
        assert found.error == "the tool said � and �"


def test_the_command_line_uses_the_catalogue_of_the_connection_and_names_it(place: InPostgres, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", {"shop": ConnectionInfo("shop_db", EngineName.SQLITE)}, as_process=False)
    project.environment |= {
        "BACKUP_CATALOG_CONN_ID": "team",
        "AIRFLOW_CONN_TEAM": connection_variable(place.connection),
    }
    manifest = make_manifest()
    with place.open() as catalog:
        catalog.record(manifest, make_state(manifest))

    assert [item["id"] for item in project.json("list")["backups"]] == [manifest.id]
    expected = f"PostgreSQL {place.connection.address} (connection 'team')"
    assert project.json("config")["catalog"] == expected
    assert expected in project.run("config").stdout
    assert not project.catalog.exists()
    for output in (project.run("config"), project.run("catalog", "check"), project.run("list")):
        assert place.connection.password not in output.stdout + output.stderr


def test_a_catalogue_in_another_kind_of_database_is_refused(tmp_path: Path) -> None:
    project = Project(tmp_path / "project", {"shop": ConnectionInfo("shop_db", EngineName.SQLITE)}, as_process=False)
    done = project.run("list", BACKUP_CATALOG_CONN_ID="team", AIRFLOW_CONN_TEAM="mysql://u:hunter2@db/x")
    assert done.returncode == 2
    assert "'team' is of type mysql" in done.stderr
    assert "hunter2" not in done.stderr
