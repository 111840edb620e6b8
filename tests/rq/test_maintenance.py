"""What dead stock workers have left is looked after as rq looks after it, and a little better."""

from collections.abc import Callable
from typing import Any

import pytest
from rq import Callback, Queue, Retry
from rq.executions import Execution
from rq.group import Group
from rq.job import Dependency, Job
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

from heori_common.protocol.commands.maintenance import MOST_IN_GROUPS, STRANDED_S, LeftBehind
from heori_common.protocol.job import ABANDONED
from tests.rigs.consumers import Consumer
from tests.rigs.rq_records import differences, records
from tests.rigs.script_bench import ADD, ME, Bench, member
from tests.rigs.stock_rq import VERSION
from tests.rigs.waiting import until

NOTHING = LeftBehind([], [], [])
rq_3 = pytest.mark.skipif(VERSION < (3, 0), reason="rq has it since 3.0")


def stock(redis: Any, name: str = "default") -> Queue:
    return Queue(name, connection=redis, serializer=JSONSerializer)


def pop(bench_redis: Any, job: Job, queue: str = "default") -> None:
    """As a stock worker that listens on one queue."""
    assert bench_redis.lpos(f"rq:queue:{queue}", job.id) == 0
    bench_redis.lmove(f"rq:queue:{queue}", f"rq:queue:{queue}:intermediate", "LEFT", "RIGHT")


def seen(redis: Any) -> list[bytes]:
    """The keys that say since when a job is seen to stand nowhere."""
    return sorted(redis.keys("rq:queue:*:intermediate:first_seen:*"))


def let_time_pass(redis: Any) -> None:
    """As if what stands nowhere had been seen long ago."""
    for key in seen(redis):
        redis.set(key, redis.time()[0] - STRANDED_S - 1, ex=60)


def begin(redis: Any, job: Job, ago: float = 1.0, *, started: bool = True) -> Execution:
    """As a stock worker that began a job, and whose lease has run out so many seconds ago."""
    with redis.pipeline() as pipeline:
        execution = Execution.create(job, 90, pipeline)
        if started:
            job.prepare_for_execution("stock", pipeline)
        pipeline.lrem(f"rq:queue:{job.origin}", 1, job.id)
        pipeline.lrem(f"rq:queue:{job.origin}:intermediate", 1, job.id)
        pipeline.execute()
    seconds = redis.time()[0]
    redis.zadd(f"rq:wip:{job.origin}", {f"{job.id}:{execution.id}": seconds - ago})
    if ago > 0:
        redis.delete(f"rq:execution:{job.id}:{execution.id}")
    return execution


def look(bench: Bench, *queues: str, stranded: float = STRANDED_S) -> LeftBehind:
    return bench.execute(bench.commands.reclaim_stock(queues or ("default",), stranded=stranded))


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with a retry": {"retry": Retry(max=2)},
    "with a retry later": {"retry": Retry(max=2, interval=[5000, 9000])},
    "kept for a while": {"failure_ttl": 600},
    "in front": {"at_front": True},
}


# What rq does not write of a job that was abandoned: when it ended and what ran it, that nobody
# runs it any more; and that its result is kept no longer than the job.
BETTER = {"rq:job:job ended_at", "rq:job:job worker_name", "rq:results:job TTL"} | {
    f"rq:results:job 0 execution_{field}" for field in ("id", "started_at", "ended_at")
}


@rq_3
@pytest.mark.parametrize("way", WAYS)
def test_an_abandoned_job_ends_as_rq_ends_it(bench: Bench, way: str) -> None:
    """Once by rq's own code and once by ours: the same keys with the same in them."""
    redis = bench.redis
    left = []
    for ours in (False, True):
        redis.flushdb()
        queue = stock(redis)
        job = queue.enqueue(ADD, 1, job_id="job", **WAYS[way])
        alike = Dependency(["job"], allow_failure=True)
        queue.enqueue(ADD, 2, job_id="child", depends_on=alike)
        queue.enqueue(ADD, 2, job_id="never", depends_on=job)
        begin(redis, job)
        if ours:
            found = look(bench)
            assert [*found.retried, *found.failed] == ["job"]
            bench.execute(bench.commands.settle_dependents())
        else:
            StartedJobRegistry(queue=queue).cleanup()
        left.append(records(redis, b"rq:execution"))
    differ = differences(*left)
    assert set(differ) <= BETTER, differ
    assert look(bench) == NOTHING


