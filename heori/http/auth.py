"""Which requests are let in, who asks, and what they may do.

With tokens, a request names one of them; or a browser has a cookie, which the page gives for one.
Without tokens, requests from this machine are let in.
"""

import asyncio
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heori.http.tokens import ApiTokens, Caller
from heori_common import logs
from heori_common.errors import short

OPEN = ("/livez", "/readyz", "/metrics")  # for machines that look after the service
# What a browser is shown before it has a cookie; nothing in them is anybody's.
BEFORE_LOGIN = ("/login", "/language")
STATIC = "/static/"
READS = ("GET", "HEAD", "OPTIONS")
# Sending a job changes something, too; a line for each would say nothing that its record does not.
UNLOGGED = ("/v1/tasks/", "/login", "/logout", "/language")
THIS_MACHINE = Caller("this machine", may_change=True)
TELL_EVERY_S = 60.0  # between two lines that tell of wrong tokens

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Denial:
    status: int
    detail: str
    headers: Mapping[str, str]


class Authentication:
    """Lets requests in, or answers them with an error; logs those that change something.

    The caller stands in the request's state, as `caller`.

    Args:
        tokens: a request needs one of them. Without tokens, a request must name this host as
            localhost or by a loopback address. That also keeps out the pages of other sites
            that a browser on this machine has open: their requests name another host.
        root: the path under which browsers see the service.
    """

    def __init__(self, app: ASGIApp, tokens: ApiTokens, root: str) -> None:
        self._app = app
        self._tokens = tokens
        self._root = root
        self._wrong = _WrongTokens()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        caller = self._caller(headers)
        refusal = self._refusal(scope, headers, caller)
        if refusal is not None:
            if refusal.status == 401 and _bearer(headers) is not None:
                self._wrong.note(scope)
            return await self._answer(refusal, scope, headers)(scope, receive, send)
        scope.setdefault("state", {})["caller"] = caller
        if scope["method"] in READS:
            return await self._app(scope, receive, send)

        async def sending(message: Message) -> None:
            if message["type"] != "http.response.start":
                pass
            elif scope["path"] == "/login" and message["status"] == 401:
                self._wrong.note(scope)
            elif not scope["path"].startswith(UNLOGGED) and caller is not None:
                log.info(
                    "asked for a change",
                    by=caller.name,
                    method=scope["method"],
                    path=short(scope["path"]),
                    status=message["status"],
                )
            await send(message)

        return await self._app(scope, receive, sending)

    def _caller(self, headers: Headers) -> Caller | None:
        if not self._tokens:
            return THIS_MACHINE if _is_local(headers.get("host", "")) else None
        given = _bearer(headers)
        if given is not None:
            return self._tokens.of_secret(given)
        return self._tokens.of_session(headers)

    def _refusal(self, scope: Scope, headers: Headers, caller: Caller | None) -> _Denial | None:
        path, reads = scope["path"], scope["method"] in READS
        if not self._tokens and caller is None:
            problem = "this service has no tokens, and answers to localhost and 127.0.0.1 only"
            return _Denial(403, problem, {})
        if not reads and not _is_same_site(headers, needed=_bearer(headers) is None):
            return _Denial(403, "a page of another site may change nothing here", {})
        if path in BEFORE_LOGIN or path.startswith(STATIC):
            return None
        if caller is None:
            problem = "a token is needed: Authorization: Bearer …"
            return _Denial(401, problem, {"WWW-Authenticate": "Bearer"})
        if not reads and not caller.may_change and path != "/logout":
            return _Denial(403, f"the token of {caller.name} may only read", {})
        return None

    def _answer(self, refusal: _Denial, scope: Scope, headers: Headers) -> Response:
        wants_page = "text/html" in headers.get("accept", "") and scope["method"] in READS
        if refusal.status == 401 and wants_page:
            query = scope["query_string"].decode("latin-1")
            there = quote(scope["path"] + (f"?{query}" if query else ""), safe="")
            return RedirectResponse(f"{self._root}/login?next={there}", 303)
        return JSONResponse({"detail": refusal.detail}, refusal.status, dict(refusal.headers))


class _WrongTokens:
    """Tells of requests with wrong tokens: of the first at once, of those that follow together.

    They are not slowed down. Whoever guesses sees that nothing comes and guesses on; and a token is
    too long to be guessed.
    """

    def __init__(self) -> None:
        self._count = 0
        self._from = ""
        self._waits = False

    def note(self, scope: Scope) -> None:
        """Count one."""
        self._count += 1
        self._from = short(scope["client"][0]) if scope["client"] else ""
        if not self._waits:
            self._tell()

    def _tell(self) -> None:
        self._waits = self._count > 0
        if self._waits:
            log.warning("wrong tokens", requests=self._count, last_from=self._from)
            self._count = 0
            asyncio.get_running_loop().call_later(TELL_EVERY_S, self._tell)


def _bearer(headers: Headers) -> str | None:
    """The token that a request names. A browser sends none by itself, unlike its cookies."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else None


def _is_same_site(headers: Headers, *, needed: bool) -> bool:
    """Whether a change is asked for by a page of this service, or by no page.

    Browsers name the site of a page with each request that may change something. A program names
    none, and needs none if it names a token.

    Args:
        needed: whether no name is no answer, if a cookie would let the request in.
    """
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return not needed or "cookie" not in headers
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    except ValueError:
        return False


def _is_local(host: str) -> bool:
    before, _, port = host.rpartition(":")
    name = (before if port.isdecimal() else host).lower().removesuffix(".")  # RFC 3986, 3.2.2
    try:
        address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return name == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
