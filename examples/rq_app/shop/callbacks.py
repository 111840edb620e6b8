"""What runs after jobs of the shop."""

from typing import Any, NoReturn

from redis import Redis
from rq.job import Job


def thank(job: Job, connection: Redis, result: Any, *args: Any, **kwargs: Any) -> None:
    connection.set(f"shop:{job.id}:thanks", f"{result} {job.return_value()} {job.get_status()}")


def stumble(job: Job, connection: Redis, result: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("no thanks")


def apologise(job: Job, connection: Redis, kind: Any, error: Any, traceback: Any) -> None:
    connection.incr(f"shop:{job.id}:sorry")
    connection.set(f"shop:{job.id}:reason", f"{kind.__name__}: {error}")


def clean_up(job: Job, connection: Redis) -> None:
    connection.set(f"shop:{job.id}:clean", job.func_name)
