"""A proxy may show the service under a path of its own, and send that along or not."""

from starlette.types import ASGIApp, Receive, Scope, Send


class UnderRoot:
    """Takes that path off each request.

    Args:
        root: the path, without a slash at its end; empty for none.
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if self._root and (path == self._root or path.startswith(f"{self._root}/")):
            scope = {**scope, "path": path[len(self._root) :] or "/"}
        await self._app(scope, receive, send)
