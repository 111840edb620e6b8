"""`heori lab models` as a person runs it: real consumers; and what it concludes from figures."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from heori.lab.figures import AutoFound, Figures, Interpreter, Setup, advice, choice
from heori.lab.models import setups
from heori.lab.report import interpreters, show
from tests.rigs.lab import Lab
from tests.rigs.waiting import is_alive, until

ONE = Setup("threads", 1, 1)
THREADS = Setup("threads", 1, 8)
PROCESSES = Setup("processes", 2, 1)
LOOP = Setup("asyncio", 1, 16)


def figures(setup: Setup, speedup: float, wait: float = 0.0, cores: float = 1.0) -> Figures:
    """Of one setup; a thread does 100 jobs a second."""
    memory = {"processes": 30e6, "threads": 40e6 / setup.slots, "asyncio": 2e6}[setup.model]
    rate = 100 * speedup
    return Figures(
        workload="python",
        about="pure Python",
        setup=setup,
        jobs=300,
        rate=rate,
        speedup=speedup,
        gil_wait=wait,
        gil_loss=wait,
        cores=cores,
        cpu=cores / rate,
        memory=memory,
        switches=5.0,
        gil=True,
    )


def test_each_workload_runs_on_each_model_and_the_figures_are_of_this_machine(
    lab: Callable[..., Lab], folder: Path
) -> None:
    charts = folder / "charts"
    words = ("models", "--quick", "--json", "--seed", "7", "--out", str(charts))
    process = lab(*words, program="tests.rigs.hasty", nested=True)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    told = json.loads(out)
    [found] = interpreters(told)
    assert told["seed"] == 7
    assert found.name == ".".join(map(str, sys.version_info[:3]))
    names = {each.workload for each in found.figures}
    assert names == {"python", "hashing", "fetching"}
    assert len(found.figures) == len(names) * len(setups(max(1, int(found.cores)), quick=True))
    for each in found.figures:
        assert each.jobs > 0
        assert 0 <= each.gil_loss <= each.gil_wait <= 1
        assert each.cores <= found.cores * 1.2
        # Linux counts in hundredths of a second: a few jobs that wait may take less than one.
        assert each.cpu > 0 or each.workload == "fetching"
        assert 1e6 < each.total_memory < 1e9
        assert (each.speedup == 1.0) == (each.setup == ONE)
    # Which setup is faster is no claim of this test: it measures each for a moment only.
    rates = {(each.workload, each.setup.name): each.rate for each in found.figures}
    for each in found.figures:
        assert each.speedup == pytest.approx(each.rate / rates[each.workload, ONE.name])
    fixed = {each.setup.name for each in found.figures if each.setup.model != "asyncio"}
    assert told["interpreters"][0]["advice"].keys() == names
    assert [each.figures.workload for each in found.auto] == ["python", "hashing", "fetching"]
    for auto in found.auto:
        best = max(rates[auto.figures.workload, name] for name in fixed)
        assert auto.of_best == pytest.approx(auto.figures.rate / best)
        assert auto.of_best > 0
        assert rates[auto.figures.workload, auto.best.name] == best
        size = auto.figures.setup
        assert auto.path[-1] == f"{size.processes} × {size.slots}"
        assert len(auto.path) == len(auto.moves) + 1
        assert auto.figures.jobs > 0 < auto.figures.memory
    assert (charts / "models.png").read_bytes().startswith(b"\x89PNG")
    page = (charts / "models.html").read_text()
    assert "<svg" in page
    assert "--model auto, by itself" in page
    assert not re.search(r"(src|href)=.https?://", page)  # it needs nothing else
    assert [each.name for each in folder.iterdir()] == ["charts"]


@pytest.mark.parametrize(
    ("cases", "taken", "because"),
    [
        (
            [figures(ONE, 1), figures(THREADS, 1.05, 0.8), figures(PROCESSES, 1.9, cores=1.9)],
            PROCESSES,
            "their threads wait for the GIL 80% of the time, and each process has its own.",
        ),
        (
            [figures(ONE, 1), figures(THREADS, 1.9, 0.02, 1.9), figures(PROCESSES, 1.95)],
            THREADS,
            "this work lets go of the GIL, so that they use 1.9 cores at 5.0 MB a slot.",
        ),
        (
            [figures(ONE, 1), figures(THREADS, 7.8, 0.02, 0.2), figures(PROCESSES, 2)],
            THREADS,
            "it waits, and not for the GIL; a slot takes 5.0 MB.",
        ),
        (
            [figures(ONE, 1), figures(THREADS, 7.8, 0.02, 0.2), figures(LOOP, 15, cores=0.3)],
            LOOP,
            "it waits most of the time, and a coroutine is the cheapest thing that can.",
        ),
        (
            [figures(ONE, 1), figures(THREADS, 1.1, 0.6), figures(PROCESSES, 1.05)],
            ONE,
            "nothing is faster here, and nothing takes less memory.",
        ),
        (
            [figures(ONE, 1), figures(THREADS, 1.9, 0.3), figures(LOOP, 1.8, cores=1.4)],
            LOOP,
            "nothing is faster here, and nothing takes less memory.",
        ),
        (
            [figures(ONE, 1), figures(THREADS, 1.8, 0.5), figures(PROCESSES, 1.9)],
            THREADS,
            "no other is faster, although they wait for the GIL 50% of the time.",
        ),
        (
            [
                figures(ONE, 1),
                replace(figures(THREADS, 1.8, 0.5), memory=40e6),
                figures(PROCESSES, 1.9),
            ],
            PROCESSES,
            "threads 1×8 do 1.8 times, and take more memory, 320.0 MB in all.",
        ),
    ],
    ids=[
        "holds the GIL",
        "releases it",
        "waits in threads",
        "waits on a loop",
        "one core",
        "computes on a loop",
        "threads are as fast",
        "threads are as fast and larger",
    ],
)
def test_the_advice_follows_from_the_figures(
    cases: list[Figures], taken: Setup, because: str
) -> None:
    assert choice(cases).setup == taken
    assert advice(cases).endswith(because)
    assert len(advice(cases)) < 200


def test_two_interpreters_stand_side_by_side_and_a_disturbed_machine_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cases = [figures(ONE, 1), figures(THREADS, 1.1, 0.8)]
    other = [figures(ONE, 0.8), figures(THREADS, 1.6)]
    found = [Interpreter("3.13.5", 2.0, 0.0, cases), Interpreter("3.13.5t", 2.0, 0.3, other)]
    show(found, seed=1, out=None, as_json=False)
    told = capsys.readouterr().out
    assert "Python 3.13.5t beside 3.13.5, jobs/s:" in told
    assert "threads 1×1 0.8×, threads 1×8 1.5×" in told
    assert "took 30% of its cores" in told


def test_what_auto_found_ends_the_lab(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    cases = [figures(ONE, 1), figures(THREADS, 1.1, 0.8), figures(PROCESSES, 2.0)]
    of_auto = replace(figures(THREADS, 1.9), setup=Setup("auto", 2, 2))
    reason = "2 × 8 → 2 × 2: threads wait for the GIL 80% of their time"
    auto = AutoFound(of_auto, ["2 × 8", "2 × 2"], [reason], PROCESSES, 0.95)
    show([Interpreter("3.13.5", 2.0, 0.0, cases, [auto])], seed=1, out=folder, as_json=False)
    told = capsys.readouterr().out
    assert "- pure Python: 2 × 8 → 2 × 2, 190 jobs/s, 0.95 × processes 2×1." in told
    assert "  auto 2×2" in told
    assert reason in (folder / "models.html").read_text()
    assert AutoFound.from_json(json.loads(json.dumps(auto.to_json()))) == auto


def test_an_interpreter_that_lacks_what_it_needs_is_refused_before_anything_runs(
    lab: Callable[..., Lab], folder: Path
) -> None:
    process = lab("models", "--python", str(folder / "none"))
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert re.fullmatch(r"heori: --python \S+ cannot be run: .*\n", err)
    bare = folder / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    process = lab("models", "--python", str(bare / "bin" / "python"))
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert "lacks what Heori needs (ModuleNotFoundError" in err
    assert "-m pip install -r requirements.lock" in err


def test_ctrl_c_ends_it_and_leaves_nothing(lab: Callable[..., Lab], folder: Path) -> None:
    process = lab("models", "--json")
    us = psutil.Process(process.pid)

    def consumes() -> bool:
        with suppress(psutil.Error):  # one of them has just ended
            return any("consume" in each.cmdline() for each in us.children())
        return False

    until(consumes)
    family = us.children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err == "heori: stopped before it came to its end\n"
    until(lambda: not any(is_alive(child) for child in family))
    assert list(folder.iterdir()) == []
