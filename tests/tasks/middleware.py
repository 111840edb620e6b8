"""Middleware for the tests: notes in Redis what it was called for."""

import contextlib
import dataclasses
import json
import os
import threading
from typing import ClassVar

import redis

from heori_common.current_job import CurrentJob
from heori_common.middleware import JobFailure, Middleware, OutgoingJob


class Notes(Middleware):
    """Pushes one word per call to a list; vetoes and fails when it is asked to."""

    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(os.environ["HEORI_REDIS_URL"], socket_timeout=None)

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


class Stamps(Middleware):
    """Adds to what travels with jobs, refuses some, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def sending(self, job: OutgoingJob) -> None:
        """Stamp it; refuse the call of one argument."""
        self.told.append(("sending", job.task, job.queue))
        if job.args == (13,):
            raise PermissionError("no thirteen today")
        job.meta["stamp"] = len(job.args)

    def sent(self, job: OutgoingJob, error: BaseException | None) -> None:
        """Note it."""
        self.told.append(("sent", job.task, type(error).__name__))
        raise RuntimeError("broken middleware")


class Slow(Middleware):
    """Takes a while to be made, and counts how often that was begun."""

    made: ClassVar[list["Slow"]] = []
    another = threading.Barrier(2)

    def __init__(self) -> None:
        self.made.append(self)
        with contextlib.suppress(threading.BrokenBarrierError):
            self.another.wait(1)  # for another that is made at the same time

    def sending(self, job: OutgoingJob) -> None:
        """Say who has stamped it."""
        job.meta["stamped by"] = self.made.index(self)


class Hears(Middleware):
    """Pushes what it hears of failures to a list, as JSON."""

    def on_error(self, failure: JobFailure) -> None:
        """Tell all of it."""
        told = dataclasses.asdict(dataclasses.replace(failure, error=None))
        with redis.Redis.from_url(os.environ["HEORI_REDIS_URL"], socket_timeout=None) as client:
            client.rpush("heard", json.dumps({**told, "error": type(failure.error).__name__}))


class NoMiddleware:
    """Has nothing to do with it."""
