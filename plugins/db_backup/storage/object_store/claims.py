"""Small objects that say who is at work: on a backup's id, on a name, on an upload.

They lie in a folder of their own, which no listing of the storage shows, so that a sweep finds them without looking
at every backup. Each says which process wrote it, in which boot of which machine: where that is this machine, the
kernel knows whether it lives; elsewhere the claim's age decides.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from db_backup.errors import ObjectMissing, StorageConflict, StorageError
from db_backup.holder import Holder
from db_backup.model import utc_now
from db_backup.storage.folder import this_host
from db_backup.storage.object_store.bucket import Bucket, Small

FOLDER = ".at-work"
IDS = f"{FOLDER}/ids"
NAMES = f"{FOLDER}/names"
UPLOADS = f"{FOLDER}/uploads"


@dataclass(frozen=True)
class Claim:
    """One claim as it lies in the bucket; ``holder`` is None where it cannot be read."""

    key: str
    version: str
    holder: Holder | None
    modified_at: datetime

    @classmethod
    def of(cls, key: str, found: Small) -> Claim:
        try:
            holder = Holder.of(json.loads(found.content))
        except (ValueError, KeyError, TypeError):
            holder = None
        return cls(key, found.version, holder, found.modified_at)

    def is_abandoned(self, *, older_than: timedelta, now: datetime) -> bool:
        """Whether its process has ended, or may have: then only the age of the claim is known."""
        me, expires_at = Holder.this_process(this_host()), self.modified_at + older_than
        if self.holder is None or self.holder.boot_id != me.boot_id:
            return expires_at <= now  # two machines may bear one name
        return self.holder.is_dead(seen_from=me, expires_at=expires_at, now=now)

    def take_over(self, bucket: Bucket) -> bool:
        """Make an abandoned claim ours, so that nobody else acts on it; whether it still was what we saw."""
        try:
            bucket.replace(self.key, _content(), self.version)
        except StorageConflict:
            return False
        return True


def id_claim(backup_id: str) -> str:
    """Where the claim on a backup's id lies."""
    return f"{IDS}/{backup_id}"


def name_claim(key: str) -> str:
    """Where the claim on an object's name lies, while an upload is completed under it."""
    return f"{NAMES}/{key}"


def upload_claim(key: str) -> str:
    """A fresh one: several may write towards one name, and one of them will have it."""
    return f"{UPLOADS}/{key}/{secrets.token_hex(8)}"


def claimed_by_upload(claim_key: str) -> str:
    """The key that an upload claim is about."""
    return claim_key.removeprefix(f"{UPLOADS}/").rpartition("/")[0]


def set_claim(bucket: Bucket, claim_key: str) -> None:
    """:raises StorageConflict: somebody holds it."""
    bucket.create(claim_key, _content())


def drop_claim(bucket: Bucket, claim_key: str) -> None:
    """Never raises: what stays is swept."""
    with contextlib.suppress(StorageError):
        bucket.delete(claim_key)


@contextmanager
def claimed(bucket: Bucket, claim_key: str, *, stale_after: timedelta | None = None) -> Iterator[None]:
    """Hold a claim while the block runs.

    :param stale_after: take over what a process left behind that has ended, or whose claim is as old as this.
    :raises StorageConflict: somebody holds it.
    """
    try:
        set_claim(bucket, claim_key)
    except StorageConflict:
        found = None if stale_after is None else _claim(bucket, claim_key)
        if found is None or stale_after is None:
            raise
        if not (found.is_abandoned(older_than=stale_after, now=utc_now()) and found.take_over(bucket)):
            raise
    try:
        yield
    finally:
        drop_claim(bucket, claim_key)


def claims(bucket: Bucket, folder: str) -> Iterator[Claim]:
    """All claims in one of the folders."""
    for listed in bucket.listed(folder):
        found = _claim(bucket, bucket.key(listed["path"]))
        if found is not None:
            yield found


def _claim(bucket: Bucket, key: str) -> Claim | None:
    try:
        return Claim.of(key, bucket.read_small(key))
    except ObjectMissing:
        return None  # let go meanwhile


def _content() -> bytes:
    """One of its own for every claim, so that whose it is can be told from its bytes."""
    holder = Holder.this_process(this_host())
    return json.dumps({**holder.columns(), "token": secrets.token_hex(8)}).encode()
