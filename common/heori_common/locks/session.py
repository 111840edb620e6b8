"""All that one process has to do with the locks of one server."""

import os
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol, Union
from urllib.parse import quote

from heori_common import clock
from heori_common.current_job import CurrentJob
from heori_common.errors import short
from heori_common.given_back import lock_given_back
from heori_common.locks.commands import Grant, LockCommands, read_grant
from heori_common.locks.hold import Hold
from heori_common.locks.line import LinePool
from heori_common.locks.owner import Owner, when_ended
from heori_common.locks.renewer import Renewer
from heori_common.locks.standing import Standing
from heori_common.locks.statistics import Statistics
from heori_common.loggers import standard_logger
from heori_common.process_id import process_id
from heori_common.protocol.keys import Keys
from heori_common.redis.address import Address
from heori_common.redis.client import RedisClient
from heori_common.redis.dialer import Dialer
from heori_common.redis.errors import RedisRefused
from heori_common.redis.push import PushThread
from heori_common.settings import Settings

if TYPE_CHECKING:
    import redis
    import redis.asyncio

log = standard_logger(__name__)

Redis = Union[str, "redis.Redis", "redis.asyncio.Redis"]  # which nobody needs to import for that

# For how long a command is sent again while the server is away: a program that has waited for a
# lock for minutes shall not lose its place because the server is started anew.
PATIENCE_S = 5.0
# How often a waiter looks that cannot be told of its turn: the first in the queue; those behind
# it less often.
POLL_EVERY_S = 0.05
LISTEN_TIMEOUT_S = 10.0  # to hear of grants, at most


class Waiter(Protocol):
    """Whoever waits for a grant."""

    @property
    def standing(self) -> Standing | None:
        """What it stands in line for; None while it does not."""

    def wake(self, grant: Grant | None) -> None:
        """It was handed a lock; without a grant, it should look: one may have been missed."""


