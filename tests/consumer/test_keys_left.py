"""What is left in Redis of any number of jobs when their time is over: always the same few keys."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rq import Queue
from rq.command import send_stop_job_command
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from heori import Fence, JobFailed, LockLost, Mutex, Producer, RedisExecutor, Semaphore, group
from heori_common.protocol.catalogue import CatalogueEntry, catalogue
from heori_common.protocol.keys import service_of
from heori_common.settings import Settings
from tests.rigs.consumers import Consumer
from tests.rigs.keys_left import KEYS, OF_LOCKS, OF_ONE_CONSUMER, lasting
from tests.rigs.script_bench import Bench
from tests.rigs.stock_rq import enqueue
from tests.rigs.waiting import until
from tests.tasks import lock_tasks, sample_tasks

TASKS = "tests.tasks.sample_tasks,tests.tasks.lock_tasks"
SERVICE = service_of(["default"])
HOLDING_JOBS = [made("default") for made in (KEYS.queue, KEYS.wip, KEYS.deferred)]
LEFT = OF_ONE_CONSUMER | OF_LOCKS


class Life:
    """All that is done to jobs, a number of times."""

    def __init__(self, bench: Bench, url: str, consume: Callable[..., Consumer]) -> None:
        self._bench = bench
        self._redis = bench.redis
        self._url = url
        self._consume = consume
        self._settings = Settings(redis_url=url, queue_limits={"bounded": 10})

    def live(self, times: int) -> int:
        """Send jobs of every kind and wait for them; then all consumers are killed.

        Returns:
            How many jobs there were.
        """
        first, second = (
            self._consume("--queue", "second", HEORI_TASKS=TASKS, HEORI_LEASE="5").ready()
            for _ in range(2)
        )
        with Producer(settings=self._settings) as producer:
            jobs = (
                self._of_a_tenant_or_none(producer, times)
                + self._failed(producer, times)
                + self._canceled(producer, times)
                + self._expired(times)
                + self._dropped(producer)
                + self._with_locks(producer, times)
                + self._dependent(times)
                + self._stopped(producer)
                + self._lost(producer, first)
            )
        second.process.send_signal(signal.SIGKILL)
        for each in (first, second):
            each.join()
        return jobs

    def _of_a_tenant_or_none(self, producer: Producer, times: int) -> int:
        add = sample_tasks.add
        handles = producer.submit_many(add, range(30 * times))
        for number in range(times):
            handles += producer.options(tenant=f"tenant{number}").submit_many(add, range(10))
            handles += [producer.options(key=f"{number}-{n}").submit(add, n) for n in range(5)]
            handles += producer.options(delay=0.1, queue="second").submit_many(add, range(5))
        assert len(group(handles).results(60)) == len(handles)
        with RedisExecutor(settings=self._settings) as executor:
            assert sum(executor.map(add, range(times), chunksize=3)) == times * (times + 3) // 2
        return len(handles) + times

    def _failed(self, producer: Producer, times: int) -> int:
        handles = producer.submit_many(sample_tasks.fail, ["no"] * 10 * times)
        again = [(self._url, f"again:{n}", 1) for n in range(times)]
        retried = producer.submit_many(sample_tasks.fail_at_first, again)
        with pytest.raises(JobFailed):
            group(handles).results(60)
        group([*handles, *retried]).wait(60)
        ids = [handle.id for handle in handles]
        commands = self._bench.commands
        replay = commands.replay("default", ids[:times], forget=["heori_deliveries"], dry_run=False)
        assert self._bench.execute(replay) == ["replayed"] * times
        purge = commands.purge("default", ids[times : 2 * times], dry_run=False)
        assert self._bench.execute(purge) == ["purged"] * times
        for handle in handles[:times]:
            until(lambda handle=handle: handle.status() == "failed")  # type: ignore[misc]
        return len(ids) + len(again)

    def _canceled(self, producer: Producer, times: int) -> int:
        handles = []
        for number in range(times):
            once = f"once{number}"
            handles += producer.options(queue=once).submit_many(sample_tasks.add, range(5))
            handles += producer.options(queue=once, tenant="a").submit_many(
                sample_tasks.add, range(2)
            )
            handles += producer.options(delay=60, queue=once).submit_many(
                sample_tasks.add, range(3)
            )
            for job in enqueue(self._redis, "add", [1], [2], queue=once):
                job.cancel()
        assert sum(handle.cancel() for handle in handles) == len(handles)
        return len(handles) + 2 * times

    def _expired(self, times: int) -> int:
        for number in range(times):
            stock = Queue(f"late{number}", connection=self._redis, serializer=JSONSerializer)
            for _ in range(3):
                stock.enqueue("tests.tasks.sample_tasks.add", 1, ttl=3600)
        return 3 * times

    def _dropped(self, producer: Producer) -> int:
        handles = [
            producer.options(queue="bounded", when_full="drop_oldest").submit(sample_tasks.add, 1)
            for _ in range(30)
        ]
        assert sum(handle.cancel() for handle in handles) == 10
        for command in self._bench.commands.set_limit("bounded", None):
            self._bench.execute(command)
        return len(handles)

    def _with_locks(self, producer: Producer, times: int) -> int:
        accounts = [n % 5 for n in range(5 * times)]
        handles = producer.submit_many(lock_tasks.child, accounts)
        assert group(handles).results(60) == accounts
        mutex = Mutex("here", self._url)
        mutex.acquire()
        for number in range(times):
            Fence(f"row{number}", mutex).execute("SET", "row", number)
        lock = KEYS.lock("mutex", "here")
        [request] = self._redis.zrange(KEYS.holders(lock), 0, -1)
        forced = mutex.session().commands.force_release(lock, request.decode())
        assert self._bench.execute(forced)
        with pytest.raises(LockLost):
            mutex.release()
        for number in range(times):
            with Semaphore(f"permits{number}", 2, self._url):
                pass
        return len(handles)

    def _dependent(self, times: int) -> int:
        stock = Queue(connection=self._redis, serializer=JSONSerializer)
        child = "tests.tasks.sample_tasks.add"
        jobs: list[RqJob] = []
        self._redis.set(KEYS.suspended(), 1)  # a parent that is kept for no time must not end yet
        for number in range(times):
            parent = stock.enqueue(child, 1, result_ttl=(500, 0)[number % 2])
            jobs += [stock.enqueue(child, 2, depends_on=[parent.id]) for _ in range(2)]
        self._redis.delete(KEYS.suspended())
        for job in jobs:
            until(lambda job=job: job.latest_result())  # type: ignore[misc]
        return len(jobs) + times

    def _stopped(self, producer: Producer) -> int:
        handle = producer.submit(sample_tasks.hold, self._url, "stopped")
        assert self._redis.blpop(["stopped:running"], timeout=60)
        send_stop_job_command(self._redis, handle.id, serializer=JSONSerializer)
        with pytest.raises(JobFailed):
            handle.result(60)
        return 1

    def _lost(self, producer: Producer, consumer: Consumer) -> int:
        """Some jobs whose consumer is killed run elsewhere; one takes its workers with it.

        The last one, and one that waits for its lock, are lost with the second consumer.
        """
        held = producer.submit_many(sample_tasks.hold, [(self._url, "held")] * 4)
        held += producer.submit_many(lock_tasks.hold_account, [(self._url, 7, "held")] * 3)
        for _ in range(5):
            assert self._redis.blpop(["held:running"], timeout=60)
        consumer.process.send_signal(signal.SIGKILL)
        self._redis.rpush("held:go", *range(2 * len(held)))
        assert len(group(held).results(60)) == len(held)
        with pytest.raises(JobFailed):
            producer.submit(sample_tasks.leave, "os._exit").result(60)
        producer.submit_many(lock_tasks.hold_account, [(self._url, 8, "last")] * 2)
        assert self._redis.blpop(["last:running"], timeout=60)
        self._redis.rpush("last:go", *range(4))
        return len(held) + 3


# As if the time of all that has one had passed. KEYS those to keep; of registries, none is to stay.
PASS_TTLS = """
local keep = {}
for _, key in ipairs(KEYS) do keep[key] = true end
for _, key in ipairs(redis.call('KEYS', '*')) do
  if not keep[key] and redis.call('TTL', key) > 0 then
    redis.call('DEL', key)
  end
