"""Requests that obstore has no call for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import urllib3

    from db_backup.connections.access import CloudAccess

_SECONDS = 60.0
_RETRIES = 3
_PAUSE_SECONDS = 0.2
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


def pool_for(access: CloudAccess) -> urllib3.PoolManager:
    """A pool of connections that trusts whom the storage's own client trusts.

    What passes is asked again, but for POST, which may have been heard.
    """
    import urllib3

    context = None
    if access.ca_bundle is not None:
        context = urllib3.util.ssl_.create_urllib3_context()
        context.load_default_certs()
        context.load_verify_locations(access.ca_bundle)  # as well, not instead
    return urllib3.PoolManager(
        retries=urllib3.Retry(
            _RETRIES, backoff_factor=_PAUSE_SECONDS, status_forcelist=_PASSING, raise_on_status=False
        ),
        timeout=_SECONDS,
        cert_reqs="CERT_REQUIRED" if access.verify_tls else "CERT_NONE",
        ssl_context=context,
    )
