"""Producers in long-lived programs: what they share, and what they leave when they are let go."""

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from rq.job import Job as RqJob
from rq.job import JobStatus
from rq.results import Result as RqResult
from rq.serializers import JSONSerializer

from heori import Producer, RedisExecutor, group
from tests.rigs.waiting import until
from tests.tasks import sample_tasks


def watchers() -> int:
    return sum(thread.name == "heori-watcher" for thread in threading.enumerate())


def finish(redis: Any, job_id: str, value: int) -> None:
    """End a job as rq does."""
    job = RqJob.fetch(job_id, connection=redis, serializer=JSONSerializer)
    job.set_status(JobStatus.FINISHED)
    RqResult.create(job, RqResult.Type.SUCCESSFUL, 60, return_value=value)


@pytest.fixture(autouse=True)
def nothing_is_left(redis: Any) -> Iterator[None]:
    """What was let go leaves no thread, and no connection."""

    def connections() -> int:
        return len([each for each in redis.client_list() if each["id"] != redis.client_id()])

    gc.collect()
    until(lambda: watchers() == 0)
    before = connections()
    yield
    gc.collect()
    until(lambda: watchers() == 0)
    until(lambda: connections() <= before)


def test_fifty_producers_and_executors_share_two_connections_and_leave_none(
    redis_url: str, redis: Any
) -> None:
    async def use() -> list[weakref.ref[Any]]:
        producers = [Producer(redis_url) for _ in range(50)]
        executors = [RedisExecutor(redis_url) for _ in range(50)]
        before = len(redis.client_list())
        handles = [producer.submit(sample_tasks.add, 1) for producer in producers]
        futures = [executor.submit(sample_tasks.add, 1) for executor in executors]
        awaiting = asyncio.gather(*handles, *map(asyncio.wrap_future, futures))
        for job_id in redis.lrange("rq:queue:default", 0, -1):
            finish(redis, job_id.decode(), 3)
        assert await awaiting == [3] * 100
        assert watchers() == 1
        assert len(redis.client_list()) - before <= 2
        made = [*producers, *executors, *handles, *futures]
        return [weakref.ref(each) for each in made]

    made = asyncio.run(use())
    gc.collect()
    until(lambda: [ref() for ref in made] == [None] * 200)  # their thread may be about to return


def test_what_is_let_go_before_its_job_has_ended_is_not_kept_for_it(redis_url: str) -> None:
    async def gives_up(handle: Any) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await handle

    producer, executor = Producer(redis_url), RedisExecutor(redis_url)
    handles = [producer.submit(sample_tasks.add, n) for n in range(3)]
    some = group(handles)
    assert not some.wait(0.05)
    future = executor.submit(sample_tasks.add, 1)
    asyncio.run(gives_up(handles[0]))
    asyncio.run(gives_up(group(handles)))
    assert watchers() == 1
    made = [weakref.ref(each) for each in (producer, executor, some, future, *handles)]
    del producer, executor, some, future, handles
    gc.collect()
    until(lambda: [ref() for ref in made] == [None] * len(made))  # their thread may have them yet


def test_what_is_let_go_or_closed_while_it_connects_leaves_nothing(redis_url: str) -> None:
    for number in range(60):
        producer = Producer(redis_url)
        waited = group([producer.submit(sample_tasks.add, number)])
        assert not waited.wait(number % 6 / 1000)
        if number % 2:
            producer.close()
        del producer, waited
        if number % 10 == 0:
            gc.collect()


def test_a_future_that_is_to_call_back_is_kept_until_it_has(redis_url: str, redis: Any) -> None:
    called: list[int] = []
    done = threading.Event()

    def note(future: Future[int]) -> None:
        called.append(future.result())
        done.set()

    def send() -> weakref.ref[Any]:
        future = RedisExecutor(redis_url).submit(sample_tasks.add, 1)
        future.add_done_callback(note)
        return weakref.ref(future)

    sent = send()
    gc.collect()
    assert sent() is not None
    [job_id] = redis.lrange("rq:queue:default", 0, -1)
    finish(redis, job_id.decode(), 3)
    assert done.wait(60)
    assert called == [3]
    gc.collect()
    until(lambda: sent() is None)  # its thread may still be about to return


def test_to_close_one_producer_disturbs_no_other(redis_url: str, redis: Any) -> None:
    with Producer(redis_url) as staying:
        waited = group([staying.submit(sample_tasks.add, 1)])
        with Producer(redis_url) as leaving:
            gone = group([leaving.submit(sample_tasks.add, 1)])
        for job_id in redis.lrange("rq:queue:default", 0, -1):
            finish(redis, job_id.decode(), 3)
        assert waited.results(60) == [3]
        assert gone.progress().done == 0, "its producer was closed, and it is told nothing"
        assert gone.wait(0)
    until(lambda: watchers() == 0)
    assert leaving.submit(sample_tasks.add, 2).status() == "queued", "it can be used again"


