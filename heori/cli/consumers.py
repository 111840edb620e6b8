"""`heori consumers`: who consumes, and what every slot does now."""

from typing import Annotated

import typer
from rich.table import Table

from heori import formats
from heori.cli.console import JsonOption, tell_unreadable
from heori.cli.drawing import list_table, print_fields
from heori.cli.ending import guarded, refuse
from heori.inspect.auto import AutoView
from heori.inspect.consumers import (
    ONE_S,
    ConsumerView,
    WorkerView,
    list_consumers,
    read_consumer,
)
from heori.inspect.reader import RedisReader
from heori.plain import say, say_json
from heori.terminal import Console, Name, Text
from heori_common.errors import cut
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings

UNKNOWN = "?"


def consumers(
    name: Annotated[
        str | None,
        typer.Argument(help="Show this one alone, with its workers and what their slots run."),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the consumers and their slots; or of one, its workers and what each slot runs.

    Consumers are asked directly, as `heori top` does: one that does not answer is shown as its
    record in Redis has it. The exit code is 1 when something in Redis cannot be read. It is named,
    and the rest is shown.
    """
    settings = Settings()

    def show() -> None:
        with RedisClient(settings.redis_url) as client:
            reader = RedisReader(client, Keys(settings.key_prefix))
            if name is None:
                _show_all(reader, as_json=as_json)
            else:
                _show_one(reader, name, as_json=as_json)
            tell_unreadable(reader)

    guarded(show)


def _show_all(reader: RedisReader, *, as_json: bool) -> None:
    found = list_consumers(reader, ONE_S)
    if as_json:
        listed = [each.record() for each in found]
        say_json({"consumers": listed, "unreadable": reader.unreadable})
        return
    if not found:
        say(f"No consumer is registered at {reader.address}; start one with `heori consume`.")
        return
    table = list_table("consumer", "queues", "model", numbers=("slots", "run", "done", "state"))
    for each in found:
        table.add_row(
            Name(each.name),
            Name(",".join(each.queues)),
            each.model or each.kind,
            _number(each.slots),
            _number(each.running),
            _number(each.executed),
            each.state if each.answers or each.kind == "rq" else "no answer",
        )
    Console().print(table)


def _show_one(reader: RedisReader, name: str, *, as_json: bool) -> None:
    found = read_consumer(reader, name)
    if found is None and not reader.unreadable:
        refuse(
            f"there is no consumer {cut(name)} at {reader.address}",
            "`heori consumers` shows all there are",
        )
    if as_json:
        say_json({**(found.record() if found else {}), "unreadable": reader.unreadable})
    elif found is not None:
        _describe(found)


def _describe(found: ConsumerView) -> None:
    heartbeat = UNKNOWN if found.heartbeat is None else formats.age(found.heartbeat)
    fields = {
        "consumer": found.name,
        "state": found.state,
        "queues": ", ".join(found.queues),
        "host": f"{found.host}, process {found.pid}",
        "heartbeat": heartbeat,
    }
    if found.answers:
        fields |= {
            "model": f"{found.model}, version {found.version}",
            "slots": f"{_number(found.slots)}, {_number(found.running)} run a job, "
            f"{_number(found.waiting)} wait for other jobs",
            "done": formats.counted(found.executed or 0, "job"),
        }
    else:
        fields["no answer"] = found.reason
    if found.auto:
        fields |= _auto(found.auto)
    print_fields(fields)
    if not found.workers:
        return
    console = Console()
    console.print()
    console.print(_workers(found.workers))
    console.print()
    if any(worker.jobs for worker in found.workers):
        console.print(_slots(found.workers))
    else:
        console.print("No slot runs a job.")
    if found.left_out:
        console.print(f"and {formats.counted(found.left_out, 'job')} more, which run for less long")


def _auto(told: AutoView) -> dict[str, str]:
    """Its size, what another would do, and its moves, the last one first."""
    moves = [
        f"{formats.age(move.ago)}: {move.reason}; {move.came_of}".rstrip("; ")
        for move in told.moves
    ]
    return {
        "size": f"{formats.pool(told.size)} (processes × threads of each × coroutines of each)",
        **({"jobs/s with": told.what_if} if told.estimates else {}),
        **({"held up": f"{told.held_up}: more slots are no use"} if told.held_up else {}),
        **({"kept apart": told.apart} if told.apart else {}),
        **({"moves": "\n".join(moves)} if moves else {}),
    }


def _workers(workers: tuple[WorkerView, ...]) -> Table:
    table = list_table(
        "worker", numbers=("pid", "since", "state", "slots", "run", "done", "GIL loss")
    )
    for each in workers:
        table.add_row(
            each.worker,
            UNKNOWN if each.pid is None else str(each.pid),
            "" if each.seconds is None else formats.age(each.seconds),
            each.state,
            _number(each.slots + each.lent),
            _number(len(each.jobs)),
            _number(each.finished),
            formats.gil_loss(each.gil_loss, UNKNOWN, enabled=each.gil_enabled),
        )
    return table


def _slots(workers: tuple[WorkerView, ...]) -> Table:
    table = list_table("slot", "task", "job", numbers=("for", ""))
    for worker in workers:
        for job in worker.jobs:
            table.add_row(
                f"{worker.worker}/{job.slot}",
                Name(job.task or UNKNOWN),
                Name(job.job),
                formats.duration(job.seconds),
                Text("waits for jobs" if job.lent else "locks" if job.locks else ""),
            )
    return table


def _number(number: int | None) -> str:
    return UNKNOWN if number is None else formats.count(number)
