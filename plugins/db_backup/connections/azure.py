"""Access to Azure Blob Storage, by a ``wasb`` or ``adls`` connection as Airflow's Azure provider documents it.

Precedence as there: ``connection_string``, then ``tenant_id`` with a client's id and secret, ``shared_access_key``,
``sas_token``, the password or ``account_key``, then what this machine may do by itself. obstore asks Azure for tokens,
and only in the way that was chosen here; neither the provider nor Azure's own libraries are needed.
"""

from __future__ import annotations

import http.client
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from db_backup.connections.access import AZURE_EXAMPLE, AZURE_PUBLIC_CLOUD, AzureAccess
from db_backup.connections.airflow import mask_in_task
from db_backup.connections.fields import Fields
from db_backup.settings.addresses import StorageAddress

_LOOKED_FOR = "in AZURE_CLIENT_ID and its like, or by a managed identity of this machine"
#: Of every emulator; Microsoft, "Connect to Azurite with SDKs and tools".
_EMULATOR = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6"
    "IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1"
)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_METADATA_HOST = "http://169.254.169.254"
_METADATA_SECONDS = 1.0


@dataclass(frozen=True)
class _Place:
    """A storage account; ``endpoint`` is empty where it is the usual one of Azure's public cloud."""

    account: str
    endpoint: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


def azure_access(fields: Fields, address: StorageAddress) -> AzureAccess:
    """:raises ConfigurationError: the connection makes no sense, names no account, or nothing gives credentials."""
    text = fields.secret("connection_string")
    place = _of_connection_string(fields, text) if text else _of_fields(fields, address)
    if address.account and place.account != address.account:
        fix = "Name the same storage account in both, or leave it out of the url."
        raise fields.wrong(f"it is of the account '{place.account}', and the url of '{address.account}'", fix)
    ca_bundle, verify_tls = fields.trust("connection_verify")
    return AzureAccess(
        conn_id=fields.conn_id,
        bucket=address.bucket,
        prefix=address.prefix,
        endpoint=place.endpoint,
        ca_bundle=ca_bundle,
        verify_tls=verify_tls,
        account=place.account,
        options=place.options,
    )


def _of_connection_string(fields: Fields, text: str) -> _Place:
    if text.replace(" ", "").rstrip(";").lower() == "usedevelopmentstorage=true":
        text = _EMULATOR
    pieces = dict(piece.split("=", 1) for piece in text.split(";") if "=" in piece)
    values = {name.strip().lower(): value.strip() for name, value in pieces.items()}
    endpoint = values.get("blobendpoint", "").rstrip("/")
    account = values.get("accountname") or (_account_of(endpoint) if endpoint else "")
    if not account:
        fix = "Copy it whole: Azure portal, the storage account, Access keys."
        raise fields.wrong("its connection_string names no account", fix)
    suffix = values.get("endpointsuffix")
    if not endpoint and suffix and f"blob.{suffix}" != AZURE_PUBLIC_CLOUD:
        endpoint = f"{values.get('defaultendpointsprotocol', 'https')}://{account}.blob.{suffix}"
    key, signature = values.get("accountkey"), values.get("sharedaccesssignature")
    if not key and not signature:
        fix = "Copy it whole: Azure portal, the storage account, Access keys."
        raise fields.wrong("its connection_string has neither AccountKey nor SharedAccessSignature", fix)
    return _Place(account, _unless_usual(account, endpoint), _by_key(key) if key else _by_signature(signature or ""))


def _of_fields(fields: Fields, address: StorageAddress) -> _Place:
    tenant, signature = fields.text("tenant_id"), fields.secret("sas_token")
    if signature.startswith(("https://", "http://")):
        url, _, signature = signature.partition("?")
        host = url
    else:
        host = fields.text("account_url") or fields.host  # the first in connections of the type adls alone
    is_client = bool(tenant) or (bool(host) and fields.connection.conn_type == "adls")
    place = _account_place(fields, address, host, login_is_account=not is_client)
    return _Place(place.account, place.endpoint, _options(fields, tenant, signature))


def _options(fields: Fields, tenant: str, signature: str) -> Mapping[str, str]:
    if tenant:
        if not fields.login or not fields.password:
            fix = "Fill in the client's id as login and its secret as password."
            raise fields.wrong("it has a tenant_id and lacks the client's id or secret", fix)
        authority = fields.mapping("client_secret_auth_config").get("authority")
        return _by_client(tenant, fields.login, fields.password, str(authority or ""))
    key = fields.secret("shared_access_key")
    if key:
        return _by_key(key)
    if signature:
        return _by_signature(signature)
    key = fields.password or fields.secret("account_key")
    return _by_key(key) if key else _by_machine(fields)


