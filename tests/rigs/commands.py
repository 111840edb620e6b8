"""Commands of `heori` that run to their end."""

import functools
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from typer.testing import CliRunner, Result

from heori.cli import app as front
from tests.rigs.zygote import Started

OWN = {"HEORI_TASKS": "tests.tasks.sample_tasks", "COLUMNS": "120"}
# `lab notes --quick` takes two minutes where thirty processes want two cores. That of a test, which
# is longer, shows what hangs.
ENOUGH_S = 270.0
Heori = Callable[..., "subprocess.CompletedProcess[str]"]
# A command is made of its module once, as in a process of its own, and not for each run here.
vars(front)["load"] = functools.cache(front.load)


def run_heori(
    redis_url: str, *words: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, on that server."""
    own = {"HEORI_REDIS_URL": redis_url, "HEORI_TASKS": "tests.tasks.sample_tasks"}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as error:
        beside = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        environment = {**beside, **own, **environment}
        process = Started("heori", *words, env=environment, stdout=output, stderr=error)
        try:
            code = process.wait(ENOUGH_S)
        finally:
            process.kill()
        output.seek(0)
        error.seek(0)
        return subprocess.CompletedProcess(words, code, output.read(), error.read())


def output_of(
    *words: str, env: Mapping[str, str], cwd: Path | None = None, timeout: float = 120.0
) -> str:
    """What a program says that runs to its end, and ends well."""
    with Started(
        *words, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        out, err = program.communicate(timeout)
    assert program.returncode == 0, out + err
    return out


def run_here(redis_url: str, *words: str) -> Result:
    """The same in this process, for those who run hundreds; not `consume`, `load` or `serve`."""
    ran = CliRunner().invoke(front.app, words, env={**OWN, "HEORI_REDIS_URL": redis_url})
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return ran
