"""Keys that a key service keeps: what is wrapped goes there and back, the key itself never leaves it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from db_backup.connections import aws_client, google_credentials
from db_backup.encryption.recipients import bound_to, ciphertext_of, damaged, wrapped_by
from db_backup.errors import BackupError, ConfigurationError, FeatureNotAvailable, KeyUnavailable, WrongKey
from db_backup.manifest import WrappedKey

#: The kinds of keys that are kept by one, as in :class:`~db_backup.manifest.WrappedKey`.
SERVICES = frozenset({"aws_kms", "gcp_kms"})

_AWS = "aws-kms://"
_REGION = 3  # of the pieces of an ARN
_ANOTHER_KEY = "IncorrectKeyException"
_NOT_ITS_OWN = "InvalidCiphertextException"


class KmsRecipient:
    """A key of AWS KMS or Google Cloud KMS.

    Tink's primitive is called as it is: what Tink would put around a keyset knows nothing of associated data. The
    service sees that data (AWS: as the encryption context), so its own log tells which backup was opened.

    :param uri: ``aws-kms://arn:aws:kms:…:key/…`` or ``gcp-kms://projects/…/cryptoKeys/…``.
    :param conn_id: whose credentials count; None: of ``aws_default`` or ``google_cloud_default``, or the machine's.
    """

    def __init__(self, name: str, uri: str, conn_id: str | None, environment: Mapping[str, str] | None) -> None:
        self.name = name
        self.kind = "aws_kms" if uri.startswith(_AWS) else "gcp_kms"
        self.key_id = uri
        self.created_at: datetime | None = None
        self.opens = True
        self._conn_id = conn_id
        self._environment = os.environ if environment is None else environment
        self._primitive: Any = None

    def wrap(self, data_key: bytes, backup_id: str) -> WrappedKey:
        from tink import TinkError

        try:
            ciphertext = self._aead().encrypt(data_key, bound_to(backup_id))
        except TinkError as error:
            raise self._refused(error) from None
        except Exception as error:
            raise self._silent(error) from error
        return wrapped_by(self, ciphertext)

    def unwrap(self, wrapped: WrappedKey, backup_id: str) -> bytes:
        from tink import TinkError

        ciphertext = ciphertext_of(wrapped, backup_id)
        try:
            return bytes(self._aead().decrypt(ciphertext, bound_to(backup_id)))
        except TinkError as error:
            code = _code(error)
            if code == _ANOTHER_KEY:
                raise WrongKey(
                    f"What is wrapped for '{wrapped.recipient}' was made with another key than {self.key_id}.",
                    hint="Correct the key's address under `keys:` in backup.yaml.",
                    backup_id=backup_id,
                ) from None
            if code in {_NOT_ITS_OWN, "InvalidArgument"}:
                raise damaged(wrapped, backup_id) from None
            raise self._refused(error) from None
        except Exception as error:
            raise self._silent(error) from error

    def _aead(self) -> Any:
        if self._primitive is None:
            client = self._aws_client() if self.kind == "aws_kms" else self._gcp_client()
            self._primitive = client.get_aead(self.key_id)
        return self._primitive

    def _aws_client(self) -> Any:
        from tink.integration import awskms

        region = self.key_id.split(":")[1 + _REGION]
        client = aws_client("kms", self._conn_id, region=region, environment=self._environment)
        return awskms.new_client(boto3_client=client, key_uri=self.key_id)

    def _gcp_client(self) -> Any:
        try:
            from tink.integration import gcpkms
        except ImportError:
            raise FeatureNotAvailable(
                f"The key '{self.name}' is one of Google Cloud KMS, whose client is not installed.",
                hint="Install it: pip install 'tink[gcpkms]'.",
            ) from None
        credentials = google_credentials(self._conn_id, environment=self._environment)
        return gcpkms.GcpKmsClient(self.key_id, credentials=credentials)

    def _refused(self, error: Exception) -> KeyUnavailable:
        return KeyUnavailable(
            f"The key service refuses the key '{self.name}' ({self.key_id}): {_code(error)}.",
            hint="See that the key is enabled, and that this worker may call Encrypt and Decrypt with it.",
        )

    def _silent(self, error: Exception) -> BackupError:
        if isinstance(error, ConfigurationError):
            return error
        if isinstance(error, BackupError):
            return KeyUnavailable(f"The key '{self.name}' cannot be asked for: {error.message}", hint=error.hint)
        return KeyUnavailable(
            f"The key service of '{self.name}' ({self.key_id}) does not answer: {type(error).__name__}.",
            hint="See that this worker reaches it and has credentials for it; then run it again.",
        )


def _code(error: Exception) -> str:
    """The service's own word for what is wrong: ``AccessDeniedException``; never its whole answer."""
    cause = error.args[0] if error.args else error
    response = getattr(cause, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", "an error without a name"))
    return type(cause).__name__
