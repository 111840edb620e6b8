"""Middleware for the tests: notes in Redis what it was called for."""

import os

import redis

from heori_common.current_job import CurrentJob
from heori_consumer.worker.middleware import Middleware


class Notes(Middleware):
    """Pushes one word per call to a list; vetoes and fails when it is asked to."""

    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(os.environ["HEORI_REDIS_URL"])

    def before(self, job: CurrentJob) -> None:
        """Note it; refuse jobs of one task."""
        self._note("before", job)
        if job.task.endswith(".large"):
            raise PermissionError("no large ones today")

    def after(self, job: CurrentJob, result: object) -> None:
        """Note the result, then fail."""
        self._note("after", job, str(result))
        raise RuntimeError("broken middleware")

    def on_failure(self, job: CurrentJob, error: BaseException) -> None:
        """Note the error."""
        self._note("failure", job, type(error).__name__)

    def _note(self, *words: "str | CurrentJob") -> None:
        texts = [word if isinstance(word, str) else word.task for word in words]
        self._redis.rpush("notes", " ".join(texts))


class NoMiddleware:
    """Has nothing to do with it."""
