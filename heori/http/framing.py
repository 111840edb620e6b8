"""Refuses requests whose length two headers tell: some proxies believe the one, some the other.

What follows such a request may be its body for a proxy in front, and the next request of somebody
else for the service (RFC 9112, section 6.3: "request smuggling").
"""

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class OneLength:
    """Lets requests in whose length is told once, and closes the connection of the others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if "content-length" in headers and "transfer-encoding" in headers:
                problem = "it has both Content-Length and Transfer-Encoding"
                refusal = JSONResponse({"detail": problem}, 400, {"Connection": "close"})
                return await refusal(scope, receive, send)
        return await self._app(scope, receive, send)