def test_another_login_or_database_is_another_server(redis_url: str) -> None:
    urls = [redis_url, f"{redis_url}?client_name=a", redis_url.replace("/0", "/1")]
    producers = [Producer(url) for url in urls * 2]
    waited = [group([producer.submit(sample_tasks.add, 1)]) for producer in producers]
    assert watchers() == len(set(urls)) == 3
    assert not any(each.wait(0) for each in waited)
    producers[2].cancel("default", [waited[2].handles[0].id])
    producers[5].cancel("default", [waited[5].handles[0].id])


FROZEN = """
import concurrent.futures, queue, sys, threading, time  # those that freezegun leaves alone, too
began = time.monotonic
for clock in ("time", "monotonic", "perf_counter"):
    for name in (clock, clock + "_ns"):
        setattr(time, name, lambda now=getattr(time, name)(): now)
from heori import Producer, QueueFull, RedisExecutor, RedisUnavailable, group
from tests.producer.test_sharing import finish
from tests.tasks import sample_tasks
import redis
url, nowhere = sys.argv[1:]
client = redis.Redis.from_url(url, socket_timeout=None)

def ends(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(call)

assert time.monotonic() == time.monotonic() != began()
with Producer(url) as producer, RedisExecutor(url) as executor:
    handle = producer.submit(sample_tasks.add, 1)
    future = executor.submit(sample_tasks.add, 1)
    ends(TimeoutError, lambda: handle.result(0.2))
    ends(TimeoutError, lambda: group([handle]).results(0.2))
    ends(TimeoutError, lambda: future.result(0.2))
    ends(TimeoutError, lambda: next(executor.map(sample_tasks.add, [1, 2], timeout=0.2)))
    assert not group([handle]).wait(0.2)
    client.hset("rq:heori:bound:default", "limit", 1)
    ends(QueueFull, lambda: producer.options(full_timeout=0.2).submit(sample_tasks.add, 1))
    ends(RedisUnavailable, lambda: Producer(nowhere).submit(sample_tasks.add, 1))
    waited = group([handle])
    finish(client, handle.id, 3)
    finish(client, future.handle.id, 3)
    assert (handle.result(60), future.result(60), waited.results(60)) == (3, 3, [3])
print("all have ended")
"""


def test_under_frozen_time_timeouts_end_all_the_same(redis_url: str, nowhere: int) -> None:
    program = [sys.executable, "-c", FROZEN, redis_url, f"redis://127.0.0.1:{nowhere}"]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.stdout, ended.returncode) == ("all have ended\n", 0), ended.stderr


FORKED = """
import os, sys
from heori import Producer, group
from tests.tasks import sample_tasks
from tests.producer.test_sharing import finish
import redis
url = sys.argv[1]
client = redis.Redis.from_url(url, socket_timeout=None)
def wait(producer):
    waited = group([producer.submit(sample_tasks.add, 1)])
    assert not waited.wait(0.05)
    client.connection_pool.reset()
    finish(client, waited.handles[0].id, 3)
    assert waited.results(60) == [3]
mine = Producer(url)
wait(mine)
child = os.fork()
wait(Producer(url))
wait(mine)
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both")
    os._exit(0)
os._exit(0)
"""


def test_a_forked_process_waits_by_itself(redis_url: str) -> None:
    program = [sys.executable, "-c", FORKED, redis_url]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.stdout, ended.returncode) == ("both\n", 0), ended.stderr


SENDING_FORKED = """
import os, sys, threading
from heori import Producer
from tests.tasks.sample_tasks import add

def send(producer):
    threads = [
        threading.Thread(target=lambda: [producer.submit(add, number, 0) for number in range(200)])
        for _ in range(2)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

producer = Producer(sys.argv[1])
producer.submit(add, 0, 0)
child = os.fork()
send(producer)
if not child:
    os._exit(0)
send(producer)
assert os.waitpid(child, 0)[1] == 0
"""


def test_processes_forked_between_two_sends_and_threads_never_read_each_others_replies(
    redis_url: str, redis: Any
) -> None:
    program = [sys.executable, "-c", SENDING_FORKED, redis_url]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.stdout, ended.returncode) == ("", 0), ended.stderr
    ids = redis.lrange("rq:queue:default", 0, -1)
    assert len(ids) == len(set(ids)) == 1 + 3 * 400
    assert len(redis.keys("rq:job:*")) == len(ids)


SENDING = """
import sys
from heori import Producer, group
from tests.tasks.limited_tasks import plain

HEAVY = {"asyncio", "ssl", "subprocess", "redis", "rq"}
with Producer(sys.argv[1]) as producer:
    handles = producer.submit_many(plain, [1, 2])
    print(*(handle.id for handle in handles), flush=True)
    assert handles[0].result(60) == 3
    assert not HEAVY & set(sys.modules), HEAVY & set(sys.modules)
    assert group(handles).results(60) == [3, 3]  # which one connection tells, in an event loop
assert "asyncio" in sys.modules
"""


def test_who_only_sends_and_waits_for_a_result_imports_neither_asyncio_nor_ssl(
    redis_url: str, redis: Any
) -> None:
    program = [sys.executable, "-c", SENDING, redis_url]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as sending:
        assert sending.stdout is not None
        for job_id in sending.stdout.readline().split():
            finish(redis, job_id, 3)
    assert sending.returncode == 0
