"""The command line: which commands there are.

Each command is a module of its own beside this one, and is imported when it is run. So `heori
--help`, and every single command, loads what it needs and no more.
"""

import gc
import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

# By name, what `heori --help` says of each: the first sentence of the command's own help.
COMMANDS = {
    "up": "See it work: an embedded Valkey, a producer and a consumer, on real work.",
    "consume": "Run a consumer: a supervisor and its worker processes, until SIGTERM or Ctrl-C.",
    "worker": "Run one worker, as `rq worker` does: all of its options, and Heori behind them.",
    "worker-pool": "Run several workers, as `rq worker-pool` does, and Heori behind them.",
    "send": "Send one job of a task that HEORI_TASKS or HEORI_ALLOW covers, to run now or later.",
    "status": "Show what is in the queues and who consumes them.",
    "jobs": "List jobs by state, or those of a task, or search them.",
    "job": "Show one job: its call, times, tries, locks, flow, and its result or error.",
    "cancel": "Keep jobs from running that no slot has begun.",
    "stop": "Ask whoever runs jobs to stop them; they fail, and are not tried again.",
    "run": "Put scheduled jobs on their queues now.",
    "retry": "Let jobs run again that failed, were stopped or canceled, as if for the first time.",
    "delete": "Delete jobs that do not run, with their results and all that is kept about them.",
    "consumers": "Show the consumers and their slots; or of one, its workers and what each slot "
    "runs.",
    "top": "Watch queues, consumers, jobs, workers, tasks, locks and the schedule; q ends it.",
    "limit": "Show how many jobs may wait in a queue, or change it. Each tenant may have as many.",
    "pause": "Have consumers take no more jobs of a queue, of one of its tenants, or of a task.",
    "drain": "Have one consumer claim no more jobs, and go on with what it runs.",
    "resume": "Have consumers take the jobs again that `heori pause` holds back, or one that "
    "drains claim again.",
    "tenants": "Show the tenants of a queue, how many of their jobs wait, and their shares; or "
    "weigh them.",
    "schedule": "Show the periodic jobs and how each went; pause, resume, run or delete one.",
    "dead": "Look at dead letters, replay them, delete them.",
    "locks": "Show who holds locks and who waits for them; take one from its holder.",
    "doctor": "Check a Redis that holds jobs, Heori's or any RQ's, and say how to mend what is "
    "wrong.",
    "redis": "Send one command to the server, with the login, TLS and sentinels of "
    "HEORI_REDIS_URL.",
    "serve": "Show the page that Heori is operated by, and let programs send jobs over HTTP.",
    "load": "Send jobs of the example tasks at a given pace, and tell how many every 5 seconds.",
    "lab": "Experiments on this machine: models, locks, and the notes that Heori comes from.",
}


def load(name: str) -> Any:
    """Import a command: of its module, the group `app`, or else the function of the same name."""
    own = name.replace("-", "_")
    module = importlib.import_module(f"heori.cli.{own}")
    parent = typer.Typer(rich_markup_mode="markdown")
    if hasattr(module, "app"):
        parent.add_typer(module.app, name=name)
    else:
        parent.command(name, context_settings=getattr(module, "CONTEXT", None))(
            getattr(module, own)
        )
    parent.callback()(lambda: None)
    # `heori --help` does without them.
    from heori.cli.examples import teach  # noqa: PLC0415

    return teach(get_group(parent).commands[name], name)


class LazyCommands(TyperGroup):
    """Lists the commands without importing any, and imports the one that is run."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, summary in COMMANDS.items():
            self.add_command(TyperCommand(name, help=summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        loaded = (name and load(name)) or command
        if not gc.isenabled():  # as the program has left it until here
            gc.freeze()
            gc.enable()
        return name, loaded, rest


app = typer.Typer(
    cls=LazyCommands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:  # noqa: FBT001 - as typer calls it
    if asked:
        # What a report of a fault should say.
        python = ".".join(map(str, sys.version_info[:3]))
        from importlib.metadata import version  # noqa: PLC0415

        from heori.plain import say  # noqa: PLC0415

        say(f"heori {version('heori')} (Python {python}, rq {version('rq')})")
        raise typer.Exit


@app.callback()
def heori(
    *,
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Heori: a distributed producer-consumer service over Redis, in RQ's job format.

    See it work with `heori up`. Settings come from HEORI_* environment variables;
    HEORI_REDIS_URL names the server. `heori --install-completion` has your shell complete commands
    and options from its next start on.
    """
