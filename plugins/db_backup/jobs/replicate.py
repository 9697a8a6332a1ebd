"""Copies that are wanted and not there are made, and damaged ones mended, of every backup or of some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from db_backup import naming, standing
from db_backup.catalog import AuditAct
from db_backup.errors import (
    BackupError,
    ConfigurationError,
    EntryLocked,
    FeatureNotAvailable,
    Interrupted,
    ObjectLocked,
    Refused,
    StorageConflict,
    StorageError,
    UnknownBackup,
)
from db_backup.frozen import FrozenModel
from db_backup.jobs.acts import audited
from db_backup.jobs.ahead import copies_ahead
from db_backup.jobs.chains import lineage_of
from db_backup.jobs.copies import Copies, bring_states_in_line, known_copies, leased, locate, record_newest
from db_backup.jobs.copying import MadeCopy, make_copy
from db_backup.jobs.failures import FailedCopy
from db_backup.jobs.listing import survey
from db_backup.jobs.local_copies import drop_local_copy
from db_backup.jobs.looks import GONE
from db_backup.jobs.merging import merged_state
from db_backup.jobs.placement import wanted_storages
from db_backup.jobs.reach import ask
from db_backup.jobs.roots import ready_storages
from db_backup.jobs.tidying import tidy
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.model import LOCAL_STORAGE
from db_backup.progress import Cancellation, Progress
from db_backup.summary import summarise

NEVER_MADE = "it was not made yet"

#: What says nothing of the storage, but of one backup in it.
_OF_ONE_COPY = (FeatureNotAvailable, StorageConflict, ObjectLocked)


@dataclass(frozen=True)
class ReplicateRequest:
    """Of which backups copies are made, and where.

    :param backups: ids or artefacts' file names; with each, all that it needs. None are named: all backups.
    :param database: only this entry's.
    :param to: into this storage, whatever the configuration says; None: into those that the entry's backups are to lie
        in, and those that a backup's states miss one in.
    """

    backups: tuple[str, ...] = ()
    database: str | None = None
    to: str | None = None


class WantedCopy(FrozenModel):
    """A copy to be made or mended, and why."""

    backup_id: str
    storage: str
    why: str


class LeftAlone(FrozenModel):
    """A backup that nothing was done about: it is being made, copied or deleted, or its sidecars cannot be read."""

    backup_id: str
    reason: str


class ReplicateReport(FrozenModel):
    """What was made, and what not; of a plan, ``wanted`` alone.

    ``local_removed``: backups whose local copy went, because others have them and it is not to stay. ``unreachable``:
    storages in which copies are wanted and that did not answer. ``unfinished``: backups that were not looked at to
    their end; a warning says why.
    """

    wanted: tuple[WantedCopy, ...] = ()
    made: tuple[MadeCopy, ...] = ()
    failed: tuple[FailedCopy, ...] = ()
    left_alone: tuple[LeftAlone, ...] = ()
    local_removed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all that is wanted is there now, as far as anybody can tell."""
        return len(self.made) == len(self.wanted) and not self.unreachable and not self.unfinished


def plan_replication(workspace: Workspace, request: ReplicateRequest) -> ReplicateReport:
    """What :func:`replicate` would make; changes nothing.

    :raises UnknownDatabase, UnknownBackup, UnknownStorage, StorageError:
    """
    return _Replication(workspace, request).plan()


def replicate(
    workspace: Workspace, request: ReplicateRequest, *, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> ReplicateReport:
    """Make and mend copies, backup by backup, what others need first; and let states that missed something know it.

    A copy that cannot be made stops no other; a storage that cannot be written is not tried again in this run.

    :raises UnknownDatabase, UnknownBackup, UnknownStorage: what is asked for is not there.
    :raises StorageError: no storage answers. :raises Interrupted: what was made by then stays.
    """
    return _Replication(workspace, request).carry_out(run, progress, cancellation)


@dataclass
class _Tally:
    wanted: list[WantedCopy] = field(default_factory=list)
    made: list[MadeCopy] = field(default_factory=list)
    failed: list[FailedCopy] = field(default_factory=list)
    left_alone: list[LeftAlone] = field(default_factory=list)
    local_removed: list[str] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)
    unreachable: dict[str, None] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)

    def report(self) -> ReplicateReport:
        return ReplicateReport(
            wanted=tuple(self.wanted),
            made=tuple(self.made),
            failed=tuple(self.failed),
            left_alone=tuple(self.left_alone),
            local_removed=tuple(self.local_removed),
            warnings=tuple(self.warnings),
            unreachable=tuple(self.unreachable),
            unfinished=tuple(self.unfinished),
        )


