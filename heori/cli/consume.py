"""`heori consume`: what its command line may say."""

from typing import Annotated

import typer

from heori.cli.consuming import CommandLine, consume_as
from heori.cli.models import (
    MOST_COUNT,
    AdviseOption,
    MaxMemoryOption,
    MaxProcessesOption,
    MaxSlotsOption,
    ModelOption,
    ProcessesOption,
    SlotsOption,
)
from heori_consumer.supervisor.options import MAX_THREADS
from heori_consumer.supervisor.queue_order import Order


def consume(
    context: typer.Context,
    *,
    queue: Annotated[
        list[str],
        typer.Option(
            "--queue",
            "-q",
            metavar="NAME[=WEIGHT]",
            help="A queue to consume; several are served in the order given. "
            "With weights, such as -q high=3 -q low=1, they are served by weight. What stands "
            "after the last = is one; a queue called a=3 is given as a=3=1.",
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
    max_processes: MaxProcessesOption = None,
    max_slots: MaxSlotsOption = None,
    max_memory: MaxMemoryOption = None,
    advise: AdviseOption = False,
    batch: Annotated[
        int, typer.Option(min=1, max=1000, help="How many jobs to claim in one call, at most.")
    ] = 128,
    recycle_after: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_COUNT, help="Recycle a worker process after about this many jobs."
        ),
    ] = None,
    max_rss: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Recycle a worker process that uses more memory, such as 500M or 2G.",
        ),
    ] = None,
    max_files: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_COUNT,
            help="Recycle a worker process that has more files open, sockets and pipes included.  "
            "[default: 9 of 10 that it may have, see ulimit -n]",
        ),
    ] = None,
    max_threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_COUNT,
            help="Recycle a worker process that has more threads beside its own.  "
            f"[default: {MAX_THREADS}]",
        ),
    ] = None,
    preload: Annotated[
        bool,
        typer.Option(
            "--preload",
            help="Import the tasks once for all worker processes but the first, which share their "
            "memory. What they open or start when imported is shared, too, and breaks.",
        ),
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait", help="Wait for Redis if it cannot be reached at the start."
        ),
    ] = True,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Log as JSON on a terminal too; elsewhere the log is always JSON."
        ),
    ] = False,
) -> None:
    """Run a consumer: a supervisor and its worker processes, until SIGTERM or Ctrl-C.

    HEORI_TASKS names the modules whose tasks it runs, HEORI_ALLOW the prefixes of other functions
    that it may run. At SIGTERM, Ctrl-C or SIGHUP it drains: running jobs get HEORI_GRACE seconds to
    finish, all others go back to their queues. A second SIGTERM or Ctrl-C, or SIGQUIT, stops it at
    once.

    The exit code is 0 after each of these; 1 when it has failed by a defect, after it has given
    back its jobs; 2 when it could not begin: a setting or the tasks are wrong, the port is taken,
    or with --no-wait Redis is away. It is 2, too, when settings let it run jobs of none of its
    queues; these stay where they are.
    """
    wanted = CommandLine(
        queue=queue,
        order=order,
        model=model,
        processes=processes,
        slots=slots,
        max_processes=max_processes,
        max_slots=max_slots,
        max_memory=max_memory,
        advise=advise,
        batch=batch,
        recycle_after=recycle_after,
        max_rss=max_rss,
        max_files=max_files,
        max_threads=max_threads,
        preload=preload,
        wait=wait,
        as_json=as_json,
    )
    # Who reads the command line apart has said what is to become of it.
    (context.obj or consume_as)(wanted)
