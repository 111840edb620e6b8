"""`heori schedule`: periodic jobs, when they run, and how to pause them or run them now."""

from collections.abc import Callable
from typing import Annotated

import typer
from rich.table import Table

from heori import formats
from heori.cli.console import JsonOption, print_record, tell_unreadable
from heori.cli.drawing import list_table
from heori.cli.ending import guarded, refuse
from heori.inspect.reader import RedisReader
from heori.inspect.schedule import (
    EntryView,
    NoSuchEntry,
    StillSent,
    read_entries,
    set_paused,
)
from heori.inspect.schedule import delete as delete_entry
from heori.inspect.schedule import run_now as run_entry
from heori.plain import say, say_json
from heori.terminal import Console, Name
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The entry, as `heori schedule` names it.")
]

app = typer.Typer(
    invoke_without_command=True,
    help="Show the periodic jobs and how each went; pause, resume, run or delete "
    "one.\n\n"
    "An entry of which the state is nobody has no consumer that would send it.\n\n"
    "The exit code is 1 when something in Redis cannot be read. It is named, and the rest is "
    "shown.",
)


@app.callback()
def show(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Show the periodic jobs, when no other command is given."""
    if context.invoked_subcommand is not None:
        return

    def work(reader: RedisReader) -> None:
        found = read_entries(reader)
        if as_json:
            entries = [view.record() for view in found]
            say_json({"entries": entries, "unreadable": reader.unreadable})
        elif found:
            Console().print(f"Periodic jobs at {reader.address}", _table(found), sep="\n")
        elif not reader.unreadable:
            say(f"there are no periodic jobs at {reader.address}")

    _open(work)


@app.command()
def pause(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Let the ticks of an entry pass by until it is resumed; its jobs that wait still run."""
    _open(lambda reader: _set_paused(reader, name, paused=True, as_json=as_json))


@app.command()
def resume(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Send an entry again from its next tick on; what passed meanwhile is not made up for."""
    _open(lambda reader: _set_paused(reader, name, paused=False, as_json=as_json))


@app.command(name="run")
def run_now(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Send the job of an entry now, paused or not; its ticks stay as they are.

    It is refused when the entry may not overlap and its last job still waits or runs.
    """

    def work(reader: RedisReader) -> None:
        sent = run_entry(reader, name)
        if sent is None:
            refuse(f"{name} may not overlap, and its last job still waits or runs")
        job_id, queue = sent
        record = {"name": name, "job": job_id, "queue": queue}
        print_record(record, f"{job_id} is sent to {queue}", as_json=as_json)

    _open(work)


@app.command()
def delete(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Forget an entry of nobody; it begins anew should a consumer have it again.

    It is refused while a consumer lives that has it.
    """

    def work(reader: RedisReader) -> None:
        try:
            delete_entry(reader, name)
        except StillSent as error:
            refuse(str(error))
        print_record({"name": name, "state": "deleted"}, f"{name} is deleted", as_json=as_json)

    _open(work)


def _open(work: Callable[[RedisReader], None]) -> None:
    settings = Settings()

    def run() -> None:
        with RedisClient(settings.redis_url) as client:
            reader = RedisReader(client, Keys(settings.key_prefix))
            try:
                work(reader)
            except NoSuchEntry as error:
                refuse(*str(error.args[0]).splitlines())
            tell_unreadable(reader)

    guarded(run)


def _set_paused(reader: RedisReader, name: str, *, paused: bool, as_json: bool) -> None:
    changed = set_paused(reader, name, paused=paused)
    state = "paused" if paused else "active"
    already = "" if changed else "already "
    print_record(
        {"name": name, "state": state, "changed": changed},
        f"{name} is {already}{state}",
        as_json=as_json,
    )


def _table(found: list[EntryView]) -> Table:
    table = list_table(
        "name", "when", "state", "last", "next", numbers=("sent", "missed", "skipped")
    )
    for view in found:
        last = f"{view.outcome} {formats.duration(view.ago)} ago" if view.ago is not None else ""
        table.add_row(
            Name(view.entry.name),
            view.entry.timing_text,
            view.state,
            last,
            f"in {formats.duration(view.ahead)}" if view.ahead is not None else "",
            *map(formats.count, (view.sent, view.missed, view.skipped)),
        )
    return table
