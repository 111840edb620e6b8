"""A Redis where much is going on: real consumers under a steady load, and jobs in every state."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis as redis_py

from heori import Handle, Producer, chain
from heori_common.protocol.payload import encode_failure
from tests.rigs.consumers import Consumer
from tests.rigs.dead_letters import letter
from tests.rigs.waiting import until
from tests.tasks import page_tasks

TASKS = "tests.tasks.page_tasks"
NOBODYS = "nobody.serves"  # a queue: its jobs stay where tests put them
LOST = "lost.letters"  # and one with so many dead letters that they are counted in steps
OF_ONE_KIND, OTHERS = 900, 300
EVERY_S = 0.05  # between two jobs of the load, on a machine that keeps up
MOST_WAITING = 100  # of the load: a slow machine is not buried by it


@dataclass(frozen=True)
class AtWork:
    """What goes on.

    Attributes:
        jobs: one of each state, by that state's name, which stays in it.
        drained: a consumer that nobody minds being drained.
    """

    url: str
    redis: Any
    producer: Producer
    jobs: dict[str, str]
    consumer: str
    drained: str

    def path(self, template: str) -> str:
        """The path of a page, such as /jobs/{failed} or /consumers/{consumer}."""
        return template.format(consumer=self.consumer, **self.jobs)


@contextmanager
def at_work(url: str) -> Iterator[AtWork]:
    """Have consumers work until it is left."""
    environment = {"HEORI_REDIS_URL": url, "HEORI_TASKS": TASKS}
    # For those that wait for each other, and for what still runs in the end.
    environment |= {"HEORI_DEADLOCK": "warn", "HEORI_GRACE": "0"}
    threads = ["--model", "threads", "--slots", "16"]
    threads += ["--queue", "default", "--queue", "shared", "--queue", "long"]
    processes = ["--model", "processes", "--processes", "2"]
    with redis_py.Redis.from_url(url, socket_timeout=None) as client, Producer(url) as producer:
        client.flushdb()
        consumers = [Consumer(words, environment) for words in (threads, processes)]
        for each in consumers:
            each.ready()
        bury(client)
        jobs = _one_of_each_state(producer, client)
        with _load(producer, client):
            yield AtWork(url, client, producer, jobs, *(each.name for each in consumers))
        for each in consumers:
            each.stop()


def bury(redis: Any, queue: str = LOST) -> None:
    """Many dead letters of two kinds in a queue, and no other jobs."""
    redis.delete(f"rq:queue:{queue}", f"rq:failed:{queue}")
    with redis.pipeline(transaction=False) as sent:
        for n in range(OF_ONE_KIND + OTHERS):
            job_id = f"{queue}-{n}"
            sent.delete(f"rq:results:{job_id}", f"rq:job:{job_id}")
            letter(sent, job_id, queue=queue, ago=n * 60)
            error = f"no way to 10.0.0.{n}" if n < OF_ONE_KIND else "<img src=x onerror=alert(1)>"
            told = {"type": "2", "exc_string": encode_failure(f"ConnectionError: {error}\n")}
            sent.xadd(f"rq:results:{job_id}", told)
        sent.execute()


def _one_of_each_state(producer: Producer, redis: Any) -> dict[str, str]:
    long = producer.options(queue="long")
    running = long.submit(page_tasks.count_up, page_tasks.HOSTILE)
    for account in ("kim", "kim", "lee"):
        long.submit(page_tasks.keep, account)
    long.submit(page_tasks.cross, "house", "garden")
    long.submit(page_tasks.cross, "garden", "house")
    long.submit_flow(chain(page_tasks.count_up.s("first"), page_tasks.keep.s("lee")))
    for tenant in ("acme", "zeta"):
        producer.options(queue="shared", tenant=tenant).submit(page_tasks.ship, 1)
        producer.options(queue=NOBODYS, tenant=tenant).submit(page_tasks.ship, 1)
    nobodys = producer.options(queue=NOBODYS, meta={"who": page_tasks.HOSTILE})
    limited = [producer.submit(page_tasks.seldom, number) for number in range(3)]
    canceled = nobodys.submit(page_tasks.add, 1, 2)
    canceled.cancel()
    found: dict[str, Handle[Any]] = {
        "running": running,
        "failed": producer.submit_many(page_tasks.refuse, [(n,) for n in range(30)])[-1],
        "scheduled": producer.options(delay="8h", queue=NOBODYS).submit(page_tasks.add, 1, 2),
        "queued": nobodys.submit(page_tasks.add, 1, 2),
        "deferred": producer.options(after=running, queue=NOBODYS).submit(page_tasks.add, 1, 2),
        "finished": producer.submit(page_tasks.add, 1, 2),
        "limited": limited[-1],
        "canceled": canceled,
    }
    for name, status in (("running", "started"), ("failed", "failed"), ("finished", "finished")):
        reaches(found[name], status)
    reaches(limited[0], "finished")  # the others wait for an hour
    until(lambda: len(redis.zrange("rq:heori:locks", 0, -1)) >= 4)
    return {name: job.id for name, job in found.items()}


def reaches(job: Handle[Any], status: str) -> None:
    """Wait until a job has a status."""
    until(lambda: job.status() == status)


@contextmanager
def _load(producer: Producer, redis: Any) -> Iterator[None]:
    """Send some twenty jobs a second, of which some fail and some are of tenants."""
    ended = threading.Event()
    of: list[Callable[[int], object]] = [
        lambda number: producer.submit(page_tasks.ship, number),
        lambda number: producer.options(queue="shared").submit(page_tasks.ship, number),
        lambda number: producer.options(queue="shared", tenant="acme").submit(
            page_tasks.ship, number
        ),
        lambda number: producer.submit(page_tasks.refuse, number),
    ]

    def send() -> None:
        number = 0
        while not ended.wait(EVERY_S):
            if redis.llen("rq:queue:default") + redis.llen("rq:queue:shared") < MOST_WAITING:
                number += 1
                of[3 if number % 40 == 0 else number % 3](number)

    sender = threading.Thread(target=send, name="load")
    sender.start()
    try:
        yield
    finally:
        ended.set()
        sender.join()
