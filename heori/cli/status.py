"""`heori status`: what is in the queues, who consumes them, or one job."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from heori import formats
from heori.cli.console import JsonOption, guarded, refuse
from heori.inspect import job as job_record
from heori.inspect.queues import at_standstill, describe_standstills, read_consumers, read_queues
from heori.terminal import Console, Text, say_json
from heori_common.protocol.commands import Commands
from heori_common.protocol.job import MalformedJob
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused
from heori_common.settings import Settings

T = TypeVar("T")
MOST_ROWS = 100  # of one table; the others are counted below it


def status(
    job: Annotated[
        str | None,
        typer.Argument(help="The id of a job; without it, all queues and consumers are shown."),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what is in the queues and who consumes them, or one job with its result."""
    settings = Settings()
    commands = Commands(Keys(settings.key_prefix))

    def show() -> None:
        with RedisClient(settings.redis_url) as client:
            if job is None:
                _show_queues(client, commands, as_json=as_json)
            else:
                _show_job(client, commands, job, as_json=as_json)

    guarded(show)


def _show_queues(client: RedisClient, commands: Commands, *, as_json: bool) -> None:
    queues = read_queues(client, commands)
    consumers = read_consumers(client, commands)
    if as_json:
        counts = {name: asdict(of) for name, of in queues.items()}
        say_json({"queues": counts, "consumers": consumers})
        return
    console = Console()
    shown = ["scheduled", "running", "finished", "failed"]
    if any(of.blocked for of in queues.values()):
        shown.append("blocked")
    table = Table("queue", title=f"Queues at {client.address}")
    for heading in ("waiting", *shown):
        # RQ's registry of running jobs has those, too, that wait in a consumer for a slot.
        table.add_column("claimed" if heading == "running" else heading, justify="right")
    for name, of in _busiest(queues, lambda of: (of.waiting, of.running, of.failed, of.scheduled)):
        limit = "" if of.limit is None else f" of {formats.count(of.limit)}"
        numbers = [formats.count(getattr(of, field)) for field in shown]
        table.add_row(name, formats.count(of.waiting) + limit, *numbers)
    console.print(table if queues else f"No queue has jobs or consumers at {client.address}.")
    _tell_of_others(console, queues)
    table = Table("consumer", "queues", "state", "done", "failed", "last heartbeat")
    for name, record in _busiest(consumers, lambda record: record.get("state") == "busy"):
        fields = ("queues", "state", "successful_job_count", "failed_job_count", "last_heartbeat")
        table.add_row(name, *(record.get(field, "0") for field in fields))
    for line in describe_standstills(at_standstill(consumers)):
        console.print(Text(line, "bold yellow"))
    console.print(table if consumers else "No consumer is there; start one with `heori consume`.")
    _tell_of_others(console, consumers)


def _busiest(named: dict[str, T], key: Callable[[T], Any]) -> list[tuple[str, T]]:
    """As many as a person may read, those with the highest key; by name."""
    first = sorted(named.items(), key=lambda item: key(item[1]), reverse=True)[:MOST_ROWS]
    return sorted(first, key=lambda item: item[0])


def _tell_of_others(console: Console, named: dict[str, Any]) -> None:
    if len(named) > MOST_ROWS:
        console.print(f"and {formats.count(len(named) - MOST_ROWS)} more; --json has all")


def _show_job(client: RedisClient, commands: Commands, job_id: str, *, as_json: bool) -> None:
    try:
        shown = job_record.read(client, commands, job_id)
    except RedisRefused as error:
        if error.code != "WRONGTYPE":
            raise
        refuse(f"job {job_id} at {client.address} cannot be read: {error.said}")
    except MalformedJob as error:
        refuse(f"job {job_id} at {client.address} cannot be read: {error}")
    if shown is None:
        refuse(f"there is no job {job_id} at {client.address}; its result may have expired")
    if as_json:
        say_json(shown)
        return
    table = Table.grid("", "", padding=(0, 2))
    for field, value in shown.items():
        text = value if isinstance(value, str) else json.dumps(value)
        table.add_row(field, Text(text.rstrip(), lines=True))
    Console().print(table)
