"""`heori lab notes` as a person runs it: what each note claims is so on this machine, too."""

import copy
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from heori.lab.notes import at_once, ending, showing
from heori.lab.notes.findings import Statement
from heori.lab.notes.measuring import note_of
from heori.lab.notes.running import NOTES, Measured, NoteOptions
from tests.rigs.commands import run_heori
from tests.rigs.lab import Lab
from tests.rigs.waiting import is_alive, until
from tests.rigs.wheel import ROOT

Told = dict[str, Any]


@pytest.fixture(scope="module")
def figures() -> dict[str, Told]:
    """Of each note, measured once for all of these tests."""
    told = measured()
    assert list(told) == list(NOTES)
    return told


def measured(*names: str) -> dict[str, Told]:
    """Of these notes, in short, as the command tells them."""
    done = run_heori("", "lab", "notes", *names, "--quick", "--json", "--seed", "7")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["seed"] == 7
    return {note["note"]: note for note in told["notes"]}


def claims(name: str, figures: Told) -> list[Statement]:
    found: list[Statement] = note_of(name).findings(figures).claims
    return found


def missed(name: str, told: dict[str, Told]) -> list[str]:
    """What was expected of every machine, and not shown."""
    found = claims(name, told[name]["figures"])
    return [claim.sentence for claim in found if claim.expected and not claim.holds]


def as_expected(name: str, told: dict[str, Told]) -> Told:
    """What was measured for a note. A busy machine shows otherwise, and not each time."""
    for _ in range(5):
        if not missed(name, told):
            break
        told |= measured(name)
    found: Told = told[name]["figures"]
    return found


def test_what_a_process_has_is_its_own(figures: dict[str, Told]) -> None:
    apart = figures["process"]["figures"]["apart"]
    parent, child = apart["parent"], apart["child"]
    assert (parent["text"], child["text"]) == ("parent", "child")
    assert parent["address"] == child["address"]
    for each in (parent, child):
        assert set(each["regions"]) == {"code", "heap", "stack"}
        assert each["threads"] == 1
    messages = figures["process"]["figures"]["messages"]
    assert len(messages) == 5
    assert all(0 < each["seconds"] < 1 for each in messages.values())


def test_threads_share_the_heap_and_no_stack_and_lose_nothing_with_a_lock(
    figures: dict[str, Told],
) -> None:
    told = figures["thread"]["figures"]
    assert len({stack["object"] for stack in told["stacks"]}) == 1
    assert len({stack["stack"] for stack in told["stacks"]} - {None}) == len(told["stacks"])
    for threads, counts in told["counts"].items():
        assert counts["locked"]["counted"] == counts["locked"]["asked"], threads
    assert told["counts"]["1"]["alone"]["counted"] == told["counts"]["1"]["alone"]["asked"]


def test_a_crash_takes_all_threads_of_a_process_and_no_other_process(
    figures: dict[str, Told],
) -> None:
    threads = figures["many-threads"]["figures"]["crash"]
    assert (threads["threads"], threads["survivors"]) == (4, 0)
    assert threads["signal"] == signal.SIGSEGV
    processes = figures["many-processes"]["figures"]["crash"]
    assert (processes["processes"], processes["survivors"]) == (4, 3)


@pytest.mark.parametrize("name", NOTES)
def test_what_is_expected_of_every_machine_is_so_on_this_one(
    name: str, figures: dict[str, Told]
) -> None:
    as_expected(name, figures)
    assert missed(name, figures) == []


@pytest.mark.parametrize("name", NOTES)
def test_the_page_of_a_note_says_what_is_expected_in_the_same_words(
    name: str, figures: dict[str, Told]
) -> None:
    if name == "gil" and not at_once.has_gil():
        pytest.skip("nothing is expected of an interpreter that has none")
    expected = [
        claim.expected for claim in claims(name, figures[name]["figures"]) if claim.expected
    ]
    page = (ROOT / f"docs/notes/{name}.md").read_text()
    assert re.findall(r"^- (.*)$", section(page, "What it shows"), re.MULTILINE) == expected


def section(page: str, heading: str) -> str:
    return page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", ["threads", "jobs"])
def test_a_group_of_threads_and_jobs_do_the_same_with_the_same_calls(
    name: str, figures: dict[str, Told]
) -> None:
    told = as_expected("groups", figures)[name]
    assert told["here"] is (name == "threads")
    assert told["raised"] == ["NoSuchRow", ["no such row", 17]]
    assert told["cancel"] == {"waiting": True, "running": False, "begun": False}
    assert told["timeout"]["raised"]
    assert told["timeout"]["came"]
    assert told["left"]["done"]
    assert told["most"] == 3
    assert told["right"]
    ends = [changes[-1][0] for changes in told["states"]]
    assert ends == ["returned"] * 2 + ["raised"] + ["returned"] * 3 + ["cancelled", "returned"]
    # Whoever waits for several may be woken when all have ended: then they come in any order.
    assert sorted(told["order"]) == sorted(told["ended"]) == list(range(6))


