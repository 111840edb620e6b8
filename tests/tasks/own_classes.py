"""Classes of an application's own, as RQ lets it name them."""

import json
from typing import Any

from rq import Worker
from rq.job import Job


class CountingWorker(Worker):
    """Counts what it performs."""

    def perform_job(self, *arguments: Any, **options: Any) -> bool:
        self.connection.incr("performed")
        return bool(super().perform_job(*arguments, **options))


class OwnJob(Job):
    """Marks its results."""

    def perform(self) -> Any:
        return ["by OwnJob", super().perform()]


class Reversed:
    """JSON, read from its end."""

    @staticmethod
    def dumps(*values: Any) -> bytes:
        return bytes(reversed(json.dumps(*values).encode()))

    @staticmethod
    def loads(data: bytes) -> Any:
        return json.loads(bytes(reversed(data)))
