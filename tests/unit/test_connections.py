"""Connections from AIRFLOW_CONN_… variables, the demo's, and what is said when there is none; no Airflow here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from db_backup.connections import parse_connection, resolve_connection
from db_backup.errors import ConfigurationError, ConnectionNotFound
from db_backup.model import ConnectionInfo, EngineName

pytestmark = pytest.mark.unit


def resolve(root: Path, value: str, *, engine: EngineName | None = None, conn_id: str = "shop_db") -> ConnectionInfo:
    environment = {f"AIRFLOW_CONN_{conn_id.upper()}": value, "AIRFLOW_HOME": str(root)}
    return resolve_connection(conn_id, engine=engine, environment=environment, root=root)


def fields(connection: ConnectionInfo) -> tuple[object, ...]:
    return (connection.host, connection.port, connection.login, connection.password, connection.database)


def test_a_uri_is_taken_apart_and_decoded(tmp_path: Path) -> None:
    info = resolve(tmp_path, "postgresql://us%3Aer:p%40s%2Fs@db.example.com:5433/my%20shop?sslmode=require&x=")
    assert info.conn_id == "shop_db"
    assert info.engine is EngineName.POSTGRES
    assert fields(info) == ("db.example.com", 5433, "us:er", "p@s/s", "my shop")
    assert info.extra == {"sslmode": "require", "x": ""}


def test_json_is_understood_with_its_extra_as_object_or_as_text(tmp_path: Path) -> None:
    values: dict[str, object] = {
        "conn_type": "mysql",
        "host": "db",
        "login": "me",
        "password": "p@ss",
        "schema": "shop",
        "port": "3307",
        "extra": {"ssl": {"ca": "/ca.pem"}},
    }
    info = resolve(tmp_path, f"\n {json.dumps(values)} ")
    assert info.engine is EngineName.MYSQL
    assert fields(info) == ("db", 3307, "me", "p@ss", "shop")
    assert info.extra == {"ssl": {"ca": "/ca.pem"}}
    values["extra"] = json.dumps(values["extra"])
    assert resolve(tmp_path, json.dumps(values)).extra == info.extra


def test_what_is_not_said_is_empty_and_the_port_is_none(tmp_path: Path) -> None:
    info = resolve(tmp_path, "mysql://db")
    assert fields(info) == ("db", None, "", "", "")
    assert info.extra == {}


def test_nested_extra_comes_from_the_extra_parameter(tmp_path: Path) -> None:
    assert resolve(tmp_path, "mysql://db/shop?__extra__=%7B%22ssl%22%3A%20true%7D").extra == {"ssl": True}


@pytest.mark.parametrize(
    ("conn_type", "engine"),
    [
        ("postgres", EngineName.POSTGRES),
        ("postgresql", EngineName.POSTGRES),
        ("mysql", EngineName.MYSQL),
        ("mariadb", EngineName.MYSQL),
        ("sqlite", EngineName.SQLITE),
    ],
)
def test_the_connections_type_tells_the_engine(tmp_path: Path, conn_type: str, engine: EngineName) -> None:
    assert resolve(tmp_path, f"{conn_type}://host/name").engine is engine


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("sqlite:////data/Shop.sqlite", "/data/Shop.sqlite"),
        ("sqlite://%2Fdata%2FShop.sqlite", "/data/Shop.sqlite"),
        ("sqlite:///data/shop.sqlite", "ROOT/data/shop.sqlite"),
        ("sqlite://data/shop.sqlite", "ROOT/data/shop.sqlite"),
        ('{"conn_type": "sqlite", "host": "/data/a b.sqlite"}', "/data/a b.sqlite"),
        ('{"conn_type": "sqlite", "host": "data/../shop.sqlite"}', "ROOT/shop.sqlite"),
        ('{"conn_type": "sqlite", "schema": "~/shop.sqlite"}', "HOME/shop.sqlite"),
    ],
)
def test_a_sqlite_path_is_absolute_or_counts_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, path: str
) -> None:
    monkeypatch.chdir("/")
    expected = path.replace("ROOT", str(tmp_path)).replace("HOME", str(Path.home()))
    info = resolve(tmp_path, value)
    assert fields(info) == ("", None, "", "", expected)


@pytest.mark.parametrize("value", ["sqlite://", "sqlite:///:memory:", '{"conn_type": "sqlite"}'])
def test_a_sqlite_connection_without_a_file_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigurationError, match="'shop_db' names no file"):
        resolve(tmp_path, value)


def test_the_variable_may_stand_in_dotenv_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("AIRFLOW_CONN_SHOP_DB='mysql://from-dotenv/shop'\n")
    assert resolve(tmp_path, "").host == "from-dotenv"
    assert resolve(tmp_path, "mysql://from-environment/shop").host == "from-environment"


@pytest.mark.parametrize(
    ("conn_type", "hint"),
    [
        ("postgresql+psycopg2", "Did you mean 'postgres'?"),
        ("mysqll", "Did you mean 'mysql'?"),
        ("http", "name the entry's engine"),
    ],
)
def test_another_type_of_connection_is_refused_and_the_engines_named(tmp_path: Path, conn_type: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite, mysql, postgres") as refusal:
        resolve(tmp_path, f"{conn_type}://user:hunter2@host/db")
    assert hint in refusal.value.hint
    assert "hunter2" not in str(refusal.value)


def test_the_entrys_engine_stands_in_for_a_type_that_does_not_tell(tmp_path: Path) -> None:
    assert resolve(tmp_path, "generic://host/db", engine=EngineName.POSTGRES).engine is EngineName.POSTGRES


def test_the_entrys_engine_may_not_contradict_the_connection(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"of type 'mysql', but backup\.yaml says engine: postgres"):
        resolve(tmp_path, "mysql://host/db", engine=EngineName.POSTGRES)


@pytest.mark.parametrize(
    "value",
    [
        "hunter2",
        "mysql:hunter2@host/db",
        "mysql://user:hunt/er2@host:330x/db",
        "mysql://user:hunter2@host:99999/db",
        "mysql://user:hunter2@[host/db",
        "mysql://user:hunter2@http://host://db",
        "mysql://user:hunter2@http://host/db",
        "mysql://host/db?__extra__=hunter2",
        "mysql://host/db?__extra__=%5B1%5D",
        '{"conn_type": "mysql", "password": "hunter2"',
        '{"conn_type": "mysql", "password": "hunter2", "port": "x"}',
        '{"conn_type": "mysql", "password": "hunter2", "database": "shop"}',
        '{"conn_type": "mysql", "password": "hunter2", "extra": "{"}',
        '{"conn_type": "mysql", "password": "hunter2", "extra": [1]}',
        '{"conn_type": "mysql", "password": ["hunter2"]}',
    ],
)
def test_a_malformed_value_is_refused_by_the_variables_name_and_never_repeated(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_SHOP_DB") as refusal:
        resolve(tmp_path, value)
    said = str(refusal.value)
    assert "hunter2" not in said
    assert "er2" not in said
    assert refusal.value.__suppress_context__
    assert refusal.value.exit_code == 2


def test_a_connection_never_prints_its_secrets(tmp_path: Path) -> None:
    value = '{"conn_type": "mysql", "host": "h", "password": "hunter2", "extra": {"token": "hunter3"}}'
    printed = repr(parse_connection("shop_db", value)) + repr(resolve(tmp_path, value))
    assert "hunter" not in printed


def test_the_demo_connection_is_there_by_itself(tmp_path: Path) -> None:
    info = resolve_connection("car_marketplace_db", environment={"AIRFLOW_HOME": str(tmp_path)}, root=tmp_path)
    assert info.engine is EngineName.SQLITE
    assert info.database == str(tmp_path / "include/demo/car_marketplace.sqlite")


def test_the_demo_connection_can_be_defined_otherwise(tmp_path: Path) -> None:
    info = resolve(tmp_path, "sqlite:////data/mine.sqlite", conn_id="car_marketplace_db")
    assert info.database == "/data/mine.sqlite"


def test_where_airflow_is_not_set_up_it_is_not_imported_and_the_error_says_so(tmp_path: Path) -> None:
    before = "airflow" in sys.modules
    with pytest.raises(ConnectionNotFound) as refusal:
        resolve_connection("shop_db", environment={"AIRFLOW_HOME": str(tmp_path / "home")}, root=tmp_path)
    assert "AIRFLOW_CONN_SHOP_DB is not set" in refusal.value.message
    assert f"no airflow.cfg in {tmp_path / 'home'}" in refusal.value.message
    assert "airflow connections add shop_db" in refusal.value.hint
    assert refusal.value.exit_code == 2
    assert ("airflow" in sys.modules) is before
    assert not (tmp_path / "home").exists()


def test_where_airflow_cannot_be_imported_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airflow.configuration", None)
    monkeypatch.setitem(sys.modules, "airflow", None)
    (tmp_path / "airflow.cfg").touch()
    with pytest.raises(ConnectionNotFound, match="Airflow cannot be imported"):
        resolve_connection("shop_db", environment={"AIRFLOW_HOME": str(tmp_path)}, root=tmp_path)
