"""The 35 jobs of the shop: how each is sent, what is done meanwhile, and how it has ended.

Each story sends its jobs, yields what it waits for, and returns what it has found.
"""

import http.server
import inspect
import json
import threading
import time
from collections.abc import Callable, Container, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import rq
from rq import Callback, Queue, Repeat, Retry
from rq.command import send_stop_job_command
from rq.group import Group
from rq.job import Dependency, Job
from rq.serializers import JSONSerializer
from shop import callbacks, tasks
from shop.models import Cart, Colour, Discount, Order
from shop.redis import marks, redis

Story = Generator[Callable[[], Any], None, Any]
STORIES: dict[str, Callable[[], Story]] = {}
APART: set[str] = set()  # of which the process may end: its other jobs, if it has any, end with it
UNDER_WAY = (
    "created",
    "queued",
    "started",
    "deferred",
    "scheduled",
    "rate_limited",
    "ready_to_enqueue",
)
REGISTRIES = ("started", "finished", "failed", "deferred", "scheduled", "canceled", "rate_limited")

default = Queue("shop", connection=redis())
ordered = Queue("ordered", connection=redis())  # one worker with one slot serves it
in_json = Queue("json", connection=redis(), serializer=JSONSerializer)


def story(
    number: int, *needs: str, apart: bool = False
) -> Callable[[Callable[[], Story]], Callable[[], Story]]:
    """Count a function among the stories.

    Args:
        number: of the job, as docs/rq.md has it.
        needs: what an older rq does not have.
        apart: it is told when all others are, and alone.
    """

    def add(tell: Callable[[], Story]) -> Callable[[], Story]:
        if all(has(name) for name in needs):
            STORIES[f"{number} {tell.__name__}"] = tell
            if apart:
                APART.add(f"{number} {tell.__name__}")
        return tell

    return add


def has(name: str) -> bool:
    """Whether this rq has a class, or a parameter of `Queue.enqueue_call`."""
    return hasattr(rq, name) or name in inspect.signature(Queue.enqueue_call).parameters


def play(seconds: float) -> dict[str, Any]:
    """Tell all stories side by side, but for those that are told apart.

    Args:
        seconds: they get, at most.

    Returns:
        The endings, by story.
    """
    endings: dict[str, Any] = {}
    until = time.monotonic() + seconds
    for names in (STORIES.keys() - APART, *([name] for name in sorted(APART))):
        endings |= play_side_by_side(names, until)
    return {name: endings[name] for name in STORIES}


def play_side_by_side(names: Container[str], until: float) -> dict[str, Any]:
    """Tell some stories; one that lasts for too long, by the monotonic clock, "never ended"."""
    endings: dict[str, Any] = {}
    telling = {name: STORIES[name]() for name in STORIES if name in names}
    waits = {name: next(each) for name, each in telling.items()}
    while waits and time.monotonic() < until:
        for name, is_so in list(waits.items()):
            try:
                if is_so():
                    waits[name] = next(telling[name])
            except StopIteration as end:
                endings[name] = end.value
                del waits[name]
        time.sleep(0.02)
    for name in waits:
        telling[name].close()
        endings[name] = "never ended"
    return endings


# What stories ask.


def ended(*jobs: Job) -> Callable[[], bool]:
    """Whether these jobs have ended."""
    return lambda: all(status(job) not in UNDER_WAY for job in jobs)


def status(job: Job) -> str | None:
    value = redis().hget(job.key, "status")
    return value.decode() if value else None


def ending(job: Job) -> dict[str, Any]:
    """How a job has ended, as whoever fetches it sees it."""
    found = Job.fetch(job.id, connection=redis(), serializer=job.serializer)
    queue = Queue(job.origin, connection=redis())
    told: dict[str, Any] = {"status": status(job)}
    told["registries"] = [
        name
        for name in REGISTRIES
        if (registry := getattr(queue, f"{name}_job_registry", None)) is not None
        and any(each.startswith(job.id.encode()) for each in redis().zrange(registry.key, 0, -1))
    ]
    if (result := found.latest_result()) is not None:
        told["result"] = result.type.name
        told["value"] = shown(result.return_value)
        if result.exc_string:
            told["error"] = result.exc_string.strip().splitlines()[-1]
    if found.meta:
        told["meta"] = found.meta
    for name in ("retries_left", "repeats_left"):
        if getattr(found, name) is not None:
            told[name] = getattr(found, name)
    return told


def shown(value: Any) -> str:
    """A value in one line, the same at each run."""
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__} of {sorted(value)}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} of {[shown(each) for each in value]}"
    text = repr(value)
    if " at 0x" in text:
        return f"a {type(value).__name__}"
    return text if len(text) < 200 else f"{len(text)} characters"


def left_by(job: Job, name: str) -> str | None:
    """What a callback has left."""
    value = redis().get(f"shop:{job.id}:{name}")
    return value.decode() if value else None


