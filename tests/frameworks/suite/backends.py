"""Heori's backend as Django's tests of its own two backends use those."""

import time
from typing import Any

from heori.django import HeoriBackend
from heori_common.settings import Settings


class Sending(HeoriBackend):
    """In the place of the backend that only notes what is sent: nothing consumes its jobs."""

    def clear(self) -> None:
        """Nothing is noted."""


class Awaiting(HeoriBackend):
    """In the place of the one that runs a task at once: it waits for a consumer to have run it."""

    def __init__(self, alias: str, params: Any) -> None:
        super().__init__(alias, params)
        self._settings = Settings(key_prefix="awaited")

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        result = super().enqueue(task, args, kwargs)
        while not result.is_finished:
            result = self.get_result(result.id)
            time.sleep(0.01)
        return result
