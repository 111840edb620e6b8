"""The pauses between attempts: many that are cut off at once do not come back at once."""

import asyncio
from typing import Any

import pytest
import redis as redis_py
from structlog.testing import CapturingLogger

from heori_common import clock
from heori_common.protocol.keys import Keys
from heori_common.redis.address import Address
from heori_common.redis.errors import RedisUnavailable
from heori_common.redis.redis_py import AsyncRedisPyDialer, RedisPyDialer
from heori_common.redis.retries import FIRST_PAUSE_S, LONGEST_PAUSE_S, Backoff
from heori_consumer.supervisor import redis_retry
from heori_consumer.supervisor.redis_retry import RedisRetry
from tests.rigs.listening import leading

MANY = 1_000


def are_spread(pauses: list[float], most: float) -> bool:
    """Whether they are any times up to that: in each quarter far more than a handful."""
    quarters = [sum(int(4 * pause / most) == quarter for pause in pauses) for quarter in range(4)]
    return min(quarters) > MANY / 8 and sum(quarters) == MANY


def test_the_first_attempt_follows_at_once_and_a_pause_is_any_time_up_to_what_doubles() -> None:
    backoffs = [Backoff() for _ in range(MANY)]
    assert {backoff.pause() for backoff in backoffs} == {0.0}
    most = FIRST_PAUSE_S
    for _ in range(6):
        assert are_spread([backoff.pause() for backoff in backoffs], most)
        most = min(LONGEST_PAUSE_S, 2 * most)


def test_nobody_comes_back_at_once_and_at_once_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(clock, "now", lambda: now)
    backoffs = [Backoff() for _ in range(MANY)]
    assert {backoff.pause() for backoff in backoffs} == {0.0}
    for backoff in backoffs:
        backoff.reset()
    assert are_spread([backoff.pause() for backoff in backoffs], FIRST_PAUSE_S)
    for backoff in backoffs:
        backoff.reset()
    now += LONGEST_PAUSE_S
    assert {backoff.pause() for backoff in backoffs} == {0.0}


@pytest.mark.parametrize(
    ("consumers", "first", "second"),
    [(1, FIRST_PAUSE_S, 2 * FIRST_PAUSE_S), (500, 0.5, 0.75), (9_000, 2.0, 2.0)],
)
def test_the_more_consumers_there_are_the_longer_they_take_to_come_back(
    consumers: int, first: float, second: float
) -> None:
    retry = RedisRetry()
    backoffs = [retry.backoff() for _ in range(MANY)]
    retry.consumers = consumers
    assert {backoff.pause() for backoff in backoffs} == {0.0}
    assert are_spread([backoff.pause() for backoff in backoffs], first)
    assert are_spread([backoff.pause() for backoff in backoffs], second)


def test_a_consumer_knows_how_many_may_come_back_with_it(redis: Any, redis_url: str) -> None:
    async def main() -> None:
        redis.sadd(Keys().workers(), *map(str, range(500)))
        async with leading(redis_url, "default") as led:
            assert led.context.retry.consumers == 500

    asyncio.run(main())


@pytest.mark.parametrize(
    ("leaves", "told"), [(False, ["Redis is away; trying again", "Redis is back"]), (True, [])]
)
def test_who_leaves_does_not_take_its_own_end_for_an_outage(
    leaves: bool, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = CapturingLogger()
    monkeypatch.setattr(redis_retry, "log", log)
    retry = RedisRetry()
    retry.leaves = leaves
    for _ in range(2):
        retry.failed("claim", RedisUnavailable("the connection was closed"))
    retry.worked("claim")
    assert [call.args[0] for call in log.calls] == told


@pytest.mark.skipif(not hasattr(redis_py, "DriverInfo"), reason="this one reads its version once")
def test_what_connections_tell_of_themselves_is_read_once(redis_url: str) -> None:
    where = Address.parse(redis_url)
    pools: list[Any] = [RedisPyDialer(where)._pool, AsyncRedisPyDialer(where)._pool]
    told = [pool.connection_kwargs["driver_info"] for pool in pools]
    assert told[0] is told[1]
    assert told[0].lib_version == redis_py.__version__
