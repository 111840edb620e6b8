"""`heori worker` with classes of an application: RQ's own command, with Heori's engine behind it.

The engine stands before the worker class that is named, as in `heori.rq.Worker`. So what that class
does itself is done, and RQ's code runs the jobs.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

from heori.cli.ending import refuse
from heori.plain import say
from heori_common.errors import short
from heori_common.settings import Settings

# By RQ's options: the names of its own classes, which stand for Heori itself.
OWN = {
    "--worker-class": ("rq.Worker", "rq.worker.Worker", "heori.rq.Worker"),
    "--job-class": ("rq.job.Job",),
    "--queue-class": ("rq.Queue", "rq.queue.Queue"),
    "--connection-class": ("redis.Redis", "redis.client.Redis"),
}
_MADE = "made_worker"  # in this module, for RQ, which finds a class by its name


def others(given: Mapping[str, str]) -> dict[str, str]:
    """The classes that are not RQ's own, by their options."""
    return {option: name for option, name in given.items() if name not in OWN[option]}


def run(
    context: typer.Context, why: Sequence[str], classes: Mapping[str, str], url: str | None
) -> None:
    """Run RQ's command of the same name, and end as it does.

    Args:
        context: of our command, with what was typed.
        why: the options that ask for it.
        classes: the names of all classes, by their options.
        url: of the server, if RQ's options do not say it.
    """
    from rq.cli.cli import main  # noqa: PLC0415 - what else a worker needs does not need it

    say(f"heori: {' and '.join(why)}: so RQ's own code runs the jobs, slower", error=True)
    words = [*_as_typed(context), "--worker-class", f"{__name__}.{_MADE}"]
    if url is not None:
        words += ["--url", url]
    sys.path += [folder for folder in context.params["path"] or () if folder not in sys.path]
    found = {option: _imported(option, name) for option, name in classes.items()}
    made = _with_engine(classes["--worker-class"], found["--worker-class"])
    setattr(sys.modules[__name__], _MADE, made)
    if allow := context.params["allow"]:
        os.environ["HEORI_ALLOW"] = ",".join([*Settings().allow, *allow])
    main.main([str(context.info_name), *words], prog_name="rq")


def _imported(option: str, name: str) -> Any:
    from rq.utils import import_attribute  # noqa: PLC0415 - as above

    try:
        return import_attribute(name)
    except (ImportError, AttributeError, ValueError) as error:
        refuse(f"{option} {short(name)} cannot be imported: {error}")


def _with_engine(name: str, found: Any) -> type[Any]:
    from rq.worker import BaseWorker  # noqa: PLC0415 - as above

    from heori.rq.worker import Engine  # noqa: PLC0415

    if not (isinstance(found, type) and issubclass(found, BaseWorker)):
        refuse(f"--worker-class {short(name)} is no worker class of RQ's")
    return found if issubclass(found, Engine) else type(found.__name__, (Engine, found), {})


def _as_typed(context: typer.Context) -> Iterator[str]:
    """What RQ's command is to be given; its options have the same names."""
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.param_type_name == "argument":
            yield from value or ()
        elif value in (None, False, ()) or parameter.name in ("allow", "worker_class"):
            continue
        elif value is True:
            yield parameter.opts[0]
        else:
            for each in value if isinstance(value, list | tuple) else [value]:
                yield from (parameter.opts[0], str(each))