@rq_3
def test_the_slot_of_an_abandoned_job_goes_to_the_next(bench: Bench) -> None:
    from rq.rate_limit import RateLimit

    queue = stock(bench.redis)
    limit: Any = {"rate_limit": RateLimit("api", 1)}
    jobs = [queue.enqueue(ADD, n, job_id=f"j{n}", **limit) for n in range(2)]
    assert [job.get_status() for job in jobs] == ["queued", "rate_limited"]
    begin(bench.redis, jobs[0])
    assert look(bench).failed == ["j0"]
    assert [job.get_status() for job in jobs] == ["failed", "queued"]
    assert bench.queue() == ["j1"]


def test_what_lives_and_what_is_others_is_left_alone(bench: Bench) -> None:
    queue = stock(bench.redis)
    bench.send("ours")
    [claim] = bench.claim()
    bench.redis.zadd("rq:wip:default", {member(claim): 5})  # it is the reaper's
    lives = queue.enqueue(ADD, 1)
    begin(bench.redis, lives, ago=-60)
    behind = queue.enqueue(ADD, 1)  # of a worker whose clock is two minutes behind
    execution = begin(bench.redis, behind, ago=-60)
    bench.redis.zadd("rq:wip:default", {f"{behind.id}:{execution.id}": bench.now() - 30})
    locked = stock(bench.redis, "locked").enqueue(ADD, 1)
    begin(bench.redis, locked)
    bench.redis.set("rq:clean_registries:locked", 1, ex=899)
    pop(bench.redis, queue.enqueue(ADD, 1))
    spoilt = stock(bench.redis, "spoilt").enqueue(ADD, 1)
    begin(bench.redis, spoilt)
    bench.redis.set("rq:queue:spoilt:intermediate", "text")
    look(bench)  # it sees the popped job for the first time
    before = bench.everything()
    assert look(bench, "default", "locked", "spoilt", "none") == NOTHING
    assert bench.everything() == before


def test_leftovers_of_jobs_that_went_on_are_struck(bench: Bench) -> None:
    """rq fails a job that another runs by now, as its status alone tells rq that it runs."""
    queue = stock(bench.redis)
    jobs = {name: queue.enqueue(ADD, 1, job_id=name) for name in ("done", "gone", "runs", "here")}
    for job in jobs.values():
        begin(bench.redis, job)
    bench.redis.hset("rq:job:done", "status", "finished")
    bench.redis.delete("rq:job:gone")
    second = begin(bench.redis, jobs["runs"], ago=-60)
    bench.redis.rpush("rq:queue:default", "here")
    [claim] = bench.claim()
    assert look(bench) == NOTHING
    assert set(bench.wip()) == {f"runs:{second.id}", member(claim)}
    assert bench.field("runs", "status") == bench.field("here", "status") == "started"


def test_a_job_that_was_popped_and_not_begun_goes_back(bench: Bench) -> None:
    queue = stock(bench.redis)
    popped, ended, deleted, last = (queue.enqueue(ADD, n, job_id=f"j{n}") for n in range(4))
    for job in (popped, ended, deleted):
        pop(bench.redis, job)
    bench.redis.hset("rq:job:j1", "status", "canceled")
    bench.redis.delete("rq:job:j2")
    assert look(bench) == NOTHING
    assert bench.redis.lrange("rq:queue:default:intermediate", 0, -1) == [b"j0"]
    assert look(bench) == NOTHING, "a stock worker may be about to begin it"
    assert queue.intermediate_queue.get_first_seen("j0") is not None
    assert look(bench, stranded=-1).returned == ["j0"]
    assert bench.queue() == ["j0", last.id]
    assert bench.redis.keys("*intermediate*") == []
    assert popped.get_status() == "queued"


def test_a_job_that_stock_workers_lose_is_found_by_its_lease(bench: Bench) -> None:
    """One that listens on two queues pops with BLPOP: nothing but its lease tells of the job."""
    job = stock(bench.redis).enqueue(ADD, 1, job_id="lost")
    begin(bench.redis, job, started=False)
    assert bench.queue() == []
    assert look(bench).returned == ["lost"]
    assert bench.queue() == ["lost"]
    begin(bench.redis, job, started=False)
    bench.redis.rpush("rq:queue:default", "lost")  # by a person
    assert look(bench) == NOTHING
    assert bench.queue() == ["lost"]


