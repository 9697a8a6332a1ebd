"""Reading goes on from another copy where one is gone, damaged or out of reach; and what was passed over is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import NoReturn, TypeVar

from db_backup.errors import ArtefactError, BackupError, ChainBroken, LoadFailed, StorageError
from db_backup.frozen import FrozenModel
from db_backup.jobs.contents import check_copy
from db_backup.jobs.copies import copies_of, update_state
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Difference, Proof, State
from db_backup.model import ProofResult, VerificationLevel, utc_now
from db_backup.progress import Cancellation, Silent

T = TypeVar("T")

#: What damaged bytes can look like to whoever was given them before their hash was known.
_MAY_BE_DAMAGE = (ArtefactError, LoadFailed, ChainBroken)


class PassedOver(FrozenModel):
    """A copy that was to be read and could not be; ``used``: the storage that was read instead, empty where none."""

    backup_id: str
    storage: str
    reason: str
    used: str = ""

    def __str__(self) -> str:
        instead = f"; the one in '{self.used}' was read instead" if self.used else ""
        return f"The copy of {self.backup_id} in '{self.storage}' could not be read{instead}: {self.reason}"


class Fallback:
    """One copy of each backup that a piece of work reads, and the next one where it cannot be read.

    A copy that is not what was written, and is not the only one, gets a failed proof in the backup's states: nobody
    chooses it again, and replication mends it. One that could not be reached gets none.

    :param chosen: the backups as they were located; the caller leases them.
    :param fixed: somebody named the copy: no other is read.
    :param besides: storages that are not read from.
    """

    def __init__(
        self,
        workspace: Workspace,
        chosen: Sequence[Located],
        cancellation: Cancellation,
        *,
        fixed: bool = False,
        besides: Collection[str] = (),
    ) -> None:
        self._workspace = workspace
        self._cancellation = cancellation
        self._fixed = fixed
        self._besides = frozenset(besides)
        self._errors: list[BackupError] = []
        self._unwritten: list[str] = []
        self.copies = tuple(chosen)
        self.passed_over: tuple[PassedOver, ...] = ()

    @property
    def read_from(self) -> dict[str, str]:
        """The storage that each backup was read from in the end, by the backup's id."""
        return {copy.manifest.id: copy.storage.name for copy in self.copies}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person must hear of."""
        return (*map(str, self.passed_over), *self._unwritten)

    @property
    def has_others(self) -> bool:
        """Whether any of the backups can be read from another storage as well."""
        return any(next(self._others(copy), None) for copy in self.copies)

    def run(self, work: Callable[[tuple[Located, ...]], T], *, again: Callable[[], bool] = lambda: True) -> T:
        """Do the work with the copies, from its beginning again with others as often as one cannot be read.

        :param work: leaves nothing behind when it fails.
        :param again: whether it can be begun again.
        :raises ArtefactError, StorageError: no copy is left; where there were several, each is named.
        :raises BackupError: whatever else ends the work.
        """
        while True:
            try:
                return work(self.copies)
            except BackupError as error:
                if self._cancellation.requested:
                    raise
                bad = self._to_blame(error)
                if bad is None:
                    raise
                place, fault = bad
                another = self._another(place, fault)
                if another is None:
                    self._give_up(error, fault)
                if not again():
                    raise
                self.copies = (*self.copies[:place], another, *self.copies[place + 1 :])

    def _to_blame(self, error: BackupError) -> tuple[int, BackupError] | None:
        """Which of the copies could not be read, and why; None: the error is of something else."""
        for place, copy in enumerate(self.copies):
            if (error.backup_id, error.storage) == (copy.manifest.id, copy.storage.name):
                return place, error
        if not isinstance(error, _MAY_BE_DAMAGE) or (isinstance(error, ChainBroken) and error.worth_a_full):
            return None
        for place, copy in enumerate(self.copies):
            if self._had_choice(copy) and (fault := self._damage(copy)) is not None:
                return place, fault
        return None

    def _had_choice(self, copy: Located) -> bool:
        """Whether it is worth its while to find out what is wrong with this copy."""
        passed = any(passed.backup_id == copy.manifest.id for passed in self.passed_over)
        return passed or next(self._others(copy), None) is not None

    def _damage(self, copy: Located) -> BackupError | None:
        """What was made of its bytes failed before they were read to their end: were they as they should be?"""
        try:
            check_copy(copy, Silent(), self._cancellation)
        except (ArtefactError, StorageError) as error:
            return error
        return None

    def _another(self, place: int, fault: BackupError) -> Located | None:
        """The copy to read instead of this one, which is written down as bad if it is; None: there is none."""
        copy = self.copies[place]
        if isinstance(fault, ArtefactError):
            self._record(copy, fault)
        if self._fixed:
            return None
        another = next(self._others(copy), None)
        used = another.storage.name if another else ""
        passed = PassedOver(backup_id=copy.manifest.id, storage=copy.storage.name, reason=fault.message, used=used)
        self.passed_over = (*self.passed_over, passed)
        self._errors.append(fault)
        return another

    def _others(self, copy: Located) -> Iterator[Located]:
        """The other copies of the same backup that nobody has tried, the best first."""
        tried = {passed.storage for passed in self.passed_over if passed.backup_id == copy.manifest.id}
        if not self._fixed:
            yield from (other for other in self._siblings(copy) if other.storage.name not in tried | self._besides)

    def _siblings(self, copy: Located) -> Iterator[Located]:
        """The same backup in other storages, the best first."""
        if _is_stored(self._workspace, copy):
            for other in copies_of(self._workspace, copy.manifest.id):
                if other.storage.name != copy.storage.name and other.manifest == copy.manifest:
                    yield other

    def _record(self, copy: Located, fault: BackupError) -> None:
        """What cannot be written down keeps nobody from reading another copy.

        Of an only copy nothing is said: whether the backup stands is for a verification to say.
        """
        if next(self._siblings(copy), None) is None:
            return
        proof = damaged(copy, fault)
        try:
            update_state(self._workspace, copy, lambda state: with_proof(state, proof))
        except BackupError as error:
            self._unwritten.append(f"That the copy is bad could not be written down: {error.message}")

    def _give_up(self, error: BackupError, fault: BackupError) -> NoReturn:
        """:raises ArtefactError, StorageError: of one copy its own error, and of several one that names each."""
        tried = [passed for passed in self.passed_over if passed.backup_id == fault.backup_id]
        if len(tried) < 2:
            raise error
        faults = [one for one in self._errors if one.backup_id == fault.backup_id]
        told = "; ".join(f"'{passed.storage}': {passed.reason.removesuffix('.')}" for passed in tried)
        kind = next((type(one) for one in faults if isinstance(one, ArtefactError)), type(fault))
        combined = kind(
            f"None of the {len(tried)} copies of {fault.backup_id} can be read. {told}.",
            hint="Restore an older backup; `db-backup verify` tells which stand.",
            database=fault.database,
            backup_id=fault.backup_id,
        )
        combined.storage = fault.storage
        raise combined from error


def damaged(copy: Located, fault: BackupError) -> Proof:
    """The failed proof of a copy whose bytes are not what was written."""
    difference = Difference(
        kind="artefact", name=copy.manifest.id, expected="complete and unchanged", found=fault.message
    )
    return Proof(
        level=VerificationLevel.CHECKSUM,
        reached=None,
        result=ProofResult.FAILED,
        checked_at=utc_now(),
        duration_seconds=0.0,
        storage=copy.storage.name,
        reason=fault.message,
        differences=(difference,),
    )


def read_back(copy: Located, began: datetime) -> Proof:
    """The passed proof of a copy all of whose stored bytes were read since then, and are what was written."""
    now = utc_now()
    return Proof(
        level=VerificationLevel.CHECKSUM,
        reached=VerificationLevel.CHECKSUM,
        result=ProofResult.PASSED,
        checked_at=now,
        duration_seconds=round((now - began).total_seconds(), 3),
        storage=copy.storage.name,
        evidence={"stored_bytes": copy.manifest.size_bytes},
    )


def with_proof(state: State, proof: Proof) -> State:
    """The state, and this proof in it."""
    return state if proof in state.proofs else state.model_copy(update={"proofs": (*state.proofs, proof)})


def _is_stored(workspace: Workspace, copy: Located) -> bool:
    """Whether it lies in a storage, and not in a folder of this process, as what was rebuilt does."""
    return workspace.storages.get(copy.storage.name) is copy.storage
