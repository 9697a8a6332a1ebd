"""What boto3 says went wrong, as errors of ours."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from db_backup.errors import BackupError, ObjectMissing, StorageAccessDenied, StorageError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_MISSING = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NotFound"})
_DENIED = frozenset({"403", "401", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"})


def error_code(error: ClientError) -> str:
    """The provider's word for what went wrong."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


@contextmanager
def told(place: str, path: str, what: str, *, besides: Collection[str] = ()) -> Iterator[None]:
    """Errors of boto3 within the block become ours.

    :param what: what could not be done: "be moved".
    :param besides: codes that are none.
    :raises ObjectMissing, StorageAccessDenied, StorageError:
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if error_code(error) not in besides:
            raise _as_ours(error, place, path, what) from error
    except RecursionError as error:  # botocore follows a redirect without a region so far
        raise StorageError(
            f"'{path}' in {place} cannot {what}: the bucket is in another region, or behind another endpoint.",
            hint="Correct region_name, or endpoint_url, in the storage's connection.",
        ) from error
    except (BotoCoreError, Boto3Error) as error:
        raise StorageError(
            f"'{path}' in {place} cannot {what}: {type(error).__name__}.",
            hint="Check that the storage answers, and run it again.",
        ) from error


def _as_ours(error: ClientError, place: str, path: str, what: str) -> BackupError:
    code = error_code(error)
    if code in _MISSING:
        return ObjectMissing(f"'{path}' is not in {place}.", hint="Check that the storage is the right one.")
    if code in _DENIED:
        return StorageAccessDenied(
            f"'{path}' in {place} cannot {what}: access is denied ({error.operation_name}).",
            hint=f"Give the connection's user the right to {error.operation_name}.",
        )
    return StorageError(
        f"'{path}' in {place} cannot {what}: {code} ({error.operation_name}).",
        hint="Check that the storage answers, and run it again.",
    )
