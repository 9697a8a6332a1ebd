"""Every object storage keeps the contract of colder classes, as far as its server here has them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from conformance.cold_contract import ColdContract
from db_backup.errors import FeatureNotAvailable, ObjectLocked, ObjectMissing, StorageAccessDenied
from db_backup.storage import LocalStorage, Protection, Storage
from support.cloud_server import CloudServer
from support.faulty_proxy import Fault, FaultyProxy
from support.moto_server import S3Server

pytestmark = pytest.mark.integration

_KEY = "database/backup_shop_full_2026-01-31_03-00-00.sql.gz"


class OfServer(ColdContract):
    server_fixture: ClassVar[str]

    @pytest.fixture
    def storage(self, request: pytest.FixtureRequest) -> Storage:
        server: CloudServer = request.getfixturevalue(self.server_fixture)
        return _initialised(server.storage(server.new_bucket()))


class TestS3(OfServer):
    server_fixture = "s3_server"
    usual_class, readable_class, coldest_class = "STANDARD", "STANDARD_IA", "DEEP_ARCHIVE"
    must_thaw = True


class TestAzure(OfServer):
    server_fixture = "azurite_server"
    usual_class, readable_class, coldest_class = "Hot", "Cool", "Archive"
    must_thaw = True


class TestGcs(OfServer):
    server_fixture = "gcs_server"
    usual_class, readable_class, coldest_class = "STANDARD", "NEARLINE", "ARCHIVE"
    must_thaw = False


def _initialised(storage: Storage) -> Storage:
    storage.initialise()
    return storage


def test_a_folder_has_neither_colder_classes_nor_locks(tmp_path: Path) -> None:
    storage = _initialised(LocalStorage("disk", tmp_path / "root"))
    storage.create(_KEY, b"bytes")
    storage.thaw(_KEY, days=1)

    assert storage.archive_classes == ()
    assert storage.temperature(_KEY).readable
    assert storage.retained_until(_KEY) is None
    with pytest.raises(FeatureNotAvailable, match="no class 'GLACIER'"):
        storage.archive(_KEY, "GLACIER")
    with pytest.raises(FeatureNotAvailable, match="has no locks"):
        storage.retain(_KEY, tomorrow())


@pytest.fixture
def locked(s3_server: S3Server) -> tuple[Storage, str, Any]:
    """A storage in a bucket with Object Lock, that bucket's name, and a client."""
    bucket = s3_server.new_bucket(locked=True)
    return _initialised(s3_server.storage(bucket, object_lock="governance")), bucket, s3_server.client()


def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def test_a_locked_object_cannot_be_deleted_and_stays_visible(locked: tuple[Storage, str, Any]) -> None:
    storage, _, _ = locked
    until = tomorrow()
    storage.create(_KEY, b"bytes")
    storage.retain(_KEY, until)

    with pytest.raises(ObjectLocked, match=f"until {until:%Y-%m-%d}"):
        storage.delete(_KEY)

    found = storage.retained_until(_KEY)
    assert found is not None
    assert abs(found - until) < timedelta(seconds=1)
    assert b"".join(storage.read(_KEY)) == b"bytes"


def test_of_several_objects_each_has_a_lock_of_its_own(locked: tuple[Storage, str, Any]) -> None:
    storage, _, _ = locked
    for number in range(3):
        storage.create(f"{_KEY}-{number}", b"bytes")
    storage.retain(f"{_KEY}-1", tomorrow())

    assert [storage.retained_until(f"{_KEY}-{number}") is not None for number in range(3)] == [False, True, False]


def test_a_lock_is_never_shortened(locked: tuple[Storage, str, Any]) -> None:
    storage, _, _ = locked
    storage.create(_KEY, b"bytes")
    storage.retain(_KEY, tomorrow() + timedelta(days=9))
    storage.retain(_KEY, tomorrow())

    found = storage.retained_until(_KEY)

    assert found is not None
    assert found > tomorrow() + timedelta(days=8)


def test_a_bucket_without_object_lock_refuses_with_the_fix(s3_server: S3Server) -> None:
    storage = _initialised(s3_server.storage(s3_server.new_bucket(), object_lock="governance"))
    storage.create(_KEY, b"bytes")

    with pytest.raises(FeatureNotAvailable, match="has no Object Lock") as refused:
        storage.retain(_KEY, tomorrow())

    assert "remove object_lock" in refused.value.hint


