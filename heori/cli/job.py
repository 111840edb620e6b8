"""`heori job`: one job, with everything that is known of it."""

from typing import Annotated, Any

import typer

from heori import formats
from heori.cli.console import JsonOption, tell_unreadable, told_moment
from heori.cli.drawing import print_fields
from heori.cli.ending import guarded, refuse
from heori.inspect.calls import as_text
from heori.inspect.job import JobDetails, Now, Ties, read
from heori.inspect.job_tries import Try
from heori.inspect.reader import RedisReader
from heori.plain import say_json
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings

_LABELS = {
    "args": "arguments",
    "kwargs": "keywords",
    "unread": "arguments",
    "then": "waited for by",
    "gil": "waited for the GIL",
}
_LENGTHS = ("waited", "ran", "cpu", "gil")  # in seconds
SLOT_S = 1.0  # for the consumer of a job that runs to say what that does


def job(
    job: Annotated[str, typer.Argument(metavar="ID", help="The id of a job.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show one job: its call, times, tries, locks, flow, and its result or error.

    The exit code is 1 when something of it in Redis cannot be read. It is named, and the rest is
    shown.
    """
    settings = Settings()

    def show() -> None:
        with RedisClient(settings.redis_url) as client:
            reader = RedisReader(client, Keys(settings.key_prefix))
            found = read(reader, settings, job, SLOT_S)
            if found is None and not reader.unreadable:
                refuse(f"there is no job {job} at {reader.address}; its result may have expired")
            if as_json:
                record = found.record() if found else {"id": job}
                say_json({**record, "unreadable": reader.unreadable})
            elif found is not None:
                print_fields(_fields(found, client.execute(reader.commands.time())))
            tell_unreadable(reader)

    guarded(show)


def _fields(found: JobDetails, now: float) -> dict[str, str]:
    """For people.

    Args:
        now: the server's time, in epoch seconds.
    """
    record = found.record()
    record |= {
        "tries": "\n".join(_try(each, now) for each in found.tries) if len(found.tries) > 1 else "",
        "now": _now(found.now) if found.now else "",
        "locks": "\n".join(
            f"{lock.state} {lock.kind} {lock.name}"
            + (f", behind {lock.before}" if lock.before else "")
            for lock in found.locks
        ),
        **{name: _ties(getattr(found, name)) for name in ("waits_on", "came_after", "then")},
        "actions": ", ".join(found.actions),
    }
    record |= {name: record.pop(name) for name in ("result", "error") if name in record}
    return {
        _LABELS.get(name, name.replace("_", " ")): _told(name, value, now)
        for name, value in record.items()
        if value != "" or name == "consumer"
    }


def _told(name: str, value: Any, now: float) -> str:
    if name in _LENGTHS:
        return formats.duration(value)
    text = value if isinstance(value, str) else as_text(value)
    return told_moment(text, now) if name.endswith(("_at", "_since")) else text


def _now(now: Now) -> str:
    worker, job = now.worker, now.job
    lines = [f"slot {job.slot} of worker {worker.worker}, process {worker.pid or '?'}"]
    if job.lent:
        lines.append("waits for other jobs; its slot is lent")
    elif job.thread in _DOES:
        lines.append(_DOES[job.thread])
    lines += [
        f"waits for the {kind} {name}, for {formats.duration(seconds)}"
        for kind, name, seconds in job.in_line
    ]
    if worker.gil_enabled is False:
        lines.append("its worker has no GIL")
    elif worker.gil_loss is not None:
        lines.append(f"its worker loses {formats.share(worker.gil_loss)} to the GIL")
    return "\n".join(lines)


_DOES = {"running": "its thread runs", "gil_wait": "waits for the GIL", "io_wait": "waits for I/O"}


def _try(each: Try, now: float) -> str:
    ran = "" if each.ran is None else f" after {formats.duration(each.ran)}"
    error = each.error.strip().rpartition("\n")[2]
    return f"{each.outcome}{ran}, {told_moment(each.ended_at, now)}" + (error and f": {error}")


def _ties(ties: Ties | None) -> str:
    if ties is None:
        return ""
    lines = [f"{job_id}  {status}" for job_id, status in ties.jobs.items()]
    more = ties.count - len(lines)
    return "\n".join([*lines, *([f"and {formats.count(more)} more"] if more > 0 else [])])