end
for _, kind in ipairs({'finished', 'failed', 'canceled'}) do
  for _, key in ipairs(redis.call('KEYS', 'rq:' .. kind .. ':*')) do
    for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      redis.call('ZADD', key, 1, id)
    end
  end
end
"""


def users_own(key: bytes) -> bool:
    """What the tasks of this test write themselves."""
    return not key.startswith(b"rq:")


def entry_of(key: str) -> Iterator[CatalogueEntry]:
    """What the catalogue says of a key."""
    for entry in catalogue():
        if getattr(KEYS, entry.name)(*["default"] * len(entry.parameters)) == key:
            yield entry


def test_what_is_left_of_five_thousand_jobs_of_every_kind_is_as_little_as_of_a_few(
    bench: Bench, redis_url: str, consume: Callable[..., Consumer], redis: Any
) -> None:
    left = []
    for times in (1, 65):
        jobs = Life(bench, redis_url, consume).live(times)
        dead = redis.smembers("rq:workers")
        assert len(dead) == 2
        redis.eval(PASS_TTLS, 0)  # of their records, too
        last = consume(HEORI_TASKS=TASKS, HEORI_LEASE="1").ready()
        until(lambda dead=dead: not redis.smembers("rq:workers") & dead)  # type: ignore[misc]
        until(lambda: not redis.exists(*HOLDING_JOBS))  # what the killed ones had is done
        [me] = (key.decode() for key in redis.smembers("rq:workers"))
        for _ in range(3):
            redis.eval(PASS_TTLS, 1, me)
            bench.tidy()
        until(lambda: not redis.exists(KEYS.idle()) or not bench.tidy())  # a hundred in a call
        until(lambda: not redis.exists(KEYS.leased()))  # it is looked at every second
        redis.delete(*filter(users_own, redis.keys("*")))
        names = {key.decode() for key in redis.keys("*")}
        left.append(lasting(redis))
        assert names - left[-1] <= {
            me,
            KEYS.janitor(),
            KEYS.watched("default"),
            KEYS.scheduler_lock("default"),
            KEYS.counter("default"),
            KEYS.lock_counter(),
            *(make(SERVICE) for make in (KEYS.leader, KEYS.watching, KEYS.service, KEYS.offers)),
            KEYS.services("default"),
        }
        assert redis.smembers("rq:queues") == {b"rq:queue:default"}
        assert last.stop() == 0
    assert jobs >= 5000
    assert left == [LEFT, LEFT]
    for name in LEFT - {KEYS.workers(), KEYS.workers_of("default")}:  # those go with the consumer
        [entry] = entry_of(name)
        assert entry.end == "Stays for ever: one."


def test_a_consumer_looks_at_all_of_many_queues(
    consume: Callable[..., Consumer], redis: Any
) -> None:
    many = [f"{KEYS.queue('once')}{number}" for number in range(500)]
    redis.sadd(KEYS.queues(), *many)
    consume().ready()
    until(lambda: redis.zcard(KEYS.idle()) == len(many))
