"""`heori worker --burst`: the jobs that wait are run, and it ends."""

import os
import subprocess

from tests.rigs.zygote import Started


def work(redis_url: str, *words: str) -> tuple[int | None, str]:
    """Run it with these options more; returns its exit code, and what it has said."""
    with Started(
        *("heori", "worker", "--burst", "--allow", "tests", *words),
        env={**os.environ, "HEORI_REDIS_URL": redis_url, "HEORI_UNKNOWN_WAIT": "0"},
        stderr=subprocess.PIPE,
    ) as program:
        _, said = program.communicate(250)
    return program.returncode, said
