"""The steady work of the profile lab: what sends it, and that it does what its notes say."""

import signal
from collections.abc import Callable
from os import environ

from heori.examples import accounts, notes
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.rigs.zygote import Started

QUEUES = (
    notes.THREAD,
    notes.WAITING,
    notes.CRASHING,
    *notes.COMPUTING,
    notes.GROUP,
    notes.LOCKS,
    notes.BOUNDED,
    notes.UNBOUNDED,
)
TASKS = {
    notes: ("sign", "sign_locked", "wait_for_answer", "crash", "compute", "answer", "consume"),
    accounts: ("transfer", "transfer_crosswise", "print_page"),
}


def test_each_note_has_work_that_shows_it_and_none_of_it_fails(
    consume: Callable[..., Consumer], redis_url: str
) -> None:
    queues = [word for queue in QUEUES for word in ("--queue", queue)]
    consumer = consume(
        *(*queues, "--order", "round-robin", "--model", "threads", "--slots", "24"),
        HEORI_TASKS=f"{notes.__name__},{accounts.__name__}",
    ).ready()
    wanted = [f"{module.__name__}.{name}" for module, names in TASKS.items() for name in names]
    with Started(
        "heori.demo.notes", env={**environ, "HEORI_REDIS_URL": redis_url, "HEORI_METRICS_PORT": "0"}
    ) as producer:
        try:
            for task in wanted:
                until(lambda task=task: ended(consumer, task, "succeeded"))  # type: ignore[misc]
            until(lambda: ended(consumer, f"{notes.__name__}.sign", "retried"))
            until(lambda: consumer.metric("heori_jobs_redelivered_total"))
            assert producer.poll() is None
            producer.send_signal(signal.SIGTERM)
            assert producer.wait(10) == 0
        finally:
            if producer.poll() is None:
                producer.kill()
    assert ended(consumer, f"{notes.__name__}.sign_locked", "retried") == 0
    failed = consumer.metric("heori_jobs_total", outcome="failed")
    assert failed == ended(consumer, f"{notes.__name__}.answer", "failed")


def ended(consumer: Consumer, task: str, outcome: str) -> float:
    """How many jobs of a task have ended so."""
    return consumer.metric("heori_jobs_total", task=task, outcome=outcome)
