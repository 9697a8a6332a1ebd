"""Requests that obstore has no call for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import urllib3

    from db_backup.connections.access import CloudAccess

_SECONDS = 60.0
_RETRIES = 3


def pool_for(access: CloudAccess) -> urllib3.PoolManager:
    """A pool of connections that trusts whom the storage's own client trusts."""
    import urllib3

    context = None
    if access.ca_bundle is not None:
        context = urllib3.util.ssl_.create_urllib3_context()
        context.load_default_certs()
        context.load_verify_locations(access.ca_bundle)  # as well, not instead
    return urllib3.PoolManager(
        retries=_RETRIES,
        timeout=_SECONDS,
        cert_reqs="CERT_REQUIRED" if access.verify_tls else "CERT_NONE",
        ssl_context=context,
    )
