"""`heori load`: jobs of the example tasks, at a given pace."""

import contextlib
import sys
from typing import Annotated

import typer

from heori.cli.console import JsonOption, read_duration
from heori.cli.ending import fail, hints, refuse
from heori.demo.load import BURST, FASTEST, LOCAL, PERIOD, RAMP, Load, LoadPlan, Profile, parse_mix
from heori.demo.processes import Child, ChildFailed, Interrupted, signals
from heori.examples import fileserver
from heori_common import logs, outlet
from heori_common.errors import cut
from heori_common.names import check_name
from heori_common.redis.errors import RedisRefused
from heori_common.settings import LOAD, Settings
from heori_consumer.supervisor.endpoint import PortTaken


def load(
    *,
    profile: Annotated[
        Profile,
        typer.Option(
            help=f"steady: at the rate. burst: only in the first {BURST:.0f} of every "
            f"{PERIOD:.0f} seconds, so that the average is the rate. ramp: from zero up to the "
            f"rate, over --for or {RAMP:.0f} seconds.",
        ),
    ] = "steady",
    rate: Annotated[float, typer.Option(metavar="N", help="Jobs a second.")] = 50.0,
    mix: Annotated[
        str,
        typer.Option(
            metavar="TASK=WEIGHT,…",
            help="Which tasks, and how many jobs of each in proportion. tokens counts words in "
            "plain Python and holds the GIL. digest hashes and releases it. fetch waits for HTTP.",
        ),
    ] = "tokens=1,fetch=3,digest=1",
    seconds: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="TIME",
            help="Stop after this time, such as 60s; by default it goes on until a signal.",
        ),
    ] = None,
    serve: Annotated[
        str,
        typer.Option(
            metavar="HOST[:PORT]",
            help="The address at which consumers reach this command: it serves the files to fetch.",
        ),
    ] = LOCAL[0],
    as_json: JsonOption = False,
) -> None:
    """Send jobs of the example tasks at a given pace, and tell how many every 5 seconds.

    Consumers need `--queue stdlib` and HEORI_TASKS=heori.examples.tasks. While Redis is away it
    or refuses writes for now it waits, and afterwards it sends all jobs that became due meanwhile.
    SIGTERM or Ctrl-C ends it.
    With --for, and fetch among the tasks, it ends when all jobs are done. Its last line is the
    total.
    """
    settings = Settings()
    limit = None if seconds is None else read_duration("--for", seconds)
    host, _, port = serve.partition(":")
    if limit == 0:
        refuse(f"--for {seconds}: a time such as 20s, 5m or 1h is needed")
    if not 0 < rate <= FASTEST:
        refuse(f"--rate {rate}: more than 0 and at most {FASTEST} jobs a second")
    if not host or (
        port and not (port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 65536)
    ):
        refuse(f"--serve {cut(serve)}: a host is needed, and perhaps a port: producer:8000")
    try:
        check_name("--serve", host)
        plan = LoadPlan(profile, rate, parse_mix(mix), limit)
    except ValueError as error:
        refuse(str(error))
    outlet.never_wait()
    logs.configure(as_json=as_json or not sys.stderr.isatty(), level=settings.log_level)
    settings.check(LOAD)
    with signals() as interrupt, contextlib.ExitStack() as stack:
        try:
            files_url, check = "", lambda: None
            if plan.mix.get("fetch"):
                bind = host if host in LOCAL else "0.0.0.0"  # noqa: S104 - consumers are elsewhere
                server = Child("file server", fileserver.__name__, bind, port or "0")
                stack.enter_context(server)
                files_url = f"http://{host}:{server.first_report(interrupt)}"
                check = server.check_alive
            load = Load(settings, plan, files_url, check, interrupt, as_json=as_json)
            stack.enter_context(contextlib.closing(load)).run()
        except PortTaken as error:
            refuse(str(error))
        except RedisRefused as error:
            fail(str(error), *hints(error))
        except ChildFailed as error:
            fail(*str(error).splitlines())
        except Interrupted:
            return
