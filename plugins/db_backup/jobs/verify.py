"""Prove a backup: one copy as far as its type requires, and that every other one is still what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from db_backup import standing
from db_backup.catalog import AuditAct
from db_backup.errors import ChainBroken, StorageError
from db_backup.jobs.acts import audited
from db_backup.jobs.chains import lineage_of
from db_backup.jobs.copies import Copies, known_copies, leased, locate, update_state
from db_backup.jobs.fallback import damaged, with_proof
from db_backup.jobs.proving import Proving
from db_backup.jobs.reach import Unanswered
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Proof, RunInfo, State
from db_backup.model import ProofResult, VerificationLevel, utc_now
from db_backup.progress import Cancellation, Progress


@dataclass(frozen=True)
class Verification:
    """What was found of one backup, copy by copy.

    :param proofs: the first is of the copy that was proved as far as was asked; the others of whether every byte of
        their copies is as it was written. One that is inconclusive because its storage did not answer, or because it
        is cold, is in no state.
    :param cold: the storages whose copy would have to be thawed first.
    :param stands_by: the storages whose copy is not known to be damaged, where the backup stands.
    """

    backup_id: str
    proofs: tuple[Proof, ...]
    cold: frozenset[str]
    stands_by: tuple[str, ...]

    @property
    def leading(self) -> Proof:
        return self.proofs[0]

    @property
    def worst(self) -> Proof:
        """What there is to be done about: a failure first, then what could not be tried, a cold copy aside."""
        tried = [self.leading, *(proof for proof in self.proofs[1:] if proof.storage not in self.cold)]
        return max(tried, key=lambda proof: (_GRAVITY.index(proof.result), proof is self.leading))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of the other copies, whole sentences; empty: they are as they should be."""
        told = []
        for proof in self.proofs[1:]:
            if proof.result is ProofResult.FAILED:
                told.append(f"The copy of {self.backup_id} in '{proof.storage}' is damaged: {proof.reason}")
                if places := " and ".join(f"'{storage}'" for storage in self.stands_by):
                    told.append(f"It stands by its copy in {places}; `db-backup replicate` mends the other.")
            elif proof.result is ProofResult.INCONCLUSIVE and proof.storage not in self.cold:
                told.append(f"The copy of {self.backup_id} in '{proof.storage}' was not read: {proof.reason}")
        return tuple(told)


_GRAVITY = (ProofResult.PASSED, ProofResult.INCONCLUSIVE, ProofResult.FAILED)


def verify_backup(
    workspace: Workspace,
    backup: str,
    level: VerificationLevel | None,
    *,
    run: RunInfo,
    progress: Progress,
    cancellation: Cancellation,
) -> Proof:
    """As :func:`verify_copies`; returns what the backup stands by: the proof of the copy that was proved that far."""
    return verify_copies(workspace, backup, level, run=run, progress=progress, cancellation=cancellation).leading


def verify_copies(
    workspace: Workspace,
    backup: str,
    level: VerificationLevel | None,
    *,
    storage: str | None = None,
    run: RunInfo,
    progress: Progress,
    cancellation: Cancellation,
) -> Verification:
    """Prove one backup and record the proofs, whatever they are: look at their ``result``.

    Where the best copy is damaged or cannot be read, the next one is proved in its place. An increment is restored by
    replaying its whole chain up to it. Where that fails, other backups of the chain get proofs of their own: one that
    turns out to be damaged; or else those that tell where the replay first fails.

    :param backup: an id or an artefact's file name.
    :param level: how far to go; None: as far as this backup's type requires.
    :param storage: the copy in this storage and no other.
    :raises UnknownBackup, UnknownStorage, StorageError, ManifestError, Interrupted: no proof was made.
    :raises Refused: it is being deleted.
    """

    def prove(backup: str, level: VerificationLevel | None, storage: str | None = None) -> tuple[Verification, Proving]:
        with audited(workspace, AuditAct.VERIFY, run, backup_id=backup) as act:
            found = locate(workspace, backup, storage=storage)
            act.entry, act.backup_id = found.manifest.entry, found.manifest.id
            with leased(workspace, found, "verification") as located:
                asked = level or located.manifest.required_proof
                round_ = _Round(workspace, located, progress, cancellation)
                if storage is None:
                    verification, leading = round_.prove_all(asked)
                else:
                    verification, leading = round_.prove_one(asked)
            act.detail = "; ".join(_told(proof) for proof in verification.proofs)
        return verification, leading

    verification, leading = prove(backup, level, storage)
    if leading.damaged is not None:
        prove(leading.damaged, VerificationLevel.ARCHIVE)
    if leading.failed_to_replay(verification.leading):
        _find_first_failing(
            workspace, leading.located, lambda link: prove(link, VerificationLevel.RESTORE)[0].leading.result
        )
    return verification


