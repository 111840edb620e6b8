"""Fixtures for tests of applications; pytest finds them where Heori is installed.

It loads nothing that a test does not ask for.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from heori import Producer
    from heori.testing import Recording, RunningConsumer


@pytest.fixture(scope="session")
def heori_server() -> "Iterator[str]":
    """The URL of a server of this run's own; each process of pytest-xdist has one."""
    from heori_common.embedded import EmbeddedValkey  # noqa: PLC0415 - only who asks for it

    with EmbeddedValkey() as server:
        yield server.url


@pytest.fixture
def heori_redis_url(heori_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same; the server is empty, and HEORI_REDIS_URL leads to it during the test."""
    from heori_common.protocol.commands import Command  # noqa: PLC0415 - likewise
    from heori_common.redis.client import RedisClient  # noqa: PLC0415 - likewise

    with RedisClient(heori_server) as client:
        client.execute(Command(("FLUSHALL",), bool))
    monkeypatch.setenv("HEORI_REDIS_URL", heori_server)
    return heori_server


@pytest.fixture
def heori_producer(heori_redis_url: str) -> "Iterator[Producer]":
    """A producer for that server."""
    from heori import Producer  # noqa: PLC0415 - likewise

    with Producer(heori_redis_url) as producer:
        yield producer


@pytest.fixture
def heori_consume(
    heori_redis_url: str,
) -> "Iterator[Callable[..., RunningConsumer]]":
    """Starts consumers for that server: ``heori_consume("myapp.tasks", model="asyncio")``.

    Each is a process of its own. At the end of the test it finishes what it runs, and ends.
    """
    from heori.testing import RunningConsumer  # noqa: PLC0415 - likewise

    started: list[RunningConsumer] = []

    def consume(
        *modules: str, model: str = "threads", queues: tuple[str, ...] = (), **environment: str
    ) -> RunningConsumer:
        from_queues = [word for name in queues for word in ("--queue", name)]
        consumer = RunningConsumer(
            ["--json", "--model", model, *from_queues],
            {
                "HEORI_REDIS_URL": heori_redis_url,
                "HEORI_TASKS": ",".join(modules),
                "HEORI_METRICS_PORT": "0",
                **environment,
            },
        )
        started.append(consumer)
        return consumer

    yield consume
    for consumer in started:
        consumer.stop()


@pytest.fixture
def heori_inline() -> "Iterator[Recording]":
    """Runs jobs where they are sent, as `heori.testing.inline`, during the test."""
    from heori.testing import inline  # noqa: PLC0415 - likewise

    with inline() as sent:
        yield sent


@pytest.fixture
def heori_sent() -> "Iterator[Recording]":
    """Notes what is sent, as `heori.testing.recording`, during the test."""
    from heori.testing import recording  # noqa: PLC0415 - likewise

    with recording() as sent:
        yield sent
