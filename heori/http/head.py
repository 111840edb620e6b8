"""HEAD requests: answered as GET is, without the body."""

from starlette.types import ASGIApp, Receive, Scope, Send


class HeadRequests:
    """Lets them be GET requests; the server leaves out the bodies of their answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
