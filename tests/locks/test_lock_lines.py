"""Threads that wait on connections of their own."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from heori import Mutex
from heori_common.locks.commands import Grant
from heori_common.locks.line import MOST_LINES, Line, LinePool
from heori_common.protocol.commands import Command
from heori_common.redis.address import Address
from heori_common.redis.dialer import Dialer
from heori_common.redis.errors import RedisUnavailable
from tests.rigs.lock_rig import queued, thread

pytestmark = pytest.mark.usefixtures("no_lock_is_left")

GRANT = Grant("r", 5, 7)


@pytest.fixture
def line(redis_url: str) -> Iterator[Line]:
    opened = LinePool(Dialer(Address.parse(redis_url)), "here").open(60.0)
    assert opened is not None
    yield opened
    opened.close()


def test_a_grant_that_comes_before_a_reply_is_kept_and_so_is_the_reply(line: Line) -> None:
    told = Command(("PUBLISH", line.channel, msgpack.packb(GRANT)), int)
    assert (line.execute(told), line.execute(told)) == (1, 1)
    assert (line.grant(60.0), line.grant(60.0)) == (GRANT, GRANT)


def test_one_who_is_told_nothing_waits_no_longer_than_he_wants(line: Line) -> None:
    began = time.monotonic()
    assert line.grant(0.05) is None
    assert time.monotonic() - began >= 0.05
    assert line.execute(Command(("ECHO", b"well"), bytes)) == b"well"


def test_a_line_that_is_cut_says_so(line: Line, redis: Any) -> None:
    redis.client_kill_filter(_type="pubsub")
    with pytest.raises(RedisUnavailable):
        line.grant(60.0)


@pytest.mark.usefixtures("turns_last")
def test_the_first_threads_that_wait_have_a_channel_each_and_all_have_their_turn(
    redis: Any,
) -> None:
    lock = Mutex("a")
    order: list[int] = []

    def wait(number: int) -> None:
        with Mutex("a"):
            order.append(number)

    more = MOST_LINES + 3
    with contextlib.ExitStack() as stack, lock:
        for number in range(more):
            stack.enter_context(thread(lambda n=number: wait(n)))  # type: ignore[misc]
            queued(lock, number + 1)
        process = lock.session().channel
        assert process is not None
        told_on = {channel.decode() for channel in redis.pubsub_channels("*granted*")}
        assert told_on == {process} | {f"{process}/{n}" for n in range(MOST_LINES)}
    assert order == list(range(more))


def test_a_thread_that_waits_again_uses_the_same_line(redis: Any) -> None:
    lock = Mutex("a")
    for _ in range(3):
        with contextlib.ExitStack() as stack, lock:
            stack.enter_context(thread(lambda: Mutex("a").__enter__().release()))
            queued(lock, 1)
    assert redis.pubsub_channels("*granted*") == [f"{lock.session().channel}/0".encode()]
