"""Where Redis is, as a URL says it: one server, or the primary that sentinels name. No I/O here."""

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

SENTINEL_PORT = 26379

_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:@\[\]]+))(?::(\d{1,5}))?")
_SENTINELS = re.compile(
    r"(?:(?P<login>[^/?#]*)@)?(?P<endpoints>[^/?#@]*)"
    r"(?:/(?P<primary>[^/?#]*))?(?:/(?P<database>[^/?#]*))?(?:\?(?P<options>[^#]*))?"
)
_EXAMPLE = "redis+sentinel://host1:26379,host2:26379/NAME"


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL.

    Attributes:
        url: what redis-py reads: login, database and options, and, where there are no sentinels,
            the server.
        primary: the name under which the sentinels know it.
        login: of the sentinels, when they want one: `sentinel_username` and `sentinel_password`
            among the URL's options. The login before the @ is the servers'.
        tls: whether sentinels and what they name are spoken to over TLS.
    """

    url: str = field(repr=False)
    sentinels: tuple[tuple[str, int], ...] = ()
    primary: str = ""
    login: tuple[str | None, str | None] = field(default=(None, None), repr=False)
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL.

        Raises:
            ValueError: it is malformed; the message says how, and holds none of it, as a password
                may be anywhere in what is malformed.
        """
        scheme, _, rest = url.partition("://")
        if scheme in ("redis+sentinel", "rediss+sentinel"):
            return cls._of_sentinels(rest, tls=scheme == "rediss+sentinel")
        if scheme == "unix":
            if not urlsplit(url).path:
                raise ValueError("the path of the socket is missing: unix:///run/valkey.sock")
        elif scheme in ("redis", "rediss"):
            try:
                _ = urlsplit(url).port
            except ValueError:  # whose text may hold a piece of a password
                raise ValueError(
                    "the port must be a number from 1 to 65535; an IPv6 address stands in "
                    "brackets, and / in a password is written %2F"
                ) from None
        else:
            raise ValueError(
                "must begin with redis://, rediss://, unix://, redis+sentinel:// "
                "or rediss+sentinel://"
            )
        return cls(url)

    @classmethod
    def _of_sentinels(cls, rest: str, *, tls: bool) -> Self:
        match = _SENTINELS.fullmatch(rest)
        if match is None:
            raise ValueError(f"cannot be read; it should look like {_EXAMPLE}")
        sentinels = tuple(
            _endpoint(number, text)
            for number, text in enumerate(match["endpoints"].split(","), start=1)
        )
        if not match["primary"]:
            raise ValueError(f"the name of the primary is missing: {_EXAMPLE}")
        database = match["database"] or "0"
        if not (database.isascii() and database.isdigit()):
            raise ValueError(f"the database must be a number: {_EXAMPLE}/0")
        options = dict(parse_qsl(match["options"] or ""))
        login = options.pop("sentinel_username", None), options.pop("sentinel_password", None)
        before = f"{match['login']}@" if match["login"] else ""
        url = f"redis://{before}/{database}?{urlencode(options, quote_via=quote)}"
        return cls(url, sentinels, unquote(match["primary"]), login, tls)

    def __str__(self) -> str:
        """For people to read; never with a password."""
        if self.sentinels:
            endpoints = ", ".join(endpoint(*each) for each in self.sentinels)
            return f"{self.primary} (sentinels {endpoints})"
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return parts.path
        return endpoint(parts.hostname or "127.0.0.1", parts.port or 6379)


def with_password(url: str, password: str) -> str:
    """The URL with this password wherever it has none: the server's and the sentinels'."""
    scheme, _, rest = url.partition("://")
    end = re.search(r"[/?#]", rest)
    authority, path = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    login, _, hosts = authority.rpartition("@")
    secret = quote(password, safe="")
    if ":" not in login:
        authority = f"{login}:{secret}@{hosts}"
    if scheme.endswith("+sentinel") and "sentinel_password=" not in path:
        path += f"{'&' if '?' in path else '?'}sentinel_password={secret}"
    return f"{scheme}://{authority}{path}"


def endpoint(host: str, port: int) -> str:
    """A host and a port as people write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _endpoint(number: int, text: str) -> tuple[str, int]:
    match = _ENDPOINT.fullmatch(text)
    if match is None:
        raise ValueError(
            f"sentinel {number} is not of the form host or host:port; an IPv6 address stands in "
            "brackets, and / and @ in a password are written %2F and %40"
        )
    port = int(match[3] or SENTINEL_PORT)
    if not 1 <= port <= 65535:
        raise ValueError(f"the port of sentinel {number} must be a number from 1 to 65535")
    return match[1] or match[2], port
