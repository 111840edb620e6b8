"""What becomes of the locks that a job, or a worker, leaves behind."""

from collections.abc import Iterator

import pytest

from heori import JobFailed, Mutex, Producer, Semaphore
from heori_common.locks import session
from tests.rigs.consumers import Consumer, SharedConsumers
from tests.rigs.waiting import until
from tests.tasks import lock_tasks

MODELS = ["locks in auto", "locks in processes", "locks in asyncio"]


@pytest.fixture
def shared(
    request: pytest.FixtureRequest,
    redis_url: str,
    shared_consumers: SharedConsumers,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Consumer]:
    monkeypatch.setenv("HEORI_REDIS_URL", redis_url)
    session.close()
    yield shared_consumers.take(request.param)
    session.close()


def are_free(how: str) -> None:
    """Get the locks at once, though their leases are ten minutes."""
    for lock in (Mutex(f"left:{how}"), Semaphore(f"left:{how}", 1)):
        assert lock.acquire(timeout=60)
        lock.release()


@pytest.mark.parametrize("shared", MODELS, indirect=True)
def test_what_a_job_took_and_did_not_release_is_released_at_its_end(
    shared: Consumer, producer: Producer
) -> None:
    for run in (lock_tasks.leave, lock_tasks.leave_later):
        for how, error in (("returns", None), ("raises", "ZeroDivision"), ("is late", "timeout")):
            handle = producer.submit(run, how)
            if error is None:
                assert handle.result(60) == how
            else:
                with pytest.raises(JobFailed, match=error):
                    handle.result(60)
            are_free(how)
            for kind in ("mutex", "semaphore"):
                line = shared.wait_for(
                    f"{kind} left:{how} was not released by job {handle.id} of "
                    f"tests.tasks.lock_tasks.{run.__name__}, which has ended; it is released now"
                )
                assert line["level"] == "warning"


@pytest.mark.parametrize("shared", ["locks in processes"], indirect=True)
def test_the_locks_of_a_worker_that_dies_are_free_at_once_and_no_others(
    shared: Consumer, producer: Producer, redis_url: str
) -> None:
    living = producer.submit(lock_tasks.live_with_a_lock, redis_url)
    with lock_tasks.KEEP(redis_url) as client:
        assert client.blpop(["holds"], timeout=60)
        dying = producer.submit(lock_tasks.die_with_locks, redis_url)
        shared.wait_for("a worker ended with locks; they are free now")
        are_free("dies")
        assert dying.result(60) == "lives"
        assert Mutex("left:lives").locked
        client.rpush("go", "1")
        assert living.result(60) == "held"
        client.delete("died")


@pytest.mark.parametrize("shared", ["locks in processes"], indirect=True)
def test_a_worker_whose_job_was_ended_inside_an_import_is_replaced(
    shared: Consumer, producer: Producer
) -> None:
    def replaced() -> float:
        return shared.metric("heori_worker_restarts_total", reason="ended in an import")

    with pytest.raises(JobFailed, match="timeout"):
        producer.submit(lock_tasks.import_slowly, swallows=False).result(60)
    until(lambda: replaced() == 1)
    assert producer.submit(lock_tasks.import_slowly, swallows=True).result(60) == "done"
    until(lambda: replaced() == 2)
