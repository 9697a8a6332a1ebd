"""What obstore says went wrong, as errors of ours: one line, without a secret, with what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from db_backup.errors import (
    BackupError,
    ObjectCold,
    ObjectMissing,
    StorageAccessDenied,
    StorageConflict,
    StorageError,
    StorageFull,
    StorageNotMounted,
)
from db_backup.naming import DATABASE_FOLDER
from db_backup.settings.addresses import StorageAddress, StorageKind
from db_backup.storage.object_store.unreached import why_unreached

_STATUS = re.compile(r"status code: (\d{3})(?: ([A-Za-z -]+))?")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_MESSAGE = re.compile(r"<Message>([^<\n]{1,200})")
_TRANSPORT = re.compile(r"HTTP error: ([^\n]{1,200})")
_REDIRECTED = re.compile(r"redirect without LOCATION", re.IGNORECASE)  # how obstore tells of a 301
_ADDRESS = re.compile(r"\bhttps?://\S*")

_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "AccountNotFound"})
_WRONG_KEY = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "ExpiredToken"})
_WRONG_CLOCK = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_WRONG_REGION = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
_COLD = frozenset({"InvalidObjectState", "BlobArchived"})
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"})
_CONFLICTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "OperationAborted", "ConditionNotMet"})
#: Answers that another try may turn: RFC 9110, and S3's "SlowDown".
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

_REACH = "Check that the provider answers and that this machine reaches it, then run it again."


LISTED = "listed"  # what could not be done, as ``Place.explain`` takes it


@dataclass(frozen=True)
class Place:
    """Whom errors name, and what they say to do."""

    storage: str
    address: StorageAddress

    def __str__(self) -> str:
        return f"storage '{self.storage}' ({self.address})"

    def explain(self, error: Exception, key: str, done: str) -> BackupError:
        """Our error for what an object storage said.

        :param key: of the object; empty where none is concerned.
        :param done: what could not be done: "read".
        """
        from obstore import exceptions

        if isinstance(error, BackupError):
            return error
        code, status = _code(error), _status(error)
        missing = isinstance(error, FileNotFoundError) or status == 404
        if code in _NO_BUCKET or (missing and done == LISTED):  # an empty folder is no 404: the bucket is not there
            return self._no_bucket("" if code else ", or what answers is no object storage")
        conflict = isinstance(error, exceptions.AlreadyExistsError | exceptions.PreconditionError)
        if (conflict or code in _CONFLICTS) and code not in _COLD:
            return self.conflict(key)
        what = f"'{key}'" if key else "Nothing"
        message = f"{what} could not be {done} in {self}: {_reason(error)}."
        denied = isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError)
        told_by_code: tuple[tuple[bool, type[StorageError], str], ...] = (
            (code in _COLD, ObjectCold, _way_out_of_the_cold(key)),
            (missing, ObjectMissing, "See `db-backup catalog check`; another storage may hold a copy."),
            (
                code in _FULL or status == 507,
                StorageFull,
                "Raise the storage's quota; `db-backup cleanup` removes old backups.",
            ),
            (denied or status in {401, 403} or code in _WRONG_KEY, StorageAccessDenied, self._way_in(code)),
        )
        for applies, kind, hint in told_by_code:
            if applies:
                return kind(message, hint=hint)
        if _is_elsewhere(error):
            fix = f"Correct region_name, or the endpoint, in the connection of storage '{self.storage}'."
            return StorageError(message, hint=fix)
        unreached = why_unreached(error)
        return StorageError(message, hint=unreached.hint if unreached else _REACH)

    def conflict(self, key: str) -> StorageConflict:
        return StorageConflict(
            f"'{key}' in {self} belongs to somebody else, or was changed meanwhile.",
            hint="Nothing was overwritten; run it again.",
        )

    def not_mounted(self, reason: str, *, hint: str = "") -> StorageNotMounted:
        return StorageNotMounted(
            f"Storage '{self.storage}' is not at {self.address}, or it is another one: {reason}.",
            hint=hint
            or f"Correct the url or the connection of storage '{self.storage}'; a new place takes another name, in "
            "storages: of backup.yaml or BACKUP_CLOUD_DISK. If both are right, put the .storage-id back: the state of "
            "any backup there says what it held.",
        )

    def _no_bucket(self, doubt: str) -> StorageNotMounted:
        return self.not_mounted(
            f"there is no {self._bucket}{doubt}",
            hint=f"Create the {self._bucket}, or correct the url or the connection of storage '{self.storage}'.",
        )

    @property
    def _bucket(self) -> str:
        what = "container" if self.address.kind is StorageKind.AZURE else "bucket"
        return f"{what} '{self.address.bucket}'"

    def _way_in(self, code: str) -> str:
        if code in _WRONG_CLOCK:
            return "Set this machine's clock: the provider refuses requests whose time is off."
        if code in _WRONG_KEY:
            return f"Correct the credentials in the connection of storage '{self.storage}'."
        return (
            f"Let the connection's user list, read, write and delete below {self.address}"
            " (docs/object-storage.md has the policy)."
        )


def _way_out_of_the_cold(key: str) -> str:
    """Parts are thawed for a restore; whatever else is cold, a rule of the bucket's own has moved."""
    if key.startswith(f"{DATABASE_FOLDER}/"):
        return "`db-backup restore` has it thawed, and waits."
    return (
        "A rule of the bucket has moved what must stay readable: limit it to the parts, below"
        f" '{DATABASE_FOLDER}/', and bring the rest back by hand (docs/cold-archive.md)."
    )


def may_pass(error: Exception) -> bool:
    """Whether the same request may well succeed a moment later."""
    from obstore import exceptions

    if isinstance(error, exceptions.GenericError) and not _is_elsewhere(error):
        status, unreached = _status(error), why_unreached(error)
        return status in _PASSING or (
            status is None and _code(error) == "" and (unreached is None or unreached.passing)
        )
    return False


def _is_elsewhere(error: Exception) -> bool:
    """S3 refuses what is asked of, or signed for, another region than the bucket's."""
    return _code(error) in _WRONG_REGION or _REDIRECTED.search(_said(error)) is not None


def _said(error: Exception) -> str:
    """Without obstore's debug dump, which begins after an empty line."""
    return str(error).partition("\n\nDebug source:")[0]


def _status(error: Exception) -> int | None:
    found = _STATUS.search(_said(error))
    return int(found[1]) if found else None


def _code(error: Exception) -> str:
    """The provider's own word: S3's, Google's and Azure's answers are alike in this."""
    found = _CODE.search(_said(error))
    return found[1] if found else ""


def _reason(error: Exception) -> str:
    """What the provider said, in its words, or what became of the connection. URLs may hold a signature: none of it."""
    said = _said(error)
    code, message, status = _code(error), _MESSAGE.search(said), _STATUS.search(said)
    if code:
        return f"{code} ({message[1].strip().rstrip('.')})" if message else code
    if status:
        return "it is not there" if status[1] == "404" else f"the answer was {status[1]} {status[2] or ''}".strip()
    if _is_elsewhere(error):
        return "the bucket is in another region, or behind another endpoint"
    if "credential provider" in said.partition("\n")[0]:
        return "the connection's credentials could not be had"
    if unreached := why_unreached(error):
        return unreached.reason
    transport = _TRANSPORT.search(said)
    words = transport[1] if transport else said.partition("\n")[0][:200]
    return _ADDRESS.sub("…", words).strip().rstrip(".")
