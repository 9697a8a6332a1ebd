"""backup.yaml: what it means, and what is said about a wrong one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from db_backup.config import Config, Entry, KeyConfig, choose_compression, load_config
from db_backup.config.schema import Check, Hook, RestoreTarget
from db_backup.errors import ConfigurationError, FeatureNotAvailable, UnknownDatabase
from db_backup.model import BackupType, Compression, EngineName, Scope, Tier, VerificationLevel
from db_backup.settings import load_settings
from db_backup.settings.availability import NOT_YET_ENTRY_KEYS

pytestmark = pytest.mark.unit

PROJECT_ROOT = Path(__file__).resolve().parents[2]

ReadConfig = Callable[..., Config]


@pytest.fixture
def refusal(read: ReadConfig) -> Callable[[str], str]:
    """Reads a text that is wrong; gives what is said about it."""

    def refused(text: str) -> str:
        with pytest.raises(ConfigurationError) as refusal:
            read(text)
        assert refusal.value.exit_code == 2
        return str(refusal.value)

    return refused


def entry(read: ReadConfig, text: str, **environment: str) -> Entry:
    return read(text, **environment).entry("shop")


def test_an_entry_needs_only_a_conn_id_and_takes_the_rest_from_the_settings(read: ReadConfig) -> None:
    assert entry(read, "databases: {shop: {conn_id: shop_db}}") == Entry(
        name="shop",
        scope=Scope.DATABASE,
        conn_id="shop_db",
        engine=None,
        tier=Tier.STANDARD,
        types=(BackupType.FULL, BackupType.STRUCTURE),
        compression=Compression.GZIP,
        level=9,
        encrypt=False,
        jobs=1,
        verify=VerificationLevel.RESTORE,
        retention={
            BackupType.FULL: 30,
            BackupType.INCREMENTAL: 7,
            BackupType.STRUCTURE: 90,
            BackupType.DATA: 30,
        },
        storages=("local",),
    )


def test_an_entrys_keys_win_over_the_defaults_and_those_over_the_settings(read: ReadConfig) -> None:
    text = """
        defaults: {verify: archive, level: 5}
        databases:
          shop: {conn_id: shop_db, level: 7, retention: {full: 60}}
          crm: {conn_id: crm_db, verify: checksum, owner: sales, protected: true, engine: mysql, storages: [local]}
    """
    config = read(text, BACKUP_COMPRESSION_LEVEL="1", BACKUP_RETENTION_DAYS="10", BACKUP_RETENTION_STRUCTURE_DAYS="20")
    shop, crm = config.entry("shop"), config.entry("crm")
    assert (shop.verify, shop.level) == (VerificationLevel.ARCHIVE, 7)
    assert (crm.verify, crm.level) == (VerificationLevel.CHECKSUM, 5)
    assert (shop.retention[BackupType.FULL], shop.retention[BackupType.STRUCTURE]) == (60, 20)
    assert crm.retention[BackupType.FULL] == 10
    assert (crm.owner, crm.protected, crm.engine) == ("sales", True, EngineName.MYSQL)


@pytest.mark.parametrize(
    ("defaults", "keys", "effective"),
    [
        ("{}", "", ("gzip", 6)),
        ("{}", ", compression: gzip", ("gzip", 6)),
        ("{}", ", compression: zstd", ("zstd", 3)),
        ("{}", ", compression: zstd, level: 12", ("zstd", 12)),
        ("{}", ", compression: none", ("none", None)),
        ("{compression: zstd}", "", ("zstd", 3)),
        ("{compression: zstd, level: 15}", ", compression: gzip", ("gzip", 9)),
        ("{compression: zstd, level: 15}", ", level: 4", ("zstd", 4)),
    ],
)
def test_a_level_belongs_to_its_compression(
    read: ReadConfig, defaults: str, keys: str, effective: tuple[str, int | None]
) -> None:
    text = f"defaults: {defaults}\ndatabases: {{shop: {{conn_id: shop_db{keys}}}}}"
    shop = entry(read, text, BACKUP_COMPRESSION_LEVEL="6")
    assert (shop.compression, shop.level) == effective


def test_choosing_a_compression_that_takes_no_level_forgets_the_inherited_one() -> None:
    assert choose_compression((Compression.GZIP, 9), Compression.NONE, None) == (Compression.NONE, None)
    with pytest.raises(ValueError, match="none takes no level"):
        choose_compression((Compression.GZIP, 9), Compression.NONE, 3)


def test_project_contacts_and_the_local_storage_are_there(read: ReadConfig, tmp_path: Path) -> None:
    config = read("""
        version: 1
        project: CarWise.ai
        environment: Production
        contacts: {administrator: admin@example.com}
        databases: {shop: {conn_id: shop_db}}
    """)
    assert (config.project, config.environment) == ("CarWise.ai", "Production")
    assert config.contacts == {"administrator": "admin@example.com"}
    assert config.storages["local"].url == (tmp_path / "storage/backups").as_uri()
    assert config.path == tmp_path / "include" / "backup.yaml"


def test_anchors_and_merge_keys_work_and_own_keys_win(read: ReadConfig) -> None:
    config = read("""
        databases:
          shop: &usual {conn_id: shop_db, verify: archive, level: 2}
          crm: {<<: *usual, conn_id: crm_db}
    """)
    crm = config.entry("crm")
    assert (crm.conn_id, crm.verify, crm.level) == ("crm_db", VerificationLevel.ARCHIVE, 2)


def test_an_unknown_entry_is_answered_with_the_nearest_one_and_the_file(read: ReadConfig, tmp_path: Path) -> None:
    config = read("databases: {carwise: {conn_id: a}, crm: {conn_id: b}}")
    with pytest.raises(UnknownDatabase) as refusal:
        config.entry("carwize")
    assert str(tmp_path / "include/backup.yaml") in refusal.value.message
    assert refusal.value.hint == "Did you mean 'carwise'? Known: carwise, crm."
    assert refusal.value.exit_code == 2


def test_without_a_file_the_demo_database_is_configured(tmp_path: Path) -> None:
    config = load_config(load_settings({}, root=tmp_path))
    assert list(config.entries) == ["car_marketplace"]
    demo = config.entry("car_marketplace")
    assert (demo.conn_id, demo.engine) == ("car_marketplace_db", EngineName.SQLITE)
    assert demo.types == (BackupType.FULL, BackupType.STRUCTURE)
    assert config.path is None
    assert list(config.storages) == ["local"]
    with pytest.raises(UnknownDatabase, match="demo configuration"):
        config.entry("shop")


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_file_that_was_named_and_is_not_there_is_an_error(tmp_path: Path, place: str) -> None:
    environment = {"BACKUP_CONFIG": "my.yaml"} if place == "environment" else {}
    if place == ".env":
        (tmp_path / ".env").write_text("BACKUP_CONFIG=my.yaml\n")
    with pytest.raises(ConfigurationError, match=re.escape(f"BACKUP_CONFIG ({place}) names {tmp_path}/my.yaml")):
        load_config(load_settings(environment, root=tmp_path))


def test_a_file_outside_of_the_project_is_named_with_its_whole_path(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.yaml"
    path.write_text("version: 3\ndatabases: {shop: {conn_id: a}}")
    settings = load_settings({"BACKUP_CONFIG": str(path)}, root=tmp_path / "project")
    with pytest.raises(ConfigurationError, match=re.escape(f"{path}, line 1, version")):
        load_config(settings)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "version: 1\n", "databases: {}\n", "databases:\n"])
def test_a_file_without_entries_is_refused_with_an_example(refusal: Callable[[str], str], text: str) -> None:
    said = refusal(text)
    assert "include/backup.yaml" in said
    assert "conn_id: shop_db" in said


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\xfe\x00", "not UTF-8"), (b"a: \x07", "not YAML"), (None, "Is a directory")],
)
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "backup.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason):
        load_config(load_settings({"BACKUP_CONFIG": str(path)}, root=tmp_path))


# What is written → the place that the message names, and the words that it has.
WRONG = {
    "a syntax error": ("databases:\n  shop: {conn_id: a\n  crm: b\n", "line 3", ["not YAML"]),
    "a tab": ("databases:\n\tshop: {}\n", "line 2", ["not YAML"]),
    "a list": ("- databases\n", "include/backup.yaml", ["not a mapping"]),
    "another version": ("version: 2\ndatabases: {shop: {conn_id: a}}", "line 1, version", ["version 1", "not 2"]),
    "an unknown top key": (
        "database:\n  shop: {conn_id: a}",
        "line 1, database",
        ["no such key", "Did you mean 'databases'?"],
    ),
    "an unknown key of an entry": (
        "databases:\n  shop:\n    conn_id: a\n    compresion: gzip",
        "line 4, databases.shop.compresion",
        ["no such key", "Did you mean 'compression'?"],
    ),
    "an unknown key of the retention": (
        "databases:\n  shop:\n    conn_id: a\n    retention:\n      ful: 3",
        "line 5, databases.shop.retention.ful",
        ["Did you mean 'full'?"],
    ),
    "no conn_id": ("databases:\n  shop:\n    level: 3", "line 2, databases.shop", ["conn_id is missing", "shop_db"]),
    "an empty entry": ("databases:\n  shop:\n", "line 2, databases.shop", ["an empty value", "conn_id"]),
    "an unknown compression": (
        "databases:\n  shop: {conn_id: a, compression: gzipp}",
        "line 2, databases.shop.compression",
        ["'gzipp'", "one of gzip, bzip2, zstd", "Did you mean 'gzip'?"],
    ),
    "an unknown type": (
        "databases:\n  shop:\n    conn_id: a\n    types:\n      - full\n      - struct",
        "line 6, databases.shop.types[1]",
        ["'struct'", "Did you mean 'structure'?"],
    ),
    "a text for a list": ("databases:\n  shop: {conn_id: a, types: full}", "line 2", ["not a list", "types: ["]),
    "a number in quotes": ("databases:\n  shop: {conn_id: a, level: '9'}", "level", ["'9' is not a whole number"]),
    "a boolean in quotes": ("databases:\n  shop: {conn_id: a, protected: 'yes'}", "protected", ["'yes'", "'true'"]),
    "a number for a text": ("databases:\n  shop: {conn_id: a, owner: 7}", "owner", ["'7' is not a text", "quotes"]),
    "no days": (
        "databases:\n  shop: {conn_id: a, retention: {full: 0}}",
        "retention.full",
        ["at least 1", "Remove it"],
    ),
    "a level too high": (
        "databases:\n  shop:\n    conn_id: a\n    level: 12",
        "line 4, databases.shop.level",
        ["gzip takes a level from 1 to 9, not 12", "Set it to 9."],
    ),
    "a level too high in the defaults": (
        "defaults: {compression: zstd, level: 30}\ndatabases: {shop: {conn_id: a}}",
        "line 1, defaults.level",
        ["zstd takes a level from 1 to 19, not 30", "Set it to 19."],
    ),
    "a level of no compression": (
        "databases:\n  shop: {conn_id: a, compression: none, level: 1}",
        "databases.shop.level",
        ["none takes no level", "Remove it."],
    ),
    "a name in capitals": ("databases:\n  My Shop: {conn_id: a}", "line 2", ["'My Shop' cannot be a name", "my_shop"]),
    "a name too long": (f"databases:\n  {'x' * 49}: {{conn_id: a}}", "line 2", ["cannot be a name", "at most 48"]),
    "a key twice": (
        "databases:\n  shop: {conn_id: a}\n  crm: {conn_id: b}\n  shop: {conn_id: c}",
        "line 4, databases.shop",
        ["there already, in line 2"],
    ),
    "a name of a server and a database": (
        "servers:\n  shop: {conn_id: a}\ndatabases:\n  shop: {conn_id: b}",
        "line 4, databases.shop",
        ["line 2 has a server of this name"],
    ),
    "an unknown storage": (
        "databases:\n  shop: {conn_id: a, storages: [local, locl]}",
        "line 2, databases.shop.storages[1]",
        ["no storage 'locl'", "Did you mean 'local'?"],
    ),
    "a storage that is not listed": (
        "databases:\n  shop: {conn_id: a, storages: [s3]}",
        "storages[0]",
        ["no storage 's3'", "storages:"],
    ),
    "a storage named local": (
        "storages: {local: {url: 'file:///x'}}\ndatabases: {shop: {conn_id: a}}",
        "line 1, storages.local",
        ["BACKUP_LOCAL_PATH"],
    ),
    "no storages": ("databases:\n  shop: {conn_id: a, storages: []}", "storages", ["the list is empty"]),
    "data backups by schedule": (
        "databases:\n  shop: {conn_id: a, types: [full, data]}",
        "databases.shop.types[1]",
        ["no schedule takes data backups", "create --type data"],
    ),
    "no types": ("databases:\n  shop: {conn_id: a, types: []}", "types", ["the list is empty"]),
    "an unknown server": (
        "servers: {main: {conn_id: b}}\ndatabases:\n  shop: {conn_id: a, server: mian}",
        "line 3, databases.shop.server",
        ["no server 'mian'", "Did you mean 'main'?"],
    ),
    "a SQLite server": (
        "servers:\n  shop: {conn_id: a, engine: sqlite}",
        "line 2, servers.shop.engine",
        ["no server", "databases: entry"],
    ),
    "incrementals of a MySQL database": (
        "databases:\n  shop: {conn_id: a, engine: mysql, types: [full, incremental]}",
        "databases.shop.types[1]",
        ["Make it a servers: entry."],
    ),
    "incrementals of a PostgreSQL database": (
        "databases:\n  shop: {conn_id: a, engine: postgres, types: [incremental]}",
        "databases.shop.types[0]",
        ["Make it a servers: entry."],
    ),
    "increments and no full": (
        "databases:\n  shop: {conn_id: a, types: [structure, incremental]}",
        "databases.shop.types[1]",
        ["follow a full backup", "Add full"],
    ),
    "a critical database without increments": (
        "databases:\n  shop: {conn_id: a, tier: critical}",
        "databases.shop.tier",
        ["every five minutes", "Add incremental to its types."],
    ),
    "a critical PostgreSQL database": (
        "databases:\n  shop: {conn_id: a, engine: postgres, tier: critical}",
        "databases.shop.tier",
        ["Give that tier to its servers: entry."],
    ),
    "tables left out of increments": (
        "databases:\n  shop: {conn_id: a, types: [full, incremental], exclude_tables: [log]}",
        "databases.shop.exclude_tables",
        ["pages of the file", "Remove it"],
    ),
    "the structure of a server": (
        "servers:\n  main: {conn_id: a, types: [full, structure]}",
        "servers.main.types[1]",
        ["full and incremental backups alone", "databases: entries"],
    ),
    "tables left out of a server": (
        "servers:\n  main: {conn_id: a, exclude_tables: [log]}",
        "servers.main.exclude_tables",
        ["cannot leave one out", "databases: entry"],
    ),
    "a replica of a server": (
        "servers:\n  main: {conn_id: a, read_conn_id: b}",
        "servers.main.read_conn_id",
        ["a history of its own", "conn_id"],
    ),
    "a protected server": ("servers:\n  main: {conn_id: a, protected: true}", "servers.main.protected", ["databases:"]),
    "checks of a server": (
        "servers:\n  main: {conn_id: a, checks: [{sql: select 1, expect: 1}]}",
        "servers.main.checks",
        ["one database"],
    ),
    "hooks of a server": (
        "servers:\n  main: {conn_id: a, hooks: {before_restore: {trigger_dag: stop}}}",
        "servers.main.hooks",
        ["nothing is restored onto"],
    ),
    "a server without databases": ("servers:\n  main: {conn_id: a, databases: []}", "databases", ["the list is empty"]),
    "some databases of a PostgreSQL server": (
        "servers:\n  main: {conn_id: a, engine: postgres, databases: [shop]}",
        "servers.main.databases",
        ["all its databases", "databases: all"],
    ),
    "a SQLite database of a server": (
        "servers: {main: {conn_id: b}}\ndatabases:\n  shop: {conn_id: a, engine: sqlite, server: main}",
        "databases.shop.server",
        ["has no server", "add incremental"],
    ),
    "a database of a server of another engine": (
        "servers: {main: {conn_id: b, engine: mysql}}\n"
        "databases:\n  shop: {conn_id: a, engine: postgres, server: main}",
        "databases.shop.server",
        ["line 1", "another engine"],
    ),
    "a window that is none": (
        "databases:\n  shop: {conn_id: a, objectives: {rpo_minutes: 60, window: '9 to 5'}}",
        "databases.shop.objectives.window",
        ["'9 to 5'", "such as Mon-Fri 09:00-18:00"],
    ),
    "a window without a target": (
        "databases:\n  shop:\n    conn_id: a\n    objectives: {window: 'Mon-Fri 09:00-18:00'}",
        "line 4, databases.shop.objectives.window",
        ["Add rpo_minutes"],
    ),
    "otherwise without a window": (
        "databases:\n  shop: {conn_id: a, objectives: {rpo_minutes: 60, otherwise: 1440}}",
        "databases.shop.objectives.otherwise",
        ["Add a window"],
    ),
    "a database list that is a number": ("servers:\n  m: {conn_id: a, databases: 3}", "databases", ["'all' or a list"]),
    "a value that is an alias of itself": ("databases: &all\n  shop: *all\n", "line 2", ["refers to itself"]),
    "endless nesting": (f"project: {'[' * 5000}", "include/backup.yaml", ["nested too deeply"]),
    "a date that is none": ("databases: {shop: {conn_id: a}}\nproject: 2026-02-31", "line 2, project", ["Quote it."]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_with_place_and_fix(refusal: Callable[[str], str], case: str) -> None:
    text, place, words = WRONG[case]
    said = refusal(text)
    assert "include/backup.yaml" in said
    for word in [place, *words]:
        assert word in said


def test_all_problems_of_a_file_are_told_at_once_in_the_order_of_its_lines(refusal: Callable[[str], str]) -> None:
    said = refusal("""\
        version: 2
        databases:
          shop:
            conn_id: shop_db
            levl: 3
          crm:
            level: 12
          Erp: {conn_id: a, channels: {slack: x}}
        projekt: x
    """)
    assert said.splitlines()[0] == "include/backup.yaml: 7 problems."
    places = [line.removeprefix("- ").split(":")[0] for line in said.splitlines()[1:]]
    assert places == [
        "line 1, version",
        "line 5, databases.shop.levl",
        "line 6, databases.crm",
        "line 7, databases.crm.level",
        "line 8, databases.Erp",
        "line 8, databases.Erp.channels",
        "line 9, projekt",
    ]


# A value away from its default for every key that is not there yet, and for every value that is not.
TOO_EARLY_IN_ENTRY = {
    "channels": "channels: {slack: '#alerts'}",
}


def test_every_key_that_is_not_there_yet_is_tested() -> None:
    assert set(TOO_EARLY_IN_ENTRY) == set(NOT_YET_ENTRY_KEYS)


@pytest.mark.parametrize("key", TOO_EARLY_IN_ENTRY)
def test_a_key_of_an_entry_whose_feature_is_not_there_is_refused(read: ReadConfig, key: str) -> None:
    with pytest.raises(FeatureNotAvailable, match=re.escape(f"line 4, databases.shop.{key}: ")):
        read(f"databases:\n  shop:\n    conn_id: a\n    {TOO_EARLY_IN_ENTRY[key]}\n")


def test_an_entry_is_encrypted_as_it_says_itself_else_as_the_defaults_say(read: ReadConfig) -> None:
    config = read("""
        defaults: {encrypt: true}
        databases:
          shop: {conn_id: a}
          open: {conn_id: b, encrypt: false}
    """)
    assert {name: entry.encrypt for name, entry in config.entries.items()} == {"shop": True, "open": False}


# Keys

_KMS = "aws-kms://arn:aws:kms:eu-central-1:123456789012:key/0f1e"


def test_keys_are_files_connections_or_addresses_of_key_services(read: ReadConfig) -> None:
    config = read(f"""
        keys:
          main: {{file: /etc/keys/main.json}}
          vault: {{conn_id: key_vault}}
          kms: {{kms: "{_KMS}", conn_id: aws_default}}
        databases: {{shop: {{conn_id: a}}}}
    """)
    assert config.keys == {
        "main": KeyConfig("main", file="/etc/keys/main.json"),
        "vault": KeyConfig("vault", conn_id="key_vault"),
        "kms": KeyConfig("kms", conn_id="aws_default", kms=_KMS),
    }


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("main: {}", r"keys\.main: this says nowhere where the key is"),
        ("main: {fil: x.json}", r"keys\.main\.fil: there is no such key\. Did you mean 'file'"),
        ("main: {file: x.json, conn_id: vault}", r"keys\.main: a key is of one kind"),
        ("main: {file: x.json, kms: 'gcp-kms://x'}", r"keys\.main: a key is of one kind"),
        ("Main: {file: x.json}", r"'Main' cannot be a name"),
        ("main: {kms: 'aws-kms://arn:aws:kms:eu-central-1:123456789012:alias/main'}", "no alias"),
        ("main: {kms: 's3://bucket'}", "a key's own address"),
        ("main: {conn_id: 'vault://token@host'}", "the id of a connection"),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_its_place(refusal: Callable[[str], str], key: str, said: str) -> None:
    assert re.search(said, refusal(f"keys:\n  {key}\ndatabases: {{shop: {{conn_id: a}}}}\n"))


def test_a_server_takes_fulls_and_increments_of_all_its_databases_unless_it_says_otherwise(read: ReadConfig) -> None:
    config = read("""
        servers:
          main: {conn_id: main_db, databases: all, tier: critical}
          old: {conn_id: old_db, databases: [crm, erp], types: [full]}
        databases:
          shop: {conn_id: shop_db, server: main}
    """)
    main, old, shop = (config.entry(name) for name in ("main", "old", "shop"))
    assert list(config.entries) == ["main", "old", "shop"]
    assert (main.scope, main.tier, main.databases) == (Scope.SERVER, Tier.CRITICAL, ())
    assert main.types == (BackupType.FULL, BackupType.INCREMENTAL)
    assert (old.databases, old.types) == (("crm", "erp"), (BackupType.FULL,))
    assert (shop.scope, shop.server) == (Scope.DATABASE, "main")


@pytest.mark.parametrize(
    ("keys", "able"),
    [
        ("servers: {shop: {conn_id: a}}", {BackupType.FULL, BackupType.INCREMENTAL}),
        ("databases: {shop: {conn_id: a}}", {BackupType.FULL, BackupType.STRUCTURE, BackupType.DATA}),
        ("databases: {shop: {conn_id: a, types: [full, incremental]}}", set(BackupType)),
    ],
)
def test_an_entry_says_which_types_can_be_asked_for(read: ReadConfig, keys: str, able: set[BackupType]) -> None:
    shop = entry(read, keys)
    assert {backup_type for backup_type in BackupType if shop.can_take(backup_type)} == able
    assert shop.has_chains is (BackupType.INCREMENTAL in able)


def test_keys_whose_feature_is_not_there_may_ask_for_nothing(read: ReadConfig) -> None:
    shop = entry(
        read,
        """
        storages: {}
        servers: {}
        defaults: {encrypt: false, jobs: 1}
        databases:
          shop: {conn_id: a, tier: standard, encrypt: false, jobs: 1, types: [full, full]}
        """,
    )
    assert (shop.encrypt, shop.jobs, shop.types) == (False, 1, (BackupType.FULL,))


def test_an_entry_has_objectives_and_hooks_of_its_own(read: ReadConfig) -> None:
    shop = entry(
        read,
        """
        databases:
          shop:
            conn_id: a
            objectives: {rpo_minutes: 60, rto_minutes: 45}
            hooks: {before_restore: {trigger_dag: stop_shop}, after_restore: {trigger_dag: start_shop}}
        """,
    )
    assert (shop.objectives.rpo_minutes, shop.objectives.rto_minutes) == (60, 45)
    assert shop.objectives.window is None
    assert shop.hooks.before_restore == Hook(trigger_dag="stop_shop")
    assert shop.hooks.after_restore == Hook(trigger_dag="start_shop")


def test_restores_have_targets_and_checks(read: ReadConfig) -> None:
    config = read(
        "restore_targets: {staging: {conn_id: staging_pg}}\n"
        "databases: {shop: {conn_id: a, checks: [{sql: 'select count(*) > 0 from orders', expect: true}]}}"
    )
    assert config.restore_targets == {"staging": RestoreTarget(conn_id="staging_pg")}
    assert config.entries["shop"].checks == (Check(sql="select count(*) > 0 from orders", expect=True),)


def test_a_check_expects_one_value(refusal: Callable[[str], str]) -> None:
    said = refusal("databases: {shop: {conn_id: a, checks: [{sql: select 1, expect: [1, 2]}]}}")
    assert "databases.shop.checks[0].expect" in said
    assert "one value" in said


def test_an_entry_says_which_types_it_takes_and_which_tables_it_leaves_out(read: ReadConfig) -> None:
    shop = entry(read, "databases: {shop: {conn_id: a, types: [full, structure], exclude_tables: [log, 'tmp_*']}}")
    assert shop.types == (BackupType.FULL, BackupType.STRUCTURE)
    assert shop.exclude_tables == ("log", "tmp_*")


@pytest.mark.parametrize(
    "keys",
    [
        "conn_id: 'postgres://user:hunter2@host/db'",
        "conn_id: hunter2 x",
        "conn_id: a, read_conn_id: 'mysql://u:hunter2@h/d'",
        "conn_id: a, channels: {slack: [hunter2]}",
        "conn_id: a, password: hunter2",
    ],
)
def test_a_password_in_the_wrong_place_is_not_repeated(refusal: Callable[[str], str], keys: str) -> None:
    said = refusal(f"databases: {{shop: {{{keys}}}}}\nstorages: {{s3: {{url: 's3://key:hunter2@bucket'}}}}")
    assert "hunter2" not in said


def test_the_error_does_not_carry_pydantics_own_message(read: ReadConfig) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        read("databases: {shop: {conn_id: 'postgres://user:hunter2@host/db'}}")
    assert refusal.value.__suppress_context__


EXAMPLE = PROJECT_ROOT / "include" / "backup.example.yaml"


def test_the_example_file_is_valid(read: ReadConfig) -> None:
    config = read(EXAMPLE.read_text())
    assert set(config.entries) == {"main-pg", "carwise", "inventory"}


def test_what_the_example_file_has_commented_out_is_right_and_not_there_yet(read: ReadConfig) -> None:
    # "# text" is prose; "#key:" and "#  key:" are YAML.
    text = re.sub(r"^#(?! \S|$)", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    with pytest.raises(FeatureNotAvailable) as refusal:
        read(text)
    for key in NOT_YET_ENTRY_KEYS:
        assert re.search(rf"[ .]{key}:", str(refusal.value)), key