def test_groups_lose_what_is_gone_of_them(bench: Bench) -> None:
    queue = stock(bench.redis)
    data = [Queue.prepare_data(ADD, args=(n,)) for n in range(3)]
    few = Group.create(bench.redis, "few")
    jobs = few.enqueue_many(queue, data)
    Group.create(bench.redis, "many").enqueue_many(queue, data)
    names = [f"gone-{n}" for n in range(5 * MOST_IN_GROUPS)]
    bench.redis.sadd("rq:group:many", *names)
    bench.redis.sadd("rq:groups", "empty")
    bench.redis.delete(f"rq:job:{jobs[0].id}")
    until(lambda: not bench.execute(bench.commands.tidy_groups()).number)
    assert {job.id for job in few.get_jobs()} == {jobs[1].id, jobs[2].id}
    assert bench.redis.scard("rq:group:many") == 3
    assert {group.name for group in Group.all(bench.redis)} == {"few", "many"}
    bench.redis.delete(*(f"rq:job:{job.id}" for job in jobs))
    bench.execute(bench.commands.tidy_groups())
    assert bench.redis.smembers("rq:groups") == {b"many"}


@rq_3
def test_slots_that_nobody_holds_are_freed(bench: Bench) -> None:
    from rq.rate_limit import RateLimit

    queue = stock(bench.redis)
    limit: Any = {"rate_limit": RateLimit("api", 2)}
    gone, canceled, next_one, last = (
        queue.enqueue(ADD, n, job_id=f"j{n}", **limit) for n in range(4)
    )
    begin(bench.redis, canceled, ago=-60)
    bench.redis.hset("rq:job:j1", "status", "canceled")
    bench.redis.delete(f"rq:job:{gone.id}")
    assert bench.execute(bench.commands.tidy_limits()).number == 1
    assert next_one.get_status() == "queued"
    assert last.get_status() == "rate_limited"
    assert bench.redis.zrange("rq:rl:api:allowed", 0, -1) == [b"j1", b"j2"], "it runs still"
    bench.redis.delete(*(f"rq:job:j{n}" for n in (1, 2, 3)), "rq:executions:j1")
    assert bench.execute(bench.commands.tidy_limits()).number == 2
    assert bench.redis.keys("rq:rl*") == []


@rq_3
def test_what_holds_a_slot_and_stands_nowhere_goes_back_to_its_queue(bench: Bench) -> None:
    from rq.rate_limit import RateLimit

    redis, queue = bench.redis, stock(bench.redis)
    names = ("popped", "begun", "ours", "waits", "late", "runs", "runs_here", "as_rq_1", "next")
    jobs = {
        name: queue.enqueue(ADD, 1, job_id=name, rate_limit=RateLimit("api", 8)) for name in names
    }
    redis.lrem("rq:queue:default", 1, "popped")
    for name, ago in ("begun", -60), ("late", 5), ("runs", -60), ("as_rq_1", -60):
        begin(redis, jobs[name], ago)
    for name in "ours", "runs_here":
        redis.lrem("rq:queue:default", 1, name)
        redis.hset(f"rq:job:{name}", mapping={"status": "started", "heori_execution": "heoriX"})
    redis.zadd("rq:wip:default", {"runs_here:heoriX": redis.time()[0] + 60, "as_rq_1": "+inf"})
    [entry] = (each for each in redis.zrange("rq:wip:default", 0, -1) if b"begun:" in each)
    redis.zrem("rq:wip:default", entry)  # as rq's cleanup has it with what came while it read
    redis.delete(f"rq:execution:{entry.decode()}", "rq:executions:as_rq_1")

    assert bench.execute(bench.commands.tidy_limits()).number == 0, "it may be about to begin"
    let_time_pass(redis)
    assert bench.execute(bench.commands.tidy_limits()).number == 3
    assert set(redis.lrange("rq:queue:default", 0, 2)) == {b"ours", b"begun", b"popped"}
    assert {jobs[name].get_status() for name in ("ours", "begun", "popped")} == {"queued"}
    assert redis.zcard("rq:rl:api:allowed") == 8
    assert jobs["next"].get_status() == "rate_limited"
    assert bench.execute(bench.commands.tidy_limits()).number == 0
    assert seen(redis) == []


