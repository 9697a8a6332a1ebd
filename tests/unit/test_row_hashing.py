"""The row counter that every engine's inventory rests on."""

from __future__ import annotations

import pytest
from xxhash import xxh3_64

from db_backup.engines.row_hashing import TableCounter

pytestmark = pytest.mark.unit


def _counted(*rows: bytes) -> TableCounter:
    counter = TableCounter()
    counter.add_all(rows)
    return counter


def test_the_order_of_rows_does_not_change_the_checksum() -> None:
    assert _counted(b"a", b"b", b"c").checksum == _counted(b"c", b"a", b"b").checksum


def test_two_equal_rows_do_not_cancel_out() -> None:
    assert _counted(b"a", b"b", b"b").checksum != _counted(b"a").checksum


def test_a_moved_field_boundary_changes_the_checksum() -> None:
    assert _counted(b"ab\tc").checksum != _counted(b"a\tbc").checksum


def test_rows_added_singly_together_or_in_pieces_count_the_same() -> None:
    counter = TableCounter()
    counter.add(memoryview(b"one"))
    counter.add(bytearray(b"two"))
    pieces = xxh3_64(b"th")
    pieces.update(b"ree")
    counter.add_hashed(pieces.intdigest())
    together = _counted(b"one", b"two", b"three")
    assert (counter.rows, counter.checksum) == (together.rows, together.checksum)


def test_merged_partitions_equal_the_whole_table() -> None:
    part = _counted(b"1", b"2")
    part.merge(_counted(b"3"))
    assert part.inventory("t") == _counted(b"3", b"2", b"1").inventory("t")


def test_an_empty_table_has_zero_rows_and_sixteen_zeros() -> None:
    table = TableCounter().inventory("public.empty")
    assert (table.rows, table.checksum) == (0, "0" * 16)


def test_the_checksum_is_always_sixteen_hex_digits() -> None:
    counter = _counted(*(str(number).encode() for number in range(10_000)))
    assert len(counter.checksum) == 16
    assert int(counter.checksum, 16) < 2**64