@pytest.mark.parametrize("place", ["process", "heori"])
def test_a_bound_holds_producers_back_and_what_they_make_is_done_once(
    place: str, figures: dict[str, Told]
) -> None:
    told = as_expected("producer-consumer", figures)
    for name, flow in told[place].items():
        assert flow["once"], name
        assert len(flow["made"]) == 4, name
        assert sum(flow["made"]) == sum(flow["done"]), name
        _, waiting, _, made, done, blocked = flow["samples"][-1]
        assert (waiting, made, done, blocked) == (0, sum(flow["made"]), made, 0), name
    most = max(waiting for _, waiting, *_ in told[place]["bounded"]["samples"])
    # What a consumer gives back is let in beyond the bound: no more than it holds.
    assert most <= told["bound"] + (0 if place == "process" else 16)


def test_of_threads_one_at_a_time_runs_python(figures: dict[str, Told]) -> None:
    told = as_expected("gil", figures)
    turns = sorted(tuple(turn) for row in told["turns"]["Python"] for turn in row)
    both = any(end > start for (_, end), (start, _) in pairwise(turns))
    assert not (told["gil"] and both)
    for name, of in told["work"].items():
        assert min(of["one"], of["threads"], of["processes"], of["coroutines"]) > 0, name
    assert told["work"]["waiting"]["coroutines"] > 2 * told["work"]["waiting"]["one"]


