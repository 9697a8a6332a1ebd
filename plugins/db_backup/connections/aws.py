"""Access to Amazon S3, to what speaks its protocol, and to AWS's other services, by an ``aws`` connection.

The fields are those that Airflow's Amazon provider documents ("Amazon Web Services Connection"). They are read here and
not by the provider, so that a restore without Airflow takes the same way as every night's backup. Only roles that are
assumed by web identity or SAML are left to the provider.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from db_backup.connections.access import AWS_EXAMPLE, S3Access, S3Credentials
from db_backup.connections.airflow import mask_in_task
from db_backup.connections.fields import Fields
from db_backup.errors import BackupError, StorageAccessDenied, StorageError
from db_backup.settings.addresses import StorageAddress

_LOOKED_FOR = "in the environment, in a profile of AWS or by a role of this machine"
_USUAL_REGION = "us-east-1"
_ENDPOINT_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
)
#: Settings of botocore that lead to other hosts of Amazon's.
_ENDPOINT_SETTINGS = ("use_dualstack_endpoint", "use_fips_endpoint")
#: Of regions whose hosts have another domain, such as that of China.
_OTHER_DOMAINS = ("cn-", "eu-iso", "eusc-", "us-iso")
#: Settings of botocore that say who asks, or by way of whom, and that only botocore can follow.
_BOTOCORE_ALONE = ("client_cert", "proxies_config")
_PROXY = re.compile(r"https?://([^/@\s]*@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")
#: A service answers small questions at once: with botocore's minute a try, a silent one held up a restore for three
#: minutes a backup. What the connection says wins.
_IMPATIENT = {"connect_timeout": 10, "read_timeout": 20, "retries": {"total_max_attempts": 3, "mode": "standard"}}
_METHODS = ("assume_role", "assume_role_with_saml", "assume_role_with_web_identity")
#: botocore renews temporary credentials itself; it is asked again this soon where it does not say when they expire.
_ASKED_AGAIN = timedelta(minutes=10)


def s3_access(fields: Fields, address: StorageAddress) -> S3Access:
    """:raises ConfigurationError: the connection makes no sense, or nothing gives credentials.

    :raises StorageAccessDenied: the role may not be assumed.
    :raises StorageError: who gives credentials does not answer.
    """
    aws = _Aws(fields)
    aws.refuse_what_transfers_cannot()
    aws.credentials()
    endpoint = aws.s3_endpoint
    return S3Access(
        conn_id=fields.conn_id,
        bucket=address.bucket,
        prefix=address.prefix,
        endpoint=endpoint,
        ca_bundle=aws.ca_bundle,
        verify_tls=aws.verify_tls,
        region=aws.region or (_USUAL_REGION if endpoint else aws.region_of(address.bucket)),
        path_style=aws.path_style(address.bucket),
        proxy=aws.proxy_to(endpoint),
        credentials=aws.credentials,
        client=aws.client,
    )


def service_client(fields: Fields, service: str, region: str = "") -> Any:
    """A boto3 client of one of AWS's services ("kms").

    :param region: over that of the connection and of this machine: a key's address names its own.
    :raises ConfigurationError, StorageAccessDenied, StorageError: as :func:`s3_access`.
    """
    aws = _Aws(fields)
    aws.credentials()
    return aws.client(service, region, usual=_IMPATIENT)


@dataclass(frozen=True)
class _Aws:
    fields: Fields

    @cached_property
    def _trust(self) -> tuple[Path | None, bool]:
        path, checked = self.fields.trust("verify")
        usual = os.environ.get("AWS_CA_BUNDLE")  # which botocore honours by itself
        return path or (Path(usual) if usual and checked else None), checked

    @property
    def ca_bundle(self) -> Path | None:
        return self._trust[0]

    @property
    def verify_tls(self) -> bool:
        return self._trust[1]

    @cached_property
    def session(self) -> Any:
        """The boto3 session that all clients come of."""
        method = self.fields.text("assume_role_method") or _METHODS[0]
        if not self.fields.text("role_arn"):
            return self._own_session
        if method not in _METHODS:
            raise self.fields.wrong("its assume_role_method is none", f"Methods are {', '.join(_METHODS)}.")
        return self._role_session() if method == _METHODS[0] else self._session_of_provider(method)

    @cached_property
    def _own_session(self) -> Any:
        import boto3

        key_id, secret, token = self._keys()
        try:
            return boto3.Session(
                aws_access_key_id=key_id or None,
                aws_secret_access_key=secret or None,
                aws_session_token=token or None,
                region_name=self.fields.text("region_name") or None,
                profile_name=self.fields.text("profile_name") or None,
            )
        except Exception as error:
            raise _told(error, self.fields) from error

    @property
    def _has_profiles(self) -> bool:
        """Whether AWS's own file of settings is there, which may name a region and endpoints."""
        return Path(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser().is_file()

    def _keys(self) -> tuple[str, str, str]:
        fields = self.fields
        older = fields.mapping("session_kwargs")  # where Airflow's provider has looked for keys since its first form
        token = fields.secret("aws_session_token") or str(older.get("aws_session_token") or "")
        given = [
            ("login", fields.login, "password", fields.password),
            (
                "aws_access_key_id",
                fields.text("aws_access_key_id"),
                "aws_secret_access_key",
                fields.secret("aws_secret_access_key"),
            ),
            (
                "session_kwargs.aws_access_key_id",
                str(older.get("aws_access_key_id") or ""),
                "session_kwargs.aws_secret_access_key",
                str(older.get("aws_secret_access_key") or ""),
            ),
        ]
        for _, key_id, _, secret in given:
            if key_id and secret:
                mask_in_task(secret)
                mask_in_task(token)
                return key_id, secret, token
        for id_name, key_id, secret_name, secret in given:
            if key_id or secret:
                there, missing = (id_name, secret_name) if key_id else (secret_name, id_name)
                raise fields.wrong(f"it has a {there} and no {missing}", f"Fill in both, such as {AWS_EXAMPLE}.")
        return "", "", ""

    def _role_session(self) -> Any:
        import boto3
        import botocore.credentials
        import botocore.session

        core = botocore.session.Session()
        provider = _AssumedRole(self._assume_role)
        core.register_component("credential_provider", botocore.credentials.CredentialResolver([provider]))
        return boto3.Session(botocore_session=core, region_name=self._own_session.region_name)

    def _assume_role(self) -> dict[str, str]:
        """Fresh credentials of the role, as botocore's refreshable credentials take them."""
        sts = self._own_session.client(
            "sts",
            # As the provider has it: a general endpoint_url, which is mostly a storage's, is not asked for roles.
            endpoint_url=self._service("sts").get("endpoint_url"),
            verify=self._verify,
            config=self._config(usual=_IMPATIENT),
            region_name=self._own_session.region_name or _USUAL_REGION,
        )
        session_name = re.sub(r"[^\w+=,.@-]+", "_", f"db-backup_{self.fields.conn_id}", flags=re.ASCII)[:64]
        asked = {"RoleSessionName": session_name, **self.fields.mapping("assume_role_kwargs")}
        given = sts.assume_role(**asked, RoleArn=self.fields.text("role_arn"))["Credentials"]
        return {
            "access_key": given["AccessKeyId"],
            "secret_key": given["SecretAccessKey"],
            "token": given["SessionToken"],
            "expiry_time": given["Expiration"].isoformat(),
        }

    def _session_of_provider(self, method: str) -> Any:
        """:raises ConfigurationError: Airflow's provider is not here."""
        try:
            from airflow.providers.amazon.aws.hooks.base_aws import BaseSessionFactory
            from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
        except ImportError:
            fix = "Install apache-airflow-providers-amazon, or give the connection access keys."
            raise self.fields.wrong(f"{method} takes Airflow's Amazon provider, which is not here", fix) from None
        connection = AwsConnectionWrapper.from_connection_metadata(
            conn_id=self.fields.conn_id,
            login=self.fields.login or None,
            password=self.fields.password or None,
            extra=dict(self.fields.connection.extra),
        )
        try:
            return BaseSessionFactory(conn=connection).create_session()
        except Exception as error:
            raise _told(error, self.fields) from error

    def credentials(self) -> S3Credentials:
        """Those of this moment, with the moment at which they expire."""
        key_id, secret, token = self._keys()
        if key_id and not self.fields.text("role_arn"):  # boto3 would take 24 MB to say the same
            return {"access_key_id": key_id, "secret_access_key": secret, "token": token or None, "expires_at": None}
        try:
            found = self.session.get_credentials()
            frozen = found.get_frozen_credentials() if found is not None else None
        except BackupError:
            raise
        except Exception as error:
            raise _told(error, self.fields) from error
        if frozen is None or not frozen.access_key:
            raise self.fields.lacking(_LOOKED_FOR, AWS_EXAMPLE)
        mask_in_task(frozen.secret_key)
        mask_in_task(frozen.token or "")
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": _expiry(found),
        }

    @property
    def region(self) -> str:
        """The region that the connection or this machine names; empty: neither does."""
        configured = self.fields.mapping("config_kwargs").get("region_name")
        named = self.fields.text("region_name") or (configured if isinstance(configured, str) else "")
        named = named or os.environ.get("AWS_DEFAULT_REGION", "")
        return named or (self._own_session.region_name or "" if self._has_profiles else "")

    def region_of(self, bucket: str) -> str:
        """Where Amazon has the bucket, which answers only there."""
        import botocore.exceptions

        try:
            answer = self.client("s3").head_bucket(Bucket=bucket)
        except botocore.exceptions.ClientError as refused:  # 403 and 404 tell the region as well
            answer = refused.response
        except botocore.exceptions.BotoCoreError as error:
            raise _told(error, self.fields) from error
        return answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region") or _USUAL_REGION

    @cached_property
    def s3_endpoint(self) -> str:
        """Empty where it is the usual one of Amazon's; also what the environment, a profile or the region says."""
        given = self._endpoint("s3")
        settings = self.fields.mapping("config_kwargs")
        elsewhere = (
            self._has_profiles
            or any(os.environ.get(name) for name in _ENDPOINT_VARIABLES)
            or any(settings.get(name) for name in _ENDPOINT_SETTINGS)
            or self.region.startswith(_OTHER_DOMAINS)
        )
        if given or not elsewhere:
            return given
        client = self.client("s3")
        usual = (f"https://s3.{client.meta.region_name}.amazonaws.com", "https://s3.amazonaws.com")
        return "" if client.meta.endpoint_url in usual else str(client.meta.endpoint_url)

    def refuse_what_transfers_cannot(self) -> None:
        """:raises ConfigurationError: what is asked of botocore would be done by it alone, and not where bytes pass."""
        settings = self.fields.mapping("config_kwargs")
        for name in _BOTOCORE_ALONE:
            if settings.get(name):
                fix = "Name a connection without it."
                raise self.fields.wrong(f"its config_kwargs have {name}, which the transfers here cannot follow", fix)
        if settings.get("signature_version") == "unsigned":
            fix = "Name a connection with keys or a role."
            raise self.fields.wrong("it is anonymous, and nobody may write backups without a name", fix)

    def proxy_to(self, endpoint: str) -> str:
        """The proxy that config_kwargs name, as botocore chooses it; empty: that of the environment counts.

        :raises ConfigurationError: it is none.
        """
        proxies = _mapping(self.fields.mapping("config_kwargs").get("proxies"))
        named = proxies.get(urlsplit(endpoint).scheme or "https") or ""
        if named and not (isinstance(named, str) and _PROXY.fullmatch(named)):
            raise self.fields.wrong("its config_kwargs name a proxy that is none", "Write it as http://host:port.")
        return str(named)

    def path_style(self, bucket: str) -> bool:
        """Whether the bucket is named in the path: it cannot be in the host's name where it has a dot, for TLS."""
        style = _mapping(_mapping(self.fields.mapping("config_kwargs")).get("s3")).get("addressing_style")
        return style == "path" or (style != "virtual" and (bool(self.s3_endpoint) or "." in bucket))

    def client(self, service: str, region: str = "", *, usual: Mapping[str, Any] = MappingProxyType({})) -> Any:
        """A boto3 client with the connection's credentials, endpoint, region and TLS.

        :param usual: settings of botocore where the connection has no others.
        """
        try:
            return self.session.client(
                service,
                endpoint_url=self._endpoint(service) or None,
                region_name=region or self.region or _USUAL_REGION,
                verify=self._verify,
                config=self._config(path_style=bool(self._endpoint(service)), usual=usual),
            )
        except BackupError:
            raise
        except Exception as error:
            raise _told(error, self.fields) from error

    @property
    def _verify(self) -> bool | str | None:
        return False if not self.verify_tls else str(self.ca_bundle) if self.ca_bundle else None

    def _config(self, *, path_style: bool = False, usual: Mapping[str, Any] = MappingProxyType({})) -> Any:
        from botocore.config import Config

        given = {**usual, **self.fields.mapping("config_kwargs")}
        if path_style:
            given["s3"] = {"addressing_style": "path", **_mapping(given.get("s3"))}
        try:
            return Config(**given)
        except Exception as error:
            fix = "Its keys are those of botocore.config.Config."
            raise self.fields.wrong(f"its config_kwargs are not valid ({type(error).__name__})", fix) from error

    def _service(self, name: str) -> Mapping[str, Any]:
        return _mapping(self.fields.mapping("service_config").get(name))

    def _endpoint(self, service: str) -> str:
        given = self._service(service).get("endpoint_url", self.fields.value("endpoint_url"))
        if given and (not isinstance(given, str) or not given.startswith(("http://", "https://"))):
            raise self.fields.wrong("its endpoint_url does not begin with https://", "Write it as https://host:port.")
        return given.rstrip("/") if isinstance(given, str) else ""


