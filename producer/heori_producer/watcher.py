"""Reads keys again whenever they are written: all that one producer waits for, in one thread.

Client tracking: reading a key arms it, and the first write to it afterwards, whoever makes it,
sends one message. So one connection waits for thousands of results, and for room in queues, and
nothing polls. (Redis documentation, "Client-side caching", opt-out mode.)
"""

import asyncio
import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Self, TypeVar

from heori_common.protocol.commands import Command
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.conversation import OnReply
from heori_common.redis.errors import RedisUnavailable
from heori_common.redis.push import AsyncPushConnection
from heori_common.redis.resp import Word
from heori_common.redis.retries import words_in_full

T = TypeVar("T")

# How often whoever waits may look for what no key tells, in seconds.
LOOK_S = 5.0
BATCH = 1000  # commands sent in one go
TOGETHER_S = 0.001  # seconds for which watches are collected: each write to the socket costs


class Watch:
    """One key that is watched, until `stop` is called."""

    def __init__(
        self, watcher: "Watcher", key: str, command: Command[Any], on_reply: OnReply
    ) -> None:
        self._watcher = watcher
        self.key = key.encode()
        self.command = command
        self.on_reply = on_reply
        self.stopped = False

    def stop(self) -> None:
        """Be called back no more."""
        self._watcher.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Watcher:
    """Safe to share between threads; its own begins with the first watch.

    Args:
        url: as for `heori_common.redis.client.RedisClient`.

    Raises:
        ValueError: the URL is malformed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._on_look: list[Callable[[], None]] = []
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._watches: dict[bytes, list[Watch]] = {}
        self._due: list[Watch] = []  # to be read, as soon as the thread comes to it
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._connection: AsyncPushConnection | None = None

    def watch(self, key: str, command: Command[T], on_reply: Callable[[Any], None]) -> Watch:
        """Read now, and again after each write to the key, until stopped.

        Args:
            on_reply: called in the watcher's thread with what was read, or with the
                RedisRefused by which Redis does not let it. It must not block.
        """
        made = Watch(self, key, command, on_reply)
        with self._lock:
            if self._owner != os.getpid():  # threads do not follow into a copy of the process
                self._reset()
            self._watches.setdefault(made.key, []).append(made)
            self._due.append(made)
            loop = self._start() if len(self._due) == 1 else None
        if loop is not None:
            loop.call_soon_threadsafe(loop.call_later, TOGETHER_S, self._read_due)
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
        """Execute a command once, from a callback; unanswered when the connection breaks."""

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

    def every_look(self, call: Callable[[], None]) -> None:
        """Call in the watcher's thread every LOOK_S, while it runs."""
        self._on_look.append(call)

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

    # In the thread

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

    async def _run(self) -> None:
        client = AsyncRedisClient(self._url, connections=0)
        self._connection = AsyncPushConnection(
            client.dialer,
            [("CLIENT", "TRACKING", "ON", "OPTOUT")],
            self._pushed,
            lambda _: self._read_all(),
        )
        await asyncio.gather(self._connection.run(), client.follow(), self._look(self._connection))

    async def _look(self, connection: AsyncPushConnection) -> None:
        """Look, for ever, for what Redis does not tell."""
        while True:
            await asyncio.sleep(LOOK_S)
            if connection.is_connected:
                if not connection.is_ready:  # this user may not track: what is watched is read
                    self._read_all()
                for call in self._on_look:
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
                    self._loop.call_soon(self._read_due)  # one write for all that came at once

    def _read_all(self) -> None:
        with self._lock:
            self._due = list(itertools.chain.from_iterable(self._watches.values()))
        self._read_due()

    def _read_due(self) -> None:
        if self._connection is None or not self._connection.is_connected:
            return  # all are read once it is
        with self._lock:
            due, self._due = self._due, []
        for first in range(0, len(due), BATCH):
            self._send(
                [
                    (watch.command.words, _reader(watch))
                    for watch in due[first : first + BATCH]
                    if not watch.stopped
                ]
            )

    def _send(self, commands: list[tuple[Iterable[Word], OnReply]]) -> None:
        connection = self._connection
        if connection is not None and connection.is_connected and commands:
            connection.send(commands)


# What is asked once is not to ring later.
_NOT_TRACKED = ("CLIENT", "CACHING", "NO")


def _reader(watch: Watch) -> OnReply:
    def reply(value: Any) -> None:
        if watch.stopped or isinstance(value, RedisUnavailable):
            return  # when the connection is back, it is read again
        watch.on_reply(value if isinstance(value, Exception) else watch.command.parse(value))

    return reply


def _ignore(_: object) -> None:
    pass


def _run_to_end(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None] | Any) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(main)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
