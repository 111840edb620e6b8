"""Asks `heori serve` as a browser does: with cookies, and without following where it is led."""

import http.client
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urlsplit

from tests.rigs.service_rig import Service


@dataclass
class Shown:
    """An answer."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def to(self) -> str:
        """Where it leads."""
        return self.headers.get("Location", "")


@dataclass
class Browser:
    """One person's."""

    service: Service
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return urlsplit(self.service.url).netloc

    def get(self, path: str, **headers: str) -> Shown:
        return self._ask("GET", path, None, {"Accept": "text/html", **_named(headers)})

    def post(self, path: str, form: Mapping[str, str] | None = None, **headers: str) -> Shown:
        """What the button of a form does. A header that is given as empty is left out."""
        own = {
            "Origin": f"http://{self.host}",
            "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        sent = {name: value for name, value in (own | _named(headers)).items() if value}
        return self._ask("POST", path, urlencode(form or {}).encode(), sent)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Shown:
        if self.cookies and "Cookie" not in headers:
            kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            headers = headers | {"Cookie": kept}
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie", []):
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0].strip('"')
            if value and "Max-Age=0" not in line:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return Shown(answer.status, answer.headers, text)


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class _Unsafe(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("style", "iframe", "object", "embed", "base"):
            self.found.append(f"<{tag}>")
        if tag == "script" and "src" not in given:
            self.found.append("a script within the page")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.found.append(f"{tag} {name}={value}")
            is_address = name in ("src", "href", "action", "hx-get", "hx-post", "data-events")
            if is_address and not re.match(r"^(/(?!/)|#|$)", value or ""):
                self.found.append(f"{tag} {name}={value}")


def unsafe(page: str) -> list[str]:
    """What a page has that could run or load something that is not the service's own."""
    parser = _Unsafe()
    parser.feed(page)
    return parser.found
