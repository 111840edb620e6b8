"""What a server that tests share is told, and that it is as before when a test is over."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import redis


@contextmanager
def configured(client: Any, settings: Mapping[str, object]) -> Iterator[None]:
    """It has other settings, and afterwards those that it had."""
    before = {name: client.config_get(name)[name] for name in settings}
    for name, value in settings.items():
        client.config_set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            client.config_set(name, value)


def emptied(url: str) -> bytes:
    """Remove all that a server has; returns how it is configured, for `restored`."""
    return _told(url, b"FLUSHDB\r\n")


def restored(url: str, before: bytes) -> dict[str, str]:
    """Set back what a test has left otherwise; returns that, and how it was left."""
    if (now := _told(url, b"PING\r\n")).partition(b"*")[2] == before.partition(b"*")[2]:
        return {}
    found = _settings(before)
    left = {name: value for name, value in _settings(now).items() if value != found[name]}
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        for name in left:
            client.config_set(name, found[name])
    return left


def _told(url: str, command: bytes) -> bytes:
    """What a server says to a command, and then of its settings.

    It is asked for each test. To make objects of some hundred settings took a fifth of the time of
    the tests that have no process to start; bytes are compared at once.
    """
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port or 6379)) as connection:
        connection.sendall(command + b"CONFIG GET *\r\nQUIT\r\n")
        told = b"".join(iter(partial(connection.recv, 1 << 20), b""))
    said, _, settings = told.partition(b"\r\n")
    assert (said[:1], settings[:1]) == (b"+", b"*"), told[:200]
    return told


def _settings(told: bytes) -> dict[str, str]:
    _, many, *lines = told.decode().split("\r\n")
    words = lines[1 : 2 * int(many[1:]) : 2]  # before each stands its length
    return dict(zip(words[::2], words[1::2], strict=True))
