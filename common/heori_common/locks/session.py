"""All that one process has to do with the locks of one server."""

import os
import threading
import time
from functools import cache
from typing import Any, Protocol
from urllib.parse import quote

import redis
import redis.asyncio

from heori_common.locks.commands import Grant, LockCommands, read_grant
from heori_common.locks.hold import Hold
from heori_common.locks.owner import process_id
from heori_common.locks.renewer import Renewer
from heori_common.locks.statistics import Statistics
from heori_common.protocol.keys import Keys
from heori_common.redis.address import Address
from heori_common.redis.client import RedisClient
from heori_common.redis.push import PushThread
from heori_common.redis.redis_py import Dialer
from heori_common.settings import Settings

Redis = str | redis.Redis | redis.asyncio.Redis

# For how long a command is sent again while the server is away: a program that has waited for a
# lock for minutes shall not lose its place because the server is started anew.
PATIENCE_S = 5.0


class Waiter(Protocol):
    """Whoever waits for a grant."""

    def wake(self, grant: Grant | None) -> None:
        """It was handed a lock; without a grant, it should look: one may have been missed."""


class Session:
    """The connections, what is held and who waits.

    Attributes:
        holds: by lock and owner, what was entered last stands last.
        waiters: by request.
        execute: a command, for threads; see `RedisClient.execute_and_tell`.
        push: on which this process is told that it was handed a lock. What is asked for there is
            executed even if whoever asked goes away: coroutines ask there, as one that is
            cancelled leaves nothing half-read behind, and the renewer, which must not wait for a
            server that hangs.
    """

    def __init__(self, url: str) -> None:
        settings = _settings()
        self.keys = Keys(settings.key_prefix)
        self.commands = LockCommands(self.keys)
        self.deadlock = settings.deadlock
        self.channel = self.keys.granted(process_id())
        self.statistics = Statistics()
        self._redis = RedisClient(url, patience=PATIENCE_S)
        self.execute = self._redis.execute_and_tell
        self.holds: dict[tuple[str, str], list[Hold]] = {}
        self.waiters: dict[str, Waiter] = {}
        self.push = PushThread(
            Dialer(Address.parse(url)),
            "heori-locks-push",
            [("SUBSCRIBE", self.channel)],
            self._pushed,
            self._look,
            PATIENCE_S,
        )
        self.renewer = Renewer(self.push, self.commands, self.statistics)

    def keep(self, hold: Hold) -> None:
        """Somebody has got a lock."""
        self.holds.setdefault((hold.lock.key, hold.owner.id), []).append(hold)
        self.renewer.keep(hold)

    def drop(self, hold: Hold) -> None:
        """Its owner is done with it."""
        key = (hold.lock.key, hold.owner.id)
        stack = self.holds[key]
        stack.remove(hold)
        if not stack:
            del self.holds[key]
        self.renewer.drop(hold)

    def count_hold(self, hold: Hold) -> None:
        """It is over."""
        family = self.statistics.family(hold.lock.kind, hold.lock.name)
        family.held(time.monotonic() - hold.since)

    def close(self) -> None:
        """Close the connections and end the threads; what is held expires."""
        self.renewer.close()
        self.push.close()
        self._redis.close()

    def _pushed(self, push: list[Any]) -> None:
        match push:
            case [b"message", _, payload]:
                grant = read_grant(payload)
                waiter = self.waiters.get(grant.id)
                if waiter is not None:
                    waiter.wake(grant)

    def _look(self, _: object) -> None:
        for waiter in list(self.waiters.values()):
            waiter.wake(None)


class _Sessions:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_url: dict[str, Session] = {}


_sessions = _Sessions()


def _begin_anew() -> None:
    """A forked process owns nothing, and must not speak on the other's connections."""
    global _sessions
    inherited, _sessions = _sessions, _Sessions()
    for session in inherited.by_url.values():
        for stack in session.holds.values():
            for hold in stack:
                hold.disown("this process was forked from the holder's")


os.register_at_fork(after_in_child=_begin_anew)


def session_of(url: str) -> Session:
    """The session with one server, which lasts until the process ends."""
    session = _sessions.by_url.get(url)
    if session is None:
        with _sessions.lock:
            session = _sessions.by_url.get(url)
            if session is None:
                session = _sessions.by_url[url] = Session(url)
    return session


def statistics() -> list[Statistics]:
    """What this process has seen of its locks, for each server."""
    return [session.statistics for session in _sessions.by_url.values()]


def close() -> None:
    """End all sessions; the next use of a lock begins anew. What is held expires."""
    _settings.cache_clear()
    with _sessions.lock:
        sessions = list(_sessions.by_url.values())
        _sessions.by_url.clear()
    for session in sessions:
        session.close()


def url_of(server: Redis | None) -> str:
    """The URL of a server that was given as one, or as a client; without any, of the settings.

    Raises:
        TypeError: a client's way to connect cannot be told by a URL.
    """
    if server is None:
        return _settings().redis_url
    if isinstance(server, str):
        return server
    pool: Any = getattr(server, "connection_pool", None)
    options = getattr(pool, "connection_kwargs", None)
    kind = getattr(pool, "connection_class", type(None)).__name__
    if options is None or kind not in ("Connection", "UnixDomainSocketConnection"):
        raise TypeError(
            f"cannot tell the URL of {server!r}; give the URL itself, such as "
            "rediss://host:6380/0 or redis+sentinel://host:26379/NAME"
        )
    name, password = options.get("username") or "", options.get("password") or ""
    login = f"{quote(name, safe='')}:{quote(password, safe='')}@" if name or password else ""
    database = options.get("db") or 0
    if kind == "UnixDomainSocketConnection":
        return f"unix://{login}{options['path']}?db={database}"
    host = options.get("host", "localhost")
    at = f"[{host}]" if ":" in host else host
    return f"redis://{login}{at}:{options.get('port', 6379)}/{database}"


@cache
def _settings() -> Settings:
    """Read once: a lock is often made for a single use."""
    return Settings()
