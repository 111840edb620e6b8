"""`heori send`: one job, or one for each line of a file."""

import json
import os
import sys
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic_core import from_json

from heori import Handle, JobFailed, Options, Producer, QueueFull
from heori.cli.console import JsonOption, print_record, read_duration, read_moment
from heori.cli.ending import FAILED, REFUSED, fail, guarded, refuse
from heori.cli.send_from import Format, ImportRequest, send_from, told
from heori.inspect.reader import NONSENSE
from heori.plain import say, say_json
from heori_common import resolution, task_modules, tasks
from heori_common.duration import check_wait
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.sendable import Sendable
from heori_common.settings import Settings
from heori_producer.options import AllOptions

MOST_TASKS = 40  # that are named when one is not known


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
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Do not run it when it has not begun after this time, such as 10min, or at this "
            "time, such as 2030-01-31T10:00:00+00:00.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="An idempotency key: sending again with it sends nothing, and gives the same job."
        ),
    ] = None,
    unique: Annotated[
        bool,
        typer.Option(
            "--unique", help="Send nothing while the same call waits or runs: give its job."
        ),
    ] = False,
    debounce: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Wait for this time for a later call of the task, or of the key, which takes its "
            "place.",
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

    Of a task whose code is not here, consumers have published what is needed to send it.

    With --from it sends one for each line of a file. All lines are checked before the first job is
    sent. It waits while Redis is away or refuses writes for now, once it has taken some. After an
    interruption the same command goes on where it stopped, and sends no job twice.
    """
    settings = Settings()
    positional, keywords = _arguments(args)
    after = None if delay is None else read_duration("--delay", delay)
    when = None if at is None else read_moment("--at", at)
    options: AllOptions = {
        "queue": queue,
        "tenant": tenant,
        "delay": after,
        "at": when,
        "at_front": at_front,
        "expires": None if expires is None else _expiry(expires),
        "key": key,
        "unique": "until_done" if unique else None,
        "debounce": None if debounce is None else read_duration("--debounce", debounce),
    }
    task = _task(name, settings)
    try:
        check_wait("--timeout", timeout)
        Options(**options)
    except ValueError as error:
        refuse(str(error))
    if source is not None:
        alone = {
            "--args": args != "{}",
            "--key": key is not None,
            "--unique": unique,
            "--debounce": debounce is not None,
            "--wait": wait,
        }
        _refuse(alone, "is for one job, and --from sends many")
        wanted = ImportRequest(source, kind, options, check=check, again=again)
        _send_from(task, settings, wanted, as_json=as_json)
        return
    _refuse({"--check": check, "--again": again, "--format": kind is not None}, "goes with --from")
    try:
        with Producer(settings=settings) as producer:
            sender = producer.options(**options)
            job = sender.encode(task, tuple(positional), keywords, from_json=True)
            [handle] = guarded(lambda: sender.send_jobs(task, [job]))
            if not wait:
                print_record({"id": handle.id}, handle.id, as_json=as_json)
                return
            if sys.stderr.isatty():
                say(f"sent {handle.id}; waiting for its result", error=True)
            value = json.loads(guarded(lambda: _result(handle, timeout, as_json=as_json)))
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


def _result(handle: Handle[Any], timeout: float | None, *, as_json: bool) -> bytes:
    """Wait for the result; when it cannot be read, say that the job was sent all the same."""
    try:
        return handle.stored(timeout).json
    except (RedisUnavailable, RedisRefused, *NONSENSE) as error:
        why = str(error) or type(error).__name__
        if as_json:
            say_json({"id": handle.id, "error": why})
        fail(f"{handle.id} was sent; its result cannot be read: {why}")


def _arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    try:
        given = from_json(os.fsencode(text), allow_inf_nan=False)
    except ValueError as error:
        refuse(f"--args is no JSON: {error}")
    if isinstance(given, dict):
        return [], given
    if not isinstance(given, list):
        refuse("--args must be a JSON object of keywords, or an array of positions")
    return given, {}


def _task(name: str, settings: Settings) -> Sendable[Any]:
    """The task of that name: of the code that is here, or as consumers have published it."""
    try:
        task_modules.load(settings.tasks)
        return resolution.resolve_typed(name, settings.allow)
    except ImportError as error:
        why = [f"HEORI_TASKS cannot be imported: {error}"]
    except tasks.UnknownTask as error:
        known = sorted(tasks.registered()) or ["none; set HEORI_TASKS"]
        why = [str(error), "Registered are:", *(f"  {each}" for each in known[:MOST_TASKS])]
        if (more := len(known) - MOST_TASKS) > 0:
            why.append(f"  and {more:,} more")
    try:
        with Producer(settings=settings) as producer:
            return producer.find(name)
    except tasks.UnknownTask as error:
        refuse(*why, f"No consumer helps: {error}")
    except (RedisUnavailable, RedisRefused, ValueError):
        refuse(*why)


def _expiry(text: str) -> float | datetime:
    is_moment = "-" in text and "T" in text.upper()
    return read_moment("--expires", text) if is_moment else read_duration("--expires", text)


def _refuse(given: dict[str, bool], reason: str) -> None:
    for option in (option for option, is_given in given.items() if is_given):
        refuse(f"{option} {reason}")


def _send_from(
    task: Sendable[Any], settings: Settings, wanted: ImportRequest, *, as_json: bool
) -> None:
    report = send_from(task, settings, wanted)
    print_record(asdict(report), *told(report, check=wanted.check), as_json=as_json)
    if report.bad_lines or report.error:
        raise typer.Exit(REFUSED if report.bad_lines else FAILED)
