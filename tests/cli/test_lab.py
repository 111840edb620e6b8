"""`heori lab` as a person runs it: real consumers, and totals that are read back from Redis."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.rigs.lab import Lab, server
from tests.rigs.waiting import is_alive, until


def test_money_goes_astray_without_locks_and_is_right_to_the_cent_with_them(
    lab: Callable[..., Lab], folder: Path
) -> None:
    words = ("--json", "--transfers", "150", "--consumers", "2", "--seed", "7")
    process = lab("locks", *words, nested=True)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    told = json.loads(out)
    assert told["seed"] == 7
    unlocked, locked, crosswise, printers = told["runs"]
    assert unlocked["wrong_accounts"] > 0  # it really races
    for run in (locked, crosswise):
        assert (run["total"], run["wrong_accounts"]) == (run["expected"], 0)
        assert run["result"].endswith("right to the cent")
    assert crosswise["deadlocks"] > 0
    assert (printers["pages"], printers["highest"]) == (50, 3)
    assert [run["jobs"] for run in told["runs"]] == [150, 150, 150, 50]
    assert [run["failed"] for run in told["runs"]] == [0, 0, 0, 0]
    assert told["deadlock"].count("waits for mutex account:") >= 2
    assert "job " in told["deadlock"]
    assert list(folder.iterdir()) == []


def test_a_total_that_is_not_as_it_should_be_is_told_and_is_the_exit_code(
    lab: Callable[..., Lab],
) -> None:
    # So many that they are not over before the accounts are changed.
    process = lab("locks", "--transfers", "400", "--consumers", "1", nested=True)
    with server(process) as redis:
        until(lambda: redis.zcard("rq:finished:locked") > 10)
        for account in range(6):  # a job may write over some of them, and not over all
            for _ in range(20):
                redis.incrby(f"balance:{account}", 1_000_00)
    out, err = process.communicate()
    assert (process.returncode, err) == (1, "")
    row = next(line for line in out.splitlines() if line.startswith(" a mutex per account"))
    assert "right to the cent" not in row
    assert "a mutex per account: this should not be" in out
    assert "3 at once at most" in out


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
