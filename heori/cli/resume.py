"""`heori resume`: end what `heori pause` or `heori drain` has begun."""

from typing import Annotated

import typer

from heori import formats
from heori.cli.drain import set_drain
from heori.cli.ending import guarded, refuse
from heori.cli.pause import QueueArgument, TaskOption, TenantOption, chosen, named
from heori.inspect.limits import resume_all
from heori.inspect.reader import RedisReader
from heori.plain import say
from heori_common.errors import cut
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings


def resume(
    queue: QueueArgument = None,
    *,
    tenant: TenantOption = None,
    task: TaskOption = None,
    consumer: Annotated[
        str | None,
        typer.Option(
            "--consumer",
            metavar="NAME",
            help="In place of a queue: a consumer that `heori drain` has drained.",
        ),
    ] = None,
) -> None:
    """Have consumers take the jobs again that `heori pause` holds back, or one that drains claim
    again.

    It holds at once, and jobs keep their order.
    """
    if consumer is not None:
        if not (queue is None and tenant is None and task is None):
            refuse("--consumer stands in place of a QUEUE, --tenant and --task")
        was_drained = set_drain(consumer, drains=False)
        say(f"{cut(consumer)} {'claims again' if was_drained else 'was not drained'}")
        return
    what = chosen(queue, tenant, task)
    settings = Settings()

    def work() -> None:
        with RedisClient(settings.redis_url) as client:
            reader = RedisReader(client, Keys(settings.key_prefix))
            was_paused, jobs = resume_all(reader, what)
            if not was_paused:
                say(f"{named(what)} was not paused")
            elif what.kind == "task":
                went_back = formats.counted(jobs, "job")
                say(f"{named(what)} goes on; {went_back} went back to the front of their queues")
            else:
                say(f"{named(what)} goes on")

    guarded(work)
