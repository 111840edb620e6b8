"""The command line. Each command is thin: it reads arguments, calls, prints."""

import asyncio
import json
import logging
import sys
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.table import Table

from common import tasks
from common.broker import Broker
from common.protocol.commands import Commands, QueueCounts
from common.protocol.job import Job, MalformedJob
from common.protocol.keys import Keys
from common.protocol.payload import BadPayload, decode_failure, decode_result
from common.settings import Model, Settings
from heori import dead
from heori.console import FAILED, JsonOption, duration, guarded, print_record, read_settings, refuse

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

ModelOption = Annotated[
    Model,
    typer.Option(
        "--model",
        help="threads: one process with S slots, for work that waits. "
        "processes: P processes with one slot each, for work that computes.",
    ),
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--processes",
        "-p",
        min=1,
        help="Worker processes; as many as there are usable cores if not said.",
    ),
]
SlotsOption = Annotated[
    int | None,
    typer.Option("--slots", "-s", min=1, help="Threads of the threads model; 8 if not said."),
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
    from heori.up import UpOptions, run  # noqa: PLC0415 - its imports are for this command alone

    options = UpOptions(
        seconds=None if seconds is None else duration("--for", seconds),
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
        typer.Option("--queue", "-q", help="A queue to consume; several are served in this order."),
    ] = ["default"],  # noqa: B006 - typer copies it
    model: ModelOption = "threads",
    processes: ProcessesOption = None,
    slots: SlotsOption = None,
    batch: Annotated[
        int, typer.Option(min=1, max=1000, help="Jobs to claim in one call at most.")
    ] = 64,
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
    from consumer.http import PortTaken  # noqa: PLC0415
    from consumer.pool import TasksBroken  # noqa: PLC0415
    from consumer.supervisor import Options, Supervisor  # noqa: PLC0415

    settings = read_settings()
    try:
        queues = tuple(dict.fromkeys(tasks.check_queue(name) for name in queue))
        options = Options.create(queues, model, processes, slots, batch=batch, wait=wait)
    except ValueError as error:
        refuse(str(error))
    if not settings.tasks and not settings.allow:
        refuse(
            "there is nothing this consumer may run: name the modules of your tasks in "
            "HEORI_TASKS (such as HEORI_TASKS=myapp.tasks)"
        )
    _configure_logs(as_json=as_json)

    async def main() -> None:
        await Supervisor(settings, options).run()

    try:
        guarded(lambda: asyncio.run(main()))
    except (TasksBroken, PortTaken) as error:
        refuse(str(error))


@app.command()
def send(
    name: Annotated[str, typer.Argument(metavar="TASK", help="As module.function.")],
    *,
    args: Annotated[
        str,
        typer.Option(
            "--args",
            metavar="JSON",
            help='Keywords as an object, or positions as an array: [1, "a"].',
        ),
    ] = "{}",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds to wait at most, with --wait.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send one job of a task that HEORI_TASKS or HEORI_ALLOW covers."""
    from producer import JobFailed, Producer  # noqa: PLC0415

    settings = read_settings()
    positional, keywords = _arguments(args)
    task = _task(name, settings)
    try:
        with Producer(settings=settings) as producer:
            handle = guarded(lambda: producer.submit_call(task, positional, keywords))
            if not wait:
                print_record({"id": handle.id}, handle.id, as_json=as_json)
                return
            if sys.stderr.isatty():
                print(f"sent {handle.id}; waiting for its result", file=sys.stderr)
            value = json.loads(guarded(lambda: handle.result_json(timeout)))
    except (tasks.InvalidArguments, ValueError) as error:
        refuse(str(error))
    except JobFailed as error:
        print_record(
            {"id": error.job_id, "error": error.traceback}, error.traceback, as_json=as_json
        )
        raise typer.Exit(FAILED) from error
    except TimeoutError as error:
        print_record({"id": handle.id, "error": str(error)}, str(error), as_json=as_json)
        raise typer.Exit(FAILED) from error
    print_record({"id": handle.id, "result": value}, json.dumps(value), as_json=as_json)


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
        with Broker(settings.redis_url) as broker:
            if job is None:
                _show_queues(broker, commands, as_json=as_json)
            else:
                _show_job(broker, commands, job, as_json=as_json)

    guarded(show)


def _arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    try:
        given = json.loads(text)
    except ValueError as error:
        refuse(f"--args is no JSON: {error}")
    if isinstance(given, dict):
        return [], given
    if not isinstance(given, list):
        refuse("--args must be a JSON object of keywords, or an array of positions")
    return given, {}


def _task(name: str, settings: Settings) -> tasks.Task[..., Any]:
    try:
        tasks.load(settings.tasks)
        return tasks.resolve(name, settings.allow)
    except ImportError as error:
        refuse(f"HEORI_TASKS cannot be imported: {error}")
    except tasks.UnknownTask as error:
        known = "\n  ".join(sorted(tasks.registered())) or "none; set HEORI_TASKS"
        refuse(f"{error}\nRegistered are:\n  {known}")


def _show_queues(broker: Broker, commands: Commands, *, as_json: bool) -> None:
    queues = {
        name: QueueCounts(*broker.execute_many(commands.counts(name)))
        for name in broker.execute(commands.queues())
    }
    consumers = {
        name: record
        for name in broker.execute(commands.consumers())
        if (record := broker.execute(commands.consumer(name)))
    }
    if as_json:
        counts = {
            name: {field: getattr(of, field) for field in QueueCounts.__slots__}
            for name, of in queues.items()
        }
        print(json.dumps({"queues": counts, "consumers": consumers}))
        return
    console = Console()
    table = Table("queue", *QueueCounts.__slots__, title=f"Queues at {broker.address}")
    for name, of in queues.items():
        table.add_row(name, *(str(getattr(of, field)) for field in QueueCounts.__slots__))
    console.print(table if queues else f"No queue has had a job yet at {broker.address}.")
    table = Table("consumer", "queues", "state", "done", "failed", "last heartbeat")
    for name, record in consumers.items():
        fields = ("queues", "state", "successful_job_count", "failed_job_count", "last_heartbeat")
        table.add_row(name, *(record.get(field, "0") for field in fields))
    console.print(table if consumers else "No consumer is there; start one with `heori consume`.")


def _show_job(broker: Broker, commands: Commands, job_id: str, *, as_json: bool) -> None:
    try:
        job = broker.execute(commands.job(job_id))
    except MalformedJob as error:
        refuse(f"job {job_id} cannot be read: {error}")
    if job is None:
        refuse(f"there is no job {job_id} at {broker.address}; its result may have expired")
    shown = _describe(job)
    result = broker.execute(commands.result(job_id))
    if result is not None and result.exc_string is not None:
        shown["error"] = decode_failure(result.exc_string)
    elif result is not None and result.return_value is not None:
        try:
            shown["result"] = json.loads(decode_result(result.return_value))
        except BadPayload as error:
            shown["result"] = str(error)
    if as_json:
        print(json.dumps(shown))
        return
    table = Table.grid("", "", padding=(0, 2))
    for field, value in shown.items():
        text = value if isinstance(value, str) else json.dumps(value)
        table.add_row(field, text.rstrip())
    Console(markup=False).print(table)


def _describe(job: Job) -> dict[str, Any]:
    times = {
        name: moment.isoformat()
        for name in ("created_at", "enqueued_at", "started_at", "ended_at")
        if (moment := getattr(job, name))
    }
    return {
        "id": job.id,
        "status": job.status,
        "queue": job.queue,
        "call": job.description,
        "timeout": job.timeout,
        **times,
        "consumer": job.consumer,
        "deliveries": job.deliveries,
    }


def _configure_logs(*, as_json: bool) -> None:
    """For people on a terminal, as JSON for everything else; always on standard error."""
    human = sys.stderr.isatty() and not as_json
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not human),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
