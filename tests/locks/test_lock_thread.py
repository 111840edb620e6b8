"""The thread that serves all locks of a process: nothing ends it, and errors are their callers'."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from heori import DeadlockDetected, Mutex, RedisRefused, Semaphore
from heori_common.locks import session
from heori_common.protocol.commands import Command
from heori_common.redis.push import PushThread, Reply
from tests.rigs.lock_kinds import KINDS, LIMIT
from tests.rigs.lock_rig import queued, thread, use
from tests.rigs.waiting import until

pytestmark = pytest.mark.usefixtures("no_lock_is_left")


def push_of(lock: Mutex) -> PushThread:
    return lock.session().push


def ask(push: PushThread, command: Command[Any]) -> Any:
    """What the thread answers."""
    replies: list[Reply] = []
    push.call(command, replies.append)
    until(lambda: replies)
    return replies[0].value


def fails(*_: Any) -> Any:
    raise ZeroDivisionError


def test_whatever_goes_wrong_in_it_it_goes_on(
    redis: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ping: Command[Any] = Command(("PING",), bytes)
    with Mutex("held") as held:
        push = push_of(held)
        assert ask(push, ping) == b"PONG"
        [served] = redis.client_list(_type="pubsub")

        # An error of one request is told to whoever has made it.
        assert isinstance(ask(push, Command(("PING",), fails)), ZeroDivisionError)
        assert isinstance(ask(push, Command(("NOSUCH",), bytes)), RedisRefused)
        with pytest.raises(ValueError, match="surrogates"):
            push.call(Command(("GET", "caf\ud800"), bytes), fails)
        push.call(ping, fails)  # and one of whoever hears of it ends nobody else's
        for nonsense in (b"", b"\xc1", b"\x05", b"\x93\x01\x02\x03", b"\x93\xa1a\xc0\xc0"):
            redis.publish(held.session().channel, nonsense)
        assert ask(push, ping) == b"PONG"
        assert [each["id"] for each in redis.client_list(_type="pubsub")] == [served["id"]]

        # What breaks the connection makes a new one.
        dial, dialed = push._dialer.dial, []

        def struck() -> Any:
            dialed.append(1)
            if len(dialed) <= 3:
                raise LookupError("unknown encoding: idna")
            return dial()

        monkeypatch.setattr(push._dialer, "dial", struck)
        redis.client_kill_filter(_id=served["id"])
        assert ask(push, ping) == b"PONG"
        told = [record for record in caplog.records if "is made anew" in record.message]
        assert len(told) == 1
        assert not held.lost.is_set()
        with thread(Mutex("held").acquire) as join:
            until(lambda: held.statistics().waiters)
            held.release()
            assert join() is True
        held.acquire()


@pytest.fixture
def few_rights(
    redis: Any, no_lock_is_left: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Of the user of all locks, who may use all keys, and no channel."""
    redis.execute_command("ACL", "SETUSER", "few", "on", ">pw", "resetchannels", "~rq:*", "+@all")
    url = os.environ["HEORI_REDIS_URL"].replace("redis://", "redis://few:pw@")
    monkeypatch.setenv("HEORI_REDIS_URL", url)
    session.close()
    yield
    session.close()
    redis.execute_command("ACL", "DELUSER", "few")


@pytest.mark.usefixtures("few_rights")
def test_a_user_without_channels_waits_by_looking_and_is_told_so_once(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[int] = []

    def wait() -> None:
        with KINDS[kind]():
            order.append(0)

    async def wait_async() -> None:
        async with KINDS[kind]():
            order.append(1)

    holders = [KINDS[kind]() for _ in range(LIMIT.get(kind, 1))]
    for holder in holders:
        holder.acquire()
    waited_for = Semaphore("a", 3) if kind.startswith("semaphore") else Mutex("a")
    with thread(wait) as one:
        queued(waited_for, 1)
        with thread(lambda: asyncio.run(wait_async())) as other:
            queued(waited_for, 2)
            for holder in holders:
                holder.release()
            assert (one(), other()) == (None, None)
    assert sorted(order) == [0, 1]
    if kind not in LIMIT:
        assert order == [0, 1]  # first come, first served, as ever
    told = [record for record in caplog.records if "looks 20 times a second" in record.message]
    assert len(told) == 1


@pytest.mark.usefixtures("few_rights")
def test_without_channels_a_deadlock_is_found_all_the_same() -> None:
    held = threading.Event()

    def other() -> None:
        assert held.wait(60)
        with Mutex("b"), Mutex("a"):
            pass

    with thread(other) as join:
        with Mutex("a"):
            held.set()
            queued(Mutex("a"), 1)
            with pytest.raises(DeadlockDetected):
                Mutex("b").acquire()
        assert join() is None


@pytest.mark.usefixtures("few_rights")
def test_when_the_right_to_channels_comes_back_waiters_are_told_again(redis: Any) -> None:
    lock = Mutex("a")
    lock.acquire()
    with thread(use(Mutex("a"))):
        queued(lock, 1)
        until(lambda: lock.session().polls)
        assert not _wake(redis, lock)
        redis.execute_command("ACL", "SETUSER", "few", "allchannels")
        redis.client_kill_filter(_type="normal", skipme=True)
        until(lambda: not lock.session().polls)
        until(lambda: _wake(redis, lock))
        lock.release()


def _wake(redis: Any, lock: Mutex) -> object:
    """The channel on which the only waiter is to be told."""
    [waiter] = lock.statistics().waiters
    return msgpack.unpackb(redis.hget(lock.key, waiter.request), raw=True)[1]


def test_nothing_is_imported_when_locks_are_used_first() -> None:
    """An exception that strikes inside an import leaves a process that cannot import it again."""
    program = """
import asyncio, sys
import heori_consumer.worker.forkserver
from heori import (
    DeadlockDetected, Fence, LockOwner, Mutex, Semaphore, acquire_all, connect
)
from heori_common.protocol.keys import Keys
import asyncio.runners, concurrent.futures.thread  # of the worker itself
before = set(sys.modules)
for url in (None, sys.argv[1]):
    with Mutex("a", url) as lock, Semaphore("a", 2, url, owner=LockOwner()):
        Fence("a", lock).execute("SET", "rq:imported", 1)
        lock.statistics()
    async def use():
        async with acquire_all([Mutex("a", url), Mutex("b", url)]):
            pass
    asyncio.run(use())
try:
    Mutex("a").release()
except Exception:
    pass
connect(sys.argv[1]).delete("rq:imported", Keys().fenced("a"))
print(sorted(set(sys.modules) - before))
"""
    url = os.environ["HEORI_REDIS_URL"]
    done = subprocess.run(
        [sys.executable, "-c", program, url.replace("127.0.0.1", "localhost")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
