"""Consumes as a command line says: `heori consume`, but for reading that.

What reads command lines, typer, is large, and a consumer has no use for it afterwards. So where a
fork is safe, a process reads it that ends then; this one imports meanwhile what it needs next.
"""

import gc
import importlib
import sys
from typing import NamedTuple

from heori.cli import apart
from heori.cli.ending import refuse
from heori_common import logs, outlet
from heori_common.errors import cut
from heori_common.platform import has_one_thread
from heori_common.settings import CONSUMER, Model, Settings
from heori_consumer.supervisor.options import ConsumerOptions
from heori_consumer.supervisor.queue_order import Order, parse_queues

NEXT = "heori.cli.run_consumer"


class CommandLine(NamedTuple):
    """What a command line says: its options, by their names."""

    queue: list[str]
    order: Order | None
    model: Model
    processes: int | None
    slots: int | None
    max_processes: int | None
    max_slots: int | None
    max_memory: str | None
    advise: bool
    batch: int
    recycle_after: int | None
    max_rss: str | None
    max_files: int | None
    max_threads: int | None
    preload: bool
    wait: bool
    as_json: bool


def consume() -> None:
    """Read the command line that this process was started with, and consume as it says.

    Raises:
        SystemExit: with the exit code.
    """
    if has_one_thread():
        wanted = apart.read(CommandLine, lambda: importlib.import_module(NEXT))
        gc.freeze()  # as for every command, once it is imported
        gc.enable()
        consume_as(wanted)
    else:
        apart.command()


def consume_as(wanted: CommandLine) -> None:
    """Consume; ends with an exit code and a message when it cannot."""
    settings = Settings()
    try:
        queues, weights = parse_queues(wanted.queue, wanted.order)
        options = ConsumerOptions.create(
            queues,
            wanted.model,
            wanted.processes,
            wanted.slots,
            max_processes=wanted.max_processes,
            max_slots=wanted.max_slots,
            advises_only=wanted.advise,
            max_memory=_size("--max-memory", wanted.max_memory),
            weights=weights,
            batch=wanted.batch,
            wait=wanted.wait,
            recycle_after=wanted.recycle_after,
            max_rss=_size("--max-rss", wanted.max_rss),
            max_files=wanted.max_files,
            max_threads=wanted.max_threads,
            preload=wanted.preload,
            json_logs=wanted.as_json or not sys.stderr.isatty(),
        )
    except ValueError as error:
        refuse(str(error))
    outlet.never_wait()
    logs.configure(as_json=options.json_logs, level=settings.log_level)
    settings.check(CONSUMER)
    if not settings.tasks and not settings.allow:
        refuse(
            "there is nothing this consumer may run: name the modules of your tasks in "
            "HEORI_TASKS (such as HEORI_TASKS=myapp.tasks)"
        )
    importlib.import_module(NEXT).run(settings, options)


def _size(option: str, text: str | None) -> int | None:
    """Bytes of a size such as 500M or 2G; a bare number is bytes."""
    if text is None:
        return None
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    if not number.isdecimal() or len(number) > 18 or int(number) == 0:
        refuse(f"{option} {cut(text)}: bytes are needed, or a size such as 500M or 2G")
    return int(number) * unit