def one(function: Any, *args: Any, queue: Queue = default, **options: Any) -> Story:
    """The story of one job that ends by itself."""
    job = queue.enqueue(function, *args, **options)
    yield ended(job)
    return ending(job)


# 1 to 13: what is called, and what with.


@story(1)
def numbers() -> Story:
    return (yield from one(tasks.add, 1, b=2))


@story(2)
def times() -> Story:
    noon = datetime(2026, 3, 29, 12, 0, 0, 5)  # noqa: DTZ001 - one without a zone is meant
    aware = noon.replace(tzinfo=UTC)
    return (yield from one(tasks.echo, noon, aware, timedelta(days=1, seconds=2), date(2026, 1, 2)))


@story(3)
def other_types() -> Story:
    values = (
        {2, 1},
        frozenset("ab"),
        b"\x00\xff",
        Decimal("1.10"),
        UUID(int=7),
        PurePosixPath("/a/b"),
    )
    return (yield from one(tasks.echo, *values))


@story(4)
def dataclasses() -> Story:
    return (yield from one(tasks.ship, Order(7, price=10)))


@story(5)
def enums_and_json() -> Story:
    pickled = default.enqueue(tasks.paint, Colour.GREEN)
    plain = in_json.enqueue(tasks.add, 2, 3)
    yield ended(pickled, plain)
    return ending(pickled), ending(plain)


@story(6)
def a_wrong_hint() -> Story:
    return (yield from one(tasks.double, "7"))


@story(7)
def a_class_as_hint() -> Story:
    return (yield from one(tasks.price_of, {"number": 1, "price": 30}))


@story(8)
def a_hint_for_type_checkers_only() -> Story:
    return (yield from one(tasks.weigh, {"weight": 2.5}))


@story(9)
def a_method() -> Story:
    return (yield from one(Cart(3).total, 5))


@story(10)
def a_classmethod() -> Story:
    return (yield from one(Cart.make, 4))


@story(11)
def an_object_that_is_called() -> Story:
    return (yield from one(Discount(2), 5))


@story(12)
def a_class_by_name() -> Story:
    return (yield from one("shop.models.Order", 9, price=1))


@story(13)
def a_builtin_and_a_static_method() -> Story:
    builtin = default.enqueue(len, [1, 2, 3])
    static = default.enqueue("shop.models.Cart.currency", "gb")
    yield ended(builtin, static)
    return ending(builtin), ending(static)


# 14 to 24: how it runs.


@story(14, apart=True)
def a_killed_process() -> Story:
    job = default.enqueue(tasks.kill_itself, "killed", retry=Retry(max=1))
    yield ended(job)
    told = ending(job)
    told["error"] = told["error"].rstrip(";").split("; ")[:2]  # a worker may say more
    return told, marks("killed")


@story(15)
def coroutines() -> Story:
    first, second = (default.enqueue(tasks.is_new_loop) for _ in range(2))
    yield ended(first, second)
    return ending(first), ending(second)


@story(16)
def a_function_that_returns_a_coroutine() -> Story:
    return (yield from one(tasks.later, 1))


@story(17)
def a_signal_handler() -> Story:
    return (yield from one(tasks.hear_a_signal))


@story(18, apart=True)
def a_timeout_that_is_caught() -> Story:
    return (yield from one(tasks.notice_the_time, job_timeout=4))


@story(19, apart=True)
def a_timeout_with_something_to_tidy() -> Story:
    job = default.enqueue(tasks.tidy_up_when_late, "tidied", job_timeout=4)
    yield ended(job)
    return ending(job), marks("tidied")


@story(20)
def a_large_result() -> Story:
    return (yield from one(tasks.catalogue))


@story(21)
def a_result_that_cannot_be_pickled() -> Story:
    return (yield from one(tasks.make_function))


@story(22)
def its_own_job() -> Story:
    return (yield from one(tasks.tell_progress, meta={"customer": 5}))


@story(23)
def its_own_id() -> Story:
    job = default.enqueue(tasks.own_id)
    yield ended(job)
    return ending(job) | {"value": job.return_value() == job.id}


@story(24)
def a_failure() -> Story:
    job = default.enqueue(tasks.fail, failure_ttl=3600)
    yield ended(job)
    return ending(job), 3500 < redis().ttl(job.key) <= 3600


# 25 to 35: what a job carries.


@story(25)
def a_retry_that_works() -> Story:
    job = default.enqueue(tasks.fail_before, 3, "bank", retry=Retry(max=2, interval=[0, 1]))
    yield ended(job)
    return ending(job), marks("bank")


@story(26)
def retries_that_never_work() -> Story:
    job = default.enqueue(
        tasks.fail_before,
        9,
        "bankrupt",
        retry=Retry(max=2),
        on_failure=Callback(callbacks.apologise),
    )
    yield ended(job)
    return ending(job), marks("bankrupt"), left_by(job, "sorry"), left_by(job, "reason")


@story(27)
def retries_that_are_returned() -> Story:
    job = default.enqueue(tasks.try_once_more, "more")
    yield ended(job)
    return ending(job), [each.type.name for each in job.results()], marks("more")


