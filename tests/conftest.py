"""What all tests share: one Valkey of our own, emptied for each test, and real consumers."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, TypeVar

import psutil
import pytest
import redis as redis_py

from heori import Producer
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import Commands
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings
from tests.rigs.commands import Heori, run_heori
from tests.rigs.configured import emptied, restored
from tests.rigs.consumers import MODELS, Consumer, SharedConsumers
from tests.rigs.script_bench import Bench, Execute
from tests.rigs.side_by_side import group_of, parameters, place_of
from tests.rigs.waiting import is_alive, until
from tests.rigs.zygote import fork_servers

T = TypeVar("T")

pytest_plugins = ["tests.rigs.lock_rig"]
# For each of its connections redis-py would read its own version from the disk.
vars(redis_py.utils)["get_lib_version"] = cache(redis_py.utils.get_lib_version)
# Run by `make test-page`, in a Chromium. What drives that takes long to import, in each process.
collect_ignore = [] if os.environ.get("HEORI_TEST_PAGE") else ["browser"]


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """A server of this run's own."""
    with EmbeddedValkey() as server:
        yield server


def pytest_configure() -> None:
    # What a script starts in its background ignores SIGINT and SIGQUIT, and under nohup SIGHUP; and
    # so would all that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    fork_servers()
    gc.disable()  # nothing of what is collected is garbage, and looks for it are a fifth of that


def pytest_collection_finish() -> None:
    # Hypothesis looks for what refers to its random numbers, and so makes them before.
    if hypothesis := sys.modules.get("hypothesis"):
        hypothesis.find(hypothesis.strategies.none(), lambda _: True)
    # What is there stays until the end, and each look for garbage among it takes as long as a test.
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (group := group_of(item)) is not None:
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=place_of)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Of a long value, its length: the name of a test is in the environment of all that it starts,
    and no program starts with a variable of 128 KiB."""
    if isinstance(val, str | bytes) and len(val) > 200:
        return f"{type(val).__name__} of {len(val)}"
    return None


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a server is: this run's, or that of the consumer which tests share; it is empty."""
    name = parameters(request.node).get("shared")
    url: str = (
        request.getfixturevalue("valkey").url
        if name is None
        else request.getfixturevalue("shared_consumers").url(name)
    )
    before = emptied(url)
    yield url
    assert restored(url, before) == {}, "the next test would have found it so"


@pytest.fixture
def redis(redis_url: str) -> "Iterator[redis_py.Redis]":
    """A plain client, to look at what is really there."""
    # It may wait as long as a test says, and not only as long as redis-py thinks fit.
    with redis_py.Redis.from_url(redis_url, socket_timeout=None) as client:
        yield client


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Settings for that server."""
    return Settings(redis_url=redis_url)


@pytest.fixture
def producer(redis_url: str) -> Iterator[Producer]:
    """A producer for that server."""
    with Producer(redis_url) as made:
        yield made


@pytest.fixture
def full_stack() -> Iterator[None]:
    """For what nests values until the stack is full: no garbage of other tests is collected there.

    Up to Python 3.11, C takes from the same stack, on which there is no room for a finalizer then.
    """
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no write tells of is seen soon."""
    monkeypatch.setattr("heori_producer.watcher_loop.LOOK_EVERY_S", 0.2)


@pytest.fixture(params=["RedisClient", "AsyncRedisClient"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Execute]]:
    """Makes something that executes commands; each test runs with either redis_client."""
    opened: list[RedisClient] = []
    opened_async: list[AsyncRedisClient] = []
    with asyncio.Runner() as runner:

        def make(url: str) -> Execute:
            if request.param == "RedisClient":
                opened.append(RedisClient(url))
                return opened[-1].execute
            redis_client = AsyncRedisClient(url)
            opened_async.append(redis_client)
            return lambda command: runner.run(redis_client.execute(command))

        yield make
        for redis_client in opened:
            redis_client.close()
        for async_client in opened_async:
            runner.run(async_client.close())


@pytest.fixture
def consume(redis_url: str) -> Iterator[Callable[..., Consumer]]:
    """Start consumers; whatever is still there after the test is killed, and so is told."""
    started: list[Consumer] = []

    def start(
        *arguments: str,
        queue: str = "default",
        program: str = "heori",
        fresh: bool = False,
        **environment: str,
    ) -> Consumer:
        consumer = Consumer(
            ["--queue", queue, *arguments],
            {
                "HEORI_REDIS_URL": redis_url,
                "HEORI_TASKS": "tests.tasks.sample_tasks",
                "HEORI_METRICS_PORT": "0",
                **environment,
            },
            program=program,
            fresh=fresh,
        )
        started.append(consumer)
        return consumer

    yield start
    for consumer in started:
        print("before its test ended, its exit code was", consumer.process.poll())
        if consumer.process.poll() is None:
            family = psutil.Process(consumer.process.pid).children(recursive=True)
            consumer.stop()
            # An orphan that has ended stays a zombie until this machine's init looks after it.
            until(lambda ended=family: not any(is_alive(child) for child in ended))  # type: ignore[misc]
        else:
            consumer.join()
        print(*consumer.log[-50:], sep="\n")  # is shown when the test has failed


SHARED = pytest.StashKey[SharedConsumers]()


@pytest.fixture(scope="session")
def shared_consumers(pytestconfig: pytest.Config) -> Iterator[SharedConsumers]:
    made = pytestconfig.stash[SHARED] = SharedConsumers()
    yield made
    made.close()


@pytest.hookimpl(trylast=True)  # when the fixtures of the test have ended
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End a shared consumer, which costs CPU while it lives, after the last test of its group."""
    group = item.nodeid.rpartition("@")[2]  # as xdist writes it, if it keeps groups together
    name = group.removeprefix("shared ")
    if name != group and nextitem is not None and not nextitem.nodeid.endswith(f"@{group}"):
        item.config.stash[SHARED].end(name)


@pytest.fixture(params=MODELS)
def shared(
    request: pytest.FixtureRequest,
    redis_url: str,
    shared_consumers: SharedConsumers,
) -> Iterator[Consumer]:
    """A consumer of each execution model that other tests have used and will use."""
    consumer = shared_consumers.take(request.param)
    yield consumer
    print(*consumer.log[-50:], sep="\n")  # is shown when the test has failed


@pytest.fixture(params=MODELS)
def consumer(request: pytest.FixtureRequest, consume: Callable[..., Consumer]) -> Consumer:
    """A consumer of each execution model."""
    return consume(*MODELS[request.param]).ready()


@pytest.fixture
def heori(redis_url: str) -> Heori:
    """Run a command to its end."""
    return partial(run_heori, redis_url)


@pytest.fixture
def bench(redis_url: str, redis: Any) -> Iterator[Bench]:
    """What calls the scripts themselves."""
    with RedisClient(redis_url) as client:
        yield Bench(client.execute, redis, Commands())
