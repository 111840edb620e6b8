"""The options that `rq worker` and `rq worker-pool` share, by RQ's own names and in its words."""

from typing import Annotated

import typer

QueuesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="QUEUES", help="The queues, the first first.", show_default=False),
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="PACKAGE",
        help="A package whose functions may be called, such as myapp; or several, with commas. "
        "Those of HEORI_ALLOW may be, too.",
    ),
]
BurstOption = Annotated[
    bool, typer.Option("--burst", "-b", help="Quit after all work is done.", show_default=False)
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show more output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show less output.")]
LogFormatOption = Annotated[
    str | None,
    typer.Option(
        "--log-format",
        help="The format of the lines of the log, such as '%(asctime)s %(message)s'.",
    ),
]
DateFormatOption = Annotated[
    str | None,
    typer.Option("--date-format", help="The format of the time in them, such as %H:%M:%S."),
]
ExceptionHandlerOption = Annotated[
    list[str] | None,
    typer.Option("--exception-handler", help="A function that is called for each failed job."),
]
SerializerOption = Annotated[
    str | None,
    typer.Option(
        "--serializer",
        "-S",
        help="json reads JSON alone, pickle both; or the name of a class of yours. HEORI_ACCEPT "
        "comes first, where it is set.  [default: pickle]",
        show_default=False,
    ),
]
PathOption = Annotated[
    list[str] | None,
    typer.Option("--path", "-P", help="Where modules are looked for, too.  [default: .]"),
]
ConnectionClassOption = Annotated[
    str,
    typer.Option("--connection-class", envvar="RQ_CONNECTION_CLASS", help="Of Redis clients."),
]
QueueClassOption = Annotated[
    str, typer.Option("--queue-class", envvar="RQ_QUEUE_CLASS", help="Of queues.")
]
JobClassOption = Annotated[
    str, typer.Option("--job-class", "-j", envvar="RQ_JOB_CLASS", help="Of jobs.")
]
WorkerClassOption = Annotated[
    str,
    typer.Option(
        "--worker-class",
        "-w",
        envvar="RQ_WORKER_CLASS",
        help="Of workers. With a class of yours, RQ's own code runs the jobs, slower.",
    ),
]
ConfigOption = Annotated[
    str | None,
    typer.Option("--config", "-c", envvar="RQ_CONFIG", help="A module with RQ's settings."),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        "-u",
        envvar="RQ_REDIS_URL",
        help="The URL of Redis.  [default: of the config, or HEORI_REDIS_URL]",
    ),
]
