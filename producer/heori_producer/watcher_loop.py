"""The event loop of a watcher, in the watcher's thread or in another program's."""

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, NamedTuple

from heori_common import clock
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.async_push import AsyncPushConnection

if TYPE_CHECKING:
    from heori_producer.watcher import Watcher

# Seconds between two looks for what no write tells.
LOOK_EVERY_S = 5.0
CANCEL_AGAIN_S = 0.1  # until what has not ended is cancelled once more


class WatcherThread(NamedTuple):
    """A watcher's thread, the event loop in it, and what runs there until it is cancelled."""

    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    main: asyncio.Task[None]


def begin(watcher: "Watcher", before: threading.Thread | None) -> WatcherThread:
    """Begin a watcher's thread.

    Args:
        before: the one before, which is to end first.
    """
    loop = _Loop()
    main = loop.create_task(keep(watcher))
    thread = threading.Thread(
        target=_run_to_end, args=(loop, main, before), name="heori-watcher", daemon=True
    )
    thread.start()
    return WatcherThread(thread, loop, main)


async def keep(watcher: "Watcher") -> None:
    """Keep a watcher's connection, for ever."""
    client = AsyncRedisClient(watcher.url, connections=0)
    connection = watcher.connection = AsyncPushConnection(
        client.dialer,
        [("CLIENT", "TRACKING", "ON", "OPTOUT")],
        watcher.pushed,
        lambda _: watcher.read_all(),
    )
    await asyncio.gather(connection.run(), client.follow(), _look_regularly(watcher))


async def _look_regularly(watcher: "Watcher") -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        watcher.look()


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose timers go on where a test has frozen the time."""

    def time(self) -> float:
        return clock.now()


def _run_to_end(
    loop: asyncio.AbstractEventLoop, main: asyncio.Task[None], before: threading.Thread | None
) -> None:
    if before is not None:
        before.join()
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(main)
    # Again until it has taken effect: redis-py may swallow a cancellation while it connects.
    while left := asyncio.all_tasks(loop):
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left, timeout=CANCEL_AGAIN_S))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
