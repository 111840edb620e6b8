"""A service that runs."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from heori_common.embedded import EmbeddedValkey
from tests.rigs.service_rig import Service, serving


@pytest.fixture
def serve(redis_url: str) -> Iterator[Callable[..., Service]]:
    with contextlib.ExitStack() as started:
        yield lambda **environment: started.enter_context(serving(redis_url, **environment))


@pytest.fixture(scope="package")
def running(valkey: EmbeddedValkey) -> Iterator[Service]:
    with serving(valkey.url) as service:
        yield service


@pytest.fixture
def service(running: Service, redis_url: str) -> Service:
    """One for all tests that leave it as it was; its Redis is empty."""
    assert redis_url
    return running
