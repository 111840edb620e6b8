"""A server that is away."""

import socket
from collections.abc import Iterator

import pytest


@pytest.fixture
def nowhere() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