@story(28)
def a_success_callback() -> Story:
    job = default.enqueue(tasks.add, 3, 4, on_success=Callback(callbacks.thank, timeout=5))
    yield ended(job)
    return ending(job), left_by(job, "thanks")


@story(29)
def a_success_callback_that_raises() -> Story:
    job = default.enqueue(
        tasks.add,
        3,
        4,
        on_success=Callback(callbacks.stumble),
        on_failure=Callback(callbacks.apologise),
    )
    yield ended(job)
    return ending(job), left_by(job, "sorry"), left_by(job, "reason")


@story(30, apart=True)
def a_stop() -> Story:
    job = default.enqueue(tasks.wait_for_long, "waits", on_stopped=Callback(callbacks.clean_up))
    yield lambda: marks("waits")
    send_stop_job_command(redis(), job.id)
    yield lambda: ended(job)() and left_by(job, "clean")
    return ending(job), marks("waits"), left_by(job, "clean")


@story(31)
def repeats() -> Story:
    job = default.enqueue(tasks.count, "repeats", repeat=Repeat(times=2, interval=[0, 1]))
    yield lambda: marks("repeats") == 3 and ended(job)()
    return ending(job), marks("repeats")


@story(32, "rate_limit")
def a_rate_limit() -> Story:
    limit = rq.RateLimit("bank", 1)
    jobs = [default.enqueue(tasks.use_the_bank, "limited", rate_limit=limit) for _ in range(3)]
    yield lambda: ended(*jobs)() and not list(redis().scan_iter("rq:rl:*", _type="zset"))
    return [ending(job) for job in jobs], marks("limited"), marks("limited:together")


@story(33)
def a_group() -> Story:
    group = Group.create(redis(), "parcels")
    calls = [("books", 2), ("shoes", 1), ("air",)]
    jobs = group.enqueue_many(
        default,
        [Queue.prepare_data(tasks.pack, args=args, retry=Retry(max=1)) for args in calls],
    )
    yield ended(*jobs)
    members = {job.id for job in group.get_jobs()}
    return [ending(job) for job in jobs], members == {job.id for job in jobs}


@story(34)
def dependents() -> Story:
    gone = default.create_job(tasks.add, (1, 1), result_ttl=0)
    failed = default.create_job(tasks.fail)
    gone.save()
    failed.save()
    child = default.enqueue(tasks.add, 2, 2, depends_on=gone)
    allowed = default.enqueue(tasks.add, 3, 3, depends_on=Dependency([failed], allow_failure=True))
    waits = default.enqueue(tasks.add, 4, 4, depends_on=failed)
    # Only now: a child of what has ended already may wait for ever.
    default.enqueue_job(gone)
    yield ended(gone, child)
    # And only then: of two jobs that end at once on two workers, rq leaves the children of one to
    # its maintenance, minutes later.
    default.enqueue_job(failed)
    yield ended(failed, allowed)
    return status(gone), [ending(job) for job in (child, failed, allowed, waits)]


@story(35, "unique")
def the_same_job_twice() -> Story:
    from rq.exceptions import DuplicateJobError  # noqa: PLC0415 - an older rq does not have it

    job = default.enqueue(tasks.add, 1, 2, job_id="only-once", unique=True)
    try:
        default.enqueue(tasks.add, 1, 2, job_id="only-once", unique=True)
    except DuplicateJobError as error:
        said = type(error).__name__
    yield ended(job)
    return ending(job), said


@story(35)
def order_and_expiry() -> Story:
    blocker = ordered.enqueue(tasks.wait_for_release, "blocker")
    yield lambda: marks("blocker")
    expires = ordered.enqueue(tasks.note, "expired", ttl=1)
    second = ordered.enqueue(tasks.note, "second")
    first = ordered.enqueue(tasks.note, "first", at_front=True)
    yield lambda: status(expires) is None
    redis().rpush("shop:blocker:release", "")
    yield ended(blocker, first, second)
    return status(expires), [line.decode() for line in redis().lrange("shop:notes", 0, -1)]


@story(35)
def later() -> Story:
    sent = time.monotonic()
    # RQ writes down whole seconds, so that it is due up to one sooner.
    job = default.enqueue_in(timedelta(seconds=2), tasks.add, 5, 5)
    yield ended(job)
    return ending(job), time.monotonic() - sent > 0.9


@story(35, "Webhook")
def a_webhook() -> Story:
    with listening() as (url, received):
        hook = rq.Webhook(url, "finished", method="POST")
        other = rq.Webhook(url, "failed", method="POST")
        job = default.enqueue(tasks.add, 6, 6, webhooks=[hook, other])
        yield lambda: ended(job)() and received
        told = [{name: each[name] for name in ("func_name", "status")} for each in received]
        return ending(job), told


@contextmanager
def listening() -> Iterator[tuple[str, list[Any]]]:
    """A server that takes what is posted: its URL, and what has come."""
    received: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
