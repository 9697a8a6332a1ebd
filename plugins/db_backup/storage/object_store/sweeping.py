"""Taking away what dead writers left in a bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

from db_backup.model import utc_now
from db_backup.naming import manifest_key
from db_backup.storage.object_store import claims
from db_backup.storage.object_store.bucket import Bucket
from db_backup.storage.object_store.claims import Claim
from db_backup.storage.object_store.uploads import uploads_of


def sweep_bucket(bucket: Bucket, *, older_than: timedelta, objects_of: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """Sweep, and tell the name of each thing that was taken away.

    :param objects_of: the keys of everything that was published under an id.
    """
    yield from _sweep_uploads(bucket, older_than)
    for claim in _abandoned(bucket, claims.IDS, older_than):
        backup_id = claim.key.removeprefix(f"{claims.IDS}/")
        published = tuple(objects_of(backup_id))
        if manifest_key(backup_id) not in published:
            for key in published:
                bucket.delete(key)
                yield key
        bucket.delete(claim.key)
        yield claim.key
    for claim in _abandoned(bucket, claims.NAMES, older_than):
        bucket.delete(claim.key)
        yield claim.key


def _sweep_uploads(bucket: Bucket, older_than: timedelta) -> Iterator[str]:
    """Uploads are listed before their claims: a claim is there before its upload is, and until that has ended."""
    uploads = uploads_of(bucket)
    begun = () if uploads is None else tuple(uploads.begun())
    now = utc_now()
    abandoned: list[Claim] = []
    living: set[str] = set()
    for claim in claims.claims(bucket, claims.UPLOADS):
        if claim.is_abandoned(older_than=older_than, now=now):
            abandoned.append(claim)
        else:
            living.add(claims.claimed_by_upload(claim.key))
    of_the_dead = {claims.claimed_by_upload(claim.key) for claim in abandoned}
    for upload in begun:
        told_by_age = upload.began_at + older_than <= now
        if uploads is not None and upload.key not in living and (upload.key in of_the_dead or told_by_age):
            uploads.abort(upload)
            yield upload.key
    for claim in abandoned:
        bucket.delete(claim.key)
        yield claim.key


def _abandoned(bucket: Bucket, folder: str, older_than: timedelta) -> Iterator[Claim]:
    """Claims whose writer is gone, each made ours first: of two sweeps one takes it."""
    now = utc_now()
    for claim in claims.claims(bucket, folder):
        if claim.is_abandoned(older_than=older_than, now=now) and claim.take_over(bucket):
            yield claim
