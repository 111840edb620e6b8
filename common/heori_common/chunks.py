"""Many calls of one function in one job: what `producer.RedisExecutor.map` sends as a chunk."""

import asyncio
from typing import Any

from pydantic_core import from_json

from heori_common import resolution, tasks
from heori_common.settings import Settings


@tasks.task(timeout=-1)
def run_chunk(
    name: str, calls: list[list[Any]], types: list[str | None]
) -> list[tuple[Any, str | None]]:
    """Call a function with each of the lists of arguments.

    Args:
        name: of the function.
        calls: the arguments of each call, as JSON.
        types: what JSON does not say of them.

    Returns:
        Likewise the result of each call, and what JSON does not say of it.

    Raises:
        UnknownTask: this consumer may not run it.
        Whatever the function raises, at the first call that does.
    """
    settings = Settings()
    task = resolution.resolve_typed(name, settings.allow)

    def run(arguments: list[Any], its_types: str | None) -> tuple[Any, str | None]:
        known = None if its_types is None else its_types.encode()
        args, kwargs = task.receive(arguments, {}, known)
        returned = task.function(*args, **kwargs)
        if task.is_async:
            returned = asyncio.run(returned)
        stored = task.dump_result(returned, strict=settings.strict)
        if stored is None:
            return None, None
        return from_json(stored.json), None if stored.types is None else stored.types.decode()

    return list(map(run, calls, types))
