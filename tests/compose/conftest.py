"""The stack that the tests share: compose.yaml as users have it, without Grafana."""

import os
import time
from collections.abc import Callable

import pytest

from tests.compose.stack import ENV, FILES, Result, Stack, wait_until


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    return f"docker compose {ENV}"


@pytest.fixture(scope="session")
def docker_compose_file() -> list[str]:
    return FILES


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    return f"heori-test-{os.getpid()}"


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    return ["build", "up -d --wait"]


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return ["--profile ha down -v -t 1 --remove-orphans"]


@pytest.fixture(scope="session")
def fresh(
    docker_compose_command: str, docker_compose_project_name: str, docker_services: object
) -> Stack:
    """The stack as it is after `docker compose up`."""
    return Stack(docker_compose_command, docker_compose_project_name)


@pytest.fixture
def stack(fresh: Stack) -> Stack:
    """The stack with one consumer, and nobody who sends jobs."""
    # Whoever was paused or cut off recovers by itself; `compose up --wait` would not wait for that.
    wait_until(lambda: "unhealthy" not in fresh.compose("ps", "--format", "{{.Health}}"))
    fresh.scale(1)
    if fresh.waiting_or_done():  # a test before has failed in the middle
        fresh.audit({})
    return fresh


@pytest.fixture
def tell(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Print what came of the jobs, and how long it all took."""
    began = time.monotonic()

    def say(result: Result, *words: str) -> None:
        numbers = (
            f"{result.sent:,} sent, {result.done:,} done, {result.failed} failed, "
            f"{result.lost} lost, {result.repeated} twice"
        )
        seconds = f"{time.monotonic() - began:.0f} s"
        with capsys.disabled():
            print("\n  " + "; ".join((request.node.name, numbers, *words, seconds)), flush=True)

    return say
