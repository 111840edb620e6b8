"""`heori status`: what is in the queues, and who consumes them."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from heori import formats
from heori.cli.console import JsonOption, tell_unreadable, told_moment
from heori.cli.drawing import list_table
from heori.cli.ending import guarded
from heori.inspect.limits import read_held
from heori.inspect.queues import (
    ConsumerRecord,
    at_standstill,
    describe_refusals,
    describe_standstills,
    read_consumers,
    read_lives,
    read_queues,
)
from heori.inspect.reader import RedisReader
from heori.plain import say_json
from heori.terminal import Console, Name, Text
from heori_common.protocol.commands import HEARTBEAT_TTL_S
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings

T = TypeVar("T")
MOST_ROWS = 100  # of one table; the others are counted below it


def status(
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what is in the queues and who consumes them.

    The exit code is 1 when something in Redis cannot be read. It is named, and the rest is shown.
    """
    settings = Settings()

    def show() -> None:
        with RedisClient(settings.redis_url) as client:
            reader = RedisReader(client, Keys(settings.key_prefix))
            _show_queues(reader, as_json=as_json)
            tell_unreadable(reader)

    guarded(show)


def _show_queues(reader: RedisReader, *, as_json: bool) -> None:
    queues = read_queues(reader)
    consumers = read_consumers(reader)
    lives = read_lives(reader, consumers)
    held = read_held(reader, queues)
    now = reader.client.execute(reader.commands.time())
    if as_json:
        counts = {name: asdict(of) for name, of in queues.items()}
        records = {name: {**of, "expires_in": lives[name]} for name, of in consumers.items()}
        shown = {"queues": counts, "consumers": records, **asdict(held)}
        say_json({**shown, "unreadable": reader.unreadable})
        return
    console = Console()
    columns = ["scheduled", "running", "finished", "failed"]
    if any(of.blocked for of in queues.values()):
        columns.append("blocked")
    # RQ's registry of running jobs has those, too, that wait in a consumer for a slot.
    headings = ["claimed" if heading == "running" else heading for heading in columns]
    table = list_table("queue", numbers=("waiting", *headings))
    for name, of in _busiest(
        queues, lambda of: (of.waiting or 0, of.running or 0, of.failed or 0, of.scheduled or 0)
    ):
        limit = "" if of.limit is None else f" of {formats.count(of.limit)}"
        numbers = [formats.count_or_unknown(getattr(of, field)) for field in columns]
        table.add_row(Name(name), formats.count_or_unknown(of.waiting) + limit, *numbers)
    if queues:
        console.print(f"Queues at {reader.address}", soft_wrap=True)
    console.print(table if queues else f"No queue has jobs or consumers at {reader.address}.")
    _tell_of_others(console, queues)
    console.print()
    for line in held.lines():
        console.print(Text(line, "bold yellow"), soft_wrap=True)
    table = list_table("consumer", "queues", numbers=("state", "done", "failed", "heartbeat"))
    for name, record in _busiest(consumers, lambda record: record.get("state") == "busy"):
        done = (record.get(f"{field}_job_count", "0") for field in ("successful", "failed"))
        table.add_row(
            Name(name),
            Name(record.get("queues", "?")),
            record.get("state", "?"),
            *done,
            _heartbeat(record, lives[name], now),
        )
    for line in (*describe_standstills(at_standstill(consumers)), *describe_refusals(consumers)):
        console.print(Text(line, "bold yellow"), soft_wrap=True)
    console.print(table if consumers else "No consumer is there; start one with `heori consume`.")
    _tell_of_others(console, consumers)


def _heartbeat(record: ConsumerRecord, life: int | None, now: float) -> str:
    """How long ago it was by the server's clock; of a stock worker, by the worker's own.

    Args:
        now: the server's time, in epoch seconds.
    """
    if life is None or "heori_metrics" not in record:
        return told_moment(record.get("last_heartbeat", "?"), now).partition(",")[0]
    return formats.age(max(0, HEARTBEAT_TTL_S - life))


def _busiest(named: dict[str, T], key: Callable[[T], Any]) -> list[tuple[str, T]]:
    """As many as a person may read, those with the highest key; by name."""
    first = sorted(named.items(), key=lambda item: key(item[1]), reverse=True)[:MOST_ROWS]
    return sorted(first, key=lambda item: item[0])


def _tell_of_others(console: Console, named: dict[str, Any]) -> None:
    if len(named) > MOST_ROWS:
        console.print(f"and {formats.count(len(named) - MOST_ROWS)} more; --json has all")