@pytest.mark.parametrize("server", ["azurite_server", "gcs_server"])
def test_who_has_no_object_lock_refuses(server: str, request: pytest.FixtureRequest) -> None:
    cloud: CloudServer = request.getfixturevalue(server)
    storage = _initialised(cloud.storage(cloud.new_bucket()))
    storage.create(_KEY, b"bytes")

    with pytest.raises(FeatureNotAvailable, match="no Object Lock"):
        storage.retain(_KEY, tomorrow())
    assert storage.retained_until(_KEY) is None


def test_a_deletion_takes_all_versions_and_those_of_no_other_object(locked: tuple[Storage, str, Any]) -> None:
    storage, bucket, client = locked
    for key in (_KEY, f"{_KEY}-2"):
        storage.replace(key, b"first", version=None)
        storage.replace(key, b"second", version=storage.read_document(key).version)

    storage.delete(_KEY)
    storage.delete(_KEY)

    found = client.list_object_versions(Bucket=bucket, Prefix=f"backups/{_KEY}")
    assert {version["Key"] for version in found["Versions"]} == {f"backups/{_KEY}-2"}
    assert "DeleteMarkers" not in found
    with pytest.raises(ObjectMissing):
        storage.stat(_KEY)


def test_a_deletion_that_fails_half_way_brings_no_earlier_version_to_light(
    s3_server: S3Server, locked: tuple[Storage, str, Any]
) -> None:
    _, bucket, _ = locked
    with FaultyProxy.before(s3_server.endpoint) as proxy:
        storage = s3_server.storage(bucket, endpoint=proxy.endpoint)
        storage.replace(_KEY, b"first", version=None)
        for content in (b"second", b"deleted"):
            storage.replace(_KEY, content, version=storage.read_document(_KEY).version)
        deletions = itertools.count(1)
        proxy.let(Fault(lambda request: request.method == "DELETE" and next(deletions) > 1, status=403))
        with pytest.raises(StorageAccessDenied):
            storage.delete(_KEY)

        assert storage.read_document(_KEY).content == b"deleted"


def test_versions_from_before_versioning_was_suspended_are_deleted_too(
    s3_server: S3Server,
) -> None:
    bucket, client = s3_server.new_bucket(), s3_server.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    storage = _initialised(s3_server.storage(bucket))
    storage.create(_KEY, b"bytes")
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    with FaultyProxy.before(s3_server.endpoint) as proxy:
        s3_server.storage(bucket, endpoint=proxy.endpoint).delete(_KEY)

        (deletion,) = (request for request in proxy.requests if request.method == "DELETE")
    assert "versionId=" in deletion.path


def test_a_bucket_with_locks_keeps_versions_also_where_that_may_not_be_asked(
    s3_server: S3Server, locked: tuple[Storage, str, Any]
) -> None:
    _, bucket, _ = locked
    with FaultyProxy.before(s3_server.endpoint) as proxy:
        proxy.let(Fault(lambda request: request.path.endswith("?versioning"), status=403))
        storage = s3_server.storage(bucket, endpoint=proxy.endpoint)
        storage.create(_KEY, b"bytes")
        storage.retain(_KEY, tomorrow())

        with pytest.raises(ObjectLocked):
            storage.delete(_KEY)


def test_an_old_version_that_is_locked_keeps_the_whole_object(locked: tuple[Storage, str, Any]) -> None:
    storage, _, _ = locked
    storage.replace(_KEY, b"first", version=None)
    storage.retain(_KEY, tomorrow())
    storage.replace(_KEY, b"second", version=storage.read_document(_KEY).version)

    with pytest.raises(ObjectLocked):
        storage.delete(_KEY)

    assert storage.read_document(_KEY).content == b"second"


def test_archiving_in_a_versioned_bucket_leaves_no_second_copy(locked: tuple[Storage, str, Any]) -> None:
    storage, bucket, client = locked
    storage.create(_KEY, b"bytes")

    assert storage.archive(_KEY, "GLACIER_IR") == ""

    (version,) = client.list_object_versions(Bucket=bucket, Prefix=f"backups/{_KEY}")["Versions"]
    assert version["StorageClass"] == "GLACIER_IR"


def test_archiving_what_is_locked_says_that_both_cost(locked: tuple[Storage, str, Any]) -> None:
    storage, _, _ = locked
    storage.create(_KEY, b"bytes")
    storage.retain(_KEY, tomorrow())

    assert "stays, and costs as before" in storage.archive(_KEY, "GLACIER_IR")


def test_a_bucket_tells_how_it_protects_what_is_in_it(s3_server: S3Server, locked: tuple[Storage, str, Any]) -> None:
    plain = _initialised(s3_server.storage(s3_server.new_bucket()))

    assert plain.protection() == Protection(object_lock=False, versioned=False)
    assert locked[0].protection() == Protection(object_lock=True, versioned=True)
