"""The producer of `docker compose --profile lab up`: work that shows the notes, without an end.

``python -m heori.demo.notes`` sends to HEORI_REDIS_URL until a signal comes. When Redis is away for
long it fails, and whatever has started it starts it again.
"""

import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial

from prometheus_client import CollectorRegistry

from heori import Producer, RedisExecutor
from heori.demo.processes import signals
from heori.examples import accounts, notes
from heori_common.protocol.commands import Commands
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings
from heori_consumer.supervisor.endpoint import MetricsEndpoint

# Jobs that may wait, so that whatever is slow sets the pace. One queue shows what is without that.
LIMITS = dict.fromkeys(
    (notes.THREAD, notes.WAITING, notes.LOCKS, *notes.COMPUTING, notes.BOUNDED), 50
)

# All in seconds.
TICK = 0.5
BURST_EVERY = 6.0  # of work that computes, in Python and in C by turns
CRASH_EVERY = 10.0
GROUP_EVERY = 60.0
TURN = 20.0  # for which a producer is faster than its consumer; then it has nothing, for as long

# Jobs sent at once.
SIGNATURES, TRANSFERS, PAGES, ANSWERS, BURST = 4, 6, 12, 16, 8
FUTURES, CANCELLED = 200, 20  # the last of them are cancelled
FAST = 20  # in each tick, in which the consumer does 20 of both queues

Send = Callable[[], object]


def main() -> None:
    """Send until a signal comes, or one of the threads that send has failed."""
    settings = Settings(queue_limits=LIMITS, when_full="block")
    for account in range(accounts.ACCOUNTS):
        accounts.redis().set(f"balance:{account}", accounts.OPENING, nx=True)
    producer, failed = Producer(settings=settings), threading.Event()
    plan: list[tuple[float, Send]] = [
        (TICK, partial(_shared, producer)),
        (BURST_EVERY, _bursts(producer)),
        (CRASH_EVERY, partial(_crash, producer)),
        (0.0, partial(_waiting, producer)),
        (2 * TURN, partial(_turn, producer, notes.BOUNDED)),
        (2 * TURN, partial(_turn, producer, notes.UNBOUNDED)),
        (GROUP_EVERY, partial(_group, settings)),
    ]
    MetricsEndpoint(
        settings.metrics_host,
        settings.metrics_port,
        CollectorRegistry,
        ready=lambda: (not failed.is_set(), {}),
        alive=lambda: True,  # it ends by itself when it cannot go on
    )
    with signals() as interrupt:
        for each in plan:
            # A daemon thread may be cut off anywhere: Redis has a job, or has never heard of it.
            threading.Thread(target=_repeat, args=(failed, *each), daemon=True).start()
        while not interrupt.number and not failed.wait(TICK):
            pass
    sys.exit(failed.is_set())


def _repeat(failed: threading.Event, seconds: float, send: Send) -> None:
    """Send again and again, each time so long after the time before; what is late is left out."""
    due = time.monotonic()
    try:
        while True:
            send()
            due = max(due + seconds, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
    finally:
        failed.set()


def _shared(producer: Producer) -> None:
    """Notes 2 and 8: what is shared, on the heap and in Redis."""
    for task in (notes.sign, notes.sign_locked):
        producer.submit_many(task, [()] * SIGNATURES)
    locks = producer.options(queue=notes.LOCKS)
    for transfer in (accounts.transfer, accounts.transfer_crosswise):
        pairs = (random.sample(range(accounts.ACCOUNTS), 2) for _ in range(TRANSFERS))
        locks.submit_many(transfer, [(source, target, 1) for source, target in pairs])
    locks.submit_many(accounts.print_page, [()] * PAGES)


def _waiting(producer: Producer) -> None:
    """Note 3: there is always something to do; the limit of the queue sets the pace."""
    producer.submit_many(notes.wait_for_answer, [()] * ANSWERS)


def _crash(producer: Producer) -> None:
    """Note 4."""
    producer.submit(notes.crash)


def _bursts(producer: Producer) -> Send:
    """Note 5: the same for both models, one kind at a time, so that none is in the other's way."""
    turn = 0

    def send() -> None:
        nonlocal turn
        turn += 1
        task = notes.compute if turn % 2 else notes.digest
        for queue in notes.COMPUTING:
            calls = [(turn * BURST + number,) for number in range(BURST)]
            producer.options(queue=queue).submit_many(task, calls)

    return send


def _group(settings: Settings) -> None:
    """Note 7: a group of futures, of which some fail and some are cancelled."""
    delete = Commands(Keys(settings.key_prefix)).delete_job
    with (
        RedisExecutor(settings=settings, queue=notes.GROUP) as group,
        RedisClient(settings.redis_url) as redis,
    ):
        futures = [group.submit(notes.answer, number) for number in range(FUTURES)]
        group.cancel(futures[-CANCELLED:])
        for future in futures:
            with suppress(CancelledError):
                if future.exception() and future.handle is not None:
                    # It has been seen: nobody needs a dead letter of it.
                    redis.execute(delete(future.handle.id))


def _turn(producer: Producer, queue: str) -> None:
    """Note 9: faster than the consumer, then nothing until all is done; a bound has it wait."""
    sender, end = producer.options(queue=queue), time.monotonic() + TURN
    while time.monotonic() < end:
        sent = sender.submit_many(notes.consume, [()] * FAST)
        time.sleep(TICK)
    sent[-1].result()


if __name__ == "__main__":
    main()
