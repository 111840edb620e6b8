"""Renders the page, and answers what its buttons ask for."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from fastapi import HTTPException
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from heori import formats
from heori.http.backend import Backend
from heori.http.monitor import Monitor
from heori.http.pages import languages
from heori.http.tokens import ApiTokens
from heori_common.printable import printable

HERE = Path(__file__).parent
MOST_FORM = 100_000  # bytes
_AFTER_DOT = re.compile(r"(?<=\.)")


class NotDone(Exception):
    """What a button asks for cannot be done; pages raise it, and the reader is told.

    Args:
        status: as in HTTP.
        text: why, and what to do, in English; it is told in the reader's language.
    """

    def __init__(self, status: int, text: str, **values: object) -> None:
        super().__init__(text.format(**values))
        self.status = status
        self.text = text
        self.values = values


class Site:
    """What all pages share.

    Attributes:
        backend: of the service.
        monitor: knows how all is.
        tokens: of people; without any, all on this machine may do all.
    """

    def __init__(self, backend: Backend, monitor: Monitor, *, tokens: ApiTokens) -> None:
        self.backend = backend
        self.monitor = monitor
        self.tokens = tokens
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "count": formats.count_or_unknown,
            "rate": _rate,
            "share": lambda part: languages.NONE if part is None else formats.share(part),
            "size": formats.size,
            "cores": formats.cores,
            "plain": printable,
            "breaks": _breaks,
            "utc": _utc,
            "moment": _moment,
        }
        self._templates.globals["url"] = self.url

    def url(self, path: str, /, *parts: str, **query: object) -> str:
        """The address of a page, as browsers see it.

        Args:
            path: of this service, such as /queues.
            parts: names that are added to it, whatever is in them.
            query: what is None or empty is left out.
        """
        named = "".join(f"/{quote(part, safe='')}" for part in parts)
        asked = urlencode({name: value for name, value in query.items() if value not in (None, "")})
        return f"{self.backend.root}{path}{named}" + (f"?{asked}" if asked else "")

    def is_page(self, request: Request) -> bool:
        """Whether somebody looks at a page, and no program asks."""
        wanted = request.headers.get("accept", "")
        of_page = "text/html" in wanted or "hx-request" in request.headers
        return of_page and not request.url.path.startswith("/v1/")

    def render(
        self, request: Request, template: str, /, status: int = 200, **context: Any
    ) -> HTMLResponse:
        """A page."""
        language = languages.chosen(request)
        caller = getattr(request.state, "caller", None)
        shared = {
            "_": language,
            "language": language,
            "languages": languages.NAMES,
            "caller": caller,
            "may_change": caller is not None and caller.may_change,
            "has_login": bool(self.tokens),
            "here": request.url.path,
            "asked": dict(request.query_params),
            "query": request.url.query,
            "now": datetime.now(UTC),
        }
        page = self._templates.get_template(template).render(shared | context)
        return HTMLResponse(page, status)

    def done(self, request: Request, text: str, /, to: str = "", **values: object) -> Response:
        """The answer to a button that did what it says.

        Args:
            text: what was done, in English; it is told in the reader's language, with the values.
            to: the page to go to; by default the same.
        """
        said = languages.chosen(request)(text, **values)
        if "hx-request" in request.headers:
            headers = {"HX-Trigger": json.dumps({"said": {"text": said}}), "HX-Reswap": "none"}
            if to:
                headers["HX-Redirect"] = to
            return Response(None, 200, headers)
        return RedirectResponse(to or self._back(request), 303)

    def refused(self, request: Request, error: NotDone) -> Response:
        """The answer to a button that could not do what it says."""
        said = languages.chosen(request)(error.text, **error.values)
        if "hx-request" in request.headers:
            told = {"said": {"text": said, "wrong": True}}
            headers = {"HX-Trigger": json.dumps(told), "HX-Reswap": "none"}
            return Response(None, error.status, headers)
        return self.render(request, "problem.html", error.status, problem=said)

    async def form(self, request: Request) -> Mapping[str, str]:
        """What a form has sent.

        Raises:
            HTTPException: it is no form, or too long.
        """
        kind = request.headers.get("content-type", "application/x-www-form-urlencoded")
        if kind.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise HTTPException(415, "a form is needed")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MOST_FORM:
                raise HTTPException(413, f"the form is over {MOST_FORM} bytes")
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
        except ValueError as error:
            raise HTTPException(400, "the form is no UTF-8") from error

    def _back(self, request: Request) -> str:
        """The page that a form stands on."""
        referer = urlsplit(request.headers.get("referer", ""))
        if referer.netloc != request.headers.get("host") or not referer.path:
            return self.url("/")
        return referer.path + (f"?{referer.query}" if referer.query else "")


def _rate(number: float | None) -> str:
    """Of things a second: small ones with a decimal."""
    if number is None:
        return languages.NONE
    return f"{number:.1f}" if 0 < number < 10 else formats.count(number)


def _breaks(name: str) -> Markup:
    """A dotted name, which browsers may break after a dot."""
    return Markup("<wbr>").join(f"{part}" for part in _AFTER_DOT.split(name))


def _utc(moment: datetime | float | str | None) -> str:
    if moment is None or moment == "":
        return languages.NONE
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return formats.moment(when)


def _moment(at: float | str | None) -> datetime | None:
    """Of epoch seconds, or of ISO 8601."""
    if at is None:
        return None
    return datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(at, UTC)
