"""Storages of backup.yaml and of BACKUP_CLOUD_*: what they mean together, and what contradicts itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from db_backup.config import Archive, Config, StorageConfig, load_config
from db_backup.errors import ConfigurationError
from db_backup.settings import load_settings
from db_backup.settings.addresses import StorageKind

pytestmark = pytest.mark.unit

ReadConfig = Callable[..., Config]
SHOP = "databases: {shop: {conn_id: shop_db}}\n"


def refused(read: ReadConfig, text: str, **environment: str) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        read(text, **environment)
    assert refusal.value.exit_code == 2
    return str(refusal.value)


def test_local_comes_first_and_is_the_folder_of_the_setting(read: ReadConfig, tmp_path: Path) -> None:
    config = read("storages: {s3: {url: 's3://bucket'}}\n" + SHOP, BACKUP_LOCAL_PATH="some folder")
    assert list(config.storages) == ["local", "s3"]
    local = config.storages["local"]
    assert (local.kind, local.address.folder) == (StorageKind.DISK, tmp_path / "some folder")


def test_a_storage_of_the_file_has_all_that_its_keys_say(read: ReadConfig) -> None:
    text = """
        storages:
          vault:
            url: s3://bucket/prefix
            conn_id: minio
            max_parts: 1000
            off_site: true
            object_lock: compliance
            archive: {after_days: 60, storage_class: DEEP_ARCHIVE}
            quota_mb: 5000
          plain: {url: "gs://bucket"}
        databases: {shop: {conn_id: shop_db}}
    """
    config = read(text)
    assert config.storages["vault"] == StorageConfig(
        "vault",
        "s3://bucket/prefix",
        "minio",
        1000,
        off_site=True,
        object_lock="compliance",
        archive=Archive(after_days=60, storage_class="DEEP_ARCHIVE"),
        quota_mb=5000,
    )
    assert config.storages["plain"] == StorageConfig("plain", "gs://bucket", None, 10_000, off_site=False)


def test_backups_go_to_the_cloud_as_well_once_it_is_enabled(read: ReadConfig) -> None:
    cloud = {"BACKUP_CLOUD_URL": "gs://bucket/db", "BACKUP_CLOUD_DISK": "gcs"}
    off, on = read(SHOP, **cloud), read(SHOP, **cloud, BACKUP_CLOUD_ENABLED="true")
    assert off.storages["gcs"] == on.storages["gcs"] == StorageConfig("gcs", "gs://bucket/db", off_site=True)
    assert off.entry("shop").storages == ("local",)
    assert on.entry("shop").storages == ("local", "gcs")


def test_an_entrys_own_list_wins_over_the_cloud(read: ReadConfig) -> None:
    text = "storages: {s3: {url: 's3://bucket'}}\ndatabases: {shop: {conn_id: shop_db, storages: [local]}}"
    assert read(text, BACKUP_CLOUD_ENABLED="true").entry("shop").storages == ("local",)


def test_an_entry_may_name_the_storage_of_the_cloud_url(read: ReadConfig) -> None:
    text = "databases: {shop: {conn_id: shop_db, storages: [s3]}}"
    assert read(text, BACKUP_CLOUD_URL="s3://bucket").entry("shop").storages == ("s3",)


def test_the_storage_disk_and_the_cloud_disk_may_be_the_same(read: ReadConfig) -> None:
    config = read(SHOP, BACKUP_STORAGE_DISK="s3", BACKUP_CLOUD_ENABLED="true", BACKUP_CLOUD_URL="s3://bucket")
    assert config.entry("shop").storages == ("s3",)


def test_the_cloud_disk_of_the_file_counts_as_off_site_unless_the_file_says_otherwise(read: ReadConfig) -> None:
    listed = "storages: {s3: {url: 's3://bucket'}}\n" + SHOP
    assert read(listed, BACKUP_CLOUD_ENABLED="true").storages["s3"].off_site
    assert not read(listed).storages["s3"].off_site
    near = "storages: {s3: {url: 's3://bucket', off_site: false}}\n" + SHOP
    assert not read(near, BACKUP_CLOUD_ENABLED="true").storages["s3"].off_site


def test_the_demo_goes_to_the_cloud_too(tmp_path: Path) -> None:
    environment = {"AIRFLOW_HOME": str(tmp_path), "BACKUP_CLOUD_ENABLED": "true", "BACKUP_CLOUD_URL": "s3://bucket"}
    config = load_config(load_settings(environment, root=tmp_path))
    assert [entry.storages for entry in config.entries.values()] == [("local", "s3")]


CONTRADICTIONS = {
    "a cloud that is nowhere": (
        SHOP,
        {"BACKUP_CLOUD_ENABLED": "true"},
        ["BACKUP_CLOUD_ENABLED (environment)", "nothing says where", "Set BACKUP_CLOUD_URL="],
    ),
    "a cloud of two addresses": (
        "storages: {s3: {url: 's3://bucket/one'}}\n" + SHOP,
        {"BACKUP_CLOUD_URL": "s3://bucket/two"},
        ["BACKUP_CLOUD_URL (environment)", "gives 's3'", "Remove BACKUP_CLOUD_URL"],
    ),
    "a disk that is not there": (
        "storages: {vault: {url: 's3://bucket'}}\n" + SHOP,
        {"BACKUP_STORAGE_DISK": "vaul"},
        ["BACKUP_STORAGE_DISK (environment)", "no storage 'vaul'", "Did you mean 'vault'?"],
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_settings_that_contradict_themselves_are_refused_with_the_fix(read: ReadConfig, case: str) -> None:
    text, environment, words = CONTRADICTIONS[case]
    said = refused(read, text, **environment)
    for word in words:
        assert word in said


def test_the_same_address_in_the_file_and_the_setting_is_no_contradiction(read: ReadConfig) -> None:
    listed = "storages: {s3: {url: 's3://bucket/one/', conn_id: minio}}\n" + SHOP
    assert read(listed, BACKUP_CLOUD_URL="s3://bucket/one").storages["s3"].conn_id == "minio"


WRONG = {
    "an address that is none": ("{url: bucket}", "storages.vault.url", "the value is not an address such as s3://"),
    "a password in the address": ("{url: 's3://me:hunter2@bucket'}", "storages.vault.url", "not an address"),
    "no address": ("{conn_id: aws}", "storages.vault", "url is missing"),
    "a lock of another word": ("{url: 's3://bucket', object_lock: soft}", "object_lock", "governance, compliance"),
    "a lock on Google": ("{url: 'gs://bucket', object_lock: governance}", "object_lock", "S3 buckets alone"),
    "a class of another provider": (
        "{url: 'gs://bucket', archive: {after_days: 30, storage_class: GLACIER}}",
        "archive.storage_class",
        "There are: NEARLINE",
    ),
    "a class that is misspelt": (
        "{url: 's3://bucket', archive: {after_days: 30, storage_class: deep_archive}}",
        "archive.storage_class",
        "Did you mean 'DEEP_ARCHIVE'?",
    ),
    "an archive without days": ("{url: 's3://bucket', archive: {storage_class: GLACIER}}", "archive", "after_days"),
    "an unknown key of an archive": (
        "{url: 's3://bucket', archive: {after_days: 9, storage_clas: GLACIER}}",
        "archive.storage_clas",
        "Did you mean 'storage_class'?",
    ),
    "too many parts": ("{url: 's3://bucket', max_parts: 20000}", "max_parts", "at most 10000"),
    "a quota of nothing": ("{url: 's3://bucket', quota_mb: 0}", "quota_mb", "at least 1"),
    "a connection of a folder": ("{url: 'file:///mnt/nas', conn_id: nas}", "conn_id", "the url is a folder's"),
    "a lock of a folder": ("{url: 'file:///mnt/nas', object_lock: governance}", "object_lock", "the url is a folder's"),
    "the place of another": ("{url: 's3://taken'}", "storages.vault.url", "'other' lies there already"),
    "the place of local": ("{url: 'file:///backups'}", "storages.vault.url", "'local' lies there already"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_storage_is_refused_with_place_and_fix(read: ReadConfig, case: str) -> None:
    keys, place, words = WRONG[case]
    said = refused(
        read, f"storages:\n  other: {{url: 's3://taken/'}}\n  vault: {keys}\n{SHOP}", BACKUP_LOCAL_PATH="/backups"
    )
    assert place in said
    assert words in said
    assert "line 3" in said
    assert "hunter2" not in said


def test_one_bucket_by_two_connections_may_be_two_places(read: ReadConfig) -> None:
    """Two providers may each have a bucket of that name."""
    text = "storages: {one: {url: 's3://bucket', conn_id: a}, two: {url: 's3://bucket', conn_id: b}}\n" + SHOP
    assert set(read(text).storages) == {"local", "one", "two"}
