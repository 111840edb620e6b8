"""Reads keys again whenever they are written: all that one producer waits for, in one thread.

It uses client tracking. After a connection has read a key, the first write to that key, by any
client, sends one message to the connection; the key is then read again. So one connection waits for
thousands of results, and for room in queues, and nothing polls. (Redis documentation, "Client-side
caching", opt-out mode.)
"""

import asyncio
import contextlib
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Self, TypeVar

from heori_common.protocol.commands import Command
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.conversation import OnReply
from heori_common.redis.errors import RedisUnavailable
from heori_common.redis.push import AsyncPushConnection
from heori_common.redis.resp import Word
from heori_common.redis.retries import words_in_full

T = TypeVar("T")

# Seconds between two calls of what `call_regularly` was given: it looks for what no write tells.
CALL_EVERY_S = 5.0
# Keys that are read in one go, at most; fewer while what they hold is large: the server keeps in
# memory all replies that are not sent yet, and may disconnect whoever has too many. Nobody knows
# before how large they are. So it begins with few, and reads twice as many each time.
MOST_READS = 250
FIRST_READS = 4
READ_BYTES = 1_000_000  # of their replies, about
# Seconds for which new watches are collected: one write to the socket for all costs less.
COLLECT_S = 0.001


class Watch:
    """One key that is watched until `stop` is called.

    Attributes:
        command: what reads the key.
        on_reply: called with each reply.
    """

    def __init__(
        self, watcher: "Watcher", key: str, command: Command[Any], on_reply: OnReply
    ) -> None:
        self._watcher = watcher
        self.key = key.encode()
        self.command = command
        self.on_reply = on_reply
        self.stopped = False

    def stop(self) -> None:
        """End it: nothing is called back from now on."""
        self._watcher.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Watcher:
    """Watches keys, in a thread that starts with the first watch. Safe to share between threads.

    Args:
        url: as for `heori_common.redis.client.RedisClient`.

    Raises:
        ValueError: the URL is malformed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._regular: list[Callable[[], None]] = []
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._watches: dict[bytes, list[Watch]] = {}
        self._due: deque[Watch] = deque()  # whose keys are to be read next
        self._reads = FIRST_READS  # at a time
        self._is_reading = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._connection: AsyncPushConnection | None = None

    def watch(self, key: str, command: Command[T], on_reply: Callable[[Any], None]) -> Watch:
        """Read a key now, and again after each write to it, until the watch is stopped.

        Args:
            command: reads the key.
            on_reply: called in the watcher's thread with what was read, or with the RedisRefused
                that came in its place. It must not block.
        """
        made = Watch(self, key, command, on_reply)
        with self._lock:
            if self._owner != os.getpid():  # a forked process has a copy of this, but no thread
                self._reset()
            self._watches.setdefault(made.key, []).append(made)
            self._due.append(made)
            loop = self._start() if len(self._due) == 1 else None
        if loop is not None:
            loop.call_soon_threadsafe(loop.call_later, COLLECT_S, self._read_due)
        return made

    def forget(self, watch: Watch) -> None:
        """Stop a watch."""
        with self._lock:
            watch.stopped = True
            others = self._watches.get(watch.key, [])
            if watch in others:
                others.remove(watch)
                if not others:
                    del self._watches[watch.key]

    def ask(self, command: Command[T], on_reply: Callable[[T], None]) -> None:
        """Execute a command once. Call it in the watcher's thread, from a callback.

        Args:
            on_reply: called with what was read; never, if Redis refuses or the connection breaks.
        """

        def reply(value: Any) -> None:
            in_full = words_in_full(command, value)
            if in_full is None:
                last(value)
            else:
                self._send([(_NOT_TRACKED, _ignore), (in_full, last)])

        def last(value: Any) -> None:
            if not isinstance(value, Exception):
                on_reply(command.parse(value))

        self._send([(_NOT_TRACKED, _ignore), (command.words, reply)])

    def call_regularly(self, call: Callable[[], None]) -> None:
        """Call this in the watcher's thread every CALL_EVERY_S, while it is connected."""
        self._regular.append(call)

    def close(self) -> None:
        """Stop all watches, and the thread."""
        with self._lock:
            self._watches.clear()
            self._due.clear()
            thread, loop, main = self._thread, self._loop, self._main
            self._thread = None
        if thread is None or loop is None or main is None or self._owner != os.getpid():
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(main.cancel)
        if thread is not threading.current_thread():
            thread.join()

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._thread is None:
            loop = self._loop = asyncio.new_event_loop()
            self._main = loop.create_task(self._run())
            self._thread = threading.Thread(
                target=_run_to_end, args=(loop, self._main), name="heori-watcher", daemon=True
            )
            self._thread.start()
        assert self._loop is not None
        return self._loop

    # All that follows runs in the watcher's thread.

    async def _run(self) -> None:
        client = AsyncRedisClient(self._url, connections=0)
        self._connection = AsyncPushConnection(
            client.dialer,
            [("CLIENT", "TRACKING", "ON", "OPTOUT")],
            self._pushed,
            lambda _: self._read_all(),
        )
        await asyncio.gather(
            self._connection.run(), client.follow(), self._look_regularly(self._connection)
        )

    async def _look_regularly(self, connection: AsyncPushConnection) -> None:
        """Look, for ever, for what Redis does not tell."""
        while True:
            await asyncio.sleep(CALL_EVERY_S)
            if (refused := connection.login_refused) is not None:
                with self._lock:
                    watches = self._all_watches()
                for watch in watches:
                    _reader(watch)(refused)
            elif connection.is_connected:
                if not connection.is_ready:  # Redis refuses to track: read all keys instead
                    self._read_all()
                for call in self._regular:
                    call()

    def _pushed(self, push: list[Any]) -> None:
        match push:
            case [b"invalidate", None]:  # everything is gone, by FLUSHALL
                self._read_all()
            case [b"invalidate", keys]:
                with self._lock:
                    written = [watch for key in keys for watch in self._watches.get(key, ())]
                    first = not self._due
                    self._due += written
                if first and written and self._loop is not None:
                    # Later, so that all messages that came together lead to one write.
                    self._loop.call_soon(self._read_due)

    def _read_all(self) -> None:
        with self._lock:
            self._due = deque(self._all_watches())
        self._read_due()

    def _all_watches(self) -> list[Watch]:
        return list(itertools.chain.from_iterable(self._watches.values()))

    def _read_due(self) -> None:
        connection = self._connection
        if connection is None or not connection.is_connected:
            return  # once it is connected, all keys are read
        if self._is_reading:
            return  # once that has come, the next are read
        reads: list[tuple[Iterable[Word], OnReply]] = []
        with self._lock:
            while self._due and len(reads) < self._reads:
                watch = self._due.popleft()
                if not watch.stopped:
                    reads.append((watch.command.words, _reader(watch)))
        if not reads:
            return
        self._is_reading = True
        before = connection.received
        words, last = reads[-1]

        def on_last(value: Any) -> None:
            mean = (connection.received - before) // len(reads)
            fitting = READ_BYTES // max(1, mean)
            if isinstance(value, RedisUnavailable):  # perhaps because it was too much
                fitting = len(reads) // 4
            self._reads = max(1, min(2 * self._reads, fitting, MOST_READS))
            self._is_reading = False
            last(value)
            self._read_due()

        self._send([*reads[:-1], (words, on_last)])

    def _send(self, commands: list[tuple[Iterable[Word], OnReply]]) -> None:
        connection = self._connection
        if connection is not None and connection.is_connected and commands:
            connection.send(commands)


# Sent before a command whose keys are not to be tracked.
_NOT_TRACKED = ("CLIENT", "CACHING", "NO")


def _reader(watch: Watch) -> OnReply:
    def reply(value: Any) -> None:
        if watch.stopped or isinstance(value, RedisUnavailable):
            return  # after the next connect, the key is read again
        watch.on_reply(value if isinstance(value, Exception) else watch.command.parse(value))

    return reply


def _ignore(_: object) -> None:
    pass


def _run_to_end(loop: asyncio.AbstractEventLoop, main: asyncio.Task[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(main)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
