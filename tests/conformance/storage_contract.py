"""What every storage does (``storage/base.py``). A new storage adds a subclass in ``test_storages.py``.

A subclass gives ``open_storage``: one more object for the same place, as another process would have it.
"""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db_backup.errors import BackupError, ObjectMissing, StorageConflict, StorageError, StorageNotMounted
from db_backup.storage import Storage

_ID = "backup_shop_full_2026-01-31_03-00-00"
_PART = f"database/{_ID}.sql.gz"
_MANIFEST = f"metadata/{_ID}.json"
_STATE = f"metadata/{_ID}.state.json"
_BIG = bytes(range(256)) * 10_000  # 2.56 MB

_ACTIONS: dict[str, Callable[[Storage], object]] = {
    "storage_id": lambda storage: storage.storage_id,
    "reserve": lambda storage: storage.reserve(_ID).__enter__(),
    "open_sink": lambda storage: storage.open_sink(_PART),
    "create": lambda storage: storage.create(_MANIFEST, b"{}"),
    "replace": lambda storage: storage.replace(_STATE, b"{}", version=None),
    "read_document": lambda storage: storage.read_document(_MANIFEST),
    "read": lambda storage: list(storage.read(_PART)),
    "stat": lambda storage: storage.stat(_PART),
    "list": lambda storage: list(storage.list("metadata")),
    "delete": lambda storage: storage.delete(_PART),
    "append_record": lambda storage: storage.append_record("audit/2026-01.jsonl", b"{}"),
    "free_bytes": lambda storage: storage.free_bytes(),
    "capacity_bytes": lambda storage: storage.capacity_bytes(),
    "sweep": lambda storage: storage.sweep(older_than=timedelta(0)),
}


