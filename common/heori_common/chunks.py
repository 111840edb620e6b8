"""Many calls of one function in one job: what `producer.RedisExecutor.map` sends as a chunk."""

import asyncio
from typing import Any

from pydantic_core import from_json

from heori_common import resolution, tasks
from heori_common.settings import Settings


@tasks.task(timeout=-1)
def run_chunk(name: str, calls: list[list[Any]]) -> list[Any]:
    """Call a function with each of the lists of arguments; returns its results as JSON values.

    Raises:
        UnknownTask: this consumer may not run it.
        Whatever the function raises, at the first call that does.
    """
    task = resolution.resolve(name, Settings().allow)

    def run(arguments: list[Any]) -> Any:
        args, kwargs = task.bind(arguments, {})
        returned = task.function(*args, **kwargs)
        if task.is_async:
            returned = asyncio.run(returned)
        dumped = task.dump_result(returned)
        return None if dumped is None else from_json(dumped)

    return [run(arguments) for arguments in calls]
