"""Why no answer came, or none of an object storage: the first of these obstore tells in its debug dump alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_DUMP = "\n\nDebug source:"
_ANSWERED = "status code: "
_STRANGE = re.compile(r"Unable to extract metadata from headers|Got invalid \w+ response")
_ASKED = re.compile(r"Error performing [A-Z]+ (https?://\S+) in ")
_CONNECTED_TO = re.compile(r'ConnectError\(\s*"tcp connect error",\s*([^\s,]+)')

_TRUST = "Name the PEM file of the authority that signed it in the connection's extra (docs/object-storage.md)."
_ENDPOINT = "Correct the endpoint in the connection, or the server's certificate."
_RENEW = "Renew the server's certificate, or set this machine's clock."
_OWN = "Give the server a certificate with basicConstraints CA:FALSE, signed by an authority or by itself."
_PLAIN = "Correct the endpoint in the connection: its port, or http:// in place of https://."
_REACH = "Check that the provider answers and that this machine reaches it, then run it again."
_ANOTHER = "Correct the endpoint in the connection, and its port; a proxy may have answered in the provider's place."
_PROXY = "Correct the proxy (HTTPS_PROXY, or of the connection), or let it through (NO_PROXY)."


@dataclass(frozen=True)
class Cause:
    """``reason`` goes on after "…: "; ``passing``: whether another try may go better."""

    reason: str
    hint: str
    passing: bool = False


#: In this order: what is more exact first. ``{host}``: who was asked; ``{address}``: with whom a connection was tried.
_CAUSES = tuple(
    (re.compile(pattern), cause)
    for pattern, cause in (
        ("CaUsedAsEndEntity", Cause("the server's certificate is that of an authority, and no server's", _OWN)),
        ("UnknownIssuer", Cause("the server's certificate is signed by nobody whom this machine trusts", _TRUST)),
        ("NotValidForName", Cause("the server's certificate is not one of {host}", _ENDPOINT)),
        (
            r"InvalidCertificate\(\s*(Expired|NotValidYet)",
            Cause("the server's certificate is out of date, or not valid yet", _RENEW),
        ),
        ("InvalidCertificate", Cause("the server's certificate is not valid", _TRUST)),
        ("InvalidContentType", Cause("{host} does not speak TLS", _PLAIN)),
        ("TunnelUnsuccessful", Cause("the proxy makes no connection to {host}", _PROXY, passing=True)),
        (
            '"dns error"',
            Cause("no address was found for {host}, or for the proxy that leads there", _REACH, passing=True),
        ),
        ("ConnectionRefused", Cause("{address} refuses the connection", _REACH, passing=True)),
        ("NetworkUnreachable|HostUnreachable", Cause("nothing leads to {address}", _REACH, passing=True)),
        (r"\bTimedOut|kind: Timeout", Cause("{host} did not answer in time", _REACH, passing=True)),
        (
            "ConnectionReset|BrokenPipe|IncompleteMessage|UnexpectedEof|ConnectionAborted",
            Cause("{host} broke the connection off", _REACH, passing=True),
        ),
    )
)


def why_unreached(error: Exception) -> Cause | None:
    """:return: ``None`` where an object storage answered, or nothing tells why none did."""
    said, _, dump = str(error).partition(_DUMP)
    if _ANSWERED in said:
        return None
    asked = _ASKED.search(said)
    host = (
        urlsplit(asked[1]).netloc.rpartition("@")[2] if asked else "the provider"
    )  # without a path, query or password
    if _STRANGE.search(said):
        return Cause("what answers is no object storage", _ANOTHER, passing=True)
    tried = _CONNECTED_TO.search(dump)
    for pattern, cause in _CAUSES:
        if pattern.search(dump):
            reason = cause.reason.format(host=host, address=tried[1] if tried else host)
            return Cause(reason, cause.hint, cause.passing)
    return None
