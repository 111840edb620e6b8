"""Which requests are let in: those with a token or, without tokens, those from this machine."""

import hmac
import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = ("/healthz", "/readyz", "/metrics")  # for machines that look after the service


class Authentication:
    """Lets requests in, or answers them with an error.

    Args:
        tokens: a request needs one of them. Without tokens, a request must name this host as
            localhost or by a loopback address. That also keeps out the pages of other sites
            that a browser on this machine has open: their requests name another host.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[str]) -> None:
        self._app = app
        self._tokens = [token.encode() for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            refusal = self._refusal(Headers(scope=scope))
            if refusal is not None:
                return await refusal(scope, receive, send)
        return await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        if not self._tokens:
            if _is_local(headers.get("host", "")):
                return None
            problem = "this service has no tokens, and answers to localhost and 127.0.0.1 only"
            return JSONResponse({"detail": problem}, 403)
        kind, _, given = headers.get("authorization", "").partition(" ")
        named = given.strip().encode("latin-1", "replace")
        # All are compared, in constant time, so that the duration gives nothing away.
        matches = [hmac.compare_digest(named, token) for token in self._tokens]
        if kind.lower() == "bearer" and any(matches):
            return None
        problem = "a token is needed: Authorization: Bearer …"
        return JSONResponse({"detail": problem}, 401, {"WWW-Authenticate": "Bearer"})


def _is_local(host: str) -> bool:
    before, _, port = host.rpartition(":")
    name = (before if port.isdecimal() else host).lower().removesuffix(".")  # RFC 3986, 3.2.2
    try:
        address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return name == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
