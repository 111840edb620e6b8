"""What a person may do from `heori top`: pause, resume, stop a job."""

import time

from heori.inspect.actions import ActionRefused, JobActions, JobGone
from heori.inspect.reader import RedisReader
from heori_common.errors import cut
from heori_common.protocol.commands import Pause

STOPPED_WITHIN_S = 10.0  # for which it is looked whether a job that was to stop has
LOOK_EVERY_S = 0.1

PAUSABLE = {"queues": "queue", "tasks": "task", "schedule": "entry"}  # what a table has


def set_paused(reader: RedisReader, kind: str, name: str, *, paused: bool) -> str:
    """Pause a queue, a task or an entry of the schedule, or let it go on; returns what was done.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    commands, execute = reader.commands, reader.client.execute
    what = f"{kind} {cut(name)}"
    if kind == "entry":
        is_new = bool(execute(commands.pause_entry(name, paused=paused)))
    elif paused:
        is_new = execute(commands.pause(Pause(kind, name)))
    else:
        resumed = execute(commands.resume(Pause(kind, name)))
        is_new = resumed.was_paused
        while resumed.are_left:
            resumed = execute(commands.resume(Pause(kind, name)))
    if paused:
        return f"{what} is paused; p lets it go on" if is_new else f"{what} was paused already"
    return f"{what} goes on" if is_new else f"{what} was not paused"


def stop_job(reader: RedisReader, job_id: str) -> str:
    """Have a consumer end a job, and see whether it has; returns what became of it.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    commands, execute = reader.commands, reader.client.execute
    named = cut(job_id)
    try:
        JobActions(reader.client, commands).act("stop", job_id)
    except JobGone:
        return f"{named} is gone"
    except ActionRefused as error:
        return str(error)
    until = time.monotonic() + STOPPED_WITHIN_S
    while (status := execute(commands.status(job_id))) == "started":
        if time.monotonic() >= until:
            return f"{named} still runs, though its consumer was asked to stop it"
        time.sleep(LOOK_EVERY_S)
    return f"{named} is {status or 'gone'}"
