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

from redis.exceptions import NoScriptError, RedisError, ResponseError

from heori_common.protocol.commands import Command
from heori_common.redis.client import AsyncRedisClient
from heori_common.redis.wire import AsyncConnection, OnReply, Word

T = TypeVar("T")

RETRY = 0.5  # seconds, before connecting again
# A connection on which nothing has come for so long is asked whether it is still there, seconds;
# as often, whoever waits may look for what no key tells.
QUIET = 5.0
BATCH = 1000  # commands sent in one go
TOGETHER = 0.001  # seconds for which watches are collected: each write to the socket costs


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
        self._on_quiet: list[Callable[[], None]] = []
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._watches: dict[bytes, list[Watch]] = {}
        self._due: list[Watch] = []  # to be read, as soon as the thread comes to it
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._connection: AsyncConnection | None = None
        self._tracked = False

    def watch(self, key: str, command: Command[T], on_reply: Callable[[Any], None]) -> Watch:
        """Read now, and again after each write to the key, until stopped.

        Args:
            on_reply: called in the watcher's thread with what was read, or with the
                redis.exceptions.ResponseError by which Redis refuses to. It must not block.
        """
        made = Watch(self, key, command, on_reply)
        with self._lock:
            if self._owner != os.getpid():  # threads do not follow into a copy of the process
                self._reset()
            self._watches.setdefault(made.key, []).append(made)
            self._due.append(made)
            loop = self._start() if len(self._due) == 1 else None
        if loop is not None:
            loop.call_soon_threadsafe(loop.call_later, TOGETHER, self._read_due)
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
            if isinstance(value, NoScriptError) and command.in_full is not None:
                self._send([(_NOT_TRACKED, _ignore), (command.in_full, last)])
            else:
                last(value)

        def last(value: Any) -> None:
            if not isinstance(value, Exception):
                on_reply(command.parse(value))

        self._send([(_NOT_TRACKED, _ignore), (command.words, reply)])

    def when_quiet(self, call: Callable[[], None]) -> None:
        """Call in the watcher's thread every few seconds, while it runs."""
        self._on_quiet.append(call)

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
        following = asyncio.create_task(client.follow())
        try:
            while True:
                connection = client.connection(self._pushed)
                try:
                    await self._connect(connection)
                    await self._keep(connection)
                except (RedisError, OSError):
                    pass  # whoever sends says so; whoever waits goes on when it is back
                finally:
                    self._connection = None
                    await connection.close()
                await asyncio.sleep(RETRY)
        finally:
            following.cancel()

    async def _connect(self, connection: AsyncConnection) -> None:
        await connection.connect()
        try:
            await connection.ask(("CLIENT", "TRACKING", "ON", "OPTOUT"), QUIET)
            self._tracked = True
        except ResponseError:  # not allowed to this user: what is watched is read in turns
            self._tracked = False
        self._connection = connection
        self._read_all()

    async def _keep(self, connection: AsyncConnection) -> None:
        """Return when the connection is lost, or answers no more."""
        while True:
            before = connection.heard
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIET):
                    await connection.lost()
                    return
            if connection.heard == before:
                await connection.ask(("PING",), QUIET)
            if not self._tracked:
                self._read_all()
            for call in self._on_quiet:
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
        if self._connection is None:
            return  # all are read once there is one
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
        if watch.stopped or (isinstance(value, Exception) and not isinstance(value, ResponseError)):
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
