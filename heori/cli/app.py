"""The command line. Each command is thin: it reads arguments, calls, prints."""

import asyncio
import json
import sys
from typing import Annotated

import typer
from redis.exceptions import ResponseError
from rich.console import Console
from rich.table import Table

from heori import http as serve
from heori import lab
from heori.cli import dead, doctor, limit, locks, send, top
from heori.cli.console import (
    JsonOption,
    duration,
    guarded,
    read_settings,
    refuse,
    size,
)
from heori.demo import load
from heori.inspect import job as job_record
from heori_common.protocol.commands import Commands, QueueCounts
from heori_common.protocol.job import MalformedJob
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Model
from heori_consumer.supervisor.order import Order, parse_queues

app = typer.Typer(
    help="Heori: a distributed producer-consumer service over Redis, in RQ's job format.\n\n"
    "See it work with `heori up`. Settings come from HEORI_* environment variables; "
    "HEORI_REDIS_URL names the server.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(dead.app, name="dead")
app.add_typer(locks.app, name="locks")
app.add_typer(lab.app, name="lab")

ModelOption = Annotated[
    Model,
    typer.Option(
        "--model",
        help="threads: 1 process x S threads, for work that waits. "
        "processes: P x 1, for work that computes. hybrid: P x S threads, for both. "
        "asyncio: P event loops x S coroutines, for async tasks. "
        "inline: in the supervisor itself, for debugging only.",
    ),
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--processes",
        "-p",
        min=1,
        help="Worker processes (P); as many as there are usable cores if not said.",
    ),
]
SlotsOption = Annotated[
    int | None,
    typer.Option(
        "--slots", "-s", min=1, help="Jobs at once in each process (S): 8 threads, 100 coroutines."
    ),
]


@app.command()
def up(
    *,
    seconds: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="TIME",
            help="Go on for so long, such as 20s or 5m, rather than one round.",
        ),
    ] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Go on until Ctrl-C.")] = False,
    model: ModelOption = "threads",
    processes: ProcessesOption = None,
    slots: SlotsOption = None,
    as_json: JsonOption = False,
) -> None:
    """See it work: an embedded Valkey, a producer and a consumer, on real work.

    Puts every file of Python's standard library through three tasks: counting tokens (holds
    the GIL), digesting (releases it) and fetching over HTTP (waits). Ctrl-C drains.
    """
    from heori.demo.up import UpOptions, run  # noqa: PLC0415 - its imports are for this command alone

    limit = None if seconds is None else duration("--for", seconds)
    if limit == 0:
        refuse(f"--for {seconds}: a time such as 20s, 5m or 1h is needed")
    options = UpOptions(
        seconds=limit,
        forever=forever,
        model=model,
        processes=processes,
        slots=slots,
        json=as_json,
    )
    raise typer.Exit(guarded(lambda: run(options)))