@dataclass
class _Round:
    """One backup's copies, one after the other; each proof is recorded as soon as it is there."""

    workspace: Workspace
    located: Located
    progress: Progress
    cancellation: Cancellation
    proofs: list[Proof] = field(default_factory=list)
    cold: set[str] = field(default_factory=set)
    silent: list[StorageError] = field(default_factory=list)

    def prove_one(self, level: VerificationLevel) -> tuple[Verification, Proving]:
        """:raises StorageError: the copy cannot be read now."""
        return self._lead([self.located], level)[0]

    def prove_all(self, level: VerificationLevel) -> tuple[Verification, Proving]:
        """:raises StorageError: no copy can be read now."""
        copies = known_copies(self.workspace, self.located.manifest.id)
        others = [copy for copy in copies.found if copy.storage.name != self.located.storage.name]
        (_, leading), rest = self._lead([self.located, *others], level)
        for copy in rest:
            self._prove(copy, VerificationLevel.CHECKSUM, bytes_alone=True)
        self._damn_unreadable(copies)
        self.proofs += [_unreached(silent) for silent in copies.unasked_holders]
        return self._verification(), leading

    def _damn_unreadable(self, copies: Copies) -> None:
        """A copy whose manifest is no manifest any more is not what was written, though its bytes may be."""
        held = {copy.storage.name for copy in copies.found} | copies.of_others
        told = {copy.storage for copy in copies.state.present} if copies.state else set()
        for name, error in copies.unreadable.items():
            if name in told - held:
                proof = damaged(replace(self.located, storage=self.workspace.storage(name)), error)
                self.proofs.append(proof)
                update_state(self.workspace, self.located, partial(with_proof, proof=proof))

    def _lead(
        self, copies: Sequence[Located], level: VerificationLevel
    ) -> tuple[tuple[Verification, Proving], Sequence[Located]]:
        """The first of these copies that can be read, proved that far; and those that were not looked at."""
        waiting = list(copies)
        while True:
            proving, proof = self._prove(waiting.pop(0), level)
            spoiled = proof.result is ProofResult.FAILED and proof.reached is None
            if not waiting or not (spoiled or proving.cold or proving.silence):
                break
        if len(self.silent) == len(self.proofs):
            raise self.silent[0]
        self.proofs.insert(0, self.proofs.pop())
        return (self._verification(), proving), waiting

    def _prove(self, copy: Located, level: VerificationLevel, *, bytes_alone: bool = False) -> tuple[Proving, Proof]:
        proving = Proving(self.workspace, copy, self.progress, self.cancellation)
        proof = proving.prove(level, bytes_alone=bytes_alone)
        self.proofs.append(proof)
        if proving.cold:
            self.cold.add(copy.storage.name)
        if proving.silence is not None:
            self.silent.append(proving.silence)
        if proof.reached is not None or not (proving.cold or proving.silence):
            update_state(self.workspace, copy, lambda state: with_proof(state, proof))
        return proving, proof

    def _verification(self) -> Verification:
        copies = known_copies(self.workspace, self.located.manifest.id)
        return Verification(
            self.located.manifest.id, tuple(self.proofs), frozenset(self.cold), _standing_copies(copies.state)
        )


def _standing_copies(state: State | None) -> tuple[str, ...]:
    if state is None:
        return ()
    spoiled = standing.damaged_copies(state)
    return tuple(copy.storage for copy in state.present if copy.storage not in spoiled)


def _unreached(silent: Unanswered) -> Proof:
    return Proof(
        level=VerificationLevel.CHECKSUM,
        reached=None,
        result=ProofResult.INCONCLUSIVE,
        checked_at=utc_now(),
        duration_seconds=0.0,
        storage=silent.storage.name,
        reason=str(silent),
    )


def _told(proof: Proof) -> str:
    return f"{proof.level} in {proof.storage}: {proof.result}" + (f" ({proof.reason})" if proof.reason else "")


def _find_first_failing(workspace: Workspace, failed: Located, restored: Callable[[str], ProofResult]) -> None:
    """Halve the part of the chain that was never replayed, until it is known which link is the first to fail."""
    try:
        line = lineage_of(workspace, failed)
    except ChainBroken:  # another backup of it is known to be at fault
        return
    replayed = [place for place, link in enumerate(line[:-1]) if standing.newest_restore(link.state) is not None]
    passing, failing = max(replayed, default=-1), len(line) - 1
    while failing - passing > 1:
        middle = (passing + failing) // 2
        result = restored(line[middle].manifest.id)
        if result is ProofResult.INCONCLUSIVE:
            return
        passing, failing = (middle, failing) if result is ProofResult.PASSED else (passing, middle)
