"""The steady work of the profile lab: what sends it, and that it does what its notes say."""

import signal
from collections.abc import Callable
from os import environ

from heori.examples import accounts, notes
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.rigs.zygote import Started

SHARED = (*notes.COMPUTING, notes.GROUP, notes.LOCKS, notes.BOUNDED, notes.UNBOUNDED)
SIGN, SIGN_LOCKED = (f"{notes.__name__}.{name}" for name in ("sign", "sign_locked"))
TASKS = {
    *(f"{notes.__name__}.{name}" for name in ("compute", "answer", "consume")),
    *(f"{accounts.__name__}.{name}" for name in ("transfer", "transfer_crosswise", "print_page")),
}
PATIENCE = 300.0  # seconds: it is much work for a machine that has much else to do
CRASHED = {f"{notes.__name__}.{name}" for name in ("wait_for_answer", "crash")}


def test_each_note_has_work_that_shows_it_and_none_of_it_fails(
    consume: Callable[..., Consumer], redis_url: str
) -> None:
    modules = {"HEORI_TASKS": f"{notes.__name__},{accounts.__name__}"}
    # Two threads lose what they sign only when both sign at once. A consumer that has all of its
    # threads busy with other work, as on a slow machine, signs one name after the other.
    signing, shared, crashing = (
        consume(
            *(word for queue in queues for word in ("--queue", queue)),
            *("--order", "round-robin", "--model", "threads", "--slots", "16"),
            queue=first,
            **modules,
        )
        for first, *queues in ((notes.THREAD,), SHARED, (notes.CRASHING, notes.WAITING))
    )
    with Started(
        "heori.demo.notes", env={**environ, "HEORI_REDIS_URL": redis_url, "HEORI_METRICS_PORT": "0"}
    ) as producer:
        try:
            for consumer, tasks in (
                (signing, {SIGN, SIGN_LOCKED}),
                (shared, TASKS),
                (crashing, CRASHED),
            ):
                consumer.ready()
                until(lambda c=consumer, t=tasks: all(ended(c, task) for task in t), PATIENCE)  # type: ignore[misc]
            until(lambda: ended(signing, SIGN, "retried"), PATIENCE)
            assert crashing.metric("heori_jobs_redelivered_total") > 0
            assert producer.poll() is None
            producer.send_signal(signal.SIGTERM)
            assert producer.wait(60) == 0
        finally:
            if producer.poll() is None:
                producer.kill()
    assert ended(signing, SIGN_LOCKED, "retried") == 0
    for consumer in (signing, crashing):
        assert consumer.metric("heori_jobs_total", outcome="failed") == 0
    assert not any(ended(shared, task, "failed") for task in TASKS if not task.endswith("answer"))


def ended(consumer: Consumer, task: str, outcome: str = "succeeded") -> float:
    """How many jobs of a task have ended so."""
    return consumer.metric("heori_jobs_total", task=task, outcome=outcome)
