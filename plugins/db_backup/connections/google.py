"""Access to Google Cloud Storage, by a ``google_cloud_platform`` connection as Airflow's Google provider documents it.

The tokens come from google-auth, which is small; the provider is neither needed nor used.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from db_backup.connections.access import GOOGLE_EXAMPLE, GoogleAccess, GoogleToken
from db_backup.connections.airflow import mask_in_task
from db_backup.connections.fields import Fields
from db_backup.errors import BackupError, ConfigurationError, StorageAccessDenied, StorageError
from db_backup.settings.addresses import StorageAddress

_LOOKED_FOR = "in GOOGLE_APPLICATION_CREDENTIALS, of gcloud or by a role of this machine"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
#: The fields that hold or name a key: a connection has one of them.
_KEYS = ("keyfile_dict", "key_path", "key_secret_name", "credential_config_file")
#: A token with less than this to live is renewed: obstore asks for another five minutes before the end.
_RENEWED_BEFORE = timedelta(minutes=6)


def google_access(fields: Fields, address: StorageAddress) -> GoogleAccess:
    """:raises ConfigurationError: the connection makes no sense, or nothing gives credentials.

    :raises StorageAccessDenied: Google refuses them.
    :raises StorageError: Google does not answer.
    """
    endpoint = fields.text("endpoint_url").rstrip("/")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise fields.wrong("its endpoint_url does not begin with https://", "Write it as https://host:port.")
    ca_bundle, verify_tls = fields.trust("verify")
    if not fields.flag("is_anonymous"):
        token: Callable[[], GoogleToken] = _Tokens(fields, service_credentials(fields))
        token()
    elif endpoint:
        token = _of_nobody
    else:
        fix = "Remove is_anonymous and give it a key, or name the emulator in endpoint_url."
        raise fields.wrong("it is anonymous, and nobody may write backups to Google without a name", fix)
    return GoogleAccess(
        conn_id=fields.conn_id,
        bucket=address.bucket,
        prefix=address.prefix,
        endpoint=endpoint,
        ca_bundle=ca_bundle,
        verify_tls=verify_tls,
        token=token,
    )


@dataclass
class _Tokens:
    """Gives a token that lives on for some minutes at least; in turn, where several threads ask."""

    fields: Fields
    credentials: Any
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> GoogleToken:
        from google.auth.transport.requests import Request

        with self.lock:
            expiry = self.credentials.expiry  # UTC, without saying so
            if not self.credentials.token or (expiry and expiry.replace(tzinfo=UTC) < _soon()):
                try:
                    self.credentials.refresh(Request())
                except Exception as error:
                    raise _told(error, self.fields) from error
                mask_in_task(self.credentials.token)
            expiry = self.credentials.expiry
            return {"token": self.credentials.token, "expires_at": expiry.replace(tzinfo=UTC) if expiry else None}


def _of_nobody() -> GoogleToken:
    """For emulators, which look at no token: without one obstore would ask Google's metadata address for it."""
    return {"token": "anonymous", "expires_at": None}


def _soon() -> datetime:
    return datetime.now(UTC) + _RENEWED_BEFORE


def service_credentials(fields: Fields) -> Any:
    """google-auth's own object, not asked for a token yet; clients of Google's other services take it as it is.

    :raises ConfigurationError, StorageAccessDenied, StorageError: as :func:`google_access`.
    """
    scopes = [scope.strip() for scope in fields.text("scope").split(",") if scope.strip()] or list(_SCOPES)
    try:
        found = _of_key(fields, scopes)
    except BackupError:
        raise
    except (KeyError, ValueError, OSError) as error:  # not chained: what google-auth says of a key may quote it
        raise _unreadable(fields, error) from None
    except Exception as error:
        raise _told(error, fields) from error
    chain = _chain(fields)
    if not chain:
        return found
    from google.auth import impersonated_credentials

    return impersonated_credentials.Credentials(
        source_credentials=found, target_principal=chain[-1], delegates=chain[:-1], target_scopes=scopes
    )


def _of_key(fields: Fields, scopes: Sequence[str]) -> Any:
    import google.auth
    from google.oauth2 import service_account

    given = [name for name in _KEYS if fields.value(name)]
    if len(given) > 1:
        raise fields.wrong(f"it has {' and '.join(given)}", "Keep one of them.")
    if fields.value("idp_issuer_url"):
        fix = "Give it a key, or an identity's configuration in credential_config_file."
        raise fields.wrong("idp_issuer_url takes tokens of another issuer, which is not asked for them here", fix)
    if given == ["key_secret_name"]:
        fix = "Put the key into keyfile_dict, or its path into key_path."
        raise fields.wrong("key_secret_name takes Secret Manager, which is not asked for keys here", fix)
    if given == ["keyfile_dict"]:
        key = fields.mapping("keyfile_dict")
        private = key.get("private_key")
        if isinstance(private, str):
            mask_in_task(private)
            # A form of Airflow writes the line ends of a key as they are in JSON, twice.
            key = {**key, "private_key": private.replace("\\n", "\n")}
        return service_account.Credentials.from_service_account_info(key, scopes=scopes)
    if given == ["key_path"]:
        return service_account.Credentials.from_service_account_file(fields.text("key_path"), scopes=scopes)
    if given == ["credential_config_file"]:
        return _of_configuration(fields, scopes)
    return google.auth.default(scopes=scopes)[0]


def _of_configuration(fields: Fields, scopes: Sequence[str]) -> Any:
    """Of a file of any kind that Google makes, such as a workload's federation: the file, or its text."""
    import google.auth

    value = fields.value("credential_config_file")
    with warnings.catch_warnings():
        # google-auth warns of configurations that strangers supply; this one is the connection's.
        warnings.simplefilter("ignore", DeprecationWarning)
        if isinstance(value, str) and not value.lstrip().startswith("{"):
            return google.auth.load_credentials_from_file(value.strip(), scopes=scopes)[0]
        found = dict(fields.mapping("credential_config_file"))
        return google.auth.load_credentials_from_dict(found, scopes=scopes)[0]


def _chain(fields: Fields) -> list[str]:
    """Service accounts, each of which may act as the next; the last is the one that acts."""
    given = fields.value("impersonation_chain")
    names = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else []
    return [str(name).strip() for name in names if str(name).strip()]


def _unreadable(fields: Fields, error: Exception) -> ConfigurationError:
    given = next((name for name in _KEYS if fields.value(name)), "GOOGLE_APPLICATION_CREDENTIALS")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no key of a service account"
    fix = "Take the JSON file that Google made for the service account's key, whole."
    return fields.wrong(f"its {given} cannot be read ({reason})", fix)


def _told(error: Exception, fields: Fields) -> BackupError:
    """What google-auth raised, as an error of ours."""
    from google.auth import exceptions

    if isinstance(error, exceptions.TransportError):
        return StorageError(
            f"Google gives no token by the connection '{fields.conn_id}': it does not answer.",
            hint="Check the network, and the token_uri of the key.",
        )
    if isinstance(error, exceptions.RefreshError):
        return StorageAccessDenied(
            f"Google gives no token by the connection '{fields.conn_id}': it refuses the credentials.",
            hint="Check that the service account and its key still exist, and whom impersonation_chain names.",
        )
    if any(fields.value(name) for name in _KEYS):
        return _unreadable(fields, error)
    return fields.lacking(_LOOKED_FOR, GOOGLE_EXAMPLE)
