"""`heori worker-pool`: several workers, as `rq worker-pool` has them."""

from typing import Annotated

import typer

from heori.cli.rq_options import (
    AllowOption,
    BurstOption,
    ConfigOption,
    ConnectionClassOption,
    DateFormatOption,
    ExceptionHandlerOption,
    JobClassOption,
    LogFormatOption,
    PathOption,
    QueueClassOption,
    QueuesArgument,
    QuietOption,
    SerializerOption,
    UrlOption,
    VerboseOption,
    WorkerClassOption,
)
from heori.cli.rq_worker import Asked, start


def worker_pool(
    context: typer.Context,
    *,
    queues: QueuesArgument = None,
    allow: AllowOption = None,
    burst: BurstOption = False,
    logging_level: Annotated[
        str | None,
        typer.Option("--logging-level", "-l", help="The least that is logged, such as INFO."),
    ] = None,
    exception_handler: ExceptionHandlerOption = None,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    log_format: LogFormatOption = None,
    date_format: DateFormatOption = None,
    num_workers: Annotated[
        int,
        typer.Option("--num-workers", "-n", min=1, max=1000, help="Number of workers to start."),
    ] = 1,
    serializer: SerializerOption = None,
    path: PathOption = None,
    connection_class: ConnectionClassOption = "redis.Redis",
    queue_class: QueueClassOption = "rq.Queue",
    job_class: JobClassOption = "rq.job.Job",
    worker_class: WorkerClassOption = "rq.Worker",
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Run several workers, as `rq worker-pool` does, and Heori behind them.

    It is `heori worker` with several processes, of which each runs one job at a time. RQ's tools
    show one worker.
    """
    start(
        context,
        Asked(
            queues=queues or (),
            allow=allow or (),
            burst=burst,
            level=logging_level,
            verbose=verbose,
            quiet=quiet,
            log_format=log_format,
            date_format=date_format,
            exception_handlers=exception_handler or (),
            serializer=serializer,
            path=path or (),
            config=config,
            url=url,
            processes=num_workers,
            strategy="default",
            classes={
                "--worker-class": worker_class,
                "--job-class": job_class,
                "--queue-class": queue_class,
                "--connection-class": connection_class,
            },
        ),
    )
