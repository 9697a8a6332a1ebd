"""Access to an object storage: where it is and what opens it. What secrets it holds never print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

AZURE_PUBLIC_CLOUD = "blob.core.windows.net"
#: Connections that open each, as messages show them.
AWS_EXAMPLE = '{"conn_type": "aws", "login": "<access key id>", "password": "<secret access key>"}'
GOOGLE_EXAMPLE = '{"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": {…}}}'
AZURE_EXAMPLE = '{"conn_type": "wasb", "login": "<storage account>", "password": "<access key>"}'


class S3Credentials(TypedDict):
    """As obstore's credential providers answer. ``expires_at``: UTC; None where they stay."""

    access_key_id: str
    secret_access_key: str
    token: str | None
    expires_at: datetime | None


class GoogleToken(TypedDict):
    """As obstore's credential providers answer. ``expires_at``: UTC; None where it stays."""

    token: str
    expires_at: datetime | None


@dataclass(frozen=True)
class CloudAccess:
    """What every provider has.

    ``bucket`` is the container on Azure. ``prefix`` has no slash at its ends and may be empty. ``endpoint`` begins with
    http:// or https:// and is empty where it is the provider's own. ``ca_bundle``: a PEM file to be trusted as well.
    """

    conn_id: str
    bucket: str
    prefix: str
    endpoint: str = ""
    ca_bundle: Path | None = None
    verify_tls: bool = True

    @property
    def allow_http(self) -> bool:
        return self.endpoint.startswith("http://")


@dataclass(frozen=True)
class S3Access(CloudAccess):
    """``credentials`` gives those of this moment; asked again shortly before they expire.

    ``client`` makes a boto3 client of a service ("s3") with the same credentials, endpoint, region and TLS. ``proxy``:
    empty: that of the environment, if any.
    """

    region: str = ""
    path_style: bool = False
    proxy: str = field(default="", repr=False)
    credentials: Callable[[], S3Credentials] = field(kw_only=True, repr=False)
    client: Callable[[str], Any] = field(kw_only=True, repr=False)

    @property
    def url(self) -> str:
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"


@dataclass(frozen=True)
class GoogleAccess(CloudAccess):
    """``token`` gives the bearer token of this moment."""

    token: Callable[[], GoogleToken] = field(kw_only=True, repr=False)

    @property
    def url(self) -> str:
        return self.endpoint or "https://storage.googleapis.com"


@dataclass(frozen=True)
class AzureAccess(CloudAccess):
    """``options``: those of obstore's ``AzureStore`` that say who asks, secrets and ``credential_type`` among them."""

    account: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        return self.endpoint or f"https://{self.account}.{AZURE_PUBLIC_CLOUD}"
