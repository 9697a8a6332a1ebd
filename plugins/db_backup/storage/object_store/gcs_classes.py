"""Storage classes of Google Cloud Storage, all of which can be read at once.

Through Google's JSON API ("Objects: rewrite"): an object is written over itself on Google's servers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlencode

from db_backup.errors import ObjectMissing, StorageAccessDenied, StorageConflict, StorageError
from db_backup.storage.base import Temperature
from db_backup.storage.object_store.cold import refuse_unknown_class
from db_backup.storage.object_store.https import pool_for
from db_backup.storage_classes import GCS_CLASSES, StorageClass

if TYPE_CHECKING:
    from db_backup.connections.access import GoogleAccess

_KEPT = ("contentType", "contentEncoding", "contentDisposition", "contentLanguage", "cacheControl", "metadata")


class GcsClasses:
    """See :class:`ColdClasses`.

    :param place: the storage, for messages.
    """

    classes: ClassVar[tuple[StorageClass, ...]] = GCS_CLASSES

    def __init__(self, access: GoogleAccess, place: str) -> None:
        self._access = access
        self._place = place

    def temperature(self, path: str) -> Temperature:
        return Temperature(self._look(path)["storageClass"])

    def archive(self, path: str, storage_class: str) -> str:
        refuse_unknown_class(self.classes, storage_class, self._place)
        before = self._look(path)
        if before["storageClass"] == storage_class:
            return ""
        self._rewrite(path, before, storage_class)
        after = self._look(path)
        told = (after["storageClass"], after["size"], after.get("crc32c"))
        if told != (storage_class, before["size"], before.get("crc32c")):
            raise StorageError(
                f"'{path}' in {self._place} was to be moved to {storage_class}, and is now {after['size']} bytes in "
                f"{after['storageClass']}.",
                hint="Run `db-backup verify` on this backup, and look at the bucket's own rules.",
            )
        return self._drop_old_generation(path, before)

    def thaw(self, path: str, *, days: int) -> None:  # noqa: ARG002 - nothing here is ever too cold to be read
        self._look(path)

    def _look(self, path: str) -> Mapping[str, Any]:
        return self._ask("GET", path, "be looked at")

    def _rewrite(self, path: str, before: Mapping[str, Any], storage_class: str) -> None:
        """A large object takes several calls, each of which goes on where the one before it ended."""
        document = {name: before[name] for name in _KEPT if name in before} | {"storageClass": storage_class}
        query = {"ifGenerationMatch": before["generation"], "ifSourceGenerationMatch": before["generation"]}
        onto = f"/rewriteTo/b/{self._access.bucket}/o/{quote(path, safe='')}"
        what = f"be moved to {storage_class}"
        answer: Mapping[str, Any] = {}
        while not answer.get("done"):
            if token := answer.get("rewriteToken"):
                query["rewriteToken"] = token
            answer = self._ask("POST", path, what, suffix=onto, query=query, document=document)

    def _drop_old_generation(self, path: str, before: Mapping[str, Any]) -> str:
        """In a versioned bucket what was rewritten stays, in its class and at its price."""
        try:
            self._ask("DELETE", path, "be deleted", query={"generation": before["generation"]})
        except ObjectMissing:
            return ""
        except StorageError as error:
            return f"the version before it stays, and costs as before: {error.message.removesuffix('.')}"
        return ""

    def _ask(
        self,
        method: str,
        path: str,
        what: str,
        *,
        suffix: str = "",
        query: Mapping[str, str] | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        import urllib3

        address = (
            f"{self._access.url}/storage/v1/b/{self._access.bucket}/o/{quote(path, safe='')}{suffix}"
            f"?{urlencode(query or {})}"
        )
        headers = {"Authorization": f"Bearer {self._access.token()['token']}"}
        if document is not None:
            headers["Content-Type"] = "application/json"
        try:
            body = json.dumps(document).encode() if document is not None else None
            response = pool_for(self._access).request(method, address, headers=headers, body=body)
        except urllib3.exceptions.HTTPError as error:
            raise StorageError(
                f"'{path}' in {self._place} cannot {what}: {type(error).__name__}.",
                hint="Check that the storage answers, and run it again.",
            ) from error
        if response.status >= 300:
            raise self._refusal(response.status, path, what)
        answer: Mapping[str, Any] = response.json() if response.data else {}
        return answer

    def _refusal(self, status: int, path: str, what: str) -> StorageError:
        if status == 404:
            return ObjectMissing(f"'{path}' is not in {self._place}.", hint="Check that the storage is the right one.")
        if status == 412:
            return StorageConflict(
                f"'{path}' in {self._place} cannot {what}: somebody wrote it meanwhile.", hint="Run it again."
            )
        message = f"'{path}' in {self._place} cannot {what}: Google answered {status}."
        if status in {401, 403}:
            role = "Give the connection's account the role Storage Object User on the bucket, and run it again."
            return StorageAccessDenied(message, hint=role)
        return StorageError(message, hint="Run it again; `db-backup storages --check` tells whether it works.")
