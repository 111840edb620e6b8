"""`heori` under cProfile, which is switched on when everything is imported."""

import cProfile
import os
import sys
import time

from benchmarks.apps import PROFILE
from heori.cli import consume
from heori.cli.app import app
from heori_consumer.pool import pool
from heori_consumer.supervisor import endpoint, supervisor

IMPORTED = (consume, endpoint, pool, supervisor)  # the command would import them later


def main() -> None:
    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    try:
        app(sys.argv[1:], prog_name="heori")
    finally:
        profiler.disable()
        profiler.dump_stats(os.environ[PROFILE])


if __name__ == "__main__":
    main()
