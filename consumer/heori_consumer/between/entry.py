"""Where a worker begins. The supervisor names its program and never imports it."""

import importlib
import socket
from typing import NamedTuple

from heori_consumer.between.options import WorkerOptions
from heori_consumer.between.slot_table import SlotTable

PROGRAM = "heori_consumer.worker.process"
# Imported once by the forkserver, for all workers that it starts.
PRELOADED = ["heori_consumer.worker.preload"]


class Ends(NamedTuple):
    """A worker's ends of what connects it to its supervisor."""

    link: socket.socket
    output: socket.socket  # becomes its standard error


def run_process(ends: Ends, options: WorkerOptions, table: SlotTable) -> None:
    """Be a worker process, from its start to its end; called in the new process."""
    importlib.import_module(PROGRAM).main(ends, options, table)


def run_inline(link: socket.socket, options: WorkerOptions, table: SlotTable) -> None:
    """Be a worker until the other end of its socket is closed; called in a thread."""
    importlib.import_module(PROGRAM).serve(link, options, table)
