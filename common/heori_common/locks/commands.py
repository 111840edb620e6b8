"""One builder per command of a lock, as `heori_common.protocol.commands` has them. No I/O here.

Times are the server's, in whole microseconds: a double, which is all that Lua and Redis' sorted
sets have, holds those exactly.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

import msgpack

from heori_common.protocol.commands.builder import (
    HANDOVER_LEASE_US,
    MOST_HOPS,
    Builders,
    Command,
    Template,
    Word,
    text,
)
from heori_common.protocol.keys import Keys
from heori_common.protocol.records import LockRecord
from heori_common.protocol.scripts import pack_argument

T = TypeVar("T")

MOST_RENEWED = 100  # locks in one call
MOST_SWEPT = 100
MOST_COUNTED = 1000
# Seconds for which it is known who wrote last to a resource that fences guard. A process would have
# to stand still for as long to write with an older fence.
FORGET_FENCED_S = 365 * 24 * 3600

MOST_TEMPLATES = 256
_BLANK = "\0"


def job_owner(job_id: str) -> str:
    """Whom others wait for when they wait for a job; also the request by which it has its locks."""
    return f"job:{job_id}"


class LockRequest(NamedTuple):
    """A lock that somebody asks for."""

    key: str
    limit: int | None  # the permits of a semaphore; None: a mutex


class Waits(NamedTuple):
    """One step of a deadlock: an owner, and what it waits for.

    Attributes:
        about: what the owner has said of itself.
        lock: the lock's key; None when it waits for another owner.
    """

    owner: str
    about: bytes
    lock: str | None


class Answer(NamedTuple):
    """What has become of a request.

    Attributes:
        state: held, waiting, busy (it was not to wait) or deadlock (it would wait for ever).
        now: the server's time, as all times here; 0 when it is held.
        lease_end: of the first holder, when waiting; of what is held, counted from `now`.
        fences: of what is held, in the order of the locks.
        ticket: its place in the queue; the lowest is next.
        before: how many stand before it.
        cycle: the deadlock, beginning with the owner that asks.
    """

    state: str
    now: int
    lease_end: int = 0
    fences: Sequence[int] = ()
    ticket: int | None = None
    before: int = 0
    cycle: Sequence[Waits] = ()


class Grant(NamedTuple):
    """What a waiter is told when it is handed a lock."""

    id: str
    fence: int
    lease_end: int


class Request(NamedTuple):
    """One that holds a lock or waits for it.

    Attributes:
        about: what its owner has said of itself.
        since: when it got the lock, or came into the queue.
        fence: of a holder; 0 of a waiter.
        lease_end: of a holder; 0 of a waiter.
        ticket: of a waiter; 0 of a holder.
        limit: the permits that it declares; None: a mutex.
    """

    id: str
    owner: str
    about: bytes
    since: int
    fence: int
    lease_end: int
    ticket: int
    limit: int | None


class State(NamedTuple):
    """A lock as it stands in Redis.

    Attributes:
        limit: that somebody has set; None: what each request declares.
        holders: that which ends first comes first.
        waiters: in their order.
    """

    now: int
    limit: int | None
    holders: Sequence[Request]
    waiters: Sequence[Request]


class LockCount(NamedTuple):
    """How many have to do with one lock.

    Attributes:
        limit: of holders; 0 where nobody says.
    """

    kind: str
    name: str
    in_use: int
    limit: int
    waiters: int


class LockCounts(NamedTuple):
    """What one consumer tells of all locks.

    Attributes:
        locks: MOST_COUNTED of those in use at most.
        forced: how many were released by force, since ever.
    """

    locks: Sequence[LockCount]
    forced: int


class Fenced(NamedTuple):
    """What came of a guarded command.

    Attributes:
        by: the fence that has written since; None when the command was executed.
        reply: the command's.
    """

    by: int | None
    reply: Any


class LockCommands(Builders):
    """The builders, bound to one key prefix."""

    def __init__(self, keys: Keys | None = None) -> None:
        super().__init__(keys)
        # What is asked for again and again: by the locks, and by whoever asks.
        self._acquire = lru_cache(MOST_TEMPLATES)(self._acquire_template)
        self._release = lru_cache(MOST_TEMPLATES)(self._release_template)

    # The id of the request comes first in the argument of both.

    def _acquire_template(self, length: int, *same: Any) -> Template[Answer]:
        wait, *rest = same
        return Template(self._ask(length * _BLANK, *rest, wait=wait), length * _BLANK.encode())

    def _release_template(self, length: int, locks: Sequence[str]) -> Template[list[str]]:
        blank = self._call(
            "lock_release",
            locks,
            _fates,
            id=length * _BLANK,
            are_mutexes=all(self.keys.lock_name(lock)[0] == "mutex" for lock in locks),
            handover_lease_us=HANDOVER_LEASE_US,
        )
        return Template(blank, length * _BLANK.encode())

    def _ask(
        self,
        request: str,
        locks: Sequence[LockRequest],
        owner: str,
        about: bytes,
        wake: str | None,
        lease_us: int,
        deadlock: str,
        ticket: int | None = None,
        *,
        wait: bool,
        known: bool = False,
    ) -> Command[Answer]:
        return self._call(
            "lock_ask_again" if known else "lock_acquire",
            [lock.key for lock in locks],
            partial(_answer, lease_us),
            id=request,
            records=[
                _begin_record(owner, wake or False, lock.limit or False, lease_us, about)
                for lock in locks
            ],
            lease_us=lease_us,
            ticket=ticket or False,
            wait=wait,
            deadlock=deadlock,
            handover_lease_us=HANDOVER_LEASE_US,
            most_hops=MOST_HOPS,
        )

    def acquire(
        self,
        locks: Sequence[LockRequest],
        request: str,
        *,
        owner: str,
        about: bytes,
        wake: str | None,
        lease_us: int,
        ticket: int | None,
        wait: bool,
        deadlock: str,
        known: bool = False,
    ) -> Command[Answer]:
        """Take all of the locks, or wait for the first that is not to be had.

        Args:
            request: an id that is never used again, but to send the same request again.
            known: whether it has been answered before, with held or waiting; it is not refused then
                while the server's memory is full.
            owner: who waits for whom is told by these.
            about: who that is, for people.
            wake: the channel on which a grant is told; None: it looks by itself.
            ticket: the one it had when it was sent before.
        """
        same = tuple(locks), owner, about, wake, lease_us, deadlock
        if ticket is None and not known:
            return self._acquire(len(request), wait, *same).command(request.encode())
        return self._ask(request, *same, ticket, wait=wait, known=known)

    def release(self, locks: Sequence[str], request: str) -> Command[list[str]]:
        """Give up a request; reads what it was at each lock: held, waiting or gone."""
        return self._release(len(request), tuple(locks)).command(request.encode())

    def release_process(self, locks: Sequence[str], process: str) -> Command[int]:
        """Take locks from a process that has ended; reads how many it held.

        Args:
            process: see `heori_common.process_id`.
        """
        return self._call(
            "lock_release_process",
            locks,
            int,
            begins=f"{process}-",
            handover_lease_us=HANDOVER_LEASE_US,
        )

    def force_release(self, lock: str, request: str) -> Command[bool]:
        """Take a lock from a holder, who has not asked for it; reads whether he had it."""
        keys = [lock, self.keys.forced()]
        return self._call(
            "lock_force_release", keys, bool, id=request, handover_lease_us=HANDOVER_LEASE_US
        )

    def count_forced(self) -> Command[int]:
        """Count the locks that were taken so, since ever."""
        return Command(("GET", self.keys.forced()), lambda reply: int(reply or 0))

    def renew(self, requests: Sequence[tuple[str, str, int]]) -> Command[list[int]]:
        """Renew leases; reads the numbers of those that are lost.

        Args:
            requests: lock, request, lease in microseconds; at most MOST_RENEWED.
        """
        locks = list(dict.fromkeys(lock for lock, _, _ in requests))
        numbers = {lock: number for number, lock in enumerate(locks)}
        return self._call(
            "lock_renew",
            locks,
            _unpack,
            requests=[[numbers[lock], request, lease_us] for lock, request, lease_us in requests],
        )

    def read(self, lock: str) -> Command[State]:
        """Read who holds a lock and who waits for it."""
        return self._call("lock_read", [lock], _state)

    def set_limit(self, lock: str, limit: int | None) -> Command[None]:
        """Change the permits of a semaphore; None: what each request declares."""
        return self._call(
            "lock_set_limit",
            [lock],
            lambda _: None,
            limit=limit or False,
            handover_lease_us=HANDOVER_LEASE_US,
        )

    def note_wait(
        self, owner: str, whom: str, *, about: bytes, ttl: float, deadlock: str
    ) -> Command[list[Waits]]:
        """Note that an owner waits for another; reads the deadlock that this makes, if it does.

        With "raise" and a deadlock, nothing is noted.

        Args:
            ttl: seconds; the note is gone by itself then.
        """
        return self._call(
            "lock_note_wait",
            [],
            lambda reply: _cycle(_unpack(reply) or ()),
            owner=owner,
            about=about,
            whom=whom,
            ttl_ms=round(ttl * 1000),
            deadlock=deadlock,
            most_hops=MOST_HOPS,
        )

    def end_wait(self, owner: str) -> Command[int]:
        """Note that it waits for no other any more."""
        return Command(("DEL", self.keys.owner_wait(owner)), int)

    def sweep(self) -> Command[int]:
        """Look at locks whose holder is overdue; reads how many there were."""
        return self._call(
            "lock_sweep", [], int, most=MOST_SWEPT, handover_lease_us=HANDOVER_LEASE_US
        )

    def in_use(self) -> Command[list[str]]:
        """The keys of all locks that somebody holds or waits for."""
        return Command(
            ("ZRANGE", self.keys.locks(), 0, -1), lambda reply: [text(key) for key in reply]
        )

    def count(self, *, service: str, lease: float) -> Command[LockCounts | None]:
        """Count holders and waiters; None unless this service tells of them, or thereby gets to.

        Args:
            lease: seconds after which another may, unless this is called again.
        """

        def parse(reply: bytes | None) -> LockCounts | None:
            if reply is None:
                return None
            counted, forced = _unpack(reply)
            return LockCounts(
                [
                    LockCount(*self.keys.lock_name(lock.decode(errors="replace")), *counts)
                    for lock, *counts in counted
                ],
                forced,
            )

        return self._call(
            "lock_count",
            [self.keys.lock_counter(), self.keys.forced()],
            parse,
            service=service,
            lease_ms=round(lease * 1000),
            most=MOST_COUNTED,
        )

    def fenced(
        self, resource: str, fence: int, owner: str, command: Sequence[Word]
    ) -> Command[Fenced]:
        """Execute a command unless a later holder has done so for that resource."""

        def parse(reply: Sequence[Any]) -> Fenced:
            if reply[0]:  # a reply of nil ends the array before it
                return Fenced(None, reply[1] if len(reply) > 1 else None)
            return Fenced(int(reply[1]), None)

        words = [str(word) if isinstance(word, float) else word for word in command]
        return self._call(
            "lock_fenced_command",
            [self.keys.fenced(resource)],
            parse,
            fence=fence,
            owner=owner,
            command=words,
            forget_s=FORGET_FENCED_S,
        )


def read_grant(payload: bytes) -> Grant:
    """Read what a waiter is told."""
    request, fence, lease_end = _unpack(payload)
    return Grant(request.decode(), fence, lease_end)


_unpack = partial(msgpack.unpackb, raw=True)


def _begin_record(*fields: Any) -> bytes:
    """The first fields of a LockRecord, packed; a script puts the others behind them."""
    unknown = len(LockRecord._fields) - len(LockRecord._field_defaults) - len(fields)
    return pack_argument([*fields, *[False] * unknown])[:-unknown]  # each is one byte


def _answer(lease_us: int, reply: int | bytes) -> Answer:
    if isinstance(reply, int):
        return Answer("held", 0, lease_us, (reply,))
    match _unpack(reply):
        case [_, b"held", fences]:
            return Answer("held", 0, lease_us, fences)
        case [now, b"waiting", ticket, before, lease_end, cycle]:
            return Answer("waiting", now, lease_end, (), ticket, before, _cycle(cycle or ()))
        case [now, b"deadlock", cycle]:
            return Answer("deadlock", now, cycle=_cycle(cycle))
        case [now, state]:
            return Answer(state.decode(), now)
        case other:
            raise ValueError(f"ask_for_locks.lua does not reply with {other!r}")


def _fates(reply: int | bytes) -> list[str]:
    """What a request was at each of its locks."""
    if isinstance(reply, int):
        return ["held"] * reply
    return [fate.decode() for fate in _unpack(reply)]


def _cycle(steps: Sequence[tuple[bytes, bytes, bytes | bool]]) -> list[Waits]:
    return [
        Waits(owner.decode(), about, lock.decode() if isinstance(lock, bytes) else None)
        for owner, about, lock in steps
    ]


def _state(reply: bytes) -> State:
    now, limit, holders, waiters = _unpack(reply)
    return State(
        now,
        limit or None,
        [_request(*holder, waits=False) for holder in holders],
        [_request(*waiter, waits=True) for waiter in waiters],
    )


def _request(request: bytes, score: int, packed: Sequence[Any], *, waits: bool) -> Request:
    record = LockRecord(*packed)
    return Request(
        request.decode(),
        record.owner.decode(),
        record.about,
        record.since_us,
        record.fence,
        0 if waits else score,
        score if waits else 0,
        record.limit or None,
    )
