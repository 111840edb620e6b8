"""Locks: which are held, by whom, who waits for them; and how one is taken from its holder."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from heori import Party
from heori.inspect.reader import NONSENSE, RedisReader
from heori_common.locks.commands import LockCommands, State
from heori_common.locks.status import US_PER_S, status
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient

Kind = Literal["mutex", "semaphore"]
KINDS: tuple[Kind, ...] = ("mutex", "semaphore")


@dataclass(frozen=True, slots=True)
class LockState:
    """A lock as it was seen.

    Attributes:
        key: in Redis.
        now: the server's time, in epoch seconds.
        limit: of permits; None when it is not known, as nobody holds it or waits for it.
    """

    kind: str
    name: str
    key: str
    now: float
    limit: int | None
    holders: tuple[Party, ...]
    waiters: tuple[Party, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def in_use(self) -> bool:
        """Whether anybody holds it or waits for it."""
        return bool(self.holders or self.waiters)

    def record(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "kind": self.kind,
            "name": self.name,
            "limit": self.limit,
            "in_use": len(self.holders),
            "holders": [
                {
                    **self._party(holder),
                    "fence": holder.fence,
                    "lease_ends_in": round(holder.lease_end - self.now, 3),
                }
                for holder in self.holders
            ],
            "waiters": [self._party(waiter) for waiter in self.waiters],
        }

    def _party(self, party: Party) -> dict[str, Any]:
        return {
            "job": party.job or None,
            "host": party.host,
            "pid": party.pid,
            "runner": party.name,
            "since": datetime.fromtimestamp(party.since, UTC).isoformat(),
            "seconds": round(self.now - party.since, 3),
            "request": party.request,
        }


@dataclass(frozen=True, slots=True)
class Deadlock:
    """Those who wait for each other in a circle; each waits for a lock that the next one holds."""

    waits: tuple[tuple[Party, LockState], ...]

    def record(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "waits": [
                {"job": waiter.job or None, "runner": str(waiter), "lock": str(lock)}
                for waiter, lock in self.waits
            ]
        }


def deadlocks(locks: Sequence[LockState]) -> list[Deadlock]:
    """The circles among these locks, of those that one holder has."""
    waiting = {
        waiter.owner: (waiter, lock)
        for lock in locks
        if len(lock.holders) == 1
        for waiter in lock.waiters
    }
    found, seen = [], set[str]()
    for first in waiting:
        path: dict[str, None] = {}
        owner = first
        while owner in waiting and owner not in seen and owner not in path:
            path[owner] = None
            owner = waiting[owner][1].holders[0].owner
        if owner in path:
            owners = list(path)
            found.append(Deadlock(tuple(waiting[each] for each in owners[owners.index(owner) :])))
        seen.update(path)
    return found


class Locks:
    """The locks on one server.

    Attributes:
        reader: notes what could not be read.
    """

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self.address = client.address
        self.reader = RedisReader(client, keys)
        self._redis = client
        self._keys = keys
        self._commands = LockCommands(keys)

    def named(self, name: str, kind: Kind | None) -> list[LockState]:
        """The locks of a name, that are in use or have a limit: a mutex, a semaphore, or both."""
        keys = [self._keys.lock(each, name) for each in ([kind] if kind else KINDS)]
        return [lock for lock in self._read(keys) if lock.in_use or lock.limit]

    def all(self) -> list[LockState]:
        """All that are in use; those that most wait for come first."""
        found = list(self._read(self.reader.read(self._commands.in_use()) or []))
        found.sort(key=lambda lock: (-len(lock.waiters), lock.name, lock.kind))
        return [lock for lock in found if lock.in_use]

    def force(self, lock: LockState, holder: Party) -> bool:
        """Take it from a holder; returns whether the holder still had it."""
        return self._redis.execute(self._commands.force_release(lock.key, holder.request))

    def count_forced(self) -> int | None:
        """How many locks were ever taken this way; None when nobody can tell."""
        return self.reader.read(self._commands.count_forced())

    def _read(self, keys: list[str]) -> Iterator[LockState]:
        states = self.reader.read_many([self._commands.read(key) for key in keys])
        for key, state in zip(keys, states, strict=True):
            if state is None:
                continue
            try:
                lock = self._lock(key, state)
                json.dumps(lock.record(), allow_nan=False)  # it can be shown
            except NONSENSE as error:
                self.reader.note(key, error)
            else:
                yield lock

    def _lock(self, key: str, state: State) -> LockState:
        requests = (*state.holders, *state.waiters)
        declared = max((each.limit or 1 for each in requests), default=0)
        seen = status(state, declared)
        kind, name = self._keys.lock_name(key)
        limit, now = seen.limit or None, state.now / US_PER_S
        return LockState(kind, name, key, now, limit, seen.holders, seen.waiters)