class Session:
    """The connections, what is held and who waits.

    Attributes:
        holds: by owner and lock, what was entered last stands last.
        waiters: by request.
        polls: whether the server's user may not hear of grants; who waits looks by itself then.
        execute: a command, for threads; see `RedisClient.execute_and_tell`.
        lines: on which threads that wait are told that they were handed a lock; see `Line`.
        push: on which all others of this process are told so. What is asked for there is
            executed even if whoever asked goes away: coroutines ask there, as one that is
            cancelled leaves nothing half-read behind, and the renewer, which must not wait for a
            server that hangs.
    """

    def __init__(self, url: str) -> None:
        settings = _settings()
        self.keys = Keys(settings.key_prefix)
        self.commands = LockCommands(self.keys)
        self.deadlock = settings.deadlock
        self._channel = self.keys.granted(process_id())
        self._where = Address.parse(url)
        self.polls = False
        self.statistics = Statistics()
        self._redis = RedisClient(url, patience=PATIENCE_S)
        self.lines = LinePool(Dialer(self._where), self._channel)
        self.execute = self._redis.execute_and_tell
        self.holds: dict[str, dict[str, list[Hold]]] = {}
        self._holds_lock = lock_given_back()
        self.waiters: dict[str, Waiter] = {}
        self.push = PushThread(
            Dialer(self._where),
            "heori-locks-push",
            [("SUBSCRIBE", self._channel)],
            self._pushed,
            self._greeted,
            PATIENCE_S,
        )
        self.renewer = Renewer(self.push, self.commands, self.statistics, self._forsaken)

    @property
    def channel(self) -> str | None:
        """On which grants are to be told; None if they cannot be heard here."""
        return None if self.polls else self._channel

    @property
    def hears(self) -> bool:
        """Whether it is settled how waiters get to know of grants."""
        return self.push.is_ready or self.polls

    def held(self, key: str, owner: Owner) -> list[Hold]:
        """What an owner holds of a lock; what was entered last stands last."""
        stack = self.holds.get(owner.id, {}).get(key, ())
        return [hold for hold in list(stack) if hold.depth]  # one may be lost meanwhile

    def keep(self, hold: Hold) -> None:
        """Somebody has got a lock."""
        with self._holds_lock:
            mine = self.holds.setdefault(hold.owner.id, {})
            mine.setdefault(hold.lock.key, []).append(hold)
        self.renewer.keep(hold)

    def drop(self, hold: Hold) -> None:
        """It is released, or about to be by somebody else than its owner."""
        with self._holds_lock:
            mine = self.holds.get(hold.owner.id, {})
            stack = mine.get(hold.lock.key, [])
            if hold in stack:
                stack.remove(hold)
            if not stack:
                mine.pop(hold.lock.key, None)
            if not mine:
                self.holds.pop(hold.owner.id, None)
        self.renewer.drop(hold)

    def give_up(self, holds: Iterable[Hold]) -> None:
        """Release in the background what its owner will not: whatever has interrupted it."""
        for request, group in groupby(holds, lambda hold: hold.id):
            given_up = list(group)
            for hold in given_up:
                hold.depth = 0
            lease = max(hold.lease for hold in given_up)
            self.renewer.abandon([hold.lock.key for hold in given_up], request, lease)
            for hold in given_up:
                self.drop(hold)

    def end_job(self, job: CurrentJob) -> None:
        """Release what a job that has ended has taken and not released."""
        left = [hold for hold in self.renewer.kept() if hold.owner.job is job]
        for hold in left:
            log.warning(
                "%s was not released by job %s of %s, which has ended; it is released now",
                *(hold.lock, job.id, job.task),
            )
            hold.why = "its job has ended"
            self.renewer.tell(hold)  # the job may have left threads that still use it
        self._forsaken(left)

    def count_hold(self, hold: Hold) -> None:
        """It is over."""
        family = self.statistics.family(hold.lock.kind, hold.lock.name)
        family.held(clock.now() - hold.since)

    def close(self) -> None:
        """Close the connections and end the threads; what is held expires."""
        self.renewer.close()
        self.push.close()
        self.lines.close()
        self._redis.close()

    def _pushed(self, push: list[Any]) -> None:
        match push:
            case [b"message", _, payload]:
                grant = read_grant(payload)
                waiter = self.waiters.get(grant.id)
                if waiter is not None:
                    waiter.wake(grant)

    def _forsaken(self, holds: list[Hold]) -> None:
        self.statistics.note("abandoned", len(holds))
        self.give_up(holds)

    def _greeted(self, refused: Mapping[Any, RedisRefused]) -> None:
        for refusal in refused.values():
            if not self.polls:
                log.warning(
                    "%s; so who waits for a lock looks %g times a second, until this user may "
                    "subscribe to &%s*",
                    *(refusal, 1 / POLL_EVERY_S, self.keys.granted("")),
                )
        self.polls = bool(refused)
        for waiter in list(self.waiters.values()):
            waiter.wake(None)


class _Sessions:
    def __init__(self) -> None:
        self.lock = lock_given_back()
        self.by_url: dict[str, Session] = {}


_sessions = _Sessions()


def _ended(owner: Owner) -> None:
    for session in sessions():
        if owner.id in session.holds:
            session.renewer.look()


when_ended(_ended)


def _begin_anew() -> None:
    """A forked process owns nothing, and must not speak on the other's connections."""
    global _sessions
    inherited, _sessions = _sessions, _Sessions()
    for session in inherited.by_url.values():
        for mine in session.holds.values():
            for stack in mine.values():
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


def sessions() -> list[Session]:
    """All that there are."""
    return list(_sessions.by_url.values())


def statistics() -> list[Statistics]:
    """What this process has seen of its locks, for each server."""
    return [session.statistics for session in sessions()]


def standing() -> list[Standing]:
    """Who stands in line for locks in this process; any thread may ask."""
    waiters = [waiter for session in sessions() for waiter in session.waiters.copy().values()]
    return [found for waiter in waiters if (found := waiter.standing)]


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
            f"cannot tell the URL of {short(server)}; give the URL itself, such as "
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
