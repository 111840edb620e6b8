"""The tokens of a service, and the cookies that a browser gets for one.

A cookie is ``NAME.END.SIGNATURE``: the name of its token in base64, when it ends in epoch seconds,
and the HMAC-SHA256 of both under the token. So it holds for every replica, across restarts, and
no longer than its token.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from pydantic import SecretStr
from starlette.datastructures import Headers

SESSION = "heori_session"
SESSION_S = 12 * 3600  # for which a cookie holds
# Cookies of that name that are looked at: other sites of the same domain may have set some, too.
MOST_SESSIONS = 8


class Caller(NamedTuple):
    """Who asks."""

    name: str
    may_change: bool


class _ApiToken(NamedTuple):
    caller: Caller
    secret: bytes


class ApiTokens:
    """Those of a service.

    Args:
        full: tokens that may do everything, each with a name and a colon before it, or without.
        read: tokens that may only read.
    """

    def __init__(self, full: Iterable[SecretStr], read: Iterable[SecretStr]) -> None:
        self._tokens = [
            *(_api_token(each, number, may_change=True) for number, each in enumerate(full, 1)),
            *(_api_token(each, number, may_change=False) for number, each in enumerate(read, 1)),
        ]

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def of_secret(self, given: str) -> Caller | None:
        """Whose token this is, if it is one."""
        named = given.encode("latin-1", "replace")
        # All are compared, in constant time, so that the duration gives nothing away.
        matches = [hmac.compare_digest(named, token.secret) for token in self._tokens]
        return self._tokens[matches.index(True)].caller if True in matches else None

    def open_session(self, given: str) -> str | None:
        """The value of a cookie for whoever knows a token."""
        caller = self.of_secret(given)
        if caller is None:
            return None
        name = base64.urlsafe_b64encode(caller.name.encode()).decode().rstrip("=")
        begun = f"{name}.{_now() + SESSION_S}"
        return f"{begun}.{_sign(begun, given.encode('latin-1', 'replace'))}"

    def of_session(self, headers: Headers) -> Caller | None:
        """Who has sent a cookie that holds."""
        sent = islice(_sessions(headers), MOST_SESSIONS)
        return next(filter(None, map(self._of_cookie, sent)), None)

    def _of_cookie(self, value: str) -> Caller | None:
        if not value.isascii():
            return None
        begun, _, signature = value.rpartition(".")
        matches = [
            hmac.compare_digest(signature, _sign(begun, token.secret)) for token in self._tokens
        ]
        end = begun.rpartition(".")[2]
        if True not in matches or not end.isdecimal() or int(end) < _now():
            return None
        return self._tokens[matches.index(True)].caller


def _api_token(secret: SecretStr, number: int, *, may_change: bool) -> _ApiToken:
    name, _, given = secret.get_secret_value().rpartition(":")
    called = name or f"{'token' if may_change else 'read token'} {number}"
    return _ApiToken(Caller(called, may_change), given.encode())


def _sessions(headers: Headers) -> Iterator[str]:
    """The cookies of that name, whatever others a browser has for this host."""
    for line in headers.getlist("cookie"):
        for each in line.split(";"):
            name, _, value = each.strip().partition("=")
            if name == SESSION:
                yield value


def _sign(text: str, secret: bytes) -> str:
    return hmac.new(secret, b"heori session " + text.encode(), hashlib.sha256).hexdigest()


def _now() -> int:
    return int(datetime.now(UTC).timestamp())
