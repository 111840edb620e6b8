"""Where Redis is, as a URL says it: one server, or the primary that sentinels name. No I/O here."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from heori_common.names import unseen
from heori_common.redis.url_options import is_database, read_options

SENTINEL_PORT = 26379

Endpoint = tuple[str, int]  # host and port

_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:@\[\]]+))(?::(\d{1,5}))?")
_SENTINELS = re.compile(
    r"(?:(?P<login>[^/?#]*)@)?(?P<endpoints>[^/?#@]*)"
    r"(?:/(?P<primary>[^/?#]*))?(?:/(?P<database>[^/?#]*))?(?:\?(?P<options>[^#]*))?"
)
_EXAMPLE = "redis+sentinel://host1:26379,host2:26379/NAME"
_TLS_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")


class LoginFile(NamedTuple):
    """A login whose password is in a file, which is read for each connection."""

    username: str | None
    path: str


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL.

    Attributes:
        url: what redis-py reads: login, database and options, and, where there are no sentinels,
            the server.
        login_file: the login, where the URL has no password of its own and names a file.
        primary: the name under which the sentinels know it.
        login: of the sentinels, when they want one: `sentinel_username` and `sentinel_password`
            among the URL's options. The login before the @ is the servers'.
        sentinel_file: in place of that, as `login_file`.
        tls: whether sentinels and what they name are spoken to over TLS.
        tls_files: option and path of each file that TLS needs.
    """

    url: str = field(repr=False)
    sentinels: tuple[tuple[str, int], ...] = ()
    primary: str = ""
    login: tuple[str | None, str | None] = field(default=(None, None), repr=False)
    tls: bool = False
    login_file: LoginFile | None = None
    sentinel_file: LoginFile | None = None
    tls_files: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL.

        Raises:
            ValueError: it is malformed; the message says how, and holds none of it, as a password
                may be anywhere in what is malformed.
        """
        _check_seen(url)
        scheme, _, rest = url.partition("://")
        if "#" in rest:  # which would cut off the rest: of a password, and the host
            raise ValueError("# has no meaning there; in a password it is written %23")
        if scheme in ("redis+sentinel", "rediss+sentinel"):
            return cls._of_sentinels(rest, tls=scheme == "rediss+sentinel")
        if scheme == "unix":
            if not urlsplit(url).path:
                raise ValueError("the path of the socket is missing: unix:///run/valkey.sock")
        elif scheme in ("redis", "rediss"):
            try:
                if urlsplit(url).port == 0:
                    raise ValueError
            except ValueError:  # whose text may hold a piece of a password
                raise ValueError(
                    "the port must be a number from 1 to 65535; an IPv6 address stands in "
                    "brackets, and / in a password is written %2F, ? %3F"
                ) from None
        else:
            raise ValueError(
                "must begin with redis://, rediss://, unix://, redis+sentinel:// "
                "or rediss+sentinel://"
            )
        parts = urlsplit(url)
        options = read_options(parts.query, tls=scheme == "rediss")
        database = parts.path.strip("/")
        if scheme != "unix" and database and not is_database(database):
            raise ValueError("the database must be a number, as in redis://host:6379/0")
        login, _, host = parts.netloc.rpartition("@")
        _check_seen(unquote(host + parts.path))
        read, login_file = _login(login, options)
        return cls(
            f"{scheme}://{read}{host}{parts.path}" + (f"?{_query(options)}" if options else ""),
            login_file=login_file,
            tls_files=_tls_files(options),
        )

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
        _check_seen(unquote(match["primary"]))
        database = match["database"] or "0"
        if not is_database(database):
            raise ValueError(f"the database must be a number: {_EXAMPLE}/0")
        options = read_options(match["options"] or "", tls=tls, sentinels=True)
        login = options.pop("sentinel_username", None), options.pop("sentinel_password", None)
        path = options.pop("sentinel_password_file", None)
        sentinel_file = LoginFile(login[0], path) if path and login[1] is None else None
        read, login_file = _login(match["login"] or "", options)
        return cls(
            f"redis://{read}/{database}?{_query(options)}",
            sentinels,
            unquote(match["primary"]),
            login,
            tls,
            login_file,
            sentinel_file,
            _tls_files(options),
        )

    def __str__(self) -> str:
        """For people to read; never with a password."""
        if self.sentinels:
            endpoints = ", ".join(endpoint(*each) for each in self.sentinels)
            return f"{self.primary} (sentinels {endpoints})"
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return parts.path
        return endpoint(parts.hostname or "127.0.0.1", parts.port or 6379)


def with_password_file(url: str, path: str) -> str:
    """The URL with this file for each password that it leaves out: the server's, the sentinels'.

    Raises:
        ValueError: the URL is malformed.
    """
    where = Address.parse(url)
    rest, _, query = url.partition("://")[2].partition("?")
    has_password = ":" in rest.partition("/")[0].rpartition("@")[0] or "password" in dict(
        parse_qsl(query)
    )
    added = {}
    if where.login_file is None and not has_password:
        added["password_file"] = path
    if where.sentinels and where.sentinel_file is None and where.login[1] is None:
        added["sentinel_password_file"] = path
    return f"{url}{'&' if '?' in url else '?'}{_query(added)}" if added else url


def endpoint(host: str, port: int) -> str:
    """A host and a port as people write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_seen(text: str) -> None:
    if unseen(text) is not None:
        raise ValueError(
            "it has a character that cannot be seen, such as a line break, which only a password "
            "may have, written with a percent sign, such as %0A"
        )


def _login(login: str, options: dict[str, str]) -> tuple[str, LoginFile | None]:
    """What of a login stays in the URL, and what is in a file; takes its options away."""
    path = options.pop("password_file", None)
    if path is None or ":" in login or "password" in options:
        return f"{login}@" if login else "", None
    return "", LoginFile(options.pop("username", None) or unquote(login) or None, path)


def _query(options: dict[str, str]) -> str:
    return urlencode(options, quote_via=quote, safe="/")


def _tls_files(options: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, options[name]) for name in _TLS_FILES if name in options)


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
