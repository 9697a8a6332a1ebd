"""Full backups: the image of a file at one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from db_backup.engines.base import Dump, DumpSummary, Preflight
from db_backup.engines.sqlite.contents import (
    Contents,
    Damage,
    Schema,
    count_tables,
    find_damage,
    interruptible,
    read_schema,
)
from db_backup.engines.sqlite.source import damaged, explained
from db_backup.engines.sqlite.staging import Image
from db_backup.errors import DumpIncomplete
from db_backup.manifest import Consistency, Inventory
from db_backup.progress import Cancellation

FORMAT = "sqlite image"
AGAIN = "Run the backup again; if it stays so, report it."


@dataclass
class ImageStream:
    """The image's bytes; counts what the pipeline has seen of them."""

    descriptor: int
    name: str = "main"
    suffix: str = "sqlite"
    observed_bytes: int = field(default=0, init=False)

    def fileno(self) -> int:
        return self.descriptor

    def observe(self, block: memoryview) -> None:
        self.observed_bytes += block.nbytes


@dataclass(frozen=True)
class Moment:
    """What the source says of itself, inside the transaction that the image is taken in."""

    at: datetime
    journal_mode: str
    schema: Schema
    size_bytes: int

    @property
    def consistency(self) -> Consistency:
        return Consistency(snapshot=f"backup api, journal mode {self.journal_mode}")


class ImageDump(Dump):
    """An open image. Its tables are counted in a thread of their own while the pipeline reads it."""

    format = FORMAT

    def __init__(
        self, path: Path, preflight: Preflight, moment: Moment, image: Image, counted: Future[tuple[Damage, Contents]]
    ) -> None:
        self.preflight = preflight
        self._stream = ImageStream(image.descriptor)
        self.streams = (self._stream,)
        self._path = path
        self._moment = moment
        self._image = image
        self._counted = counted

    def complete(self) -> DumpSummary:
        image = self._image
        if self._stream.observed_bytes != image.size_bytes:
            raise DumpIncomplete(
                f"{self._stream.observed_bytes} of {image.size_bytes} bytes of the image of {self._path} were read.",
                hint=AGAIN,
            )
        with explained(self._path):
            damage, contents = self._counted.result()
        prove_copy(self._path, self._moment, image, damage)
        return DumpSummary(
            consistency=self._moment.consistency,
            recovery_point=self._moment.at,
            inventory=Inventory(tables=contents.tables, objects=self._moment.schema.objects),
            warnings=(*damage.warnings, *contents.warnings, *(image.compacting.warnings if image.compacting else ())),
        )


def prove_copy(path: Path, moment: Moment, image: Image, damage: Damage) -> None:
    """See that the image is what the database was at its moment, and whole.

    :raises DumpFailed: the database is damaged.
    :raises DumpIncomplete: the image is something else.
    """
    if image.copied_bytes != moment.size_bytes:
        raise DumpIncomplete(
            f"The copy of {path} has {image.copied_bytes} bytes, and the database has {moment.size_bytes}.", hint=AGAIN
        )
    if damage.problems:
        raise damaged(path, "; ".join(damage.problems[:3]))
    if read_schema(image.connection) != moment.schema:
        raise DumpIncomplete(f"The image of {path} does not hold the objects that the database listed.", hint=AGAIN)


@contextmanager
def open_image(path: Path, preflight: Preflight, moment: Moment, image: Image) -> Iterator[ImageDump]:
    left = Cancellation()
    with ThreadPoolExecutor(1, thread_name_prefix="sqlite-inventory") as counting:
        try:
            counted = counting.submit(_examine, image.connection, moment.schema, left)
            yield ImageDump(path, preflight, moment, image, counted)
        finally:
            left.cancel("the dump was closed")


def _examine(image: sqlite3.Connection, schema: Schema, left: Cancellation) -> tuple[Damage, Contents]:
    with interruptible(image, left):
        damage = find_damage(image, schema, thorough=False)
        contents = count_tables(image, schema, left) if not damage.problems else Contents((), ())
    return damage, contents