@app.command()
def consume(
    *,
    queue: Annotated[
        list[str],
        typer.Option(
            "--queue",
            "-q",
            metavar="NAME[=WEIGHT]",
            help="A queue to consume; several are served in the order given. "
            "With weights, such as -q high=3 -q low=1, they are served by weight.",
        ),
    ] = ["default"],  # noqa: B006 - typer copies it
    order: Annotated[
        Order | None,
        typer.Option(
            "--order",
            help="strict: a queue is served when those before it are empty. "
            "round-robin: in turns. weight: in proportion, 1 where none is given. "
            "A slot never waits while any queue has jobs.  [default: strict, or weight if any "
            "queue has one]",
        ),
    ] = None,
    model: ModelOption = "threads",
    processes: ProcessesOption = None,
    slots: SlotsOption = None,
    batch: Annotated[
        int, typer.Option(min=1, max=1000, help="Jobs to claim in one call at most.")
    ] = 64,
    max_jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Recycle a worker process after about so many jobs."),
    ] = None,
    max_rss: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Recycle it above so much memory, such as 500M or 2G."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for Redis to be there at the start.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Log as JSON on a terminal, too; elsewhere it always is.")
    ] = False,
) -> None:
    """Run a consumer: a supervisor and its worker processes, until SIGTERM or Ctrl-C.

    HEORI_TASKS names the modules whose tasks it runs, HEORI_ALLOW prefixes of other functions.
    The first signal drains: running jobs finish, all others go back. The second stops at once.
    """
    from heori_common import logs  # noqa: PLC0415
    from heori_consumer.pool.roster import TasksBroken  # noqa: PLC0415
    from heori_consumer.supervisor.http import PortTaken  # noqa: PLC0415
    from heori_consumer.supervisor.supervisor import Options, Supervisor  # noqa: PLC0415

    settings = read_settings()
    try:
        queues, weights = parse_queues(queue, order)
        options = Options.create(
            queues,
            model,
            processes,
            slots,
            weights=weights,
            batch=batch,
            wait=wait,
            max_jobs=max_jobs,
            max_rss=None if max_rss is None else size("--max-rss", max_rss),
            json_logs=as_json or not sys.stderr.isatty(),
        )
    except ValueError as error:
        refuse(str(error))
    if not settings.tasks and not settings.allow:
        refuse(
            "there is nothing this consumer may run: name the modules of your tasks in "
            "HEORI_TASKS (such as HEORI_TASKS=myapp.tasks)"
        )
    logs.configure(as_json=options.json_logs)

    async def main() -> None:
        await Supervisor(settings, options).run()

    try:
        guarded(lambda: asyncio.run(main()))
    except (TasksBroken, PortTaken) as error:
        refuse(str(error))


app.command()(send.send)


@app.command()
def status(
    job: Annotated[str | None, typer.Argument(help="A job's id; without it, all queues.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what is in the queues and who consumes them, or one job with its result."""
    settings = read_settings()
    commands = Commands(Keys(settings.key_prefix))

    def show() -> None:
        with RedisClient(settings.redis_url) as client:
            if job is None:
                _show_queues(client, commands, as_json=as_json)
            else:
                _show_job(client, commands, job, as_json=as_json)

    guarded(show)


app.command()(limit.limit)
app.command()(load.load)
app.command()(serve.serve)
app.command()(top.top)
app.command()(doctor.doctor)


def _show_queues(client: RedisClient, commands: Commands, *, as_json: bool) -> None:
    queues = {
        name: QueueCounts(*client.execute_many(commands.counts(name)))
        for name in client.execute(commands.queues())
    }
    consumers = {
        name: record
        for name in client.execute(commands.consumers())
        if (record := client.execute(commands.consumer(name)))
    }
    if as_json:
        counts = {
            name: {field: getattr(of, field) for field in QueueCounts.__slots__}
            for name, of in queues.items()
        }
        print(json.dumps({"queues": counts, "consumers": consumers}))
        return
    console = Console()
    shown = ["scheduled", "running", "finished", "failed"]
    if any(of.blocked for of in queues.values()):
        shown.append("blocked")
    table = Table("queue", "waiting", *shown, title=f"Queues at {client.address}")
    for name, of in queues.items():
        waiting = str(of.waiting) if of.limit is None else f"{of.waiting} of {of.limit}"
        table.add_row(name, waiting, *(str(getattr(of, field)) for field in shown))
    console.print(table if queues else f"No queue has had a job yet at {client.address}.")
    table = Table("consumer", "queues", "state", "done", "failed", "last heartbeat")
    for name, record in consumers.items():
        fields = ("queues", "state", "successful_job_count", "failed_job_count", "last_heartbeat")
        table.add_row(name, *(record.get(field, "0") for field in fields))
    console.print(table if consumers else "No consumer is there; start one with `heori consume`.")


def _show_job(client: RedisClient, commands: Commands, job_id: str, *, as_json: bool) -> None:
    try:
        shown = job_record.read(client, commands, job_id)
    except (MalformedJob, ResponseError) as error:  # the latter: its key holds no hash
        refuse(f"job {job_id} cannot be read: {error}")
    if shown is None:
        refuse(f"there is no job {job_id} at {client.address}; its result may have expired")
    if as_json:
        print(json.dumps(shown))
        return
    table = Table.grid("", "", padding=(0, 2))
    for field, value in shown.items():
        text = value if isinstance(value, str) else json.dumps(value)
        table.add_row(field, text.rstrip())
    Console(markup=False).print(table)
