"""Imported once by the forkserver, before any worker: what it imports, all workers share.

Errors are left to the workers, which import the same modules again and report them; here one
would only take the forkserver down.
"""

# ruff: noqa: E402 - where modules are found is settled before any other is imported
from heori_common.import_path import current_directory_last

current_directory_last()  # multiprocessing starts the forkserver with `python -c`

import contextlib
import gc

from heori_common import logs, tasks
from heori_common.settings import Settings
from heori_consumer.gil.inside import find_gil
from heori_consumer.worker import process  # noqa: F401 - what each worker runs

with contextlib.suppress(BaseException):  # a module that calls sys.exit() included
    # Before the tasks, which may say something, or set up a log of their own.
    logs.configure_as_parent()
    tasks.load(Settings().tasks)

find_gil()  # here, and no worker has to

# Garbage collections in the workers leave alone what is here: looking at it would copy it.
gc.collect()
gc.freeze()
