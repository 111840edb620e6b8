"""Calls that are not sent twice while they wait or run, and those of which the latest wins."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from heori import Handle, Producer, RedisRefused
from heori_common.protocol.commands.maintenance import Round
from heori_common.protocol.payload import decode_call
from tests.rigs.script_bench import ME, Bench, done, failed
from tests.rigs.waiting import about
from tests.tasks import sample_tasks

SAME = "rq:heori:same-calls"


def tidy(bench: Bench) -> Round:
    return bench.execute(bench.commands.tidy_same_calls())


def arguments(bench: Bench, job_id: str) -> list[Any]:
    data = bench.redis.hget(f"rq:job:{job_id}", "data")
    return list(decode_call(data, ("json",), 10_000).args)


def cancel(bench: Bench, handle: Handle[int]) -> None:
    assert handle.cancel()


def finish(bench: Bench, handle: Handle[int]) -> None:
    [claim] = bench.claim()
    bench.ack(done(claim))
    assert handle.status() == "finished"


def fail(bench: Bench, handle: Handle[int]) -> None:
    [claim] = bench.claim()
    bench.ack(failed(claim))
    assert handle.status() == "failed"


def die(bench: Bench, handle: Handle[int]) -> None:
    [claim] = bench.claim()
    assert bench.release(claim, max_deliveries=1) == ["dead"]


def delete(bench: Bench, handle: Handle[int]) -> None:
    bench.rq_job(handle.id).delete()


def evict(bench: Bench, handle: Handle[int]) -> None:
    bench.redis.delete(f"rq:job:{handle.id}")


@pytest.mark.parametrize("end", [cancel, finish, fail, die, delete, evict])
def test_the_same_call_is_sent_again_once_it_is_over(
    bench: Bench, producer: Producer, end: Callable[[Bench, Handle[int]], None]
) -> None:
    sender = producer.options(unique="until_done")
    first = sender.submit(sample_tasks.add, 1, 2)
    assert sender.submit(sample_tasks.add, 1, b=2).id == first.id, "however they are given"
    assert sender.submit(sample_tasks.add, a=1, b=2).id == first.id
    others = [
        sender.submit(sample_tasks.add, 1, 3),
        sender.options(tenant="acme").submit(sample_tasks.add, 1, 2),
        producer.submit(sample_tasks.add, 1, 2),
    ]
    assert len({first.id, *(each.id for each in others)}) == 4
    for each in others:
        assert each.cancel()
    end(bench, first)
    assert sender.submit(sample_tasks.add, 1, 2).id != first.id


def test_it_holds_while_the_job_waits_runs_or_has_lost_its_consumer(
    bench: Bench, producer: Producer
) -> None:
    sender = producer.options(unique="until_done")
    later = sender.options(delay=60).submit(sample_tasks.add, 5)
    first = sender.submit(sample_tasks.add, 1)
    assert sender.submit(sample_tasks.add, 5).id == later.id
    [claim] = bench.claim()
    assert sender.submit(sample_tasks.add, 1).id == first.id
    bench.end_lease(claim)
    assert sender.submit(sample_tasks.add, 1).id == first.id
    assert bench.reclaim() == (1, 0)
    assert sender.submit(sample_tasks.add, 1).id == first.id
    assert tidy(bench).number == 0
    bench.redis.delete(SAME)
    assert sender.submit(sample_tasks.add, 1).id != first.id, "a key that was lost blocks nobody"


def test_of_many_that_send_the_same_call_at_once_one_does(bench: Bench, producer: Producer) -> None:
    sender = producer.options(unique="until_done")
    with ThreadPoolExecutor(8) as pool:
        handles = list(pool.map(lambda n: sender.submit(sample_tasks.add, n % 5), range(100)))
    assert {each.id for each in handles} == set(bench.queue())
    assert len(bench.queue()) == 5


def test_what_is_over_is_struck(bench: Bench, producer: Producer) -> None:
    sender = producer.options(unique="until_done")
    sender.submit(sample_tasks.add, 1).cancel()
    sender.submit(sample_tasks.add, 2)
    bench.redis.hset(SAME, "anything", "nobody")
    bench.redis.set("rq:job:text", "no hash")
    bench.redis.hset(SAME, "another", "text")
    assert tidy(bench) == Round("0", 3)
    assert bench.redis.hlen(SAME) == 1
    bench.redis.set(SAME, "no hash")
    assert tidy(bench) == Round("0", 0)


# The latest wins


def test_the_latest_call_takes_the_place_of_those_before(bench: Bench, producer: Producer) -> None:
    sender = producer.options(debounce="1min")
    first = sender.submit(sample_tasks.add, 1)
    bench.redis.zadd("rq:scheduled:default", {first.id: bench.now() + 5})
    second = sender.options(expires="1h").submit(sample_tasks.add, 2)
    assert second.id == first.id
    assert arguments(bench, first.id) == [2]
    assert bench.redis.zcard("rq:scheduled:default") == 1
    due = bench.redis.zscore("rq:scheduled:default", first.id)
    assert due - bench.now() == about(60), "it waits as long again"
    assert bench.redis.hexists(f"rq:job:{first.id}", "heori_options")
    third = sender.submit(sample_tasks.add, 3)
    assert not bench.redis.hexists(f"rq:job:{third.id}", "heori_options"), "all of it is the latest"
    assert {key.decode() for key in bench.redis.keys("rq:job:*")} == {f"rq:job:{first.id}"}


def test_keys_and_tenants_are_awaited_each_by_itself(bench: Bench, producer: Producer) -> None:
    sender = producer.options(debounce=60)
    senders = [
        sender,
        sender.options(key="a"),
        sender.options(key="b"),
        sender.options(tenant="a"),
    ]
    sent = [each.submit(sample_tasks.add, 1).id for each in senders]
    assert len(set(sent)) == 4
    assert [each.submit(sample_tasks.add, 2).id for each in senders] == sent
    assert not bench.redis.keys("rq:heori:key:*")


def test_what_is_due_runs_and_the_next_call_waits_anew(bench: Bench, producer: Producer) -> None:
    sender = producer.options(debounce=60)
    first = sender.submit(sample_tasks.add, 1)
    bench.redis.zadd("rq:scheduled:default", {first.id: 1})
    due = bench.commands.enqueue_due(["default"], consumer=ME, lock_ttl=5, batch=10)
    assert bench.execute(due).jobs == 1
    second = sender.submit(sample_tasks.add, 2)
    assert second.id != first.id
    assert arguments(bench, first.id) == [1]
    assert second.cancel()
    third = sender.submit(sample_tasks.add, 3)
    assert third.id not in (first.id, second.id)
    finish(bench, first)


def test_a_key_that_is_no_hash_is_told_and_nothing_is_sent(
    bench: Bench, producer: Producer
) -> None:
    bench.redis.set(SAME, "no hash")
    with pytest.raises(RedisRefused, match="WRONGTYPE"):
        producer.options(unique="until_done").submit(sample_tasks.add, 1)
    assert bench.redis.keys("rq:*") == [SAME.encode()]
    producer.submit(sample_tasks.add, 1)
