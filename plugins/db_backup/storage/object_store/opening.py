"""obstore's stores and boto3's client for an access, made at the first use and in one process alone.

obstore runs threads of its own. A process that is forked from one that has used it waits for them for ever: so it is
remembered which process used it first, and any other is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from db_backup.connections.access import AzureAccess, CloudAccess, GoogleAccess, S3Access
from db_backup.errors import BackupError, StorageError
from db_backup.storage.object_store.limits import Limits

_RETRY_FOR = timedelta(minutes=3)  # credentials are not renewed between the tries of one request
_first_used_in: int | None = None


class OpenedAccess:
    """An access with what was made of it. ``store`` tries again by itself, ``once`` never; both take whole paths.

    ``lost_credentials``: what the access raised when obstore, which tells only its text, last asked for credentials.
    """

    def __init__(self, access: CloudAccess, limits: Limits) -> None:
        self.access = access
        self.lost_credentials: BackupError | None = None
        self._limits = limits
        self.once = self._made(retries=0, silence_seconds=limits.silence_seconds)
        self._client: Any = None

    @cached_property
    def store(self) -> Any:
        """Made when it is needed: each reads all the certificates that this machine trusts."""
        return self._made(retries=self._limits.retries, silence_seconds=None)

    def client(self) -> Any:
        """boto3's client of S3, made once."""
        assert isinstance(self.access, S3Access)  # noqa: S101 - nobody else has one
        if self._client is None:
            self._client = self.access.client("s3")
        return self._client

    def _made(self, *, retries: int, silence_seconds: float | None) -> Any:
        from obstore import store

        access, limits = self.access, self._limits
        # Where it goes is always said: obstore takes what it is not told from variables that mean others.
        options: dict[str, Any] = {
            "skip_signature": False,  # whatever the environment says, which obstore reads too
            "client_options": _client_options(access, limits, silence_seconds=silence_seconds),
            "retry_config": {
                "max_retries": retries,
                "retry_timeout": _RETRY_FOR,
                "backoff": {"init_backoff": timedelta(seconds=limits.pause_seconds)},
            },
        }
        if isinstance(access, S3Access):
            return store.S3Store(
                access.bucket,
                region=access.region,
                credential_provider=self._watched(access.credentials),
                disable_bulk_delete=True,  # not every provider has it
                **_s3_address(access),
                **options,
            )
        if isinstance(access, GoogleAccess):
            return store.GCSStore(
                access.bucket, base_url=access.url, credential_provider=self._watched(access.token), **options
            )
        assert isinstance(access, AzureAccess)  # noqa: S101 - there are no others
        whose: Any = {"account_name": access.account, "endpoint": access.url, **access.options}
        return store.AzureStore(access.bucket, use_emulator=False, use_fabric_endpoint=False, **whose, **options)

    def _watched(self, credentials: Callable[[], Any]) -> Callable[[], Any]:
        def watched() -> Any:
            try:
                return credentials()
            except BackupError as error:
                self.lost_credentials = error
                raise

        return watched


def open_access(access: Callable[[], CloudAccess], limits: Limits) -> OpenedAccess:
    """Make the stores. What ``access`` raises passes through."""
    global _first_used_in  # noqa: PLW0603 - it is the process's, as obstore's threads are
    refuse_fork()
    found = access()
    _first_used_in = os.getpid()
    return OpenedAccess(found, limits)


def refuse_fork() -> None:
    """:raises StorageError: this process was forked from one that has used an object storage already."""
    if _first_used_in not in {None, os.getpid()}:
        raise StorageError(
            f"Process {os.getpid()} cannot use object storages: it was forked from process {_first_used_in}, which"
            " has used one, and would wait for ever.",
            hint="Use object storages in the forked processes only, or start them anew (multiprocessing's 'spawn').",
        )


def _client_options(access: CloudAccess, limits: Limits, *, silence_seconds: float | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "allow_http": access.allow_http,
        "connect_timeout": timedelta(seconds=limits.connect_seconds),
        "timeout": timedelta(seconds=limits.request_seconds),
        "user_agent": "airflow-db-backup",
    }
    if silence_seconds is not None:
        options["read_timeout"] = timedelta(seconds=silence_seconds)
    if not access.verify_tls:
        options["allow_invalid_certificates"] = True
    if isinstance(access, S3Access) and access.proxy:
        options["proxy_url"] = access.proxy
    if access.ca_bundle is not None:
        options["root_certificate"] = access.ca_bundle.read_bytes()
    return options


def _s3_address(access: S3Access) -> dict[str, Any]:
    """A bucket whose name has dots is not covered by the provider's certificate, so it goes into the path."""
    virtual = not access.path_style and ("." not in access.bucket or access.allow_http)
    if virtual:
        parts = urlsplit(access.url)
        return {
            "endpoint": parts._replace(netloc=f"{access.bucket}.{parts.netloc}").geturl(),
            "virtual_hosted_style_request": True,
        }
    return {"endpoint": access.url, "virtual_hosted_style_request": False}
