"""Counting and hashing a table's rows as they pass by in a dump, the same way in every engine."""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

from db_backup.manifest import TableInventory

_MODULUS = 1 << 64


class TableCounter:
    """Rows of one table: how many, and the sum of their xxh3 hashes modulo 2**64.

    The sum does not depend on the order of rows, and a duplicated row changes it (an exclusive-or would cancel out).
    """

    __slots__ = ("_sum", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, row: bytes | bytearray | memoryview) -> None:
        """One more row, as the dump printed it."""
        self.rows += 1
        self._sum += xxh3_64_intdigest(row)

    def add_all(self, rows: Sequence[bytes]) -> None:
        """Many rows at once: several times faster than one by one."""
        self.rows += len(rows)
        self._sum += sum(map(xxh3_64_intdigest, rows))

    def add_hashed(self, digest: int) -> None:
        """One more row, whose xxh3_64 digest was computed piece by piece because the row is large."""
        self.rows += 1
        self._sum += digest

    def add_all_hashed(self, digests: Sequence[int]) -> None:
        """Many rows whose xxh3_64 digests are known."""
        self.rows += len(digests)
        self._sum += sum(digests)

    def merge(self, other: TableCounter) -> None:
        """The rows of ``other`` too: a partition's go to its root."""
        self.rows += other.rows
        self._sum += other._sum

    @property
    def checksum(self) -> str:
        """16 hex digits."""
        return f"{self._sum % _MODULUS:016x}"

    def inventory(self, name: str) -> TableInventory:
        return TableInventory(name=name, rows=self.rows, checksum=self.checksum)
