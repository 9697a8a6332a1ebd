"""Fetch a backup out of its storage: decoded or as it is stored, every hash checked on the way, in constant memory.

A backup of one part is one file; decoded, so is one of a single stream, however many parts that has. Others come as a
tar, in the manifest's order, with the manifest at its head, as they also come over the REST API.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from db_backup import naming
from db_backup.catalog import AuditAct
from db_backup.errors import BackupError
from db_backup.frozen import FrozenModel
from db_backup.jobs.acts import audited
from db_backup.jobs.contents import blamed_on, check_copy, plain_part, refuse_out_of_order, stored_bytes
from db_backup.jobs.copies import leased, locate
from db_backup.jobs.fallback import Fallback, PassedOver
from db_backup.jobs.new_file import new_file, refuse_taken
from db_backup.jobs.sidecars import Located
from db_backup.jobs.thaw import thaw, warmest
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, Part, RunInfo
from db_backup.model import BackupStatus
from db_backup.progress import Cancellation, Progress
from db_backup.standing import status
from db_backup.storage.base import Block
from db_backup.stream.reader import read_stored

_READ_MODE = 0o600  # what is downloaded holds the database: for nobody else
_TAKEN = "Choose another place with -o, or replace it with --force."


class Output(Protocol):
    """A file open for writing, buffered or not."""

    def write(self, block: memoryview, /) -> int: ...

    def flush(self) -> None: ...


@dataclass(frozen=True)
class DownloadRequest:
    """What is fetched, and where to.

    :param backup: an id or an artefact's file name.
    :param target: a file, a folder that exists, or None for the working folder; there it gets the backup's own name.
    :param raw: the bytes as they are stored, neither decrypted nor decompressed.
    :param force: an existing file may be replaced.
    :param from_storage: the copy in this storage and no other; None: the best one, or the next that can be read.
    :param wait_for_thaw: wait where it must be thawed first, which takes hours; False: only ask for it.
    """

    backup: str
    target: Path | None = None
    raw: bool = False
    force: bool = False
    from_storage: str | None = None
    wait_for_thaw: bool = True


class DownloadReport(FrozenModel):
    """``path`` is None when it went to a stream; ``size_bytes``: what was written.

    ``read_from``: the storage. ``passed_over``: copies that could not be read; ``warnings`` says the same in sentences.
    """

    backup_id: str
    path: Path | None
    size_bytes: int
    parts: tuple[str, ...]
    read_from: str = ""
    passed_over: tuple[PassedOver, ...] = ()
    warnings: tuple[str, ...] = ()


def download_backup(
    workspace: Workspace, request: DownloadRequest, *, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> DownloadReport:
    """Fetch a backup into a file. It appears under its name when it is whole, checked and on the disk; or not at all.

    :raises Refused: the file exists, or is a device or the like.
    :raises UnknownBackup, StorageError, ArtefactError, Interrupted, BackupError: nothing is left behind.
    """
    located = _located(workspace, request)
    target = _target(located, request)
    refuse_taken(target, replace=request.force, taken=_TAKEN)
    with ExitStack() as stack:
        stack.enter_context(_reading(workspace, located, run, str(target)))
        _thaw(workspace, located, request, run, progress, cancellation)
        output = stack.enter_context(new_file(target, replace=request.force, taken=_TAKEN, elsewhere="with -o"))
        reading = _fallback(workspace, located, request, cancellation)

        def write(copies: Sequence[Located]) -> int:
            output.seek(0)  # another copy may have been begun
            output.truncate()
            return _write(copies[0], request.raw, output, progress, cancellation)

        size_bytes = reading.run(write)
    return _report(reading, request.raw, target, size_bytes)


def stream_backup(
    workspace: Workspace,
    request: DownloadRequest,
    output: Output,
    *,
    run: RunInfo,
    progress: Progress,
    cancellation: Cancellation,
) -> DownloadReport:
    """Write a backup to a stream. What the stream got before an error is worth nothing.

    What was sent cannot be taken back: so where there is another copy, all of this one is read and checked first.

    :raises UnknownBackup, StorageError, ArtefactError, Interrupted, BackupError:
    """
    located = _located(workspace, request)
    with _reading(workspace, located, run, "a stream"):
        _thaw(workspace, located, request, run, progress, cancellation)
        reading = _fallback(workspace, located, request, cancellation)
        if reading.has_others:
            progress.stage(f"checking a copy of {located.manifest.id}", located.manifest.size_bytes)
            reading.run(lambda copies: check_copy(copies[0], progress, cancellation))
        try:
            size_bytes = _write(reading.copies[0], request.raw, output, progress, cancellation)
            output.flush()
        except OSError as error:
            raise BackupError(
                f"{located.manifest.id} was not written to its end: {error.strerror or error}.",
                hint="Whoever reads the output must read all of it.",
                backup_id=located.manifest.id,
            ) from error
    return _report(reading, request.raw, None, size_bytes)


def _located(workspace: Workspace, request: DownloadRequest) -> Located:
    """The copy that is named; or the best one, which need not be thawed if there is such a copy."""
    located = locate(workspace, request.backup, storage=request.from_storage)
    return located if request.from_storage is not None else warmest(workspace, located)


def _thaw(
    workspace: Workspace,
    located: Located,
    request: DownloadRequest,
    run: RunInfo,
    progress: Progress,
    cancellation: Cancellation,
) -> None:
    """:raises ObjectCold: it is cold, was asked for, and the request does not wait for it."""
    wait = request.wait_for_thaw
    thaw(workspace, [located], wait=wait, run=run, progress=progress, cancellation=cancellation)


def _fallback(workspace: Workspace, located: Located, request: DownloadRequest, cancellation: Cancellation) -> Fallback:
    return Fallback(workspace, [located], cancellation, fixed=request.from_storage is not None)


def file_name(located: Located, *, raw: bool) -> str:
    """What the download of this backup is called."""
    files = _files(located.manifest, raw)
    return files[0].name if len(files) == 1 else f"{located.manifest.id}.tar"


@contextmanager
def _reading(workspace: Workspace, located: Located, run: RunInfo, where: str) -> Iterator[None]:
    manifest = located.manifest
    with (
        audited(workspace, AuditAct.DOWNLOAD, run, entry=manifest.entry, backup_id=manifest.id) as act,
        leased(workspace, located, "download"),
    ):
        act.detail = f"to {where}"
        yield


def _write(located: Located, raw: bool, output: Output, progress: Progress, cancellation: Cancellation) -> int:
    """Returns how many bytes were written."""
    manifest = located.manifest
    progress.stage(f"reading {manifest.id}", manifest.size_bytes if raw else manifest.plain_bytes)
    counted = _Counting(output, cancellation)
    files = _files(manifest, raw)
    if len(files) == 1:
        for block in _blocks(located, files[0], raw, progress):
            counted.write(block)
        return counted.count
    with tarfile.open(fileobj=counted, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        document = manifest.to_json()
        archive.addfile(_member(located, f"{manifest.id}.json", len(document)), io.BytesIO(document))
        for file in files:
            source = _Readable(_blocks(located, file, raw, progress))
            archive.addfile(_member(located, file.name, file.size_bytes), source)
            source.finish()
    return counted.count


@dataclass(frozen=True)
class _File:
    """What a person gets as one file: a part as it is stored, or the plain bytes of a stream."""

    name: str
    size_bytes: int
    parts: tuple[Part, ...]


def _files(manifest: Manifest, raw: bool) -> tuple[_File, ...]:
    if raw:
        return tuple(_File(part.path, part.stored_bytes, (part,)) for part in manifest.parts)
    return tuple(
        _File(naming.plain_name(parts[0].path, parts[0].compression), sum(part.plain_bytes for part in parts), parts)
        for parts in manifest.streams.values()
    )


def _blocks(located: Located, file: _File, raw: bool, progress: Progress) -> Iterator[Block]:
    with blamed_on(located):
        if not raw:
            refuse_out_of_order(located, file.parts)
        for part in file.parts:
            stored = stored_bytes(located, part)
            if raw:
                yield from read_stored(stored, part, progress=progress)
            else:
                yield from plain_part(located, part, stored, progress)


def _member(located: Located, name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, _READ_MODE
    member.mtime = int(located.manifest.created_at.timestamp())
    return member


class _Counting(io.RawIOBase):
    """The output, with what went into it, and an eye on whether to stop."""

    def __init__(self, output: Output, cancellation: Cancellation) -> None:
        self._output = output
        self._cancellation = cancellation
        self.count = 0

    def write(self, block: Any) -> int:
        self._cancellation.check()
        rest = memoryview(block)
        while rest:
            rest = rest[self._output.write(rest) :]  # an unbuffered file may take less than all
        self.count += len(block)
        return len(block)


class _Readable(io.RawIOBase):
    """Blocks as a file that tarfile copies from; it asks for exactly the size that the manifest gives."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        taken = bytearray()
        while len(taken) < size:
            if not self._rest:
                self._rest = memoryview(next(self._blocks, b""))
                if not self._rest:
                    break
            piece = self._rest[: size - len(taken)]
            taken += piece
            self._rest = self._rest[len(piece) :]
        return bytes(taken)

    def finish(self) -> None:
        """Read to the end, where sizes and hashes are proved.

        :raises ArtefactTruncated, ArtefactCorrupt:
        """
        for _ in self._blocks:
            pass


