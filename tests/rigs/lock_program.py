"""A process that uses a lock as it is told on its standard input, and says what happens.

python -m tests.rigs.lock_program URL NAME LEASE, where NAME is a mutex', or a semaphore's with its
permits: NAME/3.
"""

import ctypes
import os
import random
import sys
import time
from pathlib import Path

from heori import DeadlockDetected, Fence, FencedOut, LockLost, Mutex, Semaphore
from heori_common.protocol.commands import Command
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisUnavailable


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Program:
    """What it can do; each method is a command."""

    def __init__(self, url: str, name: str, lease: str) -> None:
        self.url = url
        self.lease = float(lease)
        name, _, permits = name.partition("/")
        self.lock: Mutex | Semaphore
        if permits:
            self.lock = Semaphore(name, int(permits), url, self.lease, on_lost=self.on_lost)
        else:
            self.lock = Mutex(name, url, self.lease, on_lost=self.on_lost)
        self.other: Mutex | None = None

    @staticmethod
    def on_lost(lock: object) -> None:
        say("told", lock)

    def acquire(self) -> None:
        self.lock.acquire()
        say("held", self.lock.fence, time.time())

    def also(self, name: str) -> None:
        """Acquire another mutex while it holds the first."""
        self.other = Mutex(name, self.url, self.lease)
        self.other.acquire()
        say("also", name)

    def release(self) -> None:
        if self.other is not None:
            self.other.release()
            self.other = None
        self.lock.release()
        say("released")

    def write(self, value: str) -> None:
        Fence("row", self.lock).execute("SET", "row", value)
        say("written")

    def hog(self, seconds: str) -> None:
        """Hold the GIL: no other thread of this process runs meanwhile."""
        ctypes.PyDLL(None).usleep(round(float(seconds) * 1e6))
        say("hogged")

    def sections(self, count: str, file: str) -> None:
        for _ in range(int(count)):
            with self.lock:
                inside = Path(file)
                inside.touch(exist_ok=False)
                inside.unlink()
        say("done")

    def strive(self, seconds: str, *names: str) -> None:
        """Enter mutexes at random and keep a log of it in Redis; see `tests.chaos.locks`."""
        end = time.monotonic() + float(seconds)
        client = RedisClient(self.url)
        entered = troubles = 0
        while time.monotonic() < end:
            name = random.choice(names)
            lock = Mutex(name, self.url, self.lease)
            try:
                with lock:
                    for mark in "+-":
                        entry = f"{mark}{lock.fence}"
                        client.execute(Command(("RPUSH", f"log:{name}", entry), int))
                        Fence(name, lock).execute("RPUSH", f"guarded:{name}", lock.fence)
                client.execute(Command(("RPUSH", f"log:{name}", f"={lock.fence}"), int))
                entered += 1
            except (LockLost, FencedOut, RedisUnavailable):
                troubles += 1
        client.close()
        say("strove", entered, troubles)


def main() -> None:
    program = Program(*sys.argv[1:])
    say("ready", os.getpid())
    for line in sys.stdin:
        command, *words = line.split()
        try:
            getattr(program, command)(*words)
        except (LockLost, FencedOut, DeadlockDetected) as error:
            say(type(error).__name__)


main()
