"""What a server that tests share is told, and that it is as before when a test is over."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


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


def restored(client: Any, before: Mapping[str, str]) -> dict[str, str]:
    """Set back what a test has left otherwise; returns that, and how it was left."""
    left = {name: value for name, value in client.config_get("*").items() if value != before[name]}
    for name in left:
        client.config_set(name, before[name])
    return left