def _target(located: Located, request: DownloadRequest) -> Path:
    name = file_name(located, raw=request.raw)
    target = Path.cwd() if request.target is None else request.target
    return (target / name if target.is_dir() else target).absolute()


def _report(reading: Fallback, raw: bool, path: Path | None, size_bytes: int) -> DownloadReport:
    (read,) = reading.copies
    return DownloadReport(
        backup_id=read.manifest.id,
        path=path,
        size_bytes=size_bytes,
        parts=tuple(file.name for file in _files(read.manifest, raw)),
        read_from=read.storage.name,
        passed_over=reading.passed_over,
        warnings=(*reading.warnings, *_of_standing(read), *(_of_key(read) if raw else ())),
    )


def _of_standing(located: Located) -> Iterator[str]:
    """That the bytes are as they were stored does not say that they are a whole backup."""
    if status(located.manifest, located.state) is BackupStatus.FAILED_VERIFICATION:
        yield f"{located.manifest.id} failed its verification: it may be no whole backup. `db-backup verify` tells why."


def _of_key(located: Located) -> Iterator[str]:
    """Whoever keeps the parts alone has lost the backup."""
    if any(part.cipher is not None for part in located.manifest.parts):
        state = naming.state_key(located.manifest.id)
        yield (
            f"It is encrypted, and its data key is not in what was downloaded: keep {state} of "
            f"{located.storage.location} beside it, or nothing opens it."
        )
