"""Redis answers, and refuses: what has ended is kept, and nothing runs twice."""

import asyncio
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from heori import JobExpired, Producer
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands.delivery import UNWATCHED_INTERVALS
from heori_common.protocol.keys import Keys
from heori_common.redis.address import Address
from heori_common.redis.errors import RedisRefused, RedisUnavailable, error_of
from heori_consumer.supervisor.leadership import REAP_EVERY_S
from heori_consumer.supervisor.redis_retry import RedisRetry
from tests.rigs.consumers import Consumer
from tests.rigs.refusals import REFUSALS
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

KEYS = Keys()
# The lease, rounded up to whole seconds, and the time after which nobody has looked.
LEASE_S = 1
REFUSED_S = max(LEASE_S + 1, UNWATCHED_INTERVALS * REAP_EVERY_S) + 0.5


def health(consumer: Consumer) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(consumer.url + "/readyz", timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_what_ends_or_runs_while_redis_refuses_runs_once(
    consume: Callable[..., Consumer], tmp_path: Path
) -> None:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
        Producer(server.url) as producer,
    ):
        consumer = consume(
            *("--model", "threads", "--slots", "4"),
            HEORI_REDIS_URL=server.url,
            HEORI_LEASE=str(LEASE_S),
        ).ready()
        for name, refuse in REFUSALS.items():
            begun, soon, late = (tmp_path / f"{name}-{what}" for what in ("begun", "soon", "late"))
            begun.touch()
            wait, retry = (
                sample_tasks.record_and_wait,
                sample_tasks.record_and_wait_and_fail_at_first,
            )
            handles = [
                producer.submit(task, str(begun), str(gate), number)
                for number, (task, gate) in enumerate(
                    ((wait, soon), (retry, soon), (wait, late), (wait, late))
                )
            ]
            until(lambda begun=begun: len(begun.read_bytes().split()) == 4)  # type: ignore[misc]
            consumer.begin()
            assert health(consumer)[0] == 200
            with refuse(client):
                until(lambda: health(consumer)[0] == 503)
                report = health(consumer)[1]
                assert report["redis"] == "refuses"
                assert name in report["reason"]
                assert consumer.metric("heori_redis_up") == 0
                soon.touch()
                until(lambda: consumer.metric("heori_slots_running") == 2)
                if name == "READONLY":
                    time.sleep(REFUSED_S)  # all leases are over then
                assert consumer.metric("heori_jobs_held") == 4
            until(lambda: health(consumer)[0] == 200)
            assert [handle.result(60) for handle in handles[:2]] == [0, 1]
            assert producer.submit(sample_tasks.add, 1).result(60) == 3
            late.touch()
            assert [handle.result(60) for handle in handles[2:]] == [2, 3]
            assert sorted(begun.read_bytes().split()) == [b"0", b"1", b"1", b"2", b"3"], name
            for handle in handles:
                assert client.hget(KEYS.job(handle.id), "heori_deliveries") == b"1"
            assert consumer.metric("heori_leases_lost_total") == 0
            assert consumer.metric("heori_results_refused_total") == 0
            consumer.wait_for("Redis does not refuse any more")
            told = [line for line in consumer.log if line["logger"].endswith("redis_retry")]
            consumer.log.clear()
            beginning, end = told
            assert (beginning["event"], name in beginning["reason"]) == (
                "Redis refuses; trying again",
                True,
            )
            assert end["event"] == "Redis does not refuse any more"
            assert end["after_seconds"] >= (REFUSED_S if name == "READONLY" else 0)
            assert end["failed_attempts"] >= 1
        assert consumer.stop() == 0


def test_what_is_evicted_or_late_is_told_and_counted_and_what_was_cancelled_is_not(
    consume: Callable[..., Consumer],
) -> None:
    config = {"maxmemory": "1gb", "maxmemory-policy": "allkeys-lru"}
    with (
        EmbeddedValkey(config) as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
        Producer(server.url) as producer,
    ):
        handles = producer.submit_many(sample_tasks.add, range(5))
        producer.cancel("default", [handles[0].id])
        client.rpush(KEYS.queue("default"), handles[0].id)
        client.delete(*(KEYS.job(handle.id) for handle in handles[1:4]))
        late = producer.options(expires=datetime(2020, 1, 1, tzinfo=UTC)).submit(
            sample_tasks.add, 1
        )
        consumer = consume(HEORI_REDIS_URL=server.url)
        warned = consumer.wait_for(
            "this Redis deletes keys when its memory is full, and jobs or results with them; "
            "it should have the maxmemory-policy noeviction"
        )
        assert (warned["level"], warned["policy"]) == ("warning", "allkeys-lru")
        consumer.ready()
        assert handles[4].result(60) == 6
        until(lambda: consumer.metric("heori_jobs_gone_total", queue="default") == 3)
        with pytest.raises(JobExpired, match="it was to begin before 2020-01-01T00:00:00"):
            late.result(60)
        until(lambda: consumer.metric("heori_jobs_expired_total", queue="default") == 1)
        assert consumer.stop() == 0
        gone = [line for line in consumer.log if line["event"].startswith("nothing is left")]
        assert [line.get("times") for line in gone] == [None, 2]
        assert [line["job"] for line in gone] == [handles[1].id, handles[3].id]


