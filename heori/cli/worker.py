"""`heori worker`: one worker, as `rq worker` has it."""

from typing import Annotated, Any

import typer

from heori.cli.models import MOST_COUNT
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


def worker(
    context: typer.Context,
    *,
    queues: QueuesArgument = None,
    allow: AllowOption = None,
    burst: BurstOption = False,
    logging_level: Annotated[
        str | None, typer.Option("--logging_level", help="The least that is logged, such as INFO.")
    ] = None,
    log_format: LogFormatOption = None,
    date_format: DateFormatOption = None,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="A name that no other worker has.")
    ] = None,
    results_ttl: Annotated[
        int | None,
        typer.Option(
            "--results-ttl",
            help="Seconds for which jobs and their results are kept, of jobs that do not say; -1 "
            "for ever.  [default: 500]",
        ),
    ] = None,
    _worker_ttl: Annotated[
        int | None,
        typer.Option(
            "--worker-ttl",
            help="Taken, with no effect: a minute after it died it is not listed any more.",
        ),
    ] = None,
    _maintenance_interval: Annotated[
        int | None,
        typer.Option(
            "--maintenance-interval",
            help="Taken, with no effect: Heori always looks for what is left over.",
        ),
    ] = None,
    _job_monitoring_interval: Annotated[
        int | None,
        typer.Option(
            "--job-monitoring-interval",
            help="Taken, with no effect: jobs are looked at twenty times a second.",
        ),
    ] = None,
    _disable_job_desc_logging: Annotated[
        bool,
        typer.Option(
            "--disable-job-desc-logging", help="Taken, with no effect: no description is logged."
        ),
    ] = False,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    exception_handler: ExceptionHandlerOption = None,
    pid: Annotated[
        str | None, typer.Option("--pid", help="A file that the process ID is written to.")
    ] = None,
    disable_default_exception_handler: Annotated[
        bool,
        typer.Option(
            "--disable-default-exception-handler",
            "-d",
            help="Do nothing with a job that has failed but to call the handlers.",
        ),
    ] = False,
    max_jobs: Annotated[
        int | None,
        typer.Option("--max-jobs", min=1, max=MOST_COUNT, help="Jobs after which it quits."),
    ] = None,
    max_idle_time: Annotated[
        int | None,
        typer.Option("--max-idle-time", min=1, help="Seconds without a job after which it quits."),
    ] = None,
    _with_scheduler: Annotated[
        bool,
        typer.Option(
            "--with-scheduler", "-s", help="Taken, with no effect: it always enqueues what is due."
        ),
    ] = False,
    dequeue_strategy: Annotated[
        str,
        typer.Option(
            "--dequeue-strategy", "-ds", help="Of the queues: default, round_robin or random."
        ),
    ] = "default",
    serializer: SerializerOption = None,
    path: PathOption = None,
    connection_class: ConnectionClassOption = "redis.Redis",
    queue_class: QueueClassOption = "rq.Queue",
    job_class: JobClassOption = "rq.job.Job",
    worker_class: WorkerClassOption = "rq.Worker",
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Run one worker, as `rq worker` does: all of its options, and Heori behind them.

    It reads JSON and pickle, and runs one job at a time, in the main thread of a process of its
    own. Of what is pickled, only functions and classes of the packages that --allow names are
    loaded. Without any, it says which ones the jobs need that wait first.

    It stops at SIGTERM or Ctrl-C, once its job has ended, for as long as that takes; HEORI_GRACE
    sets a limit. A second one stops it at once, and its job goes back to its queue.

    The exit code is 1 if RQ is suspended or its name is taken, and else that of `heori consume`; it
    is 2 after a --burst that leaves jobs which settings do not let it run.
    """
    more: dict[str, Any] = {
        "max_jobs": max_jobs,
        "max_idle": max_idle_time,
        "keeps_failures": not disable_default_exception_handler,
    }
    if results_ttl is not None:
        more["result_ttl"] = results_ttl
    start(
        context,
        Asked(
            queues=queues or (),
            strategy=dequeue_strategy,
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
            processes=1,
            classes={
                "--worker-class": worker_class,
                "--job-class": job_class,
                "--queue-class": queue_class,
                "--connection-class": connection_class,
            },
            name=name,
            pid=pid,
            more=more,
        ),
    )