class StorageContract(ABC):
    @abstractmethod
    def open_storage(self, folder: Path, *, expected_id: str | None = None) -> Storage:
        """The storage that belongs to this test's folder."""

    @abstractmethod
    def forget_identity(self, folder: Path) -> None:
        """Remove ``.storage-id``, as if another disk were mounted there."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        storage = self.open_storage(tmp_path)
        storage.initialise()
        return storage

    @pytest.fixture
    def other(self, tmp_path: Path, storage: Storage) -> Storage:
        return self.open_storage(tmp_path)

    # Identity

    def test_initialising_again_keeps_the_identity(self, storage: Storage, other: Storage) -> None:
        identity = storage.storage_id
        other.initialise()

        assert identity
        assert (storage.storage_id, other.storage_id) == (identity, identity)

    def test_many_who_initialise_at_once_agree_on_one_identity(self, tmp_path: Path) -> None:
        storages = [self.open_storage(tmp_path) for _ in range(8)]
        together = threading.Barrier(len(storages))

        def initialise(storage: Storage) -> str:
            together.wait()
            storage.initialise()
            return storage.storage_id

        with ThreadPoolExecutor(len(storages)) as pool:
            assert len(set(pool.map(initialise, storages))) == 1

    @pytest.mark.parametrize("action", _ACTIONS)
    def test_nothing_is_done_before_it_was_initialised(self, tmp_path: Path, action: str) -> None:
        with pytest.raises(StorageNotMounted) as refusal:
            _ACTIONS[action](self.open_storage(tmp_path))

        assert refusal.value.hint

    @pytest.mark.parametrize("action", _ACTIONS)
    def test_nothing_is_done_once_the_identity_is_gone(self, storage: Storage, tmp_path: Path, action: str) -> None:
        storage.create(_MANIFEST, b"{}")
        self.forget_identity(tmp_path)

        with pytest.raises(StorageNotMounted, match=storage.name):
            _ACTIONS[action](storage)

    @pytest.mark.parametrize("action", _ACTIONS)
    def test_nothing_is_done_on_another_storage_than_the_expected(
        self, storage: Storage, tmp_path: Path, action: str
    ) -> None:
        with pytest.raises(StorageNotMounted, match=storage.storage_id):
            _ACTIONS[action](self.open_storage(tmp_path, expected_id="0" * 32))

    def test_another_storage_that_takes_the_place_meanwhile_is_noticed(self, storage: Storage, tmp_path: Path) -> None:
        assert storage.storage_id
        self.forget_identity(tmp_path)
        self.open_storage(tmp_path).initialise()

        with pytest.raises(StorageNotMounted):
            storage.create(_MANIFEST, b"{}")

    def test_a_root_with_backups_but_without_identity_gets_no_fresh_one(self, storage: Storage, tmp_path: Path) -> None:
        storage.create(_MANIFEST, b"{}")
        self.forget_identity(tmp_path)

        with pytest.raises(StorageNotMounted):
            self.open_storage(tmp_path).initialise()

    def test_an_empty_root_where_a_known_storage_was_expected_gets_no_fresh_identity(self, tmp_path: Path) -> None:
        with pytest.raises(StorageNotMounted):
            self.open_storage(tmp_path, expected_id="0" * 32).initialise()

    # Keys

    @pytest.mark.parametrize(
        "key",
        [
            *("", "/", "/etc/passwd", "a//b", "a/", "../a", "a/../b", "a/..", "./a", ".storage-id", "a/.b"),
            *("a\0b", "a\nb", "a\\b", "a\x7fb", "a\udcffb"),
        ],
    )
    def test_what_is_not_a_key_is_refused(self, storage: Storage, key: str) -> None:
        for action in (
            lambda: storage.open_sink(key),
            lambda: storage.create(key, b""),
            lambda: storage.replace(key, b"", version=None),
            lambda: storage.read_document(key),
            lambda: storage.read(key),
            lambda: storage.stat(key),
            lambda: storage.list(key),
            lambda: storage.delete(key),
            lambda: storage.append_record(key, b""),
        ):
            with pytest.raises(ValueError, match="not a storage key"):
                action()

    def test_an_id_that_leads_elsewhere_cannot_be_reserved(self, storage: Storage) -> None:
        with pytest.raises(ValueError, match="not a storage key"), storage.reserve("../../etc/cron.d/x"):
            pass

    # Large objects

    def test_nothing_is_visible_before_the_commit_and_everything_after(self, storage: Storage, other: Storage) -> None:
        sink = storage.open_sink(_PART)
        sink.write(_BIG[:1000])
        sink.write(bytearray(_BIG[1000:2000]))
        sink.write(memoryview(_BIG)[2000:])

        assert list(other.list("database")) == []
        with pytest.raises(ObjectMissing):
            other.stat(_PART)

        sink.commit()

        assert b"".join(other.read(_PART)) == _BIG
        assert [(found.key, found.size_bytes) for found in other.list("database")] == [(_PART, len(_BIG))]

    def test_a_block_may_be_reused_as_soon_as_it_was_written(self, storage: Storage) -> None:
        sink, block = storage.open_sink(_PART), bytearray(b"first")
        sink.write(block)
        block[:] = b"later"
        sink.commit()

        assert b"".join(storage.read(_PART)) == b"first"

    def test_an_object_of_no_bytes_is_an_object(self, storage: Storage) -> None:
        storage.open_sink(_PART).commit()

        assert list(storage.read(_PART)) == []
        assert storage.stat(_PART).size_bytes == 0

    def test_an_aborted_object_leaves_nothing(self, storage: Storage) -> None:
        sink = storage.open_sink(_PART)
        sink.write(_BIG)
        sink.abort()

        assert list(storage.list("database")) == []
        assert storage.sweep(older_than=timedelta(0)) == ()

    def test_abort_after_commit_changes_nothing(self, storage: Storage) -> None:
        sink = storage.open_sink(_PART)
        sink.write(b"whole")
        sink.commit()
        sink.abort()
        sink.abort()

        assert b"".join(storage.read(_PART)) == b"whole"

    def test_an_aborted_sink_takes_nothing_more_and_publishes_nothing(self, storage: Storage) -> None:
        sink = storage.open_sink(_PART)
        sink.write(b"half")
        sink.abort()

        with pytest.raises(StorageError):
            sink.write(b"the other half")
        with pytest.raises(StorageError):
            sink.commit()
        assert list(storage.list("database")) == []

    def test_of_two_sinks_of_one_name_the_second_is_refused_and_leaves_nothing(self, storage: Storage) -> None:
        sinks = storage.open_sink(_PART), storage.open_sink(_PART)
        for number, sink in enumerate(sinks):
            sink.write(b"by %d" % number)
        sinks[0].commit()

        with pytest.raises(StorageConflict, match=_ID):
            sinks[1].commit()

        assert b"".join(storage.read(_PART)) == b"by 0"
        assert storage.sweep(older_than=timedelta(0)) == ()

    def test_of_many_sinks_of_one_name_exactly_one_wins(self, storage: Storage) -> None:
        def write(number: int) -> bool:
            sink = storage.open_sink(_PART)
            sink.write(b"%d" % number * 100_000)
            return _wins(sink.commit)

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(write, range(8)))

        assert results.count(True) == 1
        assert b"".join(storage.read(_PART)) == b"%d" % results.index(True) * 100_000

    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            *((0, None), (0, 0), (0, 1), (5, 10), (1_048_570, 20), (2_559_999, 1), (2_559_990, 100)),
            *((2_560_000, None), (9_999_999, None), (100, 2_000_000), (0, 9_999_999)),
        ],
    )
    def test_any_range_can_be_read(self, storage: Storage, offset: int, length: int | None) -> None:
        self.put(storage, _PART, _BIG)
        blocks = list(storage.read(_PART, offset=offset, length=length))

        assert b"".join(blocks) == _BIG[offset : None if length is None else offset + length]
        assert all(0 < len(block) <= 1 << 20 for block in blocks)

    @pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
    def test_a_range_that_is_none_is_refused(self, storage: Storage, offset: int, length: int | None) -> None:
        with pytest.raises(ValueError, match="range"):
            storage.read(_PART, offset=offset, length=length)

    # Small objects

    def test_what_is_created_is_read_with_a_version(self, storage: Storage, other: Storage) -> None:
        storage.create(_MANIFEST, b"{}\n")

        assert other.read_document(_MANIFEST).content == b"{}\n"
        assert other.read_document(_MANIFEST).version == storage.read_document(_MANIFEST).version

    def test_nothing_is_created_over_what_exists(self, storage: Storage) -> None:
        storage.create(_MANIFEST, b"first")
        with pytest.raises(StorageConflict, match=_ID):
            storage.create(_MANIFEST, b"second")

        assert storage.read_document(_MANIFEST).content == b"first"

    def test_replacing_what_was_read_works_once(self, storage: Storage, other: Storage) -> None:
        storage.replace(_STATE, b"first", version=None)
        version = storage.read_document(_STATE).version
        other.replace(_STATE, b"second", version=version)

        with pytest.raises(StorageConflict):
            storage.replace(_STATE, b"third", version=version)
        assert storage.read_document(_STATE).content == b"second"

    def test_replacing_what_exists_as_if_it_did_not_is_refused(self, storage: Storage) -> None:
        storage.replace(_STATE, b"first", version=None)
        with pytest.raises(StorageConflict):
            storage.replace(_STATE, b"second", version=None)

    def test_replacing_what_was_deleted_does_not_bring_it_back(self, storage: Storage) -> None:
        storage.replace(_STATE, b"first", version=None)
        version = storage.read_document(_STATE).version
        storage.delete(_STATE)

        with pytest.raises(StorageConflict):
            storage.replace(_STATE, b"second", version=version)
        assert list(storage.list("metadata")) == []

    def test_no_update_is_lost_among_many_writers(self, storage: Storage, tmp_path: Path) -> None:
        storage.replace(_STATE, b"0", version=None)

        def increment(own: Storage) -> None:
            for _ in range(5):
                while True:
                    found = own.read_document(_STATE)
                    content = str(int(found.content) + 1).encode()
                    if _wins(lambda found=found, content=content: own.replace(_STATE, content, version=found.version)):
                        break

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(increment, [self.open_storage(tmp_path) for _ in range(4)]))

        assert storage.read_document(_STATE).content == b"20"

    # Names

    @pytest.mark.parametrize("action", ["read_document", "read", "stat"])
    def test_what_is_not_there_is_missing_and_named(self, storage: Storage, action: str) -> None:
        with pytest.raises(ObjectMissing, match=_ID) as missing:
            _ACTIONS[action](storage)

        assert storage.name in missing.value.message
        assert storage.location in missing.value.message

    def test_a_listing_is_in_order_and_of_one_folder(self, storage: Storage) -> None:
        for key in (_STATE, _MANIFEST, _PART, "metadata/a.json", "audit/2026-01.jsonl"):
            storage.create(key, key.encode())

        assert [found.key for found in storage.list("metadata")] == ["metadata/a.json", _MANIFEST, _STATE]
        assert [found.key for found in storage.list("nothing-here")] == []

    def test_a_listing_and_stat_tell_size_and_time(self, storage: Storage) -> None:
        before = datetime.now(UTC) - timedelta(seconds=5)
        storage.create(_MANIFEST, b"12345")

        found = storage.stat(_MANIFEST)

        assert found == next(storage.list("metadata"))
        assert (found.key, found.size_bytes) == (_MANIFEST, 5)
        assert before < found.modified_at < datetime.now(UTC) + timedelta(seconds=5)

    def test_deleting_twice_is_deleting_once(self, storage: Storage) -> None:
        storage.create(_MANIFEST, b"{}")
        storage.delete(_MANIFEST)
        storage.delete(_MANIFEST)
        storage.delete("never/was.json")

        assert list(storage.list("metadata")) == []

    # Reservations

    def test_an_id_is_held_by_one_at_a_time(self, storage: Storage, other: Storage) -> None:
        with storage.reserve(_ID):
            with pytest.raises(StorageConflict, match=_ID), other.reserve(_ID):
                pass
            with other.reserve(f"{_ID}-2"):
                pass
        with other.reserve(_ID):
            pass

    def test_of_many_who_want_an_id_exactly_one_gets_it(self, storage: Storage, tmp_path: Path) -> None:
        together, done = threading.Barrier(8), threading.Barrier(8)

        def want(own: Storage) -> bool:
            together.wait()
            try:
                with own.reserve(_ID):
                    done.wait()
                    return True
            except StorageConflict:
                done.wait()
                return False

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(want, [self.open_storage(tmp_path) for _ in range(8)])).count(True) == 1

    @pytest.mark.parametrize("key", [_PART, _MANIFEST, _STATE, f"database/{_ID}.part-001.gz"])
    def test_an_id_that_has_an_object_cannot_be_reserved(self, storage: Storage, key: str) -> None:
        storage.create(key, b"")
        with pytest.raises(StorageConflict, match=_ID), storage.reserve(_ID):
            pass

    def test_an_id_that_another_one_begins_with_is_free(self, storage: Storage) -> None:
        storage.create(f"database/{_ID}-2.sql.gz", b"")
        with storage.reserve(_ID):
            pass

    def test_a_reservation_is_neither_seen_nor_left_behind(self, storage: Storage) -> None:
        with storage.reserve(_ID):
            assert list(storage.list("metadata")) == []
            assert storage.sweep(older_than=timedelta(0)) == ()

        assert storage.sweep(older_than=timedelta(0)) == ()
        with storage.reserve(_ID):
            pass

    def test_an_error_of_the_block_is_passed_on_as_it_is(self, storage: Storage) -> None:
        error = PermissionError("of the database, not of the storage")
        with pytest.raises(PermissionError) as raised, storage.reserve(_ID):
            raise error

        assert raised.value is error
        with storage.reserve(_ID):
            pass

    # Logs, room, leftovers

    def test_records_are_appended_and_none_is_lost(self, storage: Storage, tmp_path: Path) -> None:
        def append(number: int) -> None:
            own = self.open_storage(tmp_path)
            for step in range(10):
                own.append_record("audit/2026-01.jsonl", b"%d-%d " % (number, step) + b"x" * 5000)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(append, range(4)))

        records = self.records(storage, "audit/2026-01.jsonl")
        assert {record.split()[0] for record in records} == {
            b"%d-%d" % (number, step) for number in range(4) for step in range(10)
        }
        assert all(record.endswith(b"x" * 5000) for record in records)

    def test_a_record_is_one_line(self, storage: Storage) -> None:
        with pytest.raises(ValueError, match="one line"):
            storage.append_record("audit/2026-01.jsonl", b"two\nlines")

    def test_free_room_is_a_number_or_not_known(self, storage: Storage) -> None:
        free = storage.free_bytes()

        assert free is None or free > 0

    def test_what_is_free_is_part_of_what_there_is(self, storage: Storage) -> None:
        free, capacity = storage.free_bytes(), storage.capacity_bytes()

        assert (free is None) == (capacity is None)
        assert free is None or capacity is None or free <= capacity

    def test_a_sweep_leaves_the_living_alone_whatever_their_age(self, storage: Storage, other: Storage) -> None:
        sink = storage.open_sink(_PART)
        sink.write(b"still ")
        with storage.reserve(_ID):
            assert other.sweep(older_than=timedelta(0)) == ()
        sink.write(b"writing")
        sink.commit()

        assert b"".join(storage.read(_PART)) == b"still writing"

    def test_a_sweep_leaves_objects_alone(self, storage: Storage) -> None:
        for key in (_PART, _MANIFEST, _STATE):
            storage.create(key, key.encode())
        storage.append_record("audit/2026-01.jsonl", b"{}")

        assert storage.sweep(older_than=timedelta(0)) == ()
        assert storage.read_document(_PART).content == _PART.encode()

    def test_errors_say_what_to_do(self, storage: Storage) -> None:
        storage.create(_MANIFEST, b"{}")
        errors: list[BackupError] = []
        for action in ("create", "stat", "read"):
            with pytest.raises(StorageError) as raised:
                _ACTIONS[action](storage)
            errors.append(raised.value)

        assert all(error.hint and storage.name in error.message for error in errors)

    # Helpers

    @staticmethod
    def put(storage: Storage, key: str, content: bytes) -> None:
        sink = storage.open_sink(key)
        try:
            sink.write(content)
            sink.commit()
        finally:
            sink.abort()
        assert hashlib.sha256(b"".join(storage.read(key))).digest() == hashlib.sha256(content).digest()

    @staticmethod
    def records(storage: Storage, key: str) -> list[bytes]:
        """For a storage that appends; one that writes an object per record overrides this."""
        return storage.read_document(key).content.splitlines()


def _wins(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except StorageConflict:
        return False
    return True
