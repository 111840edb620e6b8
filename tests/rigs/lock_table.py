"""The scripts of the locks on a server whose time is the test's.

`server_time.lua` is put in by the loader, and here another is put in its place.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from heori_common.locks.commands import Answer, LockCommands, LockRequest
from heori_common.protocol import scripts
from heori_common.protocol.commands import Command
from heori_common.protocol.keys import Keys

LUA = Path(scripts.__file__).parent / "lua"
CLOCK = scripts.File.read(LUA, "parts", "server_time").expanded
OURS = """
local set = redis.call('GET', 'test:now')
local server_time = { string.sub(set, 1, -7), string.sub(set, -6) }
"""
START = 1_790_000_000_000_000
LEASE = 10_000_000
SECOND = 1_000_000
COMMANDS = LockCommands(Keys())
KEYS = COMMANDS.keys


def channel(process: int) -> str:
    return KEYS.granted(f"process{process}")


class Table:
    """A server whose time we set, and processes that hear, or do not, what is told to them."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.ids = (f"r{n}" for n in itertools.count())
        self.heard = redis.pubsub()
        self.living: set[int] = set()
        self.now = START
        self.advance(0)

    def advance(self, microseconds: int) -> None:
        self.now += microseconds
        self.redis.set("test:now", self.now)

    def connect(self, process: int) -> None:
        self.heard.subscribe(channel(process))
        self.hear("subscribe")
        self.living.add(process)

    def die(self, process: int) -> None:
        self.heard.unsubscribe(channel(process))
        self.hear("unsubscribe")
        self.living.discard(process)

    def hear(self, kind: str) -> Any:
        """What came next of that kind."""
        while True:
            message = self.heard.get_message(timeout=60)
            assert message is not None
            if message["type"] == kind:
                return message["data"]

    def execute(self, command: Command[Any]) -> Any:
        assert command.in_full is not None
        _, source, *rest = command.in_full
        assert (CLOCK in str(source)) == ("'TIME'" in str(source)), "no other clock is read"
        return command.parse(
            self.redis.execute_command("EVAL", str(source).replace(CLOCK, OURS), *rest)
        )

    def acquire(
        self,
        *locks: LockRequest,
        owner: str,
        request: str | None = None,
        process: int | None = 0,
        line: str = "",
        lease: int = LEASE,
        ticket: int | None = None,
        wait: bool = True,
        deadlock: str = "raise",
    ) -> Answer:
        answer: Answer = self.execute(
            COMMANDS.acquire(
                locks,
                request or next(self.ids),
                owner=owner,
                about=owner.encode(),
                wake=None if process is None else channel(process) + line,
                lease_us=lease,
                ticket=ticket,
                wait=wait,
                deadlock=deadlock,
            )
        )
        return answer

    def release(self, lock: LockRequest, request: str) -> str:
        (fate,) = self.execute(COMMANDS.release([lock.key], request))
        return str(fate)

    def holders(self, lock: LockRequest) -> list[str]:
        return [holder.id for holder in self.execute(COMMANDS.read(lock.key)).holders]

    def waiters(self, lock: LockRequest) -> list[str]:
        return [waiter.id for waiter in self.execute(COMMANDS.read(lock.key)).waiters]

    def left(self) -> set[bytes]:
        return set(self.redis.keys("*")) - {b"test:now", KEYS.fence().encode()}


A = LockRequest(KEYS.lock("mutex", "a"), None)
B = LockRequest(KEYS.lock("mutex", "b"), None)
S = LockRequest(KEYS.lock("semaphore", "s"), 2)
T = TypeVar("T", bound=Table)


@contextmanager
def table_on(redis: Any, kind: type[T]) -> Iterator[T]:
    table = kind(redis)
    with table.heard:
        yield table
