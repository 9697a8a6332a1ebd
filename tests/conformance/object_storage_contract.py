"""What every object storage does beyond the contract of all storages, with its server as it is and when it fails.

A subclass gives ``server_fixture``: the name of the fixture with its server.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import ClassVar

import pytest

from db_backup.errors import (
    ObjectMissing,
    StorageAccessDenied,
    StorageConflict,
    StorageError,
    StorageNotMounted,
)
from db_backup.holder import Holder
from db_backup.storage import Sink, Storage
from db_backup.storage.folder import this_host
from db_backup.storage.object_store import claims
from support.cloud_server import QUICK, CloudServer
from support.faulty_proxy import Fault, FaultyProxy, Request

_ID = "backup_shop_full_2026-01-31_03-00-00"
_PART = f"database/{_ID}.sql.gz"
_STATE = f"metadata/{_ID}.state.json"
_MEGABYTE = 1 << 20
_PARTS = bytes(range(256)) * (12 * _MEGABYTE // 256)  # of three parts
_AT_ONCE = timedelta(0)
_A_DAY = timedelta(days=1)
_LOOKED = ".at-work/looked-for-uploads"

_ACTIONS: dict[str, Callable[[Storage], object]] = {
    "storage_id": lambda storage: storage.storage_id,
    "create": lambda storage: storage.create("metadata/new.json", b"{}"),
    "read_document": lambda storage: storage.read_document(_STATE),
    "read": lambda storage: list(storage.read(_STATE)),
    "stat": lambda storage: storage.stat(_STATE),
    "list": lambda storage: list(storage.list("metadata")),
    "append_record": lambda storage: storage.append_record("audit/2026-01.jsonl", b"{}"),
    "delete": lambda storage: storage.delete(_STATE),
    "small sink": lambda storage: _write(storage, b"small"),
    "large sink": lambda storage: _write(storage, _PARTS),
}


class ObjectStorageContract:
    server_fixture: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, request: pytest.FixtureRequest) -> tuple[CloudServer, str]:
        """A server, and a bucket in it: every test has a prefix of its own."""
        server: CloudServer = request.getfixturevalue(cls.server_fixture)
        return server, server.new_bucket()

    @pytest.fixture(scope="class")
    @classmethod
    def proxy_of_class(cls, place: tuple[CloudServer, str]) -> Iterator[FaultyProxy]:
        with FaultyProxy.before(place[0].endpoint) as proxy:
            yield proxy

    @pytest.fixture
    def proxy(self, proxy_of_class: FaultyProxy) -> FaultyProxy:
        """Nothing goes wrong yet."""
        proxy_of_class.faults.clear()
        proxy_of_class.requests.clear()
        return proxy_of_class

    @pytest.fixture
    def prefix(self) -> str:
        return f"test/{secrets.token_hex(6)}"

    @pytest.fixture
    def storage(self, place: tuple[CloudServer, str], prefix: str) -> Storage:
        server, bucket = place
        storage = server.storage(bucket, prefix)
        storage.initialise()
        storage.create(_STATE, b"state")
        return storage

    @pytest.fixture
    def shaky(self, place: tuple[CloudServer, str], prefix: str, storage: Storage, proxy: FaultyProxy) -> Storage:
        """The same storage, through the proxy."""
        server, bucket = place
        return server.storage(bucket, prefix, endpoint=proxy.endpoint)

    # Many parts

    def test_an_object_of_several_parts_appears_whole_and_alone(
        self, storage: Storage, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        sink = storage.open_sink(_PART)
        block = bytearray(_MEGABYTE)
        for start in range(0, len(_PARTS), _MEGABYTE):
            block[:] = _PARTS[start : start + _MEGABYTE]  # the memory is ours again after each write
            sink.write(block)
        assert list(storage.list("database")) == []

        sink.commit()

        assert b"".join(storage.read(_PART)) == _PARTS
        assert everything(place, prefix) == {".storage-id", _STATE, _PART}

    def test_an_upload_that_is_aborted_leaves_nothing(
        self, storage: Storage, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        sink = storage.open_sink(_PART)
        sink.write(_PARTS)
        sink.abort()

        assert everything(place, prefix) == {".storage-id", _STATE}
        with pytest.raises(StorageError, match="any more"):
            sink.commit()

    def test_of_two_large_objects_of_one_name_the_second_is_refused_and_leaves_nothing(
        self, storage: Storage, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        first, second = storage.open_sink(_PART), storage.open_sink(_PART)
        first.write(_PARTS)
        second.write(_PARTS[::-1])
        first.commit()

        with pytest.raises(StorageConflict, match=_ID):
            second.commit()

        assert b"".join(storage.read(_PART)) == _PARTS
        assert everything(place, prefix) == {".storage-id", _STATE, _PART}

    def test_a_sweep_leaves_an_upload_alone_that_is_being_written(self, storage: Storage) -> None:
        sink = storage.open_sink(_PART)
        sink.write(_PARTS)

        assert storage.sweep(older_than=_AT_ONCE) == ()

        sink.write(b"the end")
        sink.commit()
        assert storage.stat(_PART).size_bytes == len(_PARTS) + 7

    def test_what_one_object_holds_has_a_limit_below_the_providers(
        self, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        server, bucket = place
        limits = dataclasses.replace(QUICK, part_bytes=1000, max_parts=100)

        assert server.storage(bucket, prefix, limits=limits).max_object_bytes == 90_000

    # Places

    def test_storages_whose_prefixes_begin_alike_do_not_see_each_other(
        self, storage: Storage, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        server, bucket = place
        neighbour = server.storage(bucket, f"{prefix}-too")
        neighbour.initialise()
        neighbour.create("metadata/theirs.json", b"{}")

        assert [found.key for found in storage.list("metadata")] == [_STATE]
        assert storage.storage_id != neighbour.storage_id

    def test_a_bucket_may_be_taken_whole(self, place: tuple[CloudServer, str]) -> None:
        server = place[0]
        storage = server.storage(server.new_bucket(), "")
        storage.initialise()
        with storage.reserve(_ID):
            _write(storage, _PARTS)
        storage.create(_STATE, b"{}")

        assert [found.key for found in storage.list("database")] == [_PART]
        assert storage.sweep(older_than=_AT_ONCE) == ()

    @pytest.mark.parametrize("name", ["a b.json", "50%.json", "a#b.json", "a+b=c&d.json", "größe.json", "a~b?.json"])
    def test_any_key_comes_back_as_it_was_given(self, storage: Storage, name: str) -> None:
        storage.create(f"check/{name}", b"1")

        assert [found.key for found in storage.list("check")] == [f"check/{name}"]
        assert storage.stat(f"check/{name}").size_bytes == 1
        storage.delete(f"check/{name}")
        assert list(storage.list("check")) == []

    def test_a_bucket_that_is_not_there_is_named(self, place: tuple[CloudServer, str]) -> None:
        nowhere = place[0].storage("no-such-bucket-anywhere", "backups")
        for action in (nowhere.initialise, *(lambda act=act: act(nowhere) for act in _ACTIONS.values())):
            with pytest.raises(StorageNotMounted, match="no-such-bucket-anywhere") as refusal:
                action()
            assert "Create the" in refusal.value.hint

    def test_a_folder_below_the_asked_one_is_not_listed(self, storage: Storage) -> None:
        storage.append_record("audit/2026-01.jsonl", b"1")
        storage.append_record("audit/2026-01.jsonl", b"2")

        assert list(storage.list("audit")) == []
        records = [b"".join(storage.read(found.key)) for found in storage.list("audit/2026-01.jsonl")]
        assert records == [b"1\n", b"2\n"]

    def test_the_identity_is_not_asked_for_again_by_what_reads_and_always_by_what_writes(
        self, place: tuple[CloudServer, str], prefix: str, storage: Storage, proxy: FaultyProxy
    ) -> None:
        server, bucket = place
        limits = dataclasses.replace(QUICK, identity_seconds=600)
        own = server.storage(bucket, prefix, endpoint=proxy.endpoint, limits=limits)
        for _ in range(3):
            assert own.read_document(_STATE).content == b"state"
            assert list(own.list("metadata"))
        assert asked_for_identity(proxy) == 1

        with pytest.raises(ObjectMissing):
            own.stat("metadata/missing.json")
        assert asked_for_identity(proxy) == 2
        own.create("metadata/new.json", b"{}")
        assert asked_for_identity(proxy) == 3

    # Servers that fail

    @pytest.mark.parametrize(("action", "status"), [*((name, 403) for name in _ACTIONS), ("create", 401)])
    def test_whoever_is_denied_is_told_so_at_once(
        self, shaky: Storage, proxy: FaultyProxy, action: str, status: int
    ) -> None:
        proxy.let(Fault(lambda _: True, status=status))
        with pytest.raises(StorageAccessDenied) as denied:
            _ACTIONS[action](shaky)

        assert_it_reads_well(denied.value, shaky)
        assert "docs/object-storage.md" in denied.value.hint
        assert len(proxy.requests) == 1

    @pytest.mark.parametrize("action", _ACTIONS)
    def test_a_server_that_is_down_is_said_to_be(self, shaky: Storage, proxy: FaultyProxy, action: str) -> None:
        assert shaky.storage_id
        proxy.let(Fault(lambda _: True, status=503))
        with pytest.raises(StorageError) as down:
            _ACTIONS[action](shaky)

        assert type(down.value) is StorageError
        assert "503" in down.value.message
        assert_it_reads_well(down.value, shaky)

    def test_a_server_that_nobody_answers_for_is_said_to_be_unreachable(
        self, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        server, bucket = place
        unreachable = server.storage(bucket, prefix, endpoint="http://127.0.0.1:1/devstoreaccount1")
        with pytest.raises(StorageError) as failure:
            unreachable.initialise()

        assert_it_reads_well(failure.value, unreachable)

    @pytest.mark.parametrize("fault", [{"status": 503}, {"refused": True}, {"lost": True}], ids=str)
    @pytest.mark.parametrize("action", [name for name in _ACTIONS if name != "storage_id"])
    def test_what_passes_is_tried_again_and_nobody_hears_of_it(
        self, shaky: Storage, storage: Storage, proxy: FaultyProxy, action: str, fault: dict[str, int | bool]
    ) -> None:
        """Also where the answer to a write was lost: the next try finds the name taken, by itself."""
        proxy.let(Fault(_is_about_objects, times=1, **fault))
        _ACTIONS[action](shaky)

        assert proxy.faults[0].times == 0
        assert storage.sweep(older_than=_AT_ONCE) == ()

    def test_a_replacement_whose_answer_was_lost_is_made_once(
        self, shaky: Storage, storage: Storage, proxy: FaultyProxy
    ) -> None:
        version = shaky.read_document(_STATE).version
        proxy.let(Fault(lambda request: request.method == "PUT", times=1, lost=True))
        shaky.replace(_STATE, b"replaced", version=version)

        assert storage.read_document(_STATE).content == b"replaced"

    def test_a_creation_whose_answer_was_lost_does_not_pass_for_another_ones(
        self, shaky: Storage, storage: Storage, proxy: FaultyProxy
    ) -> None:
        """The name was taken before, by somebody else's bytes; the first answer is lost all the same."""
        proxy.let(Fault(lambda request: request.method == "PUT", times=1, lost=True))
        with pytest.raises(StorageConflict):
            shaky.create(_STATE, b"ours")

        assert storage.read_document(_STATE).content == b"state"

    def test_a_slow_server_is_not_waited_for_without_end(
        self, place: tuple[CloudServer, str], prefix: str, storage: Storage, proxy: FaultyProxy
    ) -> None:
        server, bucket = place
        limits = dataclasses.replace(QUICK, request_seconds=0.2, retries=0)
        own = server.storage(bucket, prefix, endpoint=proxy.endpoint, limits=limits)
        proxy.let(Fault(lambda _: True, seconds=0.5))
        with pytest.raises(StorageError) as slow:
            own.read_document(_STATE)

        assert_it_reads_well(slow.value, own)

    def test_whoever_may_not_delete_writes_all_the_same_and_sweeps_nothing(
        self, shaky: Storage, storage: Storage, proxy: FaultyProxy, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        server, bucket = place
        dead = json.dumps({**Holder.this_process(this_host()).columns(), "process_started": 1}).encode()
        for claim in (claims.id_claim(f"{_ID}-2"), claims.upload_claim(_PART), claims.name_claim(f"{_PART}.zz-002")):
            server.raw(bucket).put(f"{prefix}/{claim}", dead)
        proxy.let(Fault(_deletes_or_looks_for_uploads, status=403))

        assert shaky.sweep(older_than=_A_DAY) == ()
        with shaky.reserve(f"{_ID}-3"):
            shaky.create(_PART, b"part")
        assert [found.key for found in storage.list("database")] == [_PART]

    def test_an_upload_that_fails_in_the_middle_leaves_nothing(
        self, shaky: Storage, proxy: FaultyProxy, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        sink = shaky.open_sink(_PART)
        proxy.let(Fault(_carries_a_part, status=500))
        with pytest.raises(StorageError) as failure:
            _write_long(sink)
        sink.abort()

        assert_it_reads_well(failure.value, shaky)
        assert everything(place, prefix) == {".storage-id", _STATE}
        with pytest.raises(StorageError, match="any more"):
            sink.write(b"more")

    def test_an_upload_whose_last_part_fails_leaves_nothing(
        self, shaky: Storage, proxy: FaultyProxy, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        """obstore notices only as it completes, and then leaves the other parts where they are."""
        proxy.let(Fault(_carries_a_part, status=500))
        with pytest.raises(StorageError):
            _write(shaky, _PARTS)

        assert everything(place, prefix) == {".storage-id", _STATE}

    def test_an_upload_that_may_not_be_written_says_so(self, shaky: Storage, proxy: FaultyProxy) -> None:
        sink = shaky.open_sink(_PART)
        proxy.let(Fault(_carries_a_part, status=403))
        with pytest.raises(StorageAccessDenied):
            _write_long(sink)
        sink.abort()

    def test_an_upload_that_cannot_be_completed_leaves_nothing(
        self, shaky: Storage, proxy: FaultyProxy, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        proxy.let(Fault(_completes, status=500))
        with pytest.raises(StorageError):
            _write(shaky, _PARTS)

        assert everything(place, prefix) == {".storage-id", _STATE}

    def test_an_upload_whose_completion_was_done_and_not_answered_is_done(
        self, shaky: Storage, storage: Storage, proxy: FaultyProxy, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        proxy.let(Fault(_completes, times=1, lost=True))
        _write(shaky, _PARTS)

        assert b"".join(storage.read(_PART)) == _PARTS
        assert everything(place, prefix) == {".storage-id", _STATE, _PART}

    # Reading on

    def test_a_connection_that_is_cut_while_reading_is_taken_up_where_it_broke_off(
        self, shaky: Storage, storage: Storage, proxy: FaultyProxy
    ) -> None:
        _write(storage, _PARTS)
        proxy.let(Fault(_reads_the_part, times=2, cut_after=3_000_000))

        assert b"".join(shaky.read(_PART)) == _PARTS
        assert b"".join(shaky.read(_PART, offset=1_000_000, length=9_000_000)) == _PARTS[1_000_000:10_000_000]

    def test_a_connection_that_is_cut_again_and_again_without_a_byte_is_given_up(
        self, shaky: Storage, storage: Storage, proxy: FaultyProxy
    ) -> None:
        _write(storage, _PARTS)
        proxy.let(Fault(_reads_the_part, cut_after=0))
        with pytest.raises(StorageError) as failure:
            list(shaky.read(_PART))

        assert_it_reads_well(failure.value, shaky)

    def test_another_object_under_the_name_is_never_spliced_to_the_first(
        self, shaky: Storage, storage: Storage, proxy: FaultyProxy, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        _write(storage, _PARTS)
        refuse_another_object(shaky, proxy, place, prefix)

    def test_an_object_that_is_deleted_while_it_is_read_is_missing(
        self, shaky: Storage, storage: Storage, proxy: FaultyProxy
    ) -> None:
        _write(storage, _PARTS)
        proxy.let(Fault(_reads_the_part, times=1, cut_after=3_000_000))
        proxy.let(Fault(_reads_the_part, times=1, before=lambda: storage.delete(_PART)))
        with pytest.raises(ObjectMissing, match=_ID):
            list(shaky.read(_PART))


class AlsoWithoutConditions:
    """Of servers whose signatures do not cover ``If-Match``, so that a proxy can hide it from them."""

    def test_nor_by_a_server_that_compares_nothing(
        self, shaky: Storage, storage: Storage, proxy: FaultyProxy, place: tuple[CloudServer, str], prefix: str
    ) -> None:
        _write(storage, _PARTS)
        refuse_another_object(shaky, proxy, place, prefix, ignored="if-match")


def refuse_another_object(
    shaky: Storage, proxy: FaultyProxy, place: tuple[CloudServer, str], prefix: str, *, ignored: str = ""
) -> None:
    """The connection breaks while the part is read, and before it is taken up the object is another one."""
    server, bucket = place

    def swap() -> None:
        server.raw(bucket).put(f"{prefix}/{_PART}", _PARTS[::-1])

    proxy.let(Fault(_reads_the_part, times=1, cut_after=3_000_000))
    proxy.let(Fault(_reads_the_part, times=1, before=swap, ignored=ignored))
    read: list[bytes] = []
    with pytest.raises(StorageConflict, match="overwritten while it was being read"):
        read.extend(shaky.read(_PART))
    assert _PARTS.startswith(b"".join(read))


def everything(place: tuple[CloudServer, str], prefix: str) -> set[str]:
    """All that lies below a prefix, uploads that have begun with it; without the note when uploads were looked for."""
    server, bucket = place
    paths = [meta["path"] for page in server.raw(bucket).list(prefix) for meta in page]
    paths += [f"{path} (upload)" for path in server.uploads(bucket)]
    return {path.removeprefix(f"{prefix}/") for path in paths if path.startswith(f"{prefix}/")} - {_LOOKED}


def assert_it_reads_well(error: StorageError, storage: Storage) -> None:
    """One line, with the storage and what to do, and with neither an address that may be signed nor obstore's dump."""
    assert f"'{storage.name}'" in error.message
    assert storage.location in error.message
    assert error.hint
    text = str(error)
    assert not {"\n", "http://", "Debug", "RetryError", "Authorization"} & {
        word for word in ("\n", "http://", "Debug", "RetryError", "Authorization") if word in text
    }


def asked_for_identity(proxy: FaultyProxy) -> int:
    return sum(request.name.endswith("/.storage-id") for request in proxy.requests)


def _write(storage: Storage, content: bytes) -> None:
    sink = storage.open_sink(_PART)
    try:
        sink.write(content)
        sink.commit()
    finally:
        sink.abort()


def _write_long(sink: Sink) -> None:
    for _ in range(4):  # of more parts than are on their way at once
        sink.write(_PARTS)
    sink.commit()


def _is_about_objects(request: Request) -> bool:
    return not request.name.endswith("/.storage-id")


def _deletes_or_looks_for_uploads(request: Request) -> bool:
    """Azure takes deletions in batches."""
    return request.method == "DELETE" or "comp=batch" in request.path or "?uploads" in request.path


def _reads_the_part(request: Request) -> bool:
    return request.method == "GET" and request.name.endswith(".sql.gz")


def _carries_a_part(request: Request) -> bool:
    """S3 and Google number them, Azure names blocks."""
    return request.method == "PUT" and ("partNumber=" in request.path or "comp=block&" in request.path)


def _completes(request: Request) -> bool:
    complete = request.method == "POST" and "uploadId=" in request.path
    return complete or (request.method == "PUT" and "comp=blocklist" in request.path)
