"""Producers of both kinds, used in the same way."""

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from heori import (
    AsyncFlowHandle,
    AsyncHandle,
    AsyncProducer,
    AsyncSender,
    FlowHandle,
    Handle,
    Producer,
    Sender,
)

KINDS = ("blocking", "async")
OURS = (AsyncFlowHandle, AsyncHandle, AsyncSender, FlowHandle, Handle, Sender)


class Either:
    """A producer, or its sender, handles and all that they return, of either kind.

    What is awaited in an event loop is awaited here; the rest is as it is.
    """

    def __init__(self, of: Any, runner: asyncio.Runner) -> None:
        self._of = of
        self._runner = runner

    @classmethod
    @contextmanager
    def made(cls, kind: str, url: str, **options: Any) -> Iterator[Self]:
        """A producer of that kind."""
        with asyncio.Runner() as runner:
            made = AsyncProducer if kind == "async" else Producer
            producer = cls(made(url, **options), runner)
            try:
                yield producer
            finally:
                producer.close()

    def __repr__(self) -> str:
        return repr(self._of)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        return self._called(found) if callable(found) else self._wrapped(found)

    def _called(self, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._wrapped(self._settled(function(*args, **kwargs)))

        return call

    def _settled(self, value: Any) -> Any:
        async def settle() -> Any:
            return await value

        return self._runner.run(settle()) if inspect.iscoroutine(value) else value

    def _wrapped(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._wrapped(each) for each in value]
        return Either(value, self._runner) if isinstance(value, OURS) else value
