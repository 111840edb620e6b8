"""What is not to begin any more at its time is cancelled by the claim, and says why."""

from datetime import UTC, datetime, timedelta

import pytest
from rq.job import JobStatus
from rq.registry import CanceledJobRegistry

from heori import JobCanceled, JobExpired, Producer
from heori_common.protocol.job import LockName, NewJob, encode_options, parse_options
from heori_common.protocol.payload import Call
from heori_common.rate import Rate
from tests.rigs.script_bench import ADD, ME, Bench, done, ids
from tests.rigs.waiting import about
from tests.tasks import sample_tasks

PAST = datetime.now(UTC) - timedelta(hours=1)


def expires_at(bench: Bench, job_id: str) -> float:
    expires: float = parse_options(bench.redis.hget(f"rq:job:{job_id}", "heori_options"))["expires"]
    return expires


def make_expire(bench: Bench, job_id: str) -> None:
    """As if its time had come."""
    options = parse_options(bench.redis.hget(f"rq:job:{job_id}", "heori_options"))
    field = encode_options(options | {"expires": bench.now() - 1})
    bench.redis.hset(f"rq:job:{job_id}", "heori_options", field)


def test_what_has_expired_is_not_claimed_and_says_so(bench: Bench, producer: Producer) -> None:
    old = producer.options(expires=PAST).submit(sample_tasks.add, 1)
    good = producer.options(expires="1h").submit(sample_tasks.add, 2)
    claimed = bench.look()
    assert (ids(claimed.claims), claimed.expired) == ([good.id], ("default",))
    job = bench.rq_job(old.id)
    assert job.get_status() is JobStatus.CANCELED
    assert job.id in CanceledJobRegistry("default", connection=bench.redis)
    assert bench.redis.ttl(f"rq:job:{old.id}") == about(500), "it is kept as a result is"
    with pytest.raises(JobExpired, match=r"^job \S+ expired: it was to begin before 20") as told:
        old.result(60)
    assert isinstance(told.value, JobCanceled)
    assert told.value.reason == bench.field(old.id, "heori_reason")
    assert not bench.look().expired


def test_a_time_from_now_is_counted_by_the_server(bench: Bench, producer: Producer) -> None:
    sender = producer.options(expires="1h")
    before = bench.now()
    one, *many = [
        sender.submit(sample_tasks.add, 1),
        sender.options(delay=60).submit(sample_tasks.add, 1),
        *sender.submit_many(sample_tasks.add, [1, 2]),
    ]
    for handle in (one, *many):
        assert before + 3600 <= expires_at(bench, handle.id) <= bench.now() + 3600
    plain = producer.submit(sample_tasks.add, 1)
    assert not bench.redis.hexists(f"rq:job:{plain.id}", "heori_options")


def test_other_options_stay_as_they_were_written(bench: Bench) -> None:
    options = {"flow": [b"\xff", 2.0, [], {}, None], "rate": Rate("r", 1e6, 5)}
    job = NewJob.create("a", Call(ADD, [1], {}), 180, options=options)
    enqueue = bench.commands.enqueue("default", [job], rare={"expires_at_s": 5e9})
    bench.execute(enqueue)
    field = bench.redis.hget("rq:job:a", "heori_options")
    assert field[1:].startswith(encode_options(options)[1:])
    assert parse_options(field) == parse_options(encode_options(options)) | {"expires": 5e9}


def test_it_holds_for_what_was_scheduled_retried_or_given_back(
    bench: Bench, producer: Producer
) -> None:
    later = producer.options(delay=60, expires="1h").submit(sample_tasks.add, 1)
    bench.redis.zadd("rq:scheduled:default", {later.id: 1})
    due = bench.commands.enqueue_due(["default"], consumer=ME, lock_ttl=5, batch=10)
    assert bench.execute(due).jobs == 1
    tried = producer.options(expires="1h").submit(sample_tasks.add, 1)
    [_, claim] = bench.claim()
    assert bench.release(claim, counted=False) == ["queued"]
    make_expire(bench, tried.id)
    assert bench.look().expired == ("default",)
    assert [later.status(), tried.status()] == ["started", "canceled"]


def test_whoever_waits_for_its_lock_gets_that(bench: Bench) -> None:
    locks = [LockName("mutex", "a")]
    call = Call(ADD, [1], {})
    jobs = [
        NewJob.create(name, call, 180, locks=locks, options={"expires": 5e9})
        for name in ("first", "expires", "next")
    ]
    bench.execute(bench.commands.enqueue("default", jobs))
    [first] = bench.claim()
    make_expire(bench, "expires")
    assert bench.ack(done(first)) == []
    assert bench.look().expired == ("default",)
    assert ids(bench.claim()) == ["next"]
    assert bench.field("expires", "status") == "canceled"


def test_whoever_waits_for_its_rate_is_let_through(bench: Bench) -> None:
    rate = Rate("slow", 3600e6, 1)
    call = Call(ADD, [1], {})
    jobs = [
        NewJob.create(name, call, 180, options={"rate": rate, "expires": 5e9})
        for name in ("first", "expires", "next")
    ]
    bench.execute(bench.commands.enqueue("default", jobs))
    assert ids(bench.claim()) == ["first"]
    make_expire(bench, "expires")

    def begin_more() -> int:
        bench.redis.delete("rq:heori:rate:slow")
        bench.redis.zadd("rq:heori:rates:default", {"slow": 0})
        due = bench.commands.enqueue_due(["default"], consumer=ME, lock_ttl=3.0, batch=500)
        return bench.execute(due).jobs

    assert begin_more() == 1
    assert bench.look().expired == ("default",)
    assert begin_more() == 1
    assert ids(bench.claim()) == ["next"]
    assert not bench.redis.exists("rq:heori:rate-line:default@@slow")


def test_it_frees_its_slot_of_rqs_rate_limit(bench: Bench) -> None:
    call = Call(ADD, [1], {})
    job = NewJob.create("limited", call, 180, options={"expires": 1.0})
    bench.execute(bench.commands.enqueue("default", [job]))
    bench.redis.hset("rq:job:limited", mapping={"rate_limit_key": "k", "rate_limit_concurrency": 1})
    bench.redis.zadd("rq:rl:k:allowed", {"limited": 1})
    assert bench.look().expired == ("default",)
    assert not bench.redis.exists("rq:rl:k:allowed")


@pytest.mark.parametrize("expires", ["soon", [1], None])
def test_a_time_without_a_meaning_fails_the_job_alone(bench: Bench, expires: object) -> None:
    job = NewJob.create("a", Call(ADD, [1], {}), 180, options={"expires": expires})
    bench.execute(bench.commands.enqueue("default", [job]))
    bench.send("b")
    a, b = bench.claim()
    told = None if expires is None else "its heori_options have no meaning"
    assert (a.problem, b.problem) == (told, None)
