"""Access tiers of Azure Blob Storage, which obstore does not know: asked for at addresses that it signs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from db_backup.errors import ObjectMissing, StorageAccessDenied, StorageError
from db_backup.storage.base import Temperature
from db_backup.storage.object_store.cold import cold_error, refuse_unknown_class
from db_backup.storage.object_store.https import pool_for
from db_backup.storage_classes import AZURE_TIERS, StorageClass, needs_thaw

if TYPE_CHECKING:
    from obstore.store import AzureStore
    from urllib3 import BaseHTTPResponse

    from db_backup.connections.access import AzureAccess

_API_VERSION = "2023-11-03"  # of the tier Cold, and of what obstore signs
_SIGNED_FOR = timedelta(minutes=10)
_READABLE = "Hot"  # what an archived blob is brought back to


class AzureTiers:
    """See :class:`ColdClasses`. A thawed blob is in the tier Hot again, for good: ``days`` mean nothing here.

    :param store: gives the container's store, without a prefix; called when it is needed.
    :param place: the storage, for messages.
    """

    classes: ClassVar[tuple[StorageClass, ...]] = AZURE_TIERS

    def __init__(self, access: AzureAccess, store: Callable[[], AzureStore], place: str) -> None:
        self._access = access
        self._store = store
        self._place = place

    def temperature(self, path: str) -> Temperature:
        headers = self._ask("HEAD", path, "be looked at").headers
        tier = headers.get("x-ms-access-tier", "")
        thawing = headers.get("x-ms-archive-status", "").startswith("rehydrate-pending")
        return Temperature(tier, readable=not needs_thaw(tier), thawing=thawing)

    def archive(self, path: str, storage_class: str) -> str:
        refuse_unknown_class(self.classes, storage_class, self._place)
        before = self.temperature(path)
        if before.storage_class != storage_class:
            if cold := cold_error(self._place, path, before):
                raise cold
            self._set_tier(path, storage_class)
            self._refuse_other(path, storage_class)
        return ""

    def thaw(self, path: str, *, days: int) -> None:  # noqa: ARG002 - it stays until it is archived again
        before = self.temperature(path)
        if not before.readable and not before.thawing:
            self._set_tier(path, _READABLE)

    def _refuse_other(self, path: str, tier: str) -> None:
        """:raises StorageError: it is in another tier."""
        found = self.temperature(path).storage_class
        if found != tier:
            raise StorageError(
                f"'{path}' in {self._place} was to be moved to {tier}, and is in {found or 'none that is told'}.",
                hint="Check that the account has access tiers, and look at its own rules.",
            )

    def _set_tier(self, path: str, tier: str) -> None:
        headers = {"x-ms-access-tier": tier, "Content-Length": "0"}
        self._ask("PUT", path, f"be moved to {tier}", query="&comp=tier", headers=headers)

    def _ask(
        self, method: str, path: str, what: str, *, query: str = "", headers: Mapping[str, str] | None = None
    ) -> BaseHTTPResponse:
        import obstore
        import urllib3

        try:
            response = pool_for(self._access).request(
                method, self._signed(method, path) + query, headers={"x-ms-version": _API_VERSION, **(headers or {})}
            )
        except (urllib3.exceptions.HTTPError, obstore.exceptions.BaseError) as error:
            # The address holds its signature, and messages of urllib3 the address: neither is told.
            raise StorageError(
                f"'{path}' in {self._place} cannot {what}: {type(error).__name__}.",
                hint="Tiers are asked for with an account key or a service principal: check that the connection has "
                "one, and that the storage answers.",
            ) from None
        if response.status >= 300:
            raise self._refusal(response, path, what)
        return response

    def _signed(self, method: str, path: str) -> str:
        """The blob's address, with what lets whoever has it do this one thing."""
        import obstore

        if token := self._access.options.get("sas_key"):
            return f"{self._access.url}/{self._access.bucket}/{quote(path)}?{token.removeprefix('?')}"
        # What is signed for GET holds for HEAD too; for HEAD, obstore signs no right at all.
        return obstore.sign(self._store(), "GET" if method == "HEAD" else "PUT", path, _SIGNED_FOR)

    def _refusal(self, response: BaseHTTPResponse, path: str, what: str) -> StorageError:
        code = response.headers.get("x-ms-error-code", str(response.status))
        if response.status == 404:
            return ObjectMissing(f"'{path}' is not in {self._place}.", hint="Check that the storage is the right one.")
        message = f"'{path}' in {self._place} cannot {what}: {code}."
        if response.status in {401, 403}:
            return StorageAccessDenied(message, hint="Check that the connection may read and write blobs.")
        passing = response.status < 400 or response.status >= 500
        fix = "Check that the storage answers, and run it again." if passing else "Check that the account has tiers."
        return StorageError(message, hint=fix)
