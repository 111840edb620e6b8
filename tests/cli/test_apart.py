"""The command line of a consumer is read by a process of its own, and nobody should notice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from heori.cli.ending import REFUSED
from heori_common.platform import TELLS_OF_THREADS
from tests.rigs.waiting import until
from tests.rigs.zygote import Started

pytestmark = pytest.mark.skipif(
    not TELLS_OF_THREADS, reason="where a fork may not be safe, the consumer reads it itself"
)


def test_the_exit_code_is_the_readers_even_where_ends_of_children_are_ignored() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "heori", "consume", "--nothing-such"],
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        check=False,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert ran.returncode == REFUSED
    assert "No such option: --nothing-such" in ran.stderr


def test_a_consumer_whose_command_line_is_not_read_to_its_end_does_not_begin() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with os.fdopen(read), os.fdopen(write, "wb", 0) as pipe:
        while pipe.write(b"no more fits") is not None:
            pass
        os.set_blocking(write, True)
        process = Started(
            *("heori", "consume", "--help"), env=os.environ, stdout=pipe, stderr=subprocess.PIPE
        )
        family = psutil.Process(process.pid)
        until(lambda: [waits_for_a_reader(child) for child in family.children()] == [True])
        [reader] = family.children()
        reader.kill()
        _, said = process.communicate(60)
    assert (process.returncode, said) == (128 + signal.SIGKILL, "")
    assert not reader.is_running()


def waits_for_a_reader(process: psutil.Process) -> bool:
    """Whether it is held up as it writes to a pipe."""
    return Path(f"/proc/{process.pid}/wchan").read_text(encoding="ascii").endswith("pipe_write")
