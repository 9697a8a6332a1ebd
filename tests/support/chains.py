"""Chains in tests: taken of a real source, held in memory, changed and given back as links."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

from db_backup.engines.base import Dump, DumpRequest
from db_backup.engines.chain import ChainEngine, Link
from db_backup.manifest import Chain, Manifest
from db_backup.model import BackupType, utc_now
from db_backup.progress import Cancellation
from support.dumps import blocks, part_of, read_to_end
from support.factories import make_manifest

ENTRY = "shop"
_SERIAL = itertools.count(1)


@dataclass(frozen=True)
class Taken:
    """One backup of a chain: its streams by name, and the manifest that it would have."""

    manifest: Manifest
    streams: dict[str, bytes]

    @property
    def base_id(self) -> str:
        return (self.manifest.chain and self.manifest.chain.base_id) or self.manifest.id

    @property
    def ends_at(self) -> str:
        """Its ``to_position``."""
        assert self.manifest.chain is not None
        assert self.manifest.chain.to_position
        return self.manifest.chain.to_position

    @property
    def link(self) -> Link:
        return Link(self.manifest, lambda stream: blocks(self.streams[stream]))

    def read(self) -> list[Iterator[bytes]]:
        """As ``read_archive`` gets them."""
        return [blocks(plain) for plain in self.streams.values()]

    def with_stream(self, name: str, plain: bytes) -> Taken:
        """The same, with other bytes in one stream, of which nobody has taken the hash."""
        return dataclasses.replace(self, streams={**self.streams, name: plain})


def links(chain: Iterable[Taken]) -> list[Link]:
    return [taken.link for taken in chain]


def take_full(engine: ChainEngine, cancellation: Cancellation | None = None) -> Taken:
    opened = engine.open_full(DumpRequest(ENTRY), cancellation or Cancellation())
    return _take(engine, opened, None)


def take_increment(engine: ChainEngine, parent: Taken, cancellation: Cancellation | None = None) -> Taken:
    request = DumpRequest(ENTRY, BackupType.INCREMENTAL)
    return _take(engine, engine.open_increment(request, parent.link, cancellation or Cancellation()), parent)


def _take(engine: ChainEngine, opened: AbstractContextManager[Dump], parent: Taken | None) -> Taken:
    """Read the streams to their ends at the same time and describe what came, as the create job does."""
    created_at = utc_now()
    with opened as dump:
        with ThreadPoolExecutor(len(dump.streams)) as pool:
            plains = list(pool.map(read_to_end, dump.streams))
        for number in range(len(plains)):
            dump.stream_ended(number)
        summary = dump.complete()
    manifest = make_manifest(
        entry=ENTRY,
        engine=engine.name,
        type=BackupType.FULL if parent is None else BackupType.INCREMENTAL,
        created_at=created_at,
        serial=next(_SERIAL),
        databases=summary.databases or (engine.connection.database.rpartition("/")[2],),
        scope=engine.scope,
        method=engine.method,
        format=dump.format,
        server=dump.preflight.server,
        tools=dump.preflight.tools,
        consistency=summary.consistency,
        recovery_point=summary.recovery_point,
        inventory=summary.inventory,
        warnings=(*dump.preflight.warnings, *summary.warnings),
        parts=tuple(part_of(stream, plain) for stream, plain in zip(dump.streams, plains, strict=True)),
        chain=Chain(
            base_id=parent.base_id if parent else None,
            parent_id=parent.manifest.id if parent else None,
            from_position=summary.from_position,
            to_position=summary.to_position,
        ),
    )
    streams = {stream.name: plain for stream, plain in zip(dump.streams, plains, strict=True)}
    return Taken(Manifest.from_json(manifest.to_json(), source="the test"), streams)
