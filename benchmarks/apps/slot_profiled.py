"""Heori's task that does nothing, with cProfile in the slot that runs it."""

import cProfile
import itertools
import os
import time
from functools import wraps

from benchmarks import tasks
from benchmarks.apps import PROFILE
from heori import task

FIRST = 50  # the job that switches it on
EVERY = 500  # jobs between two writings: a worker gets no chance to say goodbye

profiler = cProfile.Profile(time.process_time)
runs = itertools.count()


@task(queue="bench")
@wraps(tasks.nothing)
def nothing(number: int) -> int:
    run = next(runs)
    if run >= FIRST and (run - FIRST) % EVERY == 0:
        if run > FIRST:
            profiler.dump_stats(os.environ[PROFILE])
        profiler.enable()
    return tasks.nothing(number)
