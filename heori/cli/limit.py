"""`heori limit`: how many jobs may wait in a queue."""

from typing import Annotated

import typer

from heori import formats
from heori.cli.console import JsonOption, tell_unreadable
from heori.cli.ending import guarded, refuse
from heori.inspect.reader import RedisReader
from heori.plain import say_json
from heori.terminal import Console
from heori_common.errors import cut
from heori_common.names import check_queue
from heori_common.protocol.commands import MOST_WAITING, Bound
from heori_common.protocol.keys import Keys, whole_queue
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused
from heori_common.settings import Settings


def limit(
    queue: Annotated[
        str | None, typer.Argument(help="The queue; without it, all queues are shown.")
    ] = None,
    jobs: Annotated[
        str | None,
        typer.Argument(
            metavar="[JOBS|none]",
            help="How many jobs may wait in it from now on; none removes the limit.",
        ),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show how many jobs may wait in a queue, or change it. Each tenant may have as many.

    At the limit producers wait, are refused or drop the oldest job, as HEORI_WHEN_FULL says. A
    change applies to all producers at once. A producer that starts later and has HEORI_QUEUE_LIMITS
    set writes its own limits again.

    The exit code is 1 when something in Redis cannot be read. It is named, and the rest is shown.
    """
    settings = Settings()
    most: int | None = None
    if jobs is not None and jobs != "none":
        if not jobs.isdecimal() or len(jobs) > 10 or not 1 <= int(jobs) <= MOST_WAITING:
            refuse(f"{cut(jobs)}: a number of jobs from 1 up is needed, or none")
        most = int(jobs)
    try:
        if queue is not None:
            check_queue(queue)
    except ValueError as error:
        refuse(str(error))

    def show() -> None:
        with RedisClient(settings.redis_url) as client:
            reader = RedisReader(client, Keys(settings.key_prefix))
            commands = reader.commands
            if queue is not None and jobs is not None:
                _set(reader, queue, most)
            known = (reader.read(commands.queues()) or []) if queue is None else [queue]
            names = list(dict.fromkeys(map(whole_queue, known)))
            bounds = reader.read_many([commands.bound(name) for name in names])
        found = {name: of for name, of in zip(names, bounds, strict=True) if of is not None}
        if as_json:
            limits = {name: of._asdict() for name, of in found.items()}
            say_json({"limits": limits, "unreadable": reader.unreadable})
        else:
            for name, of in found.items():
                Console().print(f"{name}: {_allowed(of)}", soft_wrap=True)
        tell_unreadable(reader)

    guarded(show)


def _set(reader: RedisReader, queue: str, most: int | None) -> None:
    key = reader.commands.keys.bound(queue)
    try:
        reader.client.execute_many(reader.commands.set_limit(queue, most))
    except RedisRefused as error:
        reader.note_refusal(key, error)
        refuse(f"the limit of {queue} cannot be set: {next(reader.problems())}")


def _allowed(bound: Bound) -> str:
    if bound.limit is None:
        return "no limit"
    return f"{formats.counted(bound.limit, 'job')} may wait"
