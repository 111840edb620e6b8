"""Starts a consumer that does as RQ's workers do: what `heori worker` and `worker-pool` share."""

import logging
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from heori.cli import rq_classes, run_consumer
from heori.cli.ending import fail, guarded, refuse
from heori.cli.rq_redis import read_config, redis_url
from heori.inspect.first_calls import packages_called
from heori.inspect.reader import RedisReader
from heori_common import logs, outlet
from heori_common.duration import LONGEST_S
from heori_common.errors import short
from heori_common.names import check_name, check_queue
from heori_common.protocol.commands import Command
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import CONSUMER, MOST, Settings
from heori_consumer.supervisor.options import ConsumerOptions

SERIALIZERS = {
    "json": ("json",),
    "rq.serializers.JSONSerializer": ("json",),
    "pickle": ("json", "pickle"),
    "rq.serializers.DefaultSerializer": ("json", "pickle"),
    "rq.serializers.PickleSerializer": ("json", "pickle"),
}
STRATEGIES = ("default", "random", "round_robin")
LEVELS = {"warn": "warning", "fatal": "critical", "notset": "debug"}


@dataclass(frozen=True)
class Asked:
    """What the command line says, of what both commands have.

    Attributes:
        classes: by their options.
    """

    queues: Sequence[str]
    allow: Sequence[str]
    burst: bool
    level: str | None
    verbose: bool
    quiet: bool
    log_format: str | None
    date_format: str | None
    exception_handlers: Sequence[str]
    serializer: str | None
    path: Sequence[str]
    config: str | None
    url: str | None
    processes: int
    strategy: str
    classes: dict[str, str]
    name: str | None = None
    pid: str | None = None
    more: dict[str, Any] = field(default_factory=dict)  # of `ConsumerOptions`


def start(context: typer.Context, asked: Asked) -> None:
    """Run the consumer until it ends.

    Args:
        context: of the command.
        asked: what its options say.
    """
    if asked.strategy not in STRATEGIES:
        refuse(f"--dequeue-strategy can only be one of {', '.join(STRATEGIES)}")
    own = rq_classes.others(asked.classes).items()
    if why := [f"{option} {name}" for option, name in own]:  # rq's own code runs them
        url = None if asked.url or asked.config else os.environ.get("HEORI_REDIS_URL")
        rq_classes.run(context, why, asked.classes, url)
        return
    sys.path += [folder for folder in asked.path if folder not in sys.path]
    config = None if asked.config is None else _read_config(asked.config)
    settings = _settings(asked, config)
    queues = tuple(dict.fromkeys(asked.queues or (config or {}).get("QUEUES", ("default",))))
    name = asked.name or (config or {}).get("NAME")
    try:
        options = ConsumerOptions.create(
            tuple(map(check_queue, queues)),
            "processes",
            asked.processes,
            burst=asked.burst,
            name=None if name is None else check_name("worker", name),
            wait=False,
            weights=(1,) * len(queues) if asked.strategy == "round_robin" else None,
            at_random=asked.strategy == "random",
            exception_handlers=tuple(asked.exception_handlers),
            serializer=None if asked.serializer in SERIALIZERS else asked.serializer,
            layout=_layout(asked, config),
            json_logs=asked.log_format is None and not sys.stderr.isatty(),
            **asked.more,
        )
    except ValueError as error:
        refuse(str(error))
    settings.check(CONSUMER)
    guarded(lambda: _look_before(settings, options))
    if asked.pid is not None:
        _write_pid(asked.pid)
    outlet.never_wait()
    try:
        logs.configure(as_json=options.json_logs, level=settings.log_level, layout=options.layout)
    except Exception as error:
        if options.layout is None or not options.layout.config:
            raise
        refuse(f"logging does not take DICT_CONFIG of {short(options.layout.config)}: {error!r}")
    run_consumer.run(settings, options)


def _read_config(module: str) -> dict[str, Any]:
    try:
        return read_config(module)
    except Exception as error:  # it is the application's
        refuse(f"--config {short(module)} cannot be imported: {error!r}")


def _settings(asked: Asked, config: dict[str, Any] | None) -> Settings:
    """The environment's, with what the command line says; where neither does, as in RQ."""
    given: dict[str, Any] = {}
    try:
        url = redis_url(asked.url, config)
    except (ValueError, TypeError, AttributeError) as error:
        refuse(f"where Redis is cannot be read: {error}")
    if url is not None:
        given["redis_url"] = url
    if level := _level(asked):
        given["log_level"] = level
    here = Settings()
    if asked.allow:
        given["allow"] = (*here.allow, *_names(asked.allow))
    of_rq = {
        "accept": SERIALIZERS.get(asked.serializer or "", SERIALIZERS["pickle"]),
        "grace": LONGEST_S,  # a job may end in its own time
        "max_payload": MOST,
    }
    own = {name: value for name, value in of_rq.items() if name not in here.model_fields_set}
    return Settings(**{**own, **given})


def _names(given: Sequence[str]) -> list[str]:
    return [name.strip() for text in given for name in text.split(",") if name.strip()]


def _level(asked: Asked) -> str | None:
    if asked.verbose and asked.quiet:
        refuse("--verbose and --quiet are mutually exclusive")
    if asked.verbose or asked.quiet:
        return "debug" if asked.verbose else "warning"
    if asked.level is None:
        return None
    if asked.level.upper() not in logging.getLevelNamesMapping():
        refuse(f"{short(asked.level)} is no level of a log, such as INFO")
    level = asked.level.lower()
    return LEVELS.get(level, level)


def _layout(asked: Asked, config: dict[str, Any] | None) -> logs.Layout:
    has_config = asked.config is not None and bool((config or {}).get("DICT_CONFIG"))
    line = asked.log_format or ("%(asctime)s %(message)s" if asked.date_format else "")
    if line:
        try:  # what logging does with each line
            logging.Formatter(line, asked.date_format).format(logging.makeLogRecord({}))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            refuse(
                f"--log-format and --date-format are not such as logging reads, which is "
                f"'%(asctime)s %(message)s' and %H:%M:%S: {error}"
            )
    return logs.Layout(line, asked.date_format, (asked.config or "") if has_config else "")


def _look_before(settings: Settings, options: ConsumerOptions) -> None:
    """End, with a message, if RQ's worker would not begin either, or this one may call nothing."""
    with RedisClient(settings.redis_url, patience=0) as client:
        keys = Keys(settings.key_prefix)
        if client.execute(Command(("EXISTS", keys.suspended()), int)):
            fail('RQ is currently suspended, to resume job execution run "rq resume"')
        if options.name is not None:
            record = keys.worker(options.name)
            if client.execute(Command(("EXISTS", record), int)) and not client.execute(
                Command(("HEXISTS", record, "death"), int)
            ):
                fail(f"There exists an active worker named {options.name!r} already")
        if not settings.tasks and not settings.allow:
            packages = packages_called(RedisReader(client, keys), options.queues)
            _say_what_to_allow(packages)


def _say_what_to_allow(packages: Sequence[str]) -> None:
    command, rest = sys.argv[1:2], sys.argv[2:]
    if packages:
        about = f"the jobs that wait first call {', '.join(packages)}; to let them, type"
    else:
        about, packages = "name the packages whose functions its jobs call, such as", ["myapp"]
    refuse(
        "there is nothing this worker may call",
        f"{about}: " + shlex.join(["heori", *command, "--allow", ",".join(packages), *rest]),
    )


def _write_pid(path: str) -> None:
    try:
        Path(path).expanduser().write_text(str(os.getpid()))
    except OSError as error:
        fail(f"--pid {short(path)} cannot be written: {error.strerror}")
