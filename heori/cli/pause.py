"""`heori pause`: have consumers take no more jobs of a queue, a tenant or a task."""

from typing import Annotated

import typer

from heori.cli.ending import guarded, refuse
from heori.inspect.limits import resumed_by
from heori.plain import say
from heori_common.names import check_name, check_queue, check_tenant
from heori_common.protocol.commands import Commands, Pause
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings

QueueArgument = Annotated[
    str | None, typer.Argument(help="The queue, with those of all its tenants.")
]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant of the queue.")
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="In place of a queue: a task, such as shop.send_mail, whatever its jobs' queues.",
    ),
]


def pause(
    queue: QueueArgument = None, *, tenant: TenantOption = None, task: TaskOption = None
) -> None:
    """Have consumers take no more jobs of a queue, of one of its tenants, or of a task.

    It holds at once for all consumers, and for those that start later, until `heori resume`. Jobs
    that were claimed already go on to their end. Producers go on sending. Jobs of a paused task
    leave their queue when their turn comes, so that they keep nobody waiting. Stock rq workers know
    of no pauses: `rq suspend` is for those, and holds Heori's consumers, too.
    """
    what = chosen(queue, tenant, task)
    settings = Settings()

    def work() -> None:
        with RedisClient(settings.redis_url) as client:
            commands = Commands(Keys(settings.key_prefix))
            if client.execute(commands.pause(what)):
                words = resumed_by(what.kind, what.name)
                say(f"{named(what)} is paused; `heori resume {words}` ends that")
            else:
                say(f"{named(what)} was paused already")

    guarded(work)


def chosen(queue: str | None, tenant: str | None, task: str | None) -> Pause:
    """What is meant; ends the command when that makes no sense."""
    if (queue is None) == (task is None):
        refuse("a QUEUE is needed, or --task NAME")
    if tenant is not None and queue is None:
        refuse("--tenant says which tenant of a QUEUE is meant; give that, too")
    try:
        if queue is None:
            return Pause("task", check_name("task", task))
        check_queue(queue)
        return Pause.of_queue(queue, "" if tenant is None else check_tenant(tenant))
    except ValueError as error:
        refuse(str(error))


def named(what: Pause) -> str:
    """For people."""
    queue, _, tenant = what.name.partition("@@")
    return f"tenant {tenant} of queue {queue}" if tenant else f"{what.kind} {what.name}"