@rq_3
def test_jobs_that_need_not_wait_any_more_wait_for_a_slot_where_they_need_one(
    bench: Bench,
) -> None:
    from rq.rate_limit import RateLimit

    queue = stock(bench.redis)
    limit: Any = {"rate_limit": RateLimit("api", 1)}
    queue.enqueue(ADD, 1, job_id="parent")
    for n in range(2):
        queue.enqueue(ADD, 1, job_id=f"j{n}", depends_on="parent", **limit)
        bench.redis.hset(f"rq:job:j{n}", "status", "ready_to_enqueue")
        bench.redis.zadd("rq:ready:default", {f"j{n}": n})
    bench.tidy()
    assert bench.queue() == ["parent", "j0"]
    assert bench.rq_job("j1").get_status() == "rate_limited"
    assert not bench.redis.exists("rq:ready:default")


def test_a_job_that_was_claimed_for_its_callback_ends_whatever_becomes_of_it(
    bench: Bench,
) -> None:
    """Its taker dies, or gives it back: it is not run again, but for its retries."""
    for way in ("lost", "given back"):
        for retry in (None, Retry(max=1)):
            bench.redis.flushdb()
            on_failure = Callback("tests.tasks.callback_tasks.failed")
            job = stock(bench.redis).enqueue(
                "tests.tasks.callback_tasks.add", 1, job_id="j", on_failure=on_failure, retry=retry
            )
            begin(bench.redis, job)
            found = bench.execute(
                bench.commands.reclaim_stock(
                    ["default"], taker=ME, token="0" * 16, lease=30.0, most_taken=1
                )
            )
            [claim] = found.claims
            assert (claim.job_id, claim.phase, bool(claim.rest)) == ("j", ABANDONED, True)
            assert job.get_status() == "started"
            assert look(bench) == NOTHING, "it is ours"
            if way == "lost":
                bench.end_lease(claim)
                bench.reclaim()
            else:
                bench.release(claim, counted=False)
            assert job.get_status() == ("queued" if retry else "failed"), way
            assert bench.queue() == (["j"] if retry else [])


def test_of_many_that_are_to_be_told_some_wait_for_the_next_look(bench: Bench) -> None:
    queue = stock(bench.redis)
    for n in range(3):
        on_failure = Callback("tests.tasks.callback_tasks.failed")
        begin(bench.redis, queue.enqueue(ADD, n, job_id=f"j{n}", on_failure=on_failure))
    told: list[str] = []
    for token, number in (("0" * 16, 2), ("1" * 16, 1), ("2" * 16, 0)):
        command = bench.commands.reclaim_stock(
            ["default"], taker=ME, token=token, lease=30.0, most_taken=2
        )
        found = bench.execute(command)
        assert (len(found.claims), found.failed) == (number, [])
        told += [claim.job_id for claim in found.claims]
    assert sorted(told) == ["j0", "j1", "j2"]


def test_a_consumer_looks_after_it(consume: Callable[..., Consumer], redis: Any) -> None:
    queue = stock(redis)
    again = queue.enqueue(ADD, 1, retry=Retry(max=1))
    never = queue.enqueue(ADD, 2)
    stranded = queue.enqueue(ADD, 3)
    for job in (again, never):
        begin(redis, job)
    told = queue.enqueue(
        "tests.tasks.callback_tasks.add",
        1,
        on_failure=Callback("tests.tasks.callback_tasks.failed"),
    )
    told_again = queue.enqueue(
        "tests.tasks.callback_tasks.add",
        1,
        2,
        on_failure=Callback("tests.tasks.callback_tasks.failed"),
        retry=Retry(max=1),
    )
    for job in (told, told_again):
        begin(redis, job)
    pop(redis, stranded)
    redis.set(f"rq:queue:default:intermediate:first_seen:{stranded.id}", redis.time()[0] - 100)
    group = Group.create(redis, "group")
    group.enqueue_many(queue, [Queue.prepare_data(ADD, args=(1,))])
    redis.sadd("rq:group:group", "gone")
    consumer = consume(HEORI_ALLOW="tests.tasks.callback_tasks").ready()
    line = consumer.wait_for("jobs of stock workers that died")
    counts = [line[name] for name in ("retried", "failed", "returned", "told")]
    assert counts == [1, 1, 1, 2]
    for job in (again, stranded, told_again):
        until(lambda job=job: job.get_status() == "finished")  # type: ignore[misc]
    until(lambda: told.get_status() == "failed")
    for job in (never, told):
        result = job.latest_result()
        assert result is not None
        assert result.exc_string is not None
        assert "due to AbandonedJobError" in result.exc_string
    for job in (told, told_again):
        [mark] = redis.lrange(f"marks:{job.id}", 0, -1)
        assert mark.startswith(b"failure AbandonedJobError")
    until(lambda: redis.scard("rq:group:group") == 1)
