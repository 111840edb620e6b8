"""Where the forkserver and a worker begin.

The supervisor names their programs, and never imports them.
"""

import importlib
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from heori_consumer.between.options import WorkerOptions
from heori_consumer.between.slot_table import SlotTable

PROGRAM = "heori_consumer.worker.process"
FORKSERVER = "heori_consumer.worker.forkserver"

# What asks the forkserver for a worker: the length of its options, which follow as a pickle. The
# files in `Files` come with it; without them, it is asked to import the libraries that follow.
REQUEST = struct.Struct("=q")
# What it answers: a process, how it ended as wait(2) tells, and the most bytes that it had in
# memory; or a process, STARTED, and the mark of its family. A worker that could not be started has
# the error's number, below 0, in the place of its process.
REPLY = struct.Struct("=qqq")
STARTED = -1


class Files(NamedTuple):
    """What connects a worker to its supervisor, as file descriptors."""

    link: int
    stdout: int
    stderr: int
    table: int  # its slot table's memory


def forkserver() -> Callable[[int], NoReturn]:
    """What a forkserver does, given the descriptor of its socket; all that it needs is imported."""
    main: Callable[[int], NoReturn] = importlib.import_module(FORKSERVER).main
    return main


def run_inline(link: socket.socket, options: WorkerOptions, table: SlotTable) -> None:
    """Be a worker until the other end of its socket is closed; called in a thread."""
    importlib.import_module(PROGRAM).serve(link, options, table, lambda: None)
