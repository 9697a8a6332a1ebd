"""What every storage with colder classes does (``storage/base.py``, "Cold and locked objects").

A subclass gives ``storage``, the classes to try, and whether the coldest must be thawed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import pytest

from db_backup.errors import FeatureNotAvailable, ObjectCold, ObjectMissing
from db_backup.storage import Storage

_PART = "database/backup_shop_full_2026-01-31_03-00-00.sql.gz"
_BIG = bytes(range(256)) * 30_000  # 7.7 MB: two parts of an upload


class ColdContract(ABC):
    usual_class: ClassVar[str]
    readable_class: ClassVar[str]
    coldest_class: ClassVar[str]
    must_thaw: ClassVar[bool]

    @pytest.fixture
    @abstractmethod
    def storage(self) -> Storage:
        """An initialised one."""

    @pytest.fixture
    def part(self, storage: Storage) -> str:
        """The key of an object that was uploaded in parts."""
        sink = storage.open_sink(_PART)
        sink.write(_BIG)
        sink.commit()
        return _PART

    def test_a_new_object_can_be_read(self, storage: Storage, part: str) -> None:
        found = storage.temperature(part)

        assert (found.storage_class, found.readable, found.thawing) == (self.usual_class, True, False)

    def test_an_object_in_a_colder_class_is_the_same_object(self, storage: Storage, part: str) -> None:
        assert storage.archive(part, self.readable_class) == ""

        assert storage.temperature(part).storage_class == self.readable_class
        assert b"".join(storage.read(part)) == _BIG
        assert storage.stat(part).size_bytes == len(_BIG)

    def test_the_coldest_class_is_left_by_a_thaw_alone(self, storage: Storage, part: str) -> None:
        storage.archive(part, self.coldest_class)
        found = storage.temperature(part)
        assert found.storage_class == self.coldest_class
        assert found.readable is not self.must_thaw
        if self.must_thaw:
            with pytest.raises(ObjectCold, match=self.coldest_class) as cold:
                list(storage.read(part))
            assert cold.value.hint
            with pytest.raises(ObjectCold):
                storage.archive(part, self.readable_class)

        storage.thaw(part, days=1)
        storage.thaw(part, days=1)

        assert storage.temperature(part).readable
        assert b"".join(storage.read(part)) == _BIG

    def test_moving_to_where_it_lies_already_does_nothing(self, storage: Storage, part: str) -> None:
        storage.archive(part, self.coldest_class)

        assert storage.archive(part, self.coldest_class) == ""
        assert storage.temperature(part).storage_class == self.coldest_class

    def test_its_classes_are_told(self, storage: Storage) -> None:
        assert {self.readable_class, self.coldest_class} <= set(storage.archive_classes)

    def test_a_class_that_it_does_not_have_is_refused_with_those_that_it_has(self, storage: Storage, part: str) -> None:
        with pytest.raises(FeatureNotAvailable, match="no class 'TEPID'") as refused:
            storage.archive(part, "TEPID")

        assert self.coldest_class in refused.value.hint
        assert storage.temperature(part).storage_class == self.usual_class

    def test_what_is_not_there_is_missing(self, storage: Storage) -> None:
        for action in (
            lambda: storage.temperature(_PART),
            lambda: storage.archive(_PART, self.coldest_class),
            lambda: storage.thaw(_PART, days=1),
            lambda: storage.retained_until(_PART),
        ):
            with pytest.raises(ObjectMissing, match=_PART):
                action()
