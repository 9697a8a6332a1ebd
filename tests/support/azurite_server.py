"""Azure Blob Storage, by Microsoft's emulator (scripts/setup_azurite.sh puts it into tests/azurite)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import urllib3

from db_backup.connections.access import AzureAccess
from support.cloud_server import CloudServer, fresh_name, running
from support.ports import free_port

_PROGRAM = Path(__file__).parents[1] / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
_ACCOUNT = "devstoreaccount1"
#: Microsoft publishes it: "Use the Azurite emulator for local Azure Storage development".
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def missing_program() -> str:
    """Why no server can be started here; empty when one can."""
    there = _PROGRAM.exists() and shutil.which("node") is not None
    return "" if there else "needs Azurite (sh scripts/setup_azurite.sh)"


class AzuriteServer(CloudServer):
    scheme = "azure"
    account = _ACCOUNT
    key = _KEY

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[AzuriteServer]:
        port = free_port()
        options = ("--disableTelemetry", "--skipApiVersionCheck", "--silent", "--inMemoryPersistence")
        where = ("--blobHost", "127.0.0.1", "--blobPort", str(port))
        with running([shutil.which("node") or "node", str(_PROGRAM), *options, *where], port):
            yield cls(f"http://127.0.0.1:{port}/{_ACCOUNT}")

    def new_bucket(self) -> str:
        name = fresh_name()
        answer = urllib3.request("PUT", f"{self.endpoint}/{name}?restype=container", headers=_signed(name))
        assert answer.status == 201, answer.data
        return name

    def access(self, bucket: str, prefix: str = "", *, endpoint: str | None = None) -> AzureAccess:
        return AzureAccess(
            conn_id="azure_test",
            bucket=bucket,
            prefix=prefix,
            endpoint=endpoint or self.endpoint,
            account=self.account,
            options={"account_key": self.key, "credential_type": "access_key"},
        )


def _signed(container: str) -> dict[str, str]:
    """Headers that create a container: Azure, "Authorize with Shared Key"."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    canonical = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    resource = f"/{_ACCOUNT}/{_ACCOUNT}/{container}\nrestype:container"
    text = "PUT" + "\n" * 12 + canonical + resource
    signature = hmac.digest(base64.b64decode(_KEY), text.encode(), hashlib.sha256)
    return {**headers, "Authorization": f"SharedKey {_ACCOUNT}:{base64.b64encode(signature).decode()}"}
