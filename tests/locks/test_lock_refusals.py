"""Locks while a server refuses: what is held and awaited lasts, and nothing is left behind."""

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from rq import Queue
from rq.serializers import JSONSerializer

from heori import Fence, LockOwner, Mutex, NotHeld, Producer, RedisRefused
from heori_common.current_job import CurrentJob, set_current_job
from heori_common.embedded import EmbeddedValkey
from heori_common.locks import session
from heori_common.locks.job_wait import waiting_for
from heori_common.locks.lockable import Lockable
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from tests.rigs.consumers import Consumer
from tests.rigs.lock_kinds import KINDS
from tests.rigs.lock_rig import queued, thread
from tests.rigs.refusals import REFUSALS, full, login
from tests.rigs.waiting import until
from tests.tasks import lock_tasks, sample_tasks

pytestmark = pytest.mark.usefixtures("no_lock_is_left", "little_patience")
LEASE_S = 5


ALL: dict[str, Callable[[Any], AbstractContextManager[None]]] = {
    **REFUSALS,
    "OOM": full,
    "NOAUTH": login,
}

Run = Callable[..., Any]  # with the name of a method, the lock, and the method's arguments


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """Calls a method of a lock, or what does the same in a coroutine."""

    def call(method: str, lock: Lockable, *arguments: Any) -> Any:
        if request.param == "sync":
            return getattr(lock, method)(*arguments)
        return asyncio.run(getattr(lock, f"{method}_async")(*arguments))

    return call


@pytest.fixture
def little_patience(monkeypatch: pytest.MonkeyPatch, no_lock_is_left: None) -> None:
    """Each refusal here lasts for longer than a command is sent again."""
    monkeypatch.setattr(session, "PATIENCE_S", 0.05)


def mutex(name: str) -> Mutex:
    """One that belongs to nobody's thread or task."""
    return Mutex(name, owner=LockOwner())


def renew_now(lock: Mutex) -> None:
    """As if a third of its lease were over."""
    lock.hold.renew_at = 0
    lock.session().renewer.look()


@pytest.mark.parametrize("refusal", ALL)
def test_what_is_held_and_awaited_lasts_while_redis_refuses(
    refusal: str, run: Run, redis: Any
) -> None:
    held, given_back, waiting, refused = (mutex(name) for name in "abac")
    run("acquire", held)
    run("acquire", given_back)
    with contextlib.ExitStack() as stack:
        wait = stack.enter_context(thread(lambda: run("acquire", waiting)))
        queued(held, 1)
        lease_end = held.hold.valid_until
        with ALL[refusal](redis):
            renew_now(held)
            with pytest.raises(RedisRefused) as raised:
                run("acquire", refused)
            assert raised.value.code == refusal
            with pytest.raises(RedisRefused) as raised:
                Fence("row", held).execute("SET", "row", "new")
            assert raised.value.code == refusal
            run("release", given_back)
            with pytest.raises(NotHeld):
                run("release", given_back)
            if refusal == "NOAUTH":  # who knows whether anybody may wait by then
                assert wait().code == refusal
        until(lambda: held.hold.valid_until > lease_end)
        assert not held.lost.is_set()
        for lock in (given_back, refused):
            assert run("acquire", lock, 60)
            run("release", lock)
        run("release", held)
        if refusal != "NOAUTH":
            assert wait() is True
            run("release", waiting)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_released_while_redis_refuses_is_free_afterwards(
    kind: str, run: Run, redis: Any
) -> None:
    lock = KINDS[kind](LockOwner())
    run("acquire", lock)
    with REFUSALS["READONLY"](redis):
        run("release", lock)
    keys = {one.key for one in lock._locks}
    until(lambda: not redis.exists(*keys))


def test_a_wait_whose_time_is_up_while_redis_refuses_ends_and_leaves_nothing(
    run: Run, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PATIENCE_S", 600.0)
    held = mutex("a")
    with held, thread(lambda: run("acquire", mutex("a"), 5)) as wait:
        queued(held, 1)
        with REFUSALS["READONLY"](redis):
            assert wait() is False
        queued(held, 0)


def test_a_wait_whose_time_is_up_while_redis_is_away_ends_and_leaves_nothing(run: Run) -> None:
    with EmbeddedValkey({"appendonly": "yes", "appendfsync": "always"}) as server:
        held, waiting = (Mutex("a", server.url, 600.0, owner=LockOwner()) for _ in range(2))
        with held, thread(lambda: run("acquire", waiting, 5)) as wait:
            queued(held, 1)
            server.stop()
            assert wait() is False
            server.start()
            queued(held, 0)


def test_a_job_that_cannot_note_for_whom_it_waits_waits_on(redis: Any, redis_url: str) -> None:
    def look() -> None:
        set_current_job(CurrentJob("a", "task", "default", 1, 10, lambda *_: None))
        with RedisClient(redis_url, patience=0) as client:
            with full(redis), waiting_for("b", client, Keys()) as note:
                note()
                assert redis.exists(Keys().owner_wait("job:a"))
            with REFUSALS["READONLY"](redis), waiting_for("b", client, Keys()) as note:
                note()
            assert not redis.exists(Keys().owner_wait("job:a"))
            with waiting_for("b", client, Keys()) as note:
                note()
                with REFUSALS["READONLY"](redis):
                    pass

    with thread(look) as ended:
        assert ended() is None


def test_jobs_run_once_and_keep_their_locks_while_memory_is_full(
    consume: Callable[..., Consumer], tmp_path: Path
) -> None:
    gate, parents_gate = tmp_path / "gate", tmp_path / "parent's gate"
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
        Producer(server.url) as producer,
    ):
        consumer = consume(
            *("--model", "threads", "--slots", "5"),
            HEORI_REDIS_URL=server.url,
            HEORI_LEASE=str(LEASE_S),
            HEORI_TASKS="tests.tasks.lock_tasks,tests.tasks.sample_tasks",
        ).ready()
        held = producer.submit_many(
            lock_tasks.hold_until, [(server.url, n, str(gate), LEASE_S) for n in range(4)]
        )
        until(lambda: client.llen("running") == 4)
        queue = Queue(connection=client, serializer=JSONSerializer)
        parent = queue.enqueue("tests.tasks.sample_tasks.wait_for_file", str(parents_gate))
        child = queue.enqueue("tests.tasks.sample_tasks.add", 7, depends_on=parent)
        waiting = producer.submit_many(sample_tasks.add, range(20))
        later = producer.options(delay=LEASE_S).submit(sample_tasks.add, 5)
        wip = Keys().wip("default")
        first_end = min(score for _, score in client.zrange(wip, 0, -1, withscores=True))
        with full(client):
            with pytest.raises(RedisRefused, match="its memory is full, and nothing new is taken"):
                producer.submit(sample_tasks.add, 1)
            until(lambda: client.zcount(wip, first_end + 3 * LEASE_S, "inf") >= 5)
            parents_gate.touch()
            until(lambda: child.get_status() == "finished")
            gate.touch()
            assert [handle.result(60) for handle in held] == ["held"] * 4
            assert [handle.result(60) for handle in waiting] == [n + 2 for n in range(20)]
            assert later.result(60) == 7
        assert client.llen("running") == 4, "each ran once"
        assert producer.submit(sample_tasks.add, 1).result(60) == 3
        assert consumer.metric("heori_results_refused_total") == 0
        assert consumer.stop() == 0