class _Replication:
    def __init__(self, workspace: Workspace, request: ReplicateRequest) -> None:
        self.workspace = workspace
        self.request = request
        if request.to is not None:
            workspace.storage(request.to)  # raises
        self.tally = _Tally()
        for storage in workspace.storages.values():  # a root that was never used is no storage that is down
            ask(workspace, storage, lambda asked: ready_storages(workspace, (asked.name,)))
        self.survey = survey(workspace)
        self.silent = {silent.storage.name: silent for silent in self.survey.unasked}
        self.given_up: set[str] = set()

    def plan(self) -> ReplicateReport:
        for _, look in copies_ahead(self.workspace, self._backups()):
            copies = look()
            if not self._is_left_alone(copies):
                self._tell_of_silent(copies)
                self.tally.wanted += _in_words(copies.backup_id, self._targets(copies))
        return self.tally.report()

    def carry_out(self, run: RunInfo, progress: Progress, cancellation: Cancellation) -> ReplicateReport:
        self._tidy()
        for backup_id, look in copies_ahead(self.workspace, self._backups()):
            cancellation.check()
            try:
                copies = look()
                if not self._is_left_alone(copies) and self._wants_something(copies):
                    self._see_to(backup_id, run, progress, cancellation)
            except Interrupted:
                raise
            except EntryLocked as error:  # copied by another, or not yet: nobody here can tell whether it will be
                self.tally.wanted += _in_words(backup_id, self._targets(copies))
                self._leave(backup_id, error.message)
            except (Refused, UnknownBackup) as error:  # being deleted, or deleted
                self._leave(backup_id, error.message)
            except BackupError as error:
                self.tally.warnings[f"{backup_id} was not looked at to its end: {error.message}"] = None
                self.tally.unfinished.append(backup_id)
        return self.tally.report()

    def _tidy(self) -> None:
        """In all storages: of one that no entry names any more, nobody else takes away what killed runs left."""
        try:
            tidy(self.workspace, list(self.workspace.storages.values()))
        except StorageError as error:  # one that may not go yet, say: it is in nobody's way
            left = f"What killed runs left was not taken away to the end: {error.message} {error.hint}"
            self.tally.warnings[left.strip()] = None

    def _backups(self) -> Iterator[str]:
        """The ids, in the order in which they were made: what a backup needs comes before it."""
        if self.request.backups:
            yield from dict.fromkeys(
                link.manifest.id
                for backup in self.request.backups
                for link in lineage_of(self.workspace, locate(self.workspace, backup))
            )
            return
        entry = self.request.database
        if len(self.workspace.storages) == 1 and entry is None:
            return  # there is nowhere to copy from
        if entry is not None and not self.survey.published({entry}):
            self.workspace.config.entry(entry)  # raises for a name that nobody knows
        published = self.survey.published(None if entry is None else {entry})
        yield from sorted(published, key=lambda backup_id: _age(naming.parse_backup_id(backup_id)))

    def _wants_something(self, copies: Copies) -> bool:
        """By a look that may be older than what was done since: whoever does something about it looks again."""
        self._tell_of_silent(copies)
        if _missed_something(copies) or self._targets(copies) or not self._is_recorded(copies):
            return True
        let_go = not self.workspace.settings.backup_keep_local_copy and LOCAL_STORAGE not in self._wanted(copies)
        return let_go and any(copy.storage == LOCAL_STORAGE for copy in (copies.state.copies if copies.state else ()))

    def _see_to(self, backup_id: str, run: RunInfo, progress: Progress, cancellation: Cancellation) -> None:
        copies = known_copies(self.workspace, backup_id)
        if self._is_left_alone(copies):
            return
        if _missed_something(copies):
            with leased(self.workspace, copies.found[0], "bringing its states in line"):
                bring_states_in_line(self.workspace, backup_id)
            copies = known_copies(self.workspace, backup_id)
        elif not self._is_recorded(copies):
            record_newest(self.workspace, copies.found[0])
        if targets := self._targets(copies):
            # One replication of an entry at a time: two would write the same names.
            with (
                self.workspace.catalog.entry_lock(f"copies of {naming.entry_of(backup_id)}", f"copying {backup_id}"),
                leased(self.workspace, copies.found[0], "replication"),
            ):
                for name, why in targets.items():
                    self._make(backup_id, name, why, run, progress, cancellation)
        if self.request.to != LOCAL_STORAGE and drop_local_copy(
            self.workspace, backup_id, run=run, progress=progress, cancellation=cancellation
        ):
            self.tally.local_removed.append(backup_id)

    def _make(
        self, backup_id: str, name: str, why: str, run: RunInfo, progress: Progress, cancellation: Cancellation
    ) -> None:
        self.tally.wanted += _in_words(backup_id, {name: why})
        if name in self.given_up:
            return
        try:
            with audited(
                self.workspace, AuditAct.REPLICATE, run, entry=naming.entry_of(backup_id), backup_id=backup_id
            ) as act:
                copies = known_copies(self.workspace, backup_id)  # now that nobody else copies or deletes it
                storage = self.workspace.storage(name)
                made = make_copy(self.workspace, copies, storage, why, progress=progress, cancellation=cancellation)
                act.detail = f"to {name}, from {made.read_from}{', where it was damaged' if made.mended else ''}"
        except Interrupted:
            raise
        except BackupError as error:
            cancellation.check()
            self._failed(backup_id, name, error)
        else:
            self.tally.made.append(made)
            self.tally.warnings |= dict.fromkeys(made.warnings)

    def _failed(self, backup_id: str, name: str, error: BackupError) -> None:
        self.tally.failed.append(FailedCopy.of(backup_id, name, error))
        of_storage = isinstance(error, StorageError | ConfigurationError) and not isinstance(error, _OF_ONE_COPY)
        if error.storage is None and of_storage:
            self.given_up.add(name)
            self.tally.warnings[f"'{name}' cannot be written, and was not tried again: {error.message}"] = None

    def _targets(self, copies: Copies) -> dict[str, str]:
        """Where a copy is to be made or mended, and what is wrong there."""
        state, held = copies.state, {copy.storage.name for copy in copies.found}
        if state is None or not held:
            return {}
        wanted = self._wanted(copies)
        missing = {copy.storage: copy.missing for copy in state.missing}
        damaged = standing.damaged_copies(state)
        found = {}
        for name in dict.fromkeys((*wanted, *(damaged if self.request.to is None else ()))):
            if name in self.silent or name not in self.workspace.storages:
                continue
            if name in copies.unreadable:
                found[name] = copies.unreadable[name].message
            elif name not in held:
                found[name] = missing.get(name) or NEVER_MADE
            elif name in damaged:
                found[name] = damaged[name].reason
            elif lost := self._lost_part(copies, name):
                found[name] = lost
        return found

    def _wanted(self, copies: Copies) -> tuple[str, ...]:
        if self.request.to is not None:
            return (self.request.to,)
        entry = str(naming.entry_of(copies.backup_id))
        configured = wanted_storages(self.workspace, entry)
        told = (copy.storage for copy in (copies.state.missing if copies.state else ()))
        let_go = LOCAL_STORAGE not in configured and not self.workspace.settings.backup_keep_local_copy
        return (*configured, *(name for name in told if name != LOCAL_STORAGE or not let_go))

    def _is_recorded(self, copies: Copies) -> bool:
        """Whether the catalogue knows what the storages do: whoever changed it may have been killed before it was told.

        A storage that does not answer may be the one that it knows it from.
        """
        if copies.unasked or copies.state is None:
            return True
        try:
            known = self.workspace.catalog.get(copies.backup_id)
        except UnknownBackup:
            return False
        return known == summarise(copies.manifest, copies.state)

    def _lost_part(self, copies: Copies, name: str) -> str:
        """By the listing: which part is not there, or of another size; empty where all are."""
        for listing in self.survey.holding(copies.backup_id):
            if listing.storage.name == name:
                for part in copies.manifest.parts:
                    size = listing.part_sizes.get(part.path)
                    if size != part.stored_bytes:
                        return f"{part.path} {GONE.removeprefix('it ') if size is None else f'has {size} bytes'}"
        return ""

    def _is_left_alone(self, copies: Copies) -> bool:
        """Whether it is no backup to be copied; says why."""
        backup_id, state = copies.backup_id, copies.state
        if state is None or not copies.found:
            self._leave(backup_id, copies.absence().message)
            return True
        if state.tombstone is not None:
            self._leave(backup_id, "it is being deleted")
            return True
        at_work = {lock.entry: lock for lock in self.workspace.catalog.locks()}.get(copies.manifest.entry)
        if at_work is not None and copies.manifest.created_at >= at_work.since.replace(microsecond=0):
            self._leave(backup_id, f"it is being made: {at_work}")
            return True
        return False

    def _leave(self, backup_id: str, reason: str) -> None:
        self.tally.left_alone.append(LeftAlone(backup_id=backup_id, reason=reason))

    def _tell_of_silent(self, copies: Copies) -> None:
        for name in self._wanted(copies):
            if name in self.silent:
                self.tally.unreachable[name] = None
                self.tally.warnings[f"{self.silent[name]} No copy was made there."] = None


def _in_words(backup_id: str, targets: Mapping[str, str]) -> Sequence[WantedCopy]:
    return [WantedCopy(backup_id=backup_id, storage=name, why=why) for name, why in targets.items()]


def _age(name: naming.BackupName) -> tuple[object, int, str]:
    return name.moment, name.serial, str(name)


def _missed_something(copies: Copies) -> bool:
    """Whether a storage was down while the backup's state changed in others, or lost it."""
    if {copy.storage.name for copy in copies.found} - copies.own_states.keys():
        return True
    known = merged_state(list(copies.own_states.values()))
    return any(merged_state([own, known]) != own for own in copies.own_states.values())
