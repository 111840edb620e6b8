"""What a person has done to a job is done whole or refused with the reason, whatever its state."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from heori import Handle, Producer, chain
from heori.inspect.actions import ActionRefused, JobActions, JobGone
from heori.inspect.checks import examine
from heori.inspect.job import read
from heori.inspect.reader import RedisReader
from heori_common.protocol.keys import Keys
from heori_common.settings import Settings
from tests.rigs.consumers import Consumer
from tests.rigs.script_bench import Bench, ids
from tests.rigs.waiting import until
from tests.tasks import flow_tasks, limited_tasks, lock_tasks, sample_tasks

TASKS = "tests.tasks.sample_tasks"
ACTIONS = ("cancel", "stop", "run", "retry", "delete")
RUNS = {"queued", "started", "finished"}  # a consumer is as quick as it is
# By the state of a job: what is allowed, and the status that it gets by that.
ALLOWED: dict[str, dict[str, set[str]]] = {
    "queued": {"cancel": {"canceled"}, "delete": {"deleted"}},
    "scheduled": {"run": RUNS, "cancel": {"canceled"}, "delete": {"deleted"}},
    "deferred for another": {"cancel": {"canceled"}, "delete": {"deleted"}},
    "deferred for a lock": {"cancel": {"canceled"}, "delete": {"deleted"}},
    "started": {"stop": {"started", "stopped"}},
    "failed": {"retry": {"queued", "started", "failed"}, "delete": {"deleted"}},
    "stopped": {"retry": {"queued", "started"}, "delete": {"deleted"}},
    "canceled": {"retry": RUNS, "delete": {"deleted"}},
    "finished": {"delete": {"deleted"}},
}


@pytest.fixture
def actions(reader: RedisReader) -> JobActions:
    return JobActions(reader.client, reader.commands)


def refusal(actions: JobActions, action: str, job_id: str) -> str:
    with pytest.raises(ActionRefused) as refused:
        actions.act(action, job_id)
    return str(refused.value)


def places(redis: Any, job_id: str) -> set[str]:
    """Everything in Redis that names a job: keys, and members and fields in them."""
    found = set()
    raw = job_id.encode()
    for key in redis.scan_iter(count=1000):
        members: Any = {
            b"list": lambda key: redis.lrange(key, 0, -1),
            b"set": redis.smembers,
            b"zset": lambda key: redis.zrange(key, 0, -1),
            b"hash": redis.hkeys,
        }.get(redis.type(key), lambda _: [])(key)
        if raw in key or any(raw in member for member in members):
            found.add(key.decode())
    return found


def complaints(reader: RedisReader) -> set[str]:
    """What `heori doctor` finds wrong with the jobs."""
    findings = examine(reader.client, Keys(), 1_000_000, lambda *_: None)
    of_jobs = ("limits", "leases", "intermediate", "jobs", "results", "keys", "unreadable")
    return {
        f"{each.check}: {each.says}"
        for each in findings
        if each.level != "fine" and each.check in of_jobs
    }


class Makers:
    """Make a job of each state, with a consumer of the queue default."""

    def __init__(self, producer: Producer, redis: Any, url: str, actions: JobActions) -> None:
        self._producer = producer
        self._redis = redis
        self._url = url
        self._actions = actions
        self.gates: list[str] = []  # of all jobs that wait to be let go

    def make(self, state: str) -> str:
        make: dict[str, Callable[[], str]] = {
            "queued": lambda: self._idle().id,
            "scheduled": lambda: self._producer.options(delay=1000).submit(sample_tasks.add, 1).id,
            "deferred for another": self._after,
            "deferred for a lock": self._parked,
            "started": lambda: self._held().id,
            "failed": lambda: self._ended(self._producer.submit(sample_tasks.fail, "no")),
            "stopped": self._stopped,
            "canceled": self._canceled,
            "finished": lambda: self._ended(self._producer.submit(sample_tasks.add, 1)),
        }
        return make[state]()

    def _idle(self) -> Handle[int]:
        """One that no consumer takes."""
        return self._producer.options(queue="idle").submit(sample_tasks.add, 1)

    def _held(self) -> Handle[str]:
        key = self._gate()
        handle = self._producer.submit(sample_tasks.hold, self._url, key)
        assert self._redis.blpop([f"{key}:running"], timeout=60)
        return handle

    def _gate(self) -> str:
        self.gates.append(f"gate{len(self.gates)}")
        return self.gates[-1]

    def _after(self) -> str:
        return self._producer.options(after=[self._idle()]).submit(sample_tasks.add, 1).id

    def _parked(self) -> str:
        key, account = self._gate(), len(self.gates)
        self._producer.submit(lock_tasks.hold_account, self._url, account, key)
        assert self._redis.blpop([f"{key}:running"], timeout=60)
        waits = self._producer.submit(lock_tasks.write, self._url, account)
        until(lambda: waits.status() == "deferred")
        return waits.id

    def _ended(self, handle: Handle[Any]) -> str:
        until(lambda: handle.status() in ("finished", "failed"))
        return handle.id

    def _stopped(self) -> str:
        handle = self._held()
        self._actions.act("stop", handle.id)
        until(lambda: handle.status() == "stopped")
        return handle.id

    def _canceled(self) -> str:
        handle = self._producer.options(delay=1000).submit(sample_tasks.add, 1)
        assert handle.cancel()
        return handle.id


def test_each_state_allows_what_it_says_and_nothing_else(
    actions: JobActions,
    reader: RedisReader,
    settings: Settings,
    producer: Producer,
    consume: Callable[..., Consumer],
    redis: Any,
    redis_url: str,
) -> None:
    consumer = consume("--slots", "64", HEORI_TASKS=f"{TASKS},tests.tasks.lock_tasks").ready()
    makers = Makers(producer, redis, redis_url, actions)
    deleted, stopped = [], []
    for state, allowed in ALLOWED.items():
        for action in ACTIONS:
            job_id = makers.make(state)
            details = read(reader, settings, job_id)
            assert details is not None
            assert set(details.actions) == {*allowed}, state
            if action not in allowed:
                assert f"{job_id} cannot be" in refusal(actions, action, job_id), (state, action)
                after = read(reader, settings, job_id)
                assert after is not None
                assert after.status == details.status, (state, action)
                continue
            assert actions.act(action, job_id).status in allowed[action], (state, action)
            if action == "delete":
                deleted.append(job_id)
            elif action == "stop":
                stopped.append(job_id)
    for key in makers.gates:
        redis.rpush(f"{key}:go", 1, 2)
    until(lambda: redis.zcard("rq:wip:default") == 0 and redis.llen("rq:queue:default") == 0)
    assert (len(deleted), len(stopped)) == (8, 1)
    assert redis.hget(f"rq:job:{stopped[0]}", "status") == b"stopped"
    until(lambda: not any(places(redis, job_id) for job_id in deleted))
    assert complaints(reader) == set()
    with pytest.raises(JobGone):
        actions.act("retry", deleted[0])
    assert consumer.stop() == 0


@pytest.mark.parametrize("action", ["retry", "run"])
def test_of_many_who_act_on_one_job_one_does_it(
    actions: JobActions, bench: Bench, producer: Producer, action: str
) -> None:
    for _ in range(20):
        job_id = producer.options(delay=1000).submit(sample_tasks.add, 1).id
        if action == "retry":
            actions.act("cancel", job_id)
        told: list[str] = []
        begin = threading.Barrier(4)

        def act(job_id: str = job_id, told: list[str] = told) -> None:
            begin.wait(60)  # noqa: B023 - all of this round
            try:
                told.append(actions.act(action, job_id).status)
            except ActionRefused as error:
                told.append(f"not, as it is {error.status}")

        threads = [threading.Thread(target=act) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(told) == [*["not, as it is queued"] * 3, "queued"]
        assert bench.queue().count(job_id) == 1


def test_a_step_of_a_flow_that_was_canceled_waits_on_when_it_is_retried(
    actions: JobActions, bench: Bench, producer: Producer, redis: Any
) -> None:
    flow = producer.submit_flow(
        chain(flow_tasks.double.s(1), flow_tasks.double.s(), flow_tasks.double.s())
    )
    first, second, third = (handle.id for handle in flow.handles)
    actions.act("cancel", second)
    assert actions.act("retry", second).status == "deferred"
    assert ids(bench.claim()) == [first]
    assert redis.sismember(f"rq:job:{first}:dependents", second)
    assert redis.sismember(f"rq:job:{second}:dependents", third)
    assert redis.ttl(f"rq:job:{second}") == -1


def test_what_cannot_be_retried_says_what_can(
    actions: JobActions, producer: Producer, consume: Callable[..., Consumer], redis: Any
) -> None:
    consume().ready()
    flow = producer.submit_flow(chain(sample_tasks.fail.s("no"), sample_tasks.add.s(1)))
    rest = flow.handles[1]
    until(lambda: rest.status() == "canceled")
    assert "retry that one, and this goes on by itself" in refusal(actions, "retry", rest.id)
    late = producer.options(queue="idle", expires=0.001).submit(sample_tasks.add, 1)
    sent = redis.time()
    actions.act("cancel", late.id)
    until(lambda: redis.time() > (sent[0], sent[1] + 10_000))  # its time is over
    assert late.status() == "canceled"
    assert "a time that is over" in refusal(actions, "retry", late.id)


def test_a_canceled_job_that_runs_yet_is_neither_retried_nor_deleted(
    actions: JobActions, bench: Bench
) -> None:
    """As rq cancels what is claimed."""
    bench.send("a")
    bench.claim()
    bench.redis.hset("rq:job:a", "status", "canceled")
    bench.redis.zadd("rq:canceled:default", {"a": 2e9})
    assert "it was canceled while it ran, and still does" in refusal(actions, "retry", "a")
    assert "it runs; stop it first" in refusal(actions, "delete", "a")
    assert bench.queue() == []


def test_stop_is_refused_where_nobody_hears_it(actions: JobActions, bench: Bench) -> None:
    bench.send("a")
    bench.claim()
    assert "does not listen" in refusal(actions, "stop", "a")


def test_what_waited_for_a_deleted_job_is_let_go(
    actions: JobActions, producer: Producer, consume: Callable[..., Consumer], redis: Any
) -> None:
    parent = producer.options(delay=1000).submit(sample_tasks.add, 1)
    child = producer.options(after=[parent]).submit(sample_tasks.add, 1)
    actions.act("delete", parent.id)
    consume().ready()
    until(lambda: child.status() == "canceled")
    assert redis.hget(f"rq:job:{child.id}", "heori_reason").startswith(
        b"after " + parent.id.encode()
    )
    until(lambda: redis.zcard("rq:heori:ended") == 0)


def test_a_deleted_job_leaves_its_lock_and_its_rate_to_others(
    actions: JobActions, bench: Bench, producer: Producer, redis: Any
) -> None:
    locked = [producer.submit(lock_tasks.write, "redis://nowhere", 7).id for _ in range(3)]
    rated = [each.id for each in producer.submit_many(limited_tasks.seldom, range(4))]
    claims = bench.claim()
    assert ids(claims) == [locked[0], *rated[:2]]
    actions.act("delete", locked[1])
    actions.act("delete", rated[2])
    assert places(redis, locked[1]) == places(redis, rated[2]) == set()
    assert places(redis, locked[2]) >= {"rq:deferred:default"}
    bench.release(claims[0], counted=False)
    assert bench.queue()[0] == locked[0]


def test_a_slot_of_a_limit_is_freed_by_a_deletion_and_asked_for_by_a_retry(
    actions: JobActions, bench: Bench, redis: Any
) -> None:
    """Limits are RQ's own: how many jobs of a kind are queued or run at once."""
    bench.send("has", delay=1000)
    bench.send("waits", delay=1000)
    for job_id in ("has", "waits"):
        fields: dict[str, Any] = {"rate_limit_key": "k", "rate_limit_concurrency": 1}
        redis.hset(f"rq:job:{job_id}", mapping=fields)
    assert actions.act("run", "has").status == "queued"
    assert actions.act("run", "waits").status == "rate_limited"
    actions.act("cancel", "waits")
    assert actions.act("retry", "waits").status == "rate_limited"
    actions.act("delete", "has")
    assert redis.hget("rq:job:waits", "status") == b"queued"
    assert bench.queue() == ["waits"]
    actions.act("delete", "waits")
    assert redis.keys("rq:rl*") == []