# What is told, and when


READONLY = RedisRefused("READONLY You can't write against a read only replica.")
NOPERM = RedisRefused("NOPERM this user has no permissions to run the 'hset' command")
NOPERM_IN_SCRIPT = error_of(
    "ERR ACL failure in script: User default has no permissions to run the 'hset' command",
    Address.parse("redis://127.0.0.1"),
)
OOM = RedisRefused("OOM command not allowed when used memory > 'maxmemory'.")
NOAUTH = RedisRefused("NOAUTH Authentication required.")
WRONGTYPE = RedisRefused("WRONGTYPE Operation against a key holding the wrong kind of value")
AWAY = RedisUnavailable("Redis is away")


class Server:
    """Answers one attempt after the other: with an error, or None for success."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)

    async def ask(self) -> str:
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer
        return "done"


Say = Callable[[Coroutine[Any, Any, None]], list[str]]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Say:
    """Do some work; returns what was said meanwhile, without reasons and times."""
    caplog.set_level("INFO")

    def do(work: Coroutine[Any, Any, None]) -> list[str]:
        asyncio.run(work)
        return [
            re.sub(r" (reason=.*|after_seconds=[0-9.]+)", "", message)
            for message in caplog.messages
        ]

    return do


@pytest.mark.parametrize("error", [READONLY, NOPERM, NOPERM_IN_SCRIPT, OOM, NOAUTH, AWAY])
def test_what_must_not_be_lost_is_sent_until_it_is_taken(error: Exception, said: Say) -> None:
    retry = RedisRetry()

    async def work() -> None:
        server = Server(error, error, None)
        assert await retry.persist("acknowledge jobs", server.ask) == "done"
        assert retry.trouble is None

    beginning, end = said(work())
    assert "trying again" in beginning
    assert end.endswith("failed_attempts=2")


def test_what_is_refused_for_its_data_is_told_to_whoever_sent_it(said: Say) -> None:
    async def work() -> None:
        with pytest.raises(RedisRefused):
            await RedisRetry().persist("acknowledge jobs", Server(WRONGTYPE).ask)

    assert said(work()) == []


def test_an_outage_is_two_lines_however_many_notice_it(said: Say) -> None:
    retry = RedisRetry()

    async def work() -> None:
        for what in ("claim jobs", "reclaim jobs", "lead"):
            assert await retry.once(what, Server(AWAY).ask()) is None
        assert retry.away
        assert await retry.once("look", Server(None).ask(), writes=False) == "done"
        assert not retry.away

    assert said(work()) == ["Redis is away; trying again", "Redis is back failed_attempts=3"]


def test_only_what_writes_shows_that_writes_are_taken(said: Say) -> None:
    retry = RedisRetry()
    moved: list[str] = []
    retry.on_other_server.append(lambda: moved.append("listen anew"))

    async def work() -> None:
        await retry.once("lead", Server(AWAY).ask())
        await retry.once("claim jobs", Server(READONLY).ask())
        assert not retry.away
        await retry.once("look", Server(None).ask(), writes=False)
        assert retry.trouble is READONLY
        assert not moved
        await retry.once("lead", Server(None).ask())
        assert retry.trouble is None
        assert moved == ["listen anew"]

    assert said(work()) == [
        "Redis is away; trying again",
        "Redis is back failed_attempts=1",
        "Redis refuses; trying again",
        "Redis does not refuse any more failed_attempts=1",
    ]


def test_what_one_user_must_not_do_is_told_of_each_thing_once(said: Say) -> None:
    retry = RedisRetry()

    async def work() -> None:
        for _ in range(3):
            await retry.once("tidy up", Server(NOPERM).ask())
            await retry.once("claim jobs", Server(None).ask())
        assert retry.trouble is None, "claims go on"
        retry.failed("claim jobs", WRONGTYPE, vital=True)
        assert retry.trouble is WRONGTYPE
        await retry.once("tidy up", Server(None).ask())
        assert retry.trouble is WRONGTYPE
        await retry.once("claim jobs", Server(None).ask())
        assert retry.trouble is None

    assert said(work()) == [
        "Redis refuses; trying again what='tidy up'",
        "Redis refuses; trying again what='claim jobs'",
        "Redis does not refuse any more what='tidy up' failed_attempts=3",
        "Redis does not refuse any more what='claim jobs' failed_attempts=1",
    ]


def test_who_waits_goes_on_when_another_finds_that_it_is_over(said: Say) -> None:
    retry = RedisRetry()

    async def work() -> None:
        trouble = retry.failed("claim jobs", READONLY)
        resting = asyncio.create_task(trouble.rest(3600))
        await asyncio.sleep(0)
        retry.worked("look", writes=False)
        await asyncio.sleep(0)
        assert not resting.done()
        retry.worked("lead")
        await resting

    assert len(said(work())) == 2
