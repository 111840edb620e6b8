"""`heori limit`: how many jobs may wait in a queue."""

from typing import Annotated

import typer

from heori import formats
from heori.cli.console import JsonOption, guarded, refuse
from heori.terminal import say, say_json
from heori_common.names import check_queue
from heori_common.protocol.commands import MOST_WAITING, Commands
from heori_common.protocol.keys import Keys, whole_queue
from heori_common.redis.client import RedisClient
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
    """
    settings = Settings()
    commands = Commands(Keys(settings.key_prefix))
    most: int | None = None
    if jobs is not None and jobs != "none":
        if not jobs.isdecimal() or len(jobs) > 10 or not 1 <= int(jobs) <= MOST_WAITING:
            refuse(f"{jobs}: a number of jobs from 1 up is needed, or none")
        most = int(jobs)
    try:
        if queue is not None:
            check_queue(queue)
    except ValueError as error:
        refuse(str(error))

    def show() -> None:
        with RedisClient(settings.redis_url) as client:
            if queue is not None and jobs is not None:
                client.execute_many(commands.set_limit(queue, most))
            known = client.execute(commands.queues()) if queue is None else [queue]
            names = dict.fromkeys(map(whole_queue, known))
            bounds = {name: client.execute(commands.bound(name)) for name in names}
        if as_json:
            say_json({name: of._asdict() for name, of in bounds.items()})
            return
        for name, of in bounds.items():
            allowed = (
                "no limit" if of.limit is None else f"{formats.counted(of.limit, 'job')} may wait"
            )
            say(f"{name}: {allowed}")

    guarded(show)
