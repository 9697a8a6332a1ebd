"""One backup into several storages in one pass: a storage that fails is left out, as long as another one remains.

Which of them fails, and at which step, makes no difference to the others: what it got is taken back as far as it can
be reached, and the states of the others say that its copy is missing, and why. When the last one fails, the first
failure is what the backup failed with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime

from db_backup import naming
from db_backup.errors import BackupError, ConfigurationError, StorageConflict, StorageError
from db_backup.manifest import Copy, Manifest, State
from db_backup.model import utc_now
from db_backup.storage import Sink, Storage
from db_backup.storage.base import Block

#: What speaks against one storage, and not against the backup.
STORAGE_FAILS = (StorageError, ConfigurationError)


def missing_copy(storage: str, storage_id: str, error: BackupError) -> Copy:
    """The copy that ``storage`` should hold, and why it does not."""
    return Copy(storage=storage, storage_id=storage_id, created_at=utc_now(), missing=error.message)


def missing_warnings(state: State) -> tuple[str, ...]:
    """What a person should hear of a backup that did not come into every storage that it was meant for."""
    return tuple(
        f"There is no copy in '{copy.storage}': {copy.missing} `db-backup storages --check` tells what to do, and "
        "`db-backup replicate` makes it up."
        for copy in state.missing
    )


class Placing:
    """The storages of one backup that is being made.

    Its steps are taken by one thread, but for :meth:`open_part` and what it gives, which belong to the threads of the
    dump's streams until these have ended.
    """

    def __init__(self, storages: Sequence[Storage], missing: Sequence[Copy] = ()) -> None:
        """
        :param storages: where it goes; at least one.
        :param missing: the copies in storages that were left out before.
        """
        self._storages = {storage.name: storage for storage in storages}
        self._missing = {copy.storage: copy for copy in missing}
        self._first_failure: BackupError | None = None
        self._guard = threading.RLock()
        self._parts: list[PartSinks] = []
        self._litter = {storage.name: ExitStack() for storage in storages}
        self._manifests = {storage.name: ExitStack() for storage in storages}
        self._ids: dict[str, str] = {}
        self._published = False
        self.remarks: list[str] = []

    @property
    def storages(self) -> tuple[Storage, ...]:
        """Those that are left."""
        with self._guard:
            return tuple(storage for storage in self._storages.values() if storage.name not in self._missing)

    def is_left(self, name: str) -> bool:
        with self._guard:
            return name not in self._missing

    def leave_out(self, storage: Storage, error: BackupError) -> None:
        """:raises BackupError: the first failure, where no storage is left."""
        with self._guard:
            self._first_failure = self._first_failure or error
            self._missing.setdefault(storage.name, missing_copy(storage.name, self._ids.get(storage.name, ""), error))
            if self.storages:
                return
            if self._first_failure is not error:
                self._first_failure.add_note(f"Then storage '{storage.name}' failed as well: {error.message}")
            raise self._first_failure

    def in_each(self, step: Callable[[Storage], object]) -> None:
        """Take a step in every storage that is left; those in which it fails are left out from then on.

        :raises BackupError: the first failure, where none is left.
        """
        for storage in self.storages:
            try:
                step(storage)
            except STORAGE_FAILS as error:
                self.leave_out(storage, error)

    @contextmanager
    def claimed(self, names: Iterable[str], database: str) -> Iterator[str]:
        """The first of these backup ids that is free everywhere, claimed while the block runs.

        Leaving the block by an exception takes back all that was written.

        :param database: whom the error names.
        :raises StorageConflict: none is.
        """
        with ExitStack() as stack:
            backup_id = self._claim_one(names, database, stack)
            try:
                yield backup_id
            finally:
                for storage in self._storages.values():
                    if not self._published or not self.is_left(storage.name):
                        self._take_back(storage)

    def _claim_one(self, names: Iterable[str], database: str, stack: ExitStack) -> str:
        for name in names:
            with ExitStack() as claims:
                if self._claim(name, claims):
                    stack.enter_context(claims.pop_all())
                    return name
        raise StorageConflict(
            f"No free backup id was found for '{database}' in this second.",
            hint="Run it again in a moment.",
            database=database,
        )

    def _claim(self, backup_id: str, claims: ExitStack) -> bool:
        """Whether it was free everywhere."""
        for storage in self.storages:
            try:
                self._ids[storage.name] = storage.storage_id
                reservation = storage.reserve(backup_id)
                reservation.__enter__()
            except StorageConflict:
                return False
            except STORAGE_FAILS as error:
                self.leave_out(storage, error)
            else:
                claims.callback(self._release, storage, reservation)
        return True

    def _release(self, storage: Storage, reservation: AbstractContextManager[None]) -> None:
        """What cannot be released is swept later; the backup stands or falls without it."""
        try:
            reservation.__exit__(None, None, None)
        except STORAGE_FAILS as error:
            self._left_behind(storage, error)

    # Parts, in the threads of the streams

    def open_part(self, part_name: str) -> PartSinks:
        """One sink in every storage that is left. :raises BackupError: none is."""
        key = naming.part_key(part_name)
        sinks: dict[str, Sink] = {}
        for storage in self.storages:
            try:
                sink = storage.open_sink(key)
            except STORAGE_FAILS as error:
                self.leave_out(storage, error)
                continue
            with self._guard:
                self._litter[storage.name].callback(sink.abort)
            sinks[storage.name] = sink
        opened = PartSinks(self, key, sinks)
        with self._guard:
            self._parts.append(opened)
        return opened

    def storage(self, name: str) -> Storage:
        return self._storages[name]

    @contextmanager
    def held(self, storage: Storage, key: str, *, manifest: bool = False) -> Iterator[None]:
        """While the block puts an object there, which is to be deleted if the backup comes to nothing.

        Also one of which it was not heard whether it arrived; but not what somebody else has put there.
        """
        litter = (self._manifests if manifest else self._litter)[storage.name]
        try:
            yield
        except StorageConflict:
            raise
        except BaseException:
            litter.callback(storage.delete, key)
            raise
        litter.callback(storage.delete, key)

    # The end

    def commit_parts(self) -> None:
        """Make every part visible under its name. :raises BackupError: the first failure, where no storage is left."""
        for part in self._parts:
            part.commit()

    def publish(self, manifest: Manifest, state: State) -> State:
        """The states, then the manifests: with the first of them there is a backup. Returns the state with its copies.

        :raises BackupError: the first failure, where no storage is left; nothing is left behind then.
        """
        moment = utc_now()
        written = self._with_copies(state, moment)
        self.in_each(lambda storage: self._create(storage, naming.state_key(manifest.id), written.to_json()))
        self.in_each(
            lambda storage: self._create(storage, naming.manifest_key(manifest.id), manifest.to_json(), manifest=True)
        )
        self._published = True
        newest = self._with_copies(state, moment)
        if newest != written:
            for storage in self.storages:
                self._rewrite(storage, naming.state_key(manifest.id), newest)
        return newest

    def _create(self, storage: Storage, key: str, content: bytes, *, manifest: bool = False) -> None:
        with self.held(storage, key, manifest=manifest):
            storage.create(key, content)

    def _rewrite(self, storage: Storage, key: str, state: State) -> None:
        """It fails where the backup is whole already: a later change of the state, in any storage, puts it right."""
        try:
            storage.replace(key, state.to_json(), version=storage.read_document(key).version)
        except STORAGE_FAILS as error:
            self.remarks.append(
                f"The state in '{storage.name}' does not know which copies are missing: {error.message}"
            )

    def _with_copies(self, state: State, moment: datetime) -> State:
        present = [
            Copy(storage=storage.name, storage_id=self._ids[storage.name], created_at=moment)
            for storage in self.storages
        ]
        return state.model_copy(update={"copies": (*present, *self._missing.values())})

    def _take_back(self, storage: Storage) -> None:
        """Abort and delete what the storage got of it, the newest first; what cannot be is swept later.

        Where a manifest cannot be deleted, what it tells of stays as well: it is a whole copy.
        """
        try:
            self._manifests[storage.name].close()
            self._litter[storage.name].close()
        except STORAGE_FAILS as error:
            self._left_behind(storage, error)

    def _left_behind(self, storage: Storage, error: BackupError) -> None:
        if self.is_left(storage.name):  # of another it is said already that it failed
            self.remarks.append(f"Something was left behind in '{storage.name}': {error.message}")


class PartSinks:
    """One part on its way into every storage that is left. For the pipeline it is one sink."""

    def __init__(self, placing: Placing, key: str, sinks: dict[str, Sink]) -> None:
        self._placing = placing
        self._key = key
        self._sinks = sinks

    def write(self, block: Block) -> None:
        """:raises BackupError: the first failure, where no storage is left."""
        self._in_each(lambda _storage, sink: sink.write(block))

    def commit(self) -> None:
        """:raises BackupError: the first failure, where no storage is left."""

        def commit(storage: Storage, sink: Sink) -> None:
            with self._placing.held(storage, self._key):
                sink.commit()

        self._in_each(commit)

    def abort(self) -> None:
        for sink in self._sinks.values():
            sink.abort()

    def _in_each(self, step: Callable[[Storage, Sink], None]) -> None:
        for name, sink in tuple(self._sinks.items()):
            if not self._placing.is_left(name):  # it failed in another stream: nobody else may touch this sink
                sink.abort()
                del self._sinks[name]
                continue
            storage = self._placing.storage(name)
            try:
                step(storage, sink)
            except STORAGE_FAILS as error:
                sink.abort()
                del self._sinks[name]
                self._placing.leave_out(storage, error)