class _AssumedRole:
    """A provider of credentials as botocore asks them: of a role, assumed when they are needed and again in time."""

    METHOD = "assume-role"

    def __init__(self, assume: Callable[[], dict[str, str]]) -> None:
        self._assume = assume

    def load(self) -> Any:
        from botocore.credentials import RefreshableCredentials

        return RefreshableCredentials.create_from_metadata(
            self._assume(), refresh_using=self._assume, method=self.METHOD
        )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _expiry(credentials: Any) -> datetime | None:
    """When the credentials expire; botocore has no public word for it. obstore wants UTC and no zone that equals it."""
    from botocore.credentials import RefreshableCredentials

    if not isinstance(credentials, RefreshableCredentials):
        return None
    expiry = getattr(credentials, "_expiry_time", None)
    return expiry.astimezone(UTC) if isinstance(expiry, datetime) else datetime.now(UTC) + _ASKED_AGAIN


def _told(error: Exception, fields: Fields) -> BackupError:
    """What boto3, botocore or the provider raised, as an error of ours."""
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, ParamValidationError
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "refused")
        return StorageAccessDenied(
            f"AWS gives no credentials by the connection '{fields.conn_id}': {error.operation_name} says {code}.",
            hint="Check its access key, its role_arn, and that the role may be assumed by it.",
        )
    if isinstance(error, ConnectionError | HTTPClientError | ResponseParserError):
        return StorageError(
            f"AWS does not answer, or another server does, by the connection '{fields.conn_id}' "
            f"({type(error).__name__}).",
            hint="Check the network, and the endpoints in the connection (service_config, endpoint_url, verify).",
        )
    if isinstance(error, ParamValidationError):  # its text has the values, too
        names = re.findall(r'(?:parameter|input:) "?(\w+)"?[,:]', str(error))
        what = f"its role_arn or assume_role_kwargs are not valid ({', '.join(dict.fromkeys(names))})"
        return fields.wrong(what, "Their keys and values are those of AssumeRole in the reference of AWS's STS.")
    told = str(error).splitlines()[0] if isinstance(error, BotoCoreError) and str(error) else type(error).__name__
    return fields.wrong(told.rstrip("."), "Check its fields: profile_name, role_arn, service_config, config_kwargs.")
