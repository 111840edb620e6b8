"""The holders of a lock and its waiters, as people want to know them."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgpack

from heori_common.locks.commands import Request, State, Waits
from heori_common.locks.errors import Step
from heori_common.printable import printable
from heori_common.protocol.keys import Keys
from heori_common.public import public

US_PER_S = 1_000_000  # the scripts tell times in microseconds


@public
@dataclass(frozen=True, slots=True)
class Party:
    """A holder or a waiter.

    Attributes:
        request: the id of its request; `heori locks release` needs it.
        owner: the id of the task or thread.
        host, pid, name: where that is, and what the thread or task is called.
        job: the job that it runs; empty when it runs none.
        since: when it got the lock, or began to wait; epoch seconds, by the server's clock.
        fence: of a holder; 0 of a waiter.
        lease_end: of a holder, epoch seconds; 0 of a waiter.
    """

    request: str
    owner: str
    host: str
    pid: int
    name: str
    job: str
    since: float
    fence: int
    lease_end: float

    def __str__(self) -> str:
        return describe(self.host, self.pid, self.name, self.job)


@public
@dataclass(frozen=True, slots=True)
class Status:
    """A lock at one moment.

    Attributes:
        limit: how many may hold it.
        holders: the one whose lease ends first comes first.
        waiters: the next comes first.
    """

    limit: int
    holders: tuple[Party, ...]
    waiters: tuple[Party, ...]

    @property
    def locked(self) -> bool:
        """Whether there is no permit to be had."""
        return len(self.holders) >= self.limit


def status(state: State, declared: int) -> Status:
    """Read what Redis tells; `declared` is the limit where none was set."""
    return Status(state.limit or declared, _parties(state.holders), _parties(state.waiters))


def steps(cycle: Sequence[Waits], keys: Keys) -> list[Step]:
    """Name the owners and the locks of a deadlock."""
    found = []
    for number, step in enumerate(cycle):
        following = cycle[(number + 1) % len(cycle)]
        found.append(
            Step(
                describe(*_about(step.about)),
                describe(*_about(following.about))
                if step.lock is None
                else " ".join(keys.lock_name(step.lock)),
            )
        )
    return found


def describe(host: str, pid: int, name: str, job: str) -> str:
    """An owner in one phrase. A job that waits in no process has none."""
    host, name, job = map(printable, (host, name, job))  # as anybody may have written them
    where = f"pid {pid} on {host}"
    if not job:
        return f"{name} ({where})"
    return f"job {job} ({name}, {where})" if pid else f"job {job} ({name})"


def _parties(requests: Sequence[Request]) -> tuple[Party, ...]:
    return tuple(
        Party(
            request.id,
            request.owner,
            *_about(request.about),
            request.since / US_PER_S,
            request.fence,
            request.lease_end / US_PER_S,
        )
        for request in requests
    )


def _about(packed: bytes) -> tuple[str, int, str, str]:
    host, pid, name, job = msgpack.unpackb(packed, unicode_errors="surrogateescape")
    return host, pid, name, job
