"""Jobs that declare their locks, on real consumers in several models."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from rq import Queue
from rq.job import Job as RqJob
from rq.job import JobStatus
from rq.registry import DeferredJobRegistry
from rq.serializers import JSONSerializer

from heori import JobFailed, Mutex, Producer, Semaphore
from heori_common.locks import session
from heori_common.protocol.commands import Commands
from heori_common.protocol.job import FINISHED, Outcome
from heori_common.protocol.keys import Keys, service_of
from heori_common.redis.client import RedisClient
from heori_common.tasks import InvalidArguments, task
from tests.rigs.consumers import Consumer, SharedConsumers
from tests.rigs.waiting import until
from tests.tasks import lock_tasks, sample_tasks

MODELS = {
    "threads": ["--model", "threads", "--slots", "8"],
    "processes": ["--model", "processes", "--processes", "2"],
    "asyncio": ["--model", "asyncio", "--processes", "1", "--slots", "8"],
}
TASKS = {"HEORI_TASKS": "tests.tasks.lock_tasks,tests.tasks.sample_tasks"}
KEYS = Keys()


@pytest.fixture(autouse=True)
def nothing_of_a_lock_is_left(redis: Any) -> Iterator[None]:
    """No key but the last fence, once everything has ended."""
    yield
    session.close()
    left = {b"rq:heori:fence", b"rq:heori:forced", b"rq:heori:watched:default"}
    # Of a consumer that goes on.
    left |= {b"rq:heori:counter:default", b"rq:heori:lock-counter", b"rq:heori:janitor"}
    service = service_of(["default"])
    of_service = [make(service) for make in (KEYS.leader, KEYS.watching, KEYS.service, KEYS.offers)]
    # And of the last one, when there is no other that would look.
    of_queues = [KEYS.services("default"), KEYS.leased()]
    left |= {key.encode() for key in (*of_service, *of_queues)}

    def ours() -> set[bytes]:
        others = (b"rq:heori:fenced:", b"rq:heori:tasks")  # what consumers have published
        return {key for key in redis.keys("rq:heori:*") if not key.startswith(others)} - left

    until(lambda: not ours() and not redis.zcard("rq:deferred:default"))


@pytest.fixture(params=["locks in auto", "locks in processes", "locks in asyncio"])
def shared(
    request: pytest.FixtureRequest, redis_url: str, shared_consumers: SharedConsumers
) -> Consumer:
    return shared_consumers.take(request.param)


def parked(redis: Any, queue: str = "default") -> int:
    return int(redis.zcard(f"rq:heori:parked:{queue}"))


@pytest.mark.usefixtures("shared")
def test_jobs_on_one_account_never_overlap_and_come_in_order(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    handles = producer.submit_many(lock_tasks.enter, [(redis_url, 5, n) for n in range(50)])
    assert [handle.result(60) for handle in handles] == list(range(50))
    assert redis.get("overlaps") is None
    assert [int(number) for number in redis.lrange("order:account:5", 0, -1)] == list(range(50))


def test_two_consumers_share_the_order(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    for _ in range(2):
        consume(*MODELS["threads"], **TASKS).ready()
    handles = producer.submit_many(lock_tasks.enter, [(redis_url, 5, n) for n in range(50)])
    handles += producer.submit_many(lock_tasks.enter_later, [(redis_url, 6, n) for n in range(50)])
    assert [handle.result(60) for handle in handles] == [*range(50), *range(50)]
    assert redis.get("overlaps") is None
    assert [int(number) for number in redis.lrange("order:account:5", 0, -1)] == list(range(50))


@pytest.mark.usefixtures("shared")
def test_no_more_jobs_run_than_there_are_permits(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    handles = producer.submit_many(lock_tasks.compute, [(redis_url, n) for n in range(50)])
    assert [handle.result(60) for handle in handles] == list(range(50))
    assert redis.get("overlaps") is None


@pytest.mark.usefixtures("shared")
def test_transfers_in_opposite_order_never_deadlock(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    calls = [(redis_url, 1 + n % 2, 2 - n % 2, n) for n in range(200)]
    handles = producer.submit_many(lock_tasks.transfer, calls)
    assert [handle.result(60) for handle in handles] == list(range(200))
    assert redis.get("overlaps") is None


def test_a_job_waits_for_a_mutex_of_any_program_in_no_slot_and_where_rq_shows_it(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume("--model", "threads", "--slots", "1", **TASKS).ready()
    mutex = Mutex("account:5", redis_url)
    with mutex:
        waiting = producer.submit_many(lock_tasks.enter, [(redis_url, 5, n) for n in range(300)])
        others = producer.submit_many(sample_tasks.add, [(n, 0) for n in range(20)])
        assert [handle.result(60) for handle in others] == list(range(20))
        until(lambda: consumer.metric("heori_jobs_held") == 0)
        until(lambda: parked(redis) == 300)
        queue = Queue("default", connection=redis, serializer=JSONSerializer)
        registry = DeferredJobRegistry(queue=queue)
        assert set(registry.get_job_ids()) == {handle.id for handle in waiting}
        registry.cleanup()
        job = RqJob.fetch(waiting[0].id, redis, serializer=JSONSerializer)
        assert job.get_status() == JobStatus.DEFERRED
        assert [party.job for party in mutex.statistics().waiters] == [h.id for h in waiting]
        assert str(mutex.statistics().waiters[0]) == f"job {waiting[0].id} (queue default)"
    assert [handle.result(60) for handle in waiting] == list(range(300))
    assert redis.get("overlaps") is None


@pytest.mark.usefixtures("shared")
def test_a_program_waits_for_a_job_and_both_for_each_other_in_order(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    running = producer.submit(lock_tasks.hold_account, redis_url, 5, "first")
    assert redis.blpop(["first:running"], timeout=60)
    mutex = Mutex("account:5", redis_url)
    assert not mutex.acquire(timeout=0)
    owner = mutex.owner()
    assert owner is not None
    assert owner.job == running.id
    assert psutil.pid_exists(owner.pid)
    redis.rpush("first:go", "now")
    assert mutex.acquire(timeout=60)
    later = producer.submit(lock_tasks.enter, redis_url, 5, 1)
    until(lambda: parked(redis) == 1)
    fence = mutex.fence
    mutex.release()
    assert later.result(60) == 1
    with mutex:
        assert mutex.fence > fence


def test_a_cancelled_and_a_deleted_job_are_skipped_when_their_turn_comes(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consume(*MODELS["threads"], **TASKS).ready()
    mutex = Mutex("account:5", redis_url)
    with mutex:
        handles = producer.submit_many(lock_tasks.enter, [(redis_url, 5, n) for n in range(5)])
        until(lambda: parked(redis) == 5)
        RqJob.fetch(handles[0].id, redis, serializer=JSONSerializer).cancel()
        RqJob.fetch(handles[2].id, redis, serializer=JSONSerializer).delete()
        assert handles[4].cancel()  # ours does as rq's
        assert parked(redis) == 4  # rq does not know of it, and leaves the others
    assert handles[3].result(60) == 3
    assert handles[1].result(60) == 1
    assert [handles[n].status() for n in (0, 4)] == ["canceled", "canceled"]
    assert redis.lrange("order:account:5", 0, -1) == [b"1", b"3"]


def test_a_job_cancelled_while_it_waits_can_be_queued_again(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consume(*MODELS["threads"], **TASKS).ready()
    with Mutex("account:5", redis_url):
        handle = producer.submit(lock_tasks.enter, redis_url, 5, 1)
        until(lambda: parked(redis) == 1)
        job = RqJob.fetch(handle.id, redis, serializer=JSONSerializer)
        job.cancel()
        Queue("default", connection=redis, serializer=JSONSerializer).enqueue_job(job)
        until(lambda: handle.status() == "deferred")
    assert handle.result(60) == 1


@pytest.mark.parametrize("model", ["threads", "processes"])
def test_after_kill_9_of_a_worker_its_locks_go_on_at_once(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str, model: str
) -> None:
    consume(*MODELS[model], **TASKS).ready()
    first = producer.submit(lock_tasks.hold_account, redis_url, 5, "first")
    _, pid = redis.blpop(["first:running"], timeout=60)
    rest = producer.submit_many(lock_tasks.enter, [(redis_url, 5, n) for n in range(20)])
    until(lambda: parked(redis) == 20)
    os.kill(int(pid), signal.SIGKILL)
    assert redis.blpop(["first:running"], timeout=60)
    redis.rpush("first:go", "now")
    assert first.result(60) == "first"
    assert [handle.result(60) for handle in rest] == list(range(20))
    assert redis.get("overlaps") is None


def test_after_kill_9_of_a_consumer_its_locks_go_on_when_its_lease_ends(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    victim = consume(*MODELS["threads"], HEORI_LEASE="5", **TASKS).ready()
    first = producer.submit(lock_tasks.hold_account, redis_url, 5, "first")
    assert redis.blpop(["first:running"], timeout=60)
    rest = producer.submit_many(lock_tasks.enter, [(redis_url, 5, n) for n in range(20)])
    until(lambda: parked(redis) == 20)
    consume(*MODELS["threads"], **TASKS).ready()
    os.kill(victim.process.pid, signal.SIGKILL)
    assert redis.blpop(["first:running"], timeout=60)
    redis.rpush("first:go", "now")
    assert first.result(60) == "first"
    assert [handle.result(60) for handle in rest] == list(range(20))
    assert redis.get("overlaps") is None


@pytest.mark.usefixtures("shared")
def test_a_job_enters_what_it_holds_instead_of_waiting_for_itself(producer: Producer) -> None:
    handle = producer.submit(lock_tasks.use_what_it_holds, 5)
    assert handle.result(60) == [
        True,
        handle.id,
        "mutex account:5 is the job's, which keeps it until its end",
        True,
        ["account:5", "gpu"],
    ]


@pytest.mark.usefixtures("shared")
def test_a_mutex_inside_any_task_belongs_to_the_job(producer: Producer) -> None:
    handle = producer.submit(lock_tasks.use_a_mutex, "anything")
    assert handle.result(60) == f"{handle.id} True"


@pytest.mark.parametrize("how", ["paused past its lease", "released by force"])
def test_a_job_that_loses_its_locks_is_stopped_and_its_fence_refused(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str, how: str
) -> None:
    # A short grace, as the job that was stopped is run once more and hangs.
    first = consume(*MODELS["threads"], HEORI_LEASE="5", HEORI_GRACE="1", **TASKS).ready()
    handle = producer.submit(lock_tasks.write_when_lost, redis_url, 5, "victim")
    assert redis.blpop(["victim:running"], timeout=60)
    after = producer.submit(lock_tasks.write, redis_url, 5)
    until(lambda: parked(redis) == 1)
    if how == "released by force":
        mutex = Mutex("account:5", redis_url)
        (holder,) = mutex.statistics().holders
        held = mutex.session()
        assert held.execute(held.commands.force_release(mutex.key, holder.request))[0]
    else:
        consume(*MODELS["threads"], HEORI_GRACE="1", **TASKS).ready()
        first.process.send_signal(signal.SIGSTOP)
    assert after.result(60) > 0
    if how == "paused past its lease":
        first.process.send_signal(signal.SIGCONT)
    _, stopped = redis.blpop(["victim:stopped"], timeout=60)
    assert stopped.decode() == f"JobStopped: job {handle.id} has lost its lease"
    redis.rpush("victim:write", "now")
    assert redis.blpop(["victim:lost"], timeout=60)[1] == b"True True"
    assert redis.blpop(["victim:refused"], timeout=60)[1] == b"FencedOut"
    assert redis.blpop(["victim:told"], timeout=60)[1] == b"LockLost"
    assert redis.get("row") == b"in time"
    handle.cancel()  # it need not run again


@pytest.mark.usefixtures("shared")
def test_a_job_that_rq_has_sent_gets_its_locks_in_its_slot(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    jobs = [queue.enqueue(lock_tasks.enter, redis_url, 5, n) for n in range(5)]
    jobs += [queue.enqueue(lock_tasks.enter_later, redis_url, 6, n) for n in range(5)]
    handles = producer.submit_many(lock_tasks.enter, [(redis_url, 5, n) for n in range(10)])
    assert [handle.result(60) for handle in handles] == list(range(10))
    until(lambda: all(job.get_status() == JobStatus.FINISHED for job in jobs))
    assert redis.get("overlaps") is None


@pytest.mark.parametrize("mine", [True, False])
def test_a_job_that_waits_for_one_that_waits_for_its_lock_is_a_deadlock_and_named(
    consume: Callable[..., Consumer], producer: Producer, redis_url: str, mine: bool
) -> None:
    consume(*MODELS["threads"], **TASKS).ready()
    handle = producer.submit(lock_tasks.parent, redis_url, 5, 5 if mine else 6)
    text = handle.result(60)
    if mine:
        assert "would never end" in text
        assert f"job {handle.id}" in text
        assert "waits for mutex account:5" in text
    else:
        assert text == "child: 6"


def test_a_drain_gives_back_jobs_with_their_locks(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume("--slots", "2", HEORI_GRACE="0.3", **TASKS).ready()
    first = producer.submit(lock_tasks.hold_account, redis_url, 5, "first")
    assert redis.blpop(["first:running"], timeout=60)
    second = producer.submit(lock_tasks.enter, redis_url, 5, 1)
    until(lambda: parked(redis) == 1)
    assert consumer.stop() == 0
    assert first.status() == "queued"
    mutex = Mutex("account:5", redis_url)
    assert {party.job for party in mutex.statistics().holders} <= {second.id}
    consume(*MODELS["threads"], **TASKS).ready()
    assert redis.blpop(["first:running"], timeout=60)
    redis.rpush("first:go", "now")
    assert first.result(60) == "first"
    assert second.result(60) == 1


def test_jobs_go_on_when_somebody_deletes_what_a_lock_knows_of_them(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consume(*MODELS["threads"], **TASKS).ready()
    # When it is connected it looks after its leases, which must be over before locks are deleted.
    until(lambda: redis.pubsub_channels("rq:pubsub:*"))
    running = producer.submit(lock_tasks.hold_account, redis_url, 5, "first")
    assert redis.blpop(["first:running"], timeout=60)
    handles = producer.submit_many(lock_tasks.enter, [(redis_url, 5, n) for n in range(3)])
    until(lambda: parked(redis) == 3)
    redis.delete(*redis.keys("rq:heori:lock:*"))
    redis.zadd("rq:heori:parked:default", {handle.id: 0 for handle in handles})
    assert [handle.result(60) for handle in handles] == [0, 1, 2]
    redis.rpush("first:go", "now")
    assert running.result(60) == "first"


def test_a_reservation_that_nobody_claims_goes_on_to_the_next(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume(*MODELS["threads"], **TASKS).ready()
    mutex = Mutex("account:5", redis_url)
    with mutex:
        handle = producer.submit(lock_tasks.enter, redis_url, 5, 1)
        until(lambda: parked(redis) == 1)
        assert consumer.stop() == 0
    # As it stands there, though its two seconds may be over.
    assert redis.zrange(f"{mutex.key}:holders", 0, -1) == [f"job:{handle.id}".encode()]
    assert redis.lrange("rq:queue:default", 0, -1) == [handle.id.encode()]
    assert mutex.acquire(timeout=60)  # the job has 2 s
    consume(*MODELS["threads"], **TASKS).ready()
    until(lambda: parked(redis) == 1)
    mutex.release()
    assert handle.result(60) == 1


def test_a_job_without_locks_costs_not_one_command_more(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    producer.submit_many(sample_tasks.add, [(n, 0) for n in range(10)])
    commands = Commands(Keys())
    with RedisClient(redis_url) as client:
        redis.config_resetstat()
        claim = commands.claim(
            ["default"], 10, lease=30, consumer="me", token="f" * 16, max_payload=1_000
        )
        claims = client.execute(claim).claims
        client.execute(commands.extend_leases(claims, lease=30))
        ended = [(claim, Outcome(FINISHED, b"1", run_time=0.1)) for claim in claims]
        client.execute(commands.ack(ended, consumer="me"))
    calls = {
        name.removeprefix("cmdstat_"): entry["calls"]
        for name, entry in redis.info("commandstats").items()
    }
    assert {name: calls[name] for name in ("hmget", "lpop", "expire", "xadd")} == {
        "hmget": 10, "lpop": 1, "expire": 20, "xadd": 10,
    }  # fmt: skip
    # In claiming, extending and settling: the leases; and in settling, the registry.
    assert (calls["hset"], calls["zadd"], calls["zrem"], calls["time"]) == (20, 12, 1, 3)
    assert calls["zrange"] == 1  # of what others were handed, and have not confirmed
    assert not calls.keys() & {
        "hget",
        "zcard",
        "zrangebyscore",
        "hdel",
        "publish",
        "set",
        "persist",
    }


def test_a_semaphore_of_a_program_counts_the_permits_of_jobs(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consume(*MODELS["threads"], **TASKS).ready()
    with Semaphore("gpu", 2, redis_url), Semaphore("gpu", 2, redis_url):
        handle = producer.submit(lock_tasks.compute, redis_url, 1)
        until(lambda: parked(redis) == 1)
        assert handle.status() == "deferred"
    assert handle.result(60) == 1


# Declaring


def takes(account: int, *rest: int) -> None:
    """To be declared a task."""


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"locks": "account:{account}"}, TypeError, "a list of names is needed"),
        ({"locks": ["{acount}"]}, ValueError, "names no parameter; there are: account"),
        ({"locks": ["{rest}"]}, ValueError, "names no parameter"),
        ({"locks": ["{}"]}, ValueError, "names no parameter"),
        ({"locks": ["{account"]}, ValueError, "expected '}'"),
        ({"locks": [""]}, ValueError, "needs a name"),
        ({"locks": [5]}, TypeError, "a name is needed"),
        ({"permits": {"gpu": 0}}, ValueError, "a whole number is needed, 1 at least"),
        ({"permits": {"gpu": True}}, ValueError, "a whole number is needed, 1 at least"),
        ({"locks": [f"a{n}" for n in range(33)]}, ValueError, "32 at most"),
    ],
)
def test_what_cannot_be_a_lock_is_refused_when_the_task_is_declared(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        task(**options)(takes)


def test_the_producer_fills_in_the_names(producer: Producer, redis: Any, redis_url: str) -> None:
    handle = producer.submit(lock_tasks.transfer, redis_url, 7, b=3, number=1)
    field = redis.hget(f"rq:job:{handle.id}", "heori_locks")
    assert field == b'[["mutex","account:3",0],["mutex","account:7",0]]'
    same = producer.submit(lock_tasks.transfer, redis_url, 7, 7, 1)
    assert redis.hget(f"rq:job:{same.id}", "heori_locks") == b'[["mutex","account:7",0]]'
    compute = producer.submit(lock_tasks.compute, redis_url, 1)
    assert redis.hget(f"rq:job:{compute.id}", "heori_locks") == b'[["semaphore","gpu",2]]'
    plain = producer.submit(sample_tasks.add, 1)
    assert not redis.hexists(f"rq:job:{plain.id}", "heori_locks")


def test_a_name_that_is_too_long_is_refused_by_the_producer(producer: Producer) -> None:
    with pytest.raises(InvalidArguments, match=r"a string of 1 to 512 characters; it has 609"):
        producer.submit(lock_tasks.enter, "", 10**600, 1)


@pytest.mark.parametrize("field", [b"no JSON", b"5", b"[]", b"[[1,2,3]]", b'[["mutex","a"]]'])
def test_a_job_whose_locks_have_no_meaning_fails_and_says_so(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, field: bytes
) -> None:
    handle = producer.submit(sample_tasks.add, 1)
    redis.hset(f"rq:job:{handle.id}", "heori_locks", field)
    consume(*MODELS["threads"], **TASKS).ready()
    with pytest.raises(JobFailed, match=r"its heori_locks .* have no meaning"):
        handle.result(60)


@pytest.mark.parametrize("suffix", ["", ":holders", ":waiters"])
def test_a_lock_whose_key_holds_something_else_fails_the_job_and_loses_none(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str, suffix: str
) -> None:
    key = f"rq:heori:lock:{{mutex:account:5}}{suffix}"
    redis.set(key, "text")
    handle = producer.submit(lock_tasks.enter, redis_url, 5, 1)
    plain = producer.submit(sample_tasks.add, 1)
    consume(*MODELS["threads"], **TASKS).ready()
    with pytest.raises(JobFailed, match="a key of its locks does not hold what it should"):
        handle.result(60)
    assert plain.result(60) == 3
    redis.delete(key)
