"""`heori lab` as a person runs it: real consumers, and totals that are read back from Redis."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import psutil

from heori import Mutex
from heori_common.locks import session
from tests.rigs.lab import Lab, server
from tests.rigs.waiting import is_alive, until


def test_money_goes_astray_without_locks_and_is_right_to_the_cent_with_them(
    lab: Callable[..., Lab], folder: Path
) -> None:
    words = ("--json", "--transfers", "150", "--consumers", "2", "--seed", "7")

    def races() -> bool:
        """Whether jobs met: on a busy machine it may be that one runs after the other."""
        process = lab("locks", *words, nested=True)
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        told = json.loads(out)
        unlocked, locked, crosswise, printers = told["runs"]
        assert told["seed"] == 7
        for run in (locked, crosswise):
            assert (run["total"], run["wrong_accounts"]) == (run["expected"], 0)
            assert run["result"].endswith("right to the cent")
        assert (printers["pages"], printers["highest"] <= 3) == (50, True)
        assert [run["jobs"] for run in told["runs"]] == [150, 150, 150, 50]
        assert [run["failed"] for run in told["runs"]] == [0, 0, 0, 0]
        assert list(folder.iterdir()) == []
        if not (unlocked["wrong_accounts"] and crosswise["deadlocks"] and printers["highest"] == 3):
            return False
        assert told["deadlock"].count("waits for mutex account:") >= 2
        assert "job " in told["deadlock"]
        return True

    assert any(races() for _ in range(5))


def test_a_total_that_is_not_as_it_should_be_is_told_and_is_the_exit_code(
    lab: Callable[..., Lab],
) -> None:
    process = lab("locks", "--transfers", "400", "--consumers", "1", nested=True)
    with server(process) as redis:
        lock = Mutex(
            "account:0", f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}"
        )
        with lock:  # while it is ours, no job writes over that account
            until(lambda: redis.zcard(f"{lock.key}:waiters"))
            redis.incrby("balance:0", 1_000_00)
    session.close()
    out, err = process.communicate()
    assert (process.returncode, err) == (1, "")
    row = next(line for line in out.splitlines() if line.startswith(" a mutex per account"))
    assert "right to the cent" not in row
    assert "a mutex per account: this should not be" in out
    assert re.search("[123] at once at most", out)


def test_ctrl_c_ends_it_and_leaves_nothing(lab: Callable[..., Lab], folder: Path) -> None:
    process = lab("locks", "--transfers", "20000", "--consumers", "1")
    with server(process) as redis:
        until(lambda: redis.zcard("rq:finished:unlocked") > 0)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err == "heori: stopped before it came to its end\n"
    until(lambda: not any(is_alive(child) for child in family))
    assert list(folder.iterdir()) == []