def test_an_interpreter_that_is_said_to_have_no_gil_is_asked_whether_it_has(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs what it is to do by its path, with nothing of Heori."""
    (folder / "python3.13t").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setenv("PATH", str(folder))
    words = ["python3.13t", "-I", at_once.__file__, "2", "0.3"]
    told = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert told["version"] == at_once.version()
    assert told["gil"] is at_once.has_gil()
    assert min(told["rates"].values()) > 0
    assert len(told["turns"]) == 2
    assert (note_of("gil").free_threaded(2, 0.02) is None) is told["gil"]


def test_threads_are_waited_for_and_daemons_are_cut(figures: dict[str, Told]) -> None:
    found = as_expected("daemon-threads", figures)
    ways = {how: run for how, [run] in found["ways"].items()}
    for how in ("thread", "joined daemon", "executor"):
        assert ways[how]["lines"] == ending.LINES
        assert ways[how]["events"]["finally"] < ways[how]["events"]["atexit"], how
    for how in ("daemon", "left", "signal"):
        assert ending.ENOUGH <= ways[how]["lines"] < ending.LINES
        assert "finally" not in ways[how]["events"], how
    assert "next job" in ways["executor"]["events"]
    assert {how for how, run in ways.items() if "atexit" not in run["events"]} == {"left", "signal"}
    assert {run["code"] for how, run in ways.items() if how != "signal"} == {0}
    assert ways["signal"]["code"] == -signal.SIGTERM


def test_heori_uses_daemons_where_the_note_says_so(figures: dict[str, Told]) -> None:
    before, *_ = figures["daemon-threads"]["follows"].partition("another process")
    named = re.findall(r"[\w/]+\.py", before)
    assert len(named) == 4
    for path in named:
        assert re.search("daemon=True|BackgroundThread", (ROOT / path).read_text()), path


@pytest.mark.parametrize("name", NOTES)
def test_what_follows_from_a_note_names_files_that_are_there(
    name: str, figures: dict[str, Told]
) -> None:
    named = re.findall(r"[\w/]+\.py", figures[name]["follows"])
    assert named
    for path in named:
        assert list(ROOT.glob(path)) or list(ROOT.glob(f"consumer/heori_consumer/{path}")), path


@pytest.mark.parametrize("name", NOTES)
def test_a_note_says_what_is_so_and_otherwise_what_is_so_here(
    name: str, figures: dict[str, Told]
) -> None:
    told = figures[name]
    assert told["claims"]
    for claim, said in zip(claims(name, told["figures"]), told["claims"], strict=True):
        assert claim.says != claim.otherwise
        assert said == {"holds": claim.holds, "says": claim.sentence}
        assert claim.sentence[-1] == "."
    assert told["follows"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("process", lambda it: it["apart"]["child"].update(text="parent")),
        ("process", lambda it: it["messages"]["a thread"].update(seconds=1.0)),
        ("process", lambda it: it["messages"]["a pipe"].update(switches=0.0)),
        (
            "thread",
            lambda it: [
                of["alone"].update(counted=of["alone"]["asked"]) for of in it["counts"].values()
            ],
        ),
        ("thread", lambda it: it["counts"]["4"]["locked"].update(counted=1)),
        ("thread", lambda it: [stack.update(stack=None) for stack in it["stacks"]]),
        ("many-threads", lambda it: it["crash"].update(survivors=3)),
        ("many-threads", lambda it: it["waits"]["64"].update(rate=it["waits"]["1"]["rate"])),
        ("many-threads", lambda it: it.update(bytes=None)),
        ("locks", lambda it: it["transfers"]["transfer_unlocked"].update(wrong_accounts=0)),
        ("locks", lambda it: it["transfers"]["transfer_crosswise"].update(well=False)),
        ("locks", lambda it: it["transfers"]["print_page"].update(highest=4)),
        ("locks", lambda it: it["owners"].update({"heori.Mutex": None})),
        ("locks", lambda it: it["turns"].update({"SET NX": it["turns"]["heori.Mutex"]})),
        ("locks", lambda it: it["turns"]["heori.Mutex"][0]["held"].clear()),
        (
            "locks",
            lambda it: it["inversion"].update({"a middle one": it["inversion"]["no middle one"]}),
        ),
        (
            "locks",
            lambda it: it["inversion"].update(
                {"a middle one": it["inversion"]["the holder raised"]}
            ),
        ),
        ("locks", lambda it: it["cost"]["1"].update({"heori.Mutex": 1e9})),
        ("locks", lambda it: it["deadlock"].update(detected=it["deadlock"]["timeout"])),
        ("locks", lambda it: it["deadlock"]["slow"]["timeout"].update(got=True)),
        ("many-processes", lambda it: it["crash"].update(survivors=0)),
        ("many-processes", lambda it: it["start"].update({"a thread": 9.0})),
        ("many-processes", lambda it: it.update(bytes=None)),
        (
            "many-processes",
            lambda it: [of.update(processes=1.0) for of in it["computing"].values()],
        ),
        ("daemon-threads", lambda it: it["ways"]["thread"][0].update(lines=3)),
        ("daemon-threads", lambda it: it["ways"]["daemon"][0].update(lines=10)),
        ("daemon-threads", lambda it: it["ways"]["joined daemon"][0].update(lines=9)),
        ("daemon-threads", lambda it: it["ways"]["executor"][0]["events"].pop("next job")),
        ("daemon-threads", lambda it: it["ways"]["thread"][0]["events"].pop("atexit")),
        ("daemon-threads", lambda it: it["ways"]["left"][0]["events"].update(atexit=1.0)),
        ("daemon-threads", lambda it: it["ways"]["daemon"][0]["events"].pop("no other thread", 0)),
        ("daemon-threads", lambda it: it.update(outliving=1)),
        ("gil", lambda it: it["turns"].update(Python=[[[0, 1]], [[0.5, 2]]])),
        ("gil", lambda it: it["turns"].update(hashing=[[[0, 1]], [[1, 2]]])),
        ("gil", lambda it: it["work"]["Python"].update(threads=2 * it["work"]["Python"]["one"])),
        ("gil", lambda it: it["work"]["Python"].update(gil_wait=None)),
        ("gil", lambda it: it["work"]["hashing"].update(threads=it["work"]["hashing"]["one"])),
        ("gil", lambda it: it["work"]["Python"].update(processes=1.0)),
        ("gil", lambda it: it["work"]["waiting"].update(coroutines=1.0)),
        ("gil", lambda it: [of.update(late=1.0) for of in it["late"]]),
        (
            "gil",
            lambda it: it.update(
                free={"version": "3.x", "rates": {"one": 9.0, "threads": 9.0}, "turns": [[[0, 1]]]}
            ),
        ),
        ("groups", lambda it: it["jobs"].update(most=2)),
        ("groups", lambda it: it["threads"].update(order=[5, 4, 3, 2, 1, 0])),
        ("groups", lambda it: it["jobs"]["states"].__setitem__(4, [["returned", 1.0]])),
        ("groups", lambda it: it["jobs"].update(raised=["JobFailed", []])),
        ("groups", lambda it: it["jobs"]["timeout"].update(raised=False)),
        ("groups", lambda it: it["jobs"]["cancel"].update(begun=True)),
        ("groups", lambda it: it["jobs"]["cancel"].update(running=True)),
        ("groups", lambda it: it["jobs"]["left"].update(done=False)),
        ("groups", lambda it: it["jobs"].update(one=0.0)),
        ("producer-consumer", lambda it: it.update(bound=1)),
        ("producer-consumer", lambda it: it.update(bound=1_000)),
        ("producer-consumer", lambda it: it["heori"].update(bounded=it["heori"]["unbounded"])),
        ("producer-consumer", lambda it: it["heori"]["bounded"].update(once=False)),
    ],
)
def test_where_the_machine_shows_something_else_it_says_so(
    name: str, change: Callable[[Told], object], figures: dict[str, Told]
) -> None:
    other = copy.deepcopy(figures[name]["figures"])
    change(other)
    before = claims(name, figures[name]["figures"])
    told = [claim for claim in claims(name, other) if claim not in before]
    if not told and not all(claim.holds for claim in before):
        pytest.skip("this machine has shown the same already")
    assert any(not claim.holds for claim in told)


def test_it_ends_with_a_table_a_paragraph_a_picture_and_a_page(
    lab: Callable[..., Lab], folder: Path
) -> None:
    charts = folder / "charts"
    process = lab("notes", "thread", "--quick", "--out", str(charts), nested=True)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "lost with a lock" in out
    assert "One thread alone counts right." in out
    assert sorted(each.name for each in charts.iterdir()) == ["thread.html", "thread.png"]
    assert (charts / "thread.png").read_bytes().startswith(b"\x89PNG")
    page = (charts / "thread.html").read_text()
    assert "<svg" in page
    assert "lost with a lock" in page
    assert " src=" not in page  # it needs nothing else


@pytest.mark.parametrize("command", ["notes", "models"])
def test_a_place_where_no_chart_can_be_is_refused_before_anything_is_measured(
    command: str, folder: Path
) -> None:
    file = folder / "file"
    file.touch()
    done = run_heori("", "lab", command, "--out", str(file / "charts"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"heori: no chart can be written to {str(file / 'charts')!r}: --out names another folder\n"
    )


def test_a_folder_that_is_none_by_then_costs_the_charts_and_not_the_findings(
    figures: dict[str, Told], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "file"
    file.touch()
    options = NoteOptions(seed=7, quick=True, out=file / "charts", json=False)
    showing.show(Measured("thread", figures["thread"]["figures"], 1.0, 0.0), options)
    told = capsys.readouterr().out
    assert "One thread alone counts right." in told
    assert "No chart: " in told


def test_an_unknown_note_is_refused(lab: Callable[..., Lab]) -> None:
    process = lab("notes", "fibre")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err == f"heori: there is no note 'fibre'; there are {', '.join(NOTES)}\n"


@pytest.mark.parametrize("name", ["groups", "locks"])
def test_ctrl_c_ends_a_note_its_server_and_its_consumer_and_leaves_nothing(
    name: str, lab: Callable[..., Lab], folder: Path
) -> None:
    process = lab("notes", name, "--json")
    family: list[psutil.Process] = []

    def has_a_worker() -> bool:
        family[:] = psutil.Process(process.pid).children(recursive=True)
        with suppress(psutil.Error):  # one of them has just ended
            consumers = [each.pid for each in family if "heori.demo.consumer" in each.cmdline()]
            return any(each.ppid() in consumers for each in family)
        return False

    until(has_a_worker)
    assert any("valkey-server" in each.name() for each in family)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err == "heori: stopped before it came to its end\n"
    until(lambda: not any(is_alive(child) for child in family))
    assert list(folder.iterdir()) == []


def test_a_mutex_has_an_owner_and_a_permit_of_python_has_none(figures: dict[str, Told]) -> None:
    told = as_expected("locks", figures)
    assert told["owners"] == {
        "threading.Lock": None,
        "threading.RLock": "RuntimeError",
        "threading.Semaphore": None,
        "heori.Mutex": "NotHeld",
        "heori.Semaphore": "NotHeld",
    }
    assert told["inside"] == 2
    runs = told["transfers"]
    assert all(runs[name]["well"] for name in ("transfer", "transfer_crosswise"))
    assert runs["print_page"]["highest"] == 3


def test_a_deadlock_is_detected_in_one_of_two_and_a_slow_holder_is_none(
    figures: dict[str, Told],
) -> None:
    told = as_expected("locks", figures)["deadlock"]
    assert sorted(each["got"] for each in told["detected"]) == [False, True]
    assert not all(each["got"] for each in told["timeout"])
    assert told["slow"]["detected"]["got"]
    assert not told["slow"]["timeout"]["got"]


def test_a_process_that_measures_hears_of_a_copy_of_it_that_fails() -> None:
    code = (
        "from heori.lab.notes.copies import Copies\n"
        "with Copies() as copies:\n"
        "    copies.start(lambda: 'well')\n"
        "    copies.start(lambda: list(range(100_000)))\n"
        "    print([len(each) for each in copies.results(lambda: None)])\n"
        "    copies.start(lambda: 1 // 0)\n"
        "    copies.results(lambda: None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == "[4, 100000]\n"
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.endswith("ChildFailed: a copy of the process that measures has failed\n")
