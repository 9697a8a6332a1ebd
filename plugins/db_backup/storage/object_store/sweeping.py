"""Taking away what dead writers left in a bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import timedelta

from db_backup.errors import ObjectMissing, StorageAccessDenied, StorageConflict
from db_backup.model import utc_now
from db_backup.naming import manifest_key
from db_backup.storage.object_store import claims
from db_backup.storage.object_store.bucket import Bucket
from db_backup.storage.object_store.claims import Claim
from db_backup.storage.object_store.uploads import Uploads, uploads_of

_LOOKED = f"{claims.FOLDER}/looked-for-uploads"  # when all uploads were last looked through


def sweep_bucket(bucket: Bucket, *, older_than: timedelta, objects_of: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """Sweep, and tell the name of each thing that was taken away.

    :param objects_of: the keys of everything that was published under an id.
    """
    yield from _sweep_uploads(bucket, older_than)
    for claim in _taken_over(bucket, claims.IDS, older_than):
        backup_id = claim.key.removeprefix(f"{claims.IDS}/")
        published = tuple(objects_of(backup_id))
        if manifest_key(backup_id) not in published:
            yield from _removed(bucket, published)
        yield from _removed(bucket, [claim.key])
    for claim in _taken_over(bucket, claims.NAMES, older_than):
        yield from _removed(bucket, [claim.key])


def _removed(bucket: Bucket, keys: Iterable[str]) -> Iterator[str]:
    """Those that are gone; what this connection may not delete is left to one that may."""
    for key in keys:
        with contextlib.suppress(StorageAccessDenied):
            bucket.delete(key)
            yield key


def _sweep_uploads(bucket: Bucket, older_than: timedelta) -> Iterator[str]:
    """Of dead writers, and now and then those that nobody claims: an abort may have failed, or a part come after it."""
    abandoned = [claim for claim in claims.claims(bucket, claims.UPLOADS) if _is_abandoned(claim, older_than)]
    uploads = uploads_of(bucket) if abandoned or _is_due(bucket, older_than) else None
    if uploads is not None:
        of_the_dead = {claims.claimed_by_upload(claim.key) for claim in abandoned}
        try:
            yield from _abort_unclaimed(bucket, uploads, of_the_dead, older_than)
        except StorageAccessDenied:
            return  # then their claims must stay, for who may
        _note(bucket)
    yield from _removed(bucket, [claim.key for claim in abandoned])


def _abort_unclaimed(
    bucket: Bucket, uploads: Uploads, of_the_dead: Collection[str], older_than: timedelta
) -> Iterator[str]:
    """Uploads are listed before their claims: a claim is there before its upload is, and until that has ended."""
    begun = tuple(uploads.begun())
    living = {
        claims.claimed_by_upload(claim.key)
        for claim in claims.claims(bucket, claims.UPLOADS)
        if not _is_abandoned(claim, older_than)
    }
    for upload in begun:
        told_by_age = upload.began_at + older_than <= utc_now()
        if upload.key not in living and (upload.key in of_the_dead or told_by_age):
            uploads.abort(upload)
            yield upload.key


def _is_due(bucket: Bucket, older_than: timedelta) -> bool:
    """Younger ones than that would be left alone, so there is no sense in looking more often."""
    try:
        return bucket.read_small(_LOOKED).modified_at + older_than <= utc_now()
    except ObjectMissing:
        _note(bucket)  # the first sweep here
        return older_than <= timedelta(0)


def _note(bucket: Bucket) -> None:
    with contextlib.suppress(StorageConflict):  # another sweep did
        try:
            bucket.replace(_LOOKED, _now(), bucket.read_small(_LOOKED).version)
        except ObjectMissing:
            bucket.create(_LOOKED, _now())


def _now() -> bytes:
    return f"{utc_now().isoformat()}\n".encode()


def _taken_over(bucket: Bucket, folder: str, older_than: timedelta) -> Iterator[Claim]:
    """Claims whose writer is gone, each made ours first: of two sweeps one takes it."""
    for claim in claims.claims(bucket, folder):
        if _is_abandoned(claim, older_than) and claim.take_over(bucket):
            yield claim


def _is_abandoned(claim: Claim, older_than: timedelta) -> bool:
    return claim.is_abandoned(older_than=older_than, now=utc_now())
