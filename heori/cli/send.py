"""`heori send`: one job, or one for each line of a file."""

import json
import sys
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from heori import JobFailed, Producer, QueueFull
from heori.cli.console import (
    FAILED,
    REFUSED,
    JsonOption,
    guarded,
    print_record,
    read_duration,
    read_moment,
    refuse,
)
from heori.cli.send_from import Format, ImportRequest, send_from, told
from heori.terminal import say
from heori_common import names, resolution, task_modules, tasks
from heori_common.settings import Settings
from heori_producer.client import when


def send(
    name: Annotated[str, typer.Argument(metavar="TASK", help="As module.function.")],
    *,
    args: Annotated[
        str,
        typer.Option(
            "--args",
            metavar="JSON",
            help='The arguments: an object, by name, or an array, in order, such as [1, "a"].',
        ),
    ] = "{}",
    delay: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Run it after this time, such as 500ms, 5s or 10min."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Run it at this time, such as 2030-01-31T10:00:00+00:00."
        ),
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option("--queue", "-q", help="Where to send it, instead of the task's own queue."),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            help="Whom the job is for. The tenants of a queue take turns, however many jobs each "
            "has sent."
        ),
    ] = None,
    at_front: Annotated[
        bool, typer.Option("--at-front", help="Put it in front of the jobs that already wait.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            help="An idempotency key: sending again with it sends nothing, and gives the same job."
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Send a job for each line of a .jsonl file, or each row of a .csv file whose "
            "first row names the arguments; - reads JSON lines from standard input.",
        ),
    ] = None,
    kind: Annotated[
        Format | None,
        typer.Option("--format", help="The format of the file, if its name does not say it."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="With --from: report the lines that are not valid, and send nothing."
        ),
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="With --from: start at the first line, even if it was sent before."
        ),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="With --wait: how many seconds to wait, at most.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send one job of a task that HEORI_TASKS or HEORI_ALLOW covers, to run now or later.

    With --from it sends one for each line of a file. All lines are checked before the first job is
    sent. After an interruption the same command goes on where it stopped, and sends no job twice.
    """
    settings = Settings()
    positional, keywords = _arguments(args)
    after = None if delay is None else read_duration("--delay", delay)
    when = None if at is None else read_moment("--at", at)
    task = _task(name, settings)
    try:
        queue = queue and names.check_queue(queue)
        tenant = tenant if tenant is None else names.check_tenant(tenant)
    except ValueError as error:
        refuse(str(error))
    if source is not None:
        alone = {"--args": args != "{}", "--key": key is not None, "--wait": wait}
        _refuse(alone, "is for one job, and --from sends many")
        options = {**_when(after, when), "at_front": at_front, "tenant": tenant}
        wanted = ImportRequest(source, kind, queue, options, check=check, again=again)
        _send_from(task, settings, wanted, as_json=as_json)
        return
    _refuse({"--check": check, "--again": again, "--format": kind is not None}, "goes with --from")
    try:
        with Producer(settings=settings) as producer:
            handle = guarded(
                lambda: producer.submit_call(
                    task,
                    positional,
                    keywords,
                    queue=queue,
                    tenant=tenant,
                    delay=after,
                    at=when,
                    at_front=at_front,
                    key=key,
                    from_json=True,
                )
            )
            if not wait:
                print_record({"id": handle.id}, handle.id, as_json=as_json)
                return
            if sys.stderr.isatty():
                say(f"sent {handle.id}; waiting for its result", error=True)
            value = json.loads(guarded(lambda: handle.stored(timeout).json))
    except (tasks.InvalidArguments, ValueError) as error:
        refuse(str(error))
    except QueueFull as error:
        print_record({"error": str(error)}, str(error), as_json=as_json)
        raise typer.Exit(FAILED) from error
    except JobFailed as error:
        print_record(
            {"id": error.job_id, "error": error.traceback},
            *error.traceback.splitlines(),
            as_json=as_json,
        )
        raise typer.Exit(FAILED) from error
    except TimeoutError as error:
        print_record({"id": handle.id, "error": str(error)}, str(error), as_json=as_json)
        raise typer.Exit(FAILED) from error
    print_record({"id": handle.id, "result": value}, json.dumps(value), as_json=as_json)


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
        task_modules.load(settings.tasks)
        return resolution.resolve(name, settings.allow)
    except ImportError as error:
        refuse(f"HEORI_TASKS cannot be imported: {error}")
    except tasks.UnknownTask as error:
        known = sorted(tasks.registered()) or ["none; set HEORI_TASKS"]
        refuse(str(error), "Registered are:", *(f"  {name}" for name in known))


def _refuse(given: dict[str, bool], reason: str) -> None:
    for option in (option for option, is_given in given.items() if is_given):
        refuse(f"{option} {reason}")


def _when(delay: float | None, at: datetime | None) -> dict[str, Any]:
    try:
        return when(delay, at)
    except ValueError as error:
        refuse(str(error))


def _send_from(
    task: tasks.Task[..., Any], settings: Settings, wanted: ImportRequest, *, as_json: bool
) -> None:
    try:
        report = send_from(task, settings, wanted)
    except ValueError as error:  # the name of the queue
        refuse(str(error))
    print_record(asdict(report), *told(report, check=wanted.check), as_json=as_json)
    if report.bad_lines or report.error:
        raise typer.Exit(REFUSED if report.bad_lines else FAILED)