def _account_place(fields: Fields, address: StorageAddress, host: str, *, login_is_account: bool) -> _Place:
    """By the rules of the provider's ``parse_blob_account_url``, and the names that a url or the environment gives."""
    endpoint = ""
    if host:
        url = host if "://" in host else f"https://{host}"
        parts = urlsplit(url)
        if "." in (parts.hostname or "") or parts.port:
            endpoint = _of_blobs(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", address.bucket)
    account = fields.login if login_is_account else ""
    account = account or (_account_of(endpoint) if endpoint else host.strip()) or address.account
    account = account or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME") or os.environ.get("AZURE_STORAGE_ACCOUNT") or ""
    if not account and not fields.exists:
        raise fields.lacking("in the environment (AZURE_STORAGE_ACCOUNT)", AZURE_EXAMPLE)
    if not _ACCOUNT.fullmatch(account):
        fix = f"Fill in the storage account as login, such as {AZURE_EXAMPLE}."
        raise fields.wrong("it names no storage account (3 to 24 lower-case letters and digits)", fix)
    return _Place(account, _unless_usual(account, endpoint))


def _of_blobs(endpoint: str, container: str) -> str:
    """The account's endpoint for blobs, where this is its data lake's, or the URL of the container itself."""
    parts = urlsplit(endpoint)
    netloc = parts.netloc.replace(".dfs.", ".blob.", 1)
    is_cloud = ".blob." in netloc
    path = "" if is_cloud and parts.path.strip("/") == container else parts.path
    return f"{parts.scheme}://{netloc}{path}"


def _account_of(endpoint: str) -> str:
    """The account that an endpoint is of: the host's first word, or of an emulator the first folder."""
    parts = urlsplit(endpoint)
    folder = parts.path.strip("/").partition("/")[0]
    return folder or (parts.hostname or "").partition(".")[0]


def _unless_usual(account: str, endpoint: str) -> str:
    return "" if endpoint == f"https://{account}.{AZURE_PUBLIC_CLOUD}" else endpoint


def _by_key(key: str) -> Mapping[str, str]:
    mask_in_task(key)
    return {"account_key": key, "credential_type": "access_key"}


def _by_signature(signature: str) -> Mapping[str, str]:
    mask_in_task(signature)
    for piece in signature.split("&"):  # in an address it stands among other parameters
        name, _, value = piece.partition("=")
        if name == "sig":
            mask_in_task(value)
    return {"sas_key": signature.lstrip("?"), "credential_type": "sas_token"}


def _by_client(tenant: str, client: str, secret: str, authority: str = "") -> Mapping[str, str]:
    """:param authority: who is asked for tokens, such as that of a sovereign cloud; empty: the environment's, or the
    public cloud's.
    """
    mask_in_task(secret)
    options = {"tenant_id": tenant, "client_id": client, "client_secret": secret, "credential_type": "client_secret"}
    if not authority:
        return options
    return options | {"authority_host": authority if "://" in authority else f"https://{authority}"}


def _by_machine(fields: Fields) -> Mapping[str, str]:
    """What the environment gives (a service principal, a workload's token), else this machine's managed identity.

    :raises ConfigurationError: none of it is there. Azure's address for metadata is asked by us, once and briefly, so
        that obstore does not wait for it where there is none.
    """
    own = os.environ
    principal = tuple(own.get(name, "") for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"))
    if all(principal):  # its secret opens no other client than its own
        return _by_client(*principal)
    tenant = fields.text("workload_identity_tenant_id") or own.get("AZURE_TENANT_ID", "")
    client = fields.text("managed_identity_client_id") or own.get("AZURE_CLIENT_ID", "")
    if tenant and client and own.get("AZURE_FEDERATED_TOKEN_FILE"):
        return {
            "tenant_id": tenant,
            "client_id": client,
            "federated_token_file": own["AZURE_FEDERATED_TOKEN_FILE"],
            "credential_type": "workload_identity",
        }
    host = own.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", _METADATA_HOST).rstrip("/")
    if not _answers(host):
        raise fields.lacking(_LOOKED_FOR, AZURE_EXAMPLE)
    options = {"msi_endpoint": f"{host}/metadata/identity/oauth2/token", "credential_type": "managed_identity"}
    return options | ({"client_id": client} if client else {})


def _answers(host: str) -> bool:
    """Whether Azure's instance metadata service is there. Microsoft, "Azure Instance Metadata Service"."""
    parts = urlsplit(host)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_METADATA_SECONDS)
    try:
        connection.request("GET", "/metadata/instance?api-version=2021-02-01", headers={"Metadata": "true"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
