"""Commands of `heori` that run to their end."""

import os
import subprocess
import tempfile
from collections.abc import Callable

from tests.rigs.zygote import Started

Heori = Callable[..., "subprocess.CompletedProcess[str]"]


def run_heori(
    redis_url: str, *words: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, on that server."""
    own = {"HEORI_REDIS_URL": redis_url, "HEORI_TASKS": "tests.tasks.sample_tasks"}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as error:
        environment = {**os.environ, **own, **environment}
        process = Started("heori", *words, env=environment, stdout=output, stderr=error)
        try:
            code = process.wait(40)
        finally:
            process.kill()
        output.seek(0)
        error.seek(0)
        return subprocess.CompletedProcess(words, code, output.read(), error.read())
