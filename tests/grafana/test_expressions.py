"""What panels say of known data: which model to take, and what is marked; by promtool."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.grafana.boards import BOARDS, marks, panels
from tests.grafana.prometheus import promtool

END = "20m"


def check(folder: Path, series: dict[str, str], expected: dict[str, dict[str, float]]) -> None:
    """Prometheus answers each expression with these values, by their labels."""
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": END,
                "exp_samples": [
                    {"labels": labels, "value": value} for labels, value in values.items()
                ],
            }
            for expression, values in expected.items()
        ],
    }
    file = folder / "tests.yml"
    file.write_text(json.dumps({"evaluation_interval": "15s", "tests": [test]}))
    promtool("test", "rules", file)


def asked(board: str, title: str) -> list[str]:
    """What a panel asks, with all variables on All and a quarter of an hour shown."""
    [panel] = [panel for panel in panels(BOARDS[board]) if panel["title"] == title]
    return [
        re.sub(r'"\$\w+"', '".*"', target["expr"].replace("$__range", "15m"))
        for target in panel["targets"]
    ]


def consumer(
    name: str, model: str, *, jobs: int, slots: int = 4, running: int = 4, begin: int = 0
) -> dict[str, str]:
    """What one with four cores tells that does so many jobs each 15 seconds.

    Args:
        begin: after so many scrapes.
    """
    of = f'consumer="{name}"'

    def course(step: float, start: float = 0) -> str:
        there = f"{start:g}+{step:g}x{90 - begin}"
        return f"_x{begin} {there}" if begin else there

    return {
        f'heori_consumer_info{{{of}, model="{model}"}}': course(0, 1),
        f"heori_usable_cores{{{of}}}": course(0, 4),
        f"heori_slots{{{of}}}": course(0, slots),
        f"heori_slots_running{{{of}}}": course(0, running),
        f'heori_jobs_total{{{of}, task="t", outcome="succeeded"}}': course(jobs),
        f'heori_task_thread_state_seconds_total{{{of}, task="t", state="running"}}': course(60),
        f'heori_worker_thread_state_seconds_total{{{of}, worker="0", state="running"}}': course(60),
    }


@pytest.mark.parametrize("begin", [0, 40], ids=["all the time", "processes came later"])
def test_one_task_on_both_models_tells_which_to_take_and_by_how_much(
    begin: int, tmp_path: Path
) -> None:
    series = consumer("a", "threads", jobs=30) | consumer("b", "threads", jobs=30)
    series |= consumer("c", "processes", jobs=114, begin=begin)
    best, either = asked("models", "Take")
    [jobs] = asked("models", "Jobs per core-second, by model")
    check(
        tmp_path,
        series,
        {
            f"round({best}, 0.1)": {'{model="processes"}': 3.8},
            either: {},
            # 30 and 114 in 15 seconds of four cores.
            f"round({jobs}, 0.1)": {'{model="threads"}': 0.5, '{model="processes"}': 1.9},
        },
    )


def test_models_that_do_as_much_are_alike(tmp_path: Path) -> None:
    series = consumer("a", "threads", jobs=100) | consumer("b", "asyncio", jobs=105)
    best, either = asked("models", "Take")
    check(tmp_path, series, {best: {}, f"round({either}, 0.01)": {"{}": 1.05}})


@pytest.mark.parametrize("others", [{}, {"running": 1}], ids=["one model", "one has little to do"])
def test_there_is_no_answer_without_two_that_are_busy(
    others: dict[str, Any], tmp_path: Path
) -> None:
    series = consumer("a", "threads", jobs=100)
    if others:
        series |= consumer("b", "processes", jobs=40, **others)
    check(tmp_path, series, {each: {} for each in asked("models", "Take")})


def test_a_consumer_that_runs_other_tasks_too_counts_with_its_part(tmp_path: Path) -> None:
    series = consumer("a", "threads", jobs=100) | consumer("b", "processes", jobs=100)
    busy = 'heori_worker_thread_state_seconds_total{consumer="b", worker="0", state="running"}'
    series[busy] = "0+120x90"  # half of it for another task
    best, _ = asked("models", "Take")
    check(tmp_path, series, {f"round({best}, 0.1)": {'{model="processes"}': 2.0}})


def test_each_mark_is_there_when_it_happened_and_once(tmp_path: Path) -> None:
    def info(name: str) -> str:
        return f'heori_consumer_info{{consumer="{name}"}}'

    def restarts(reason: str, name: str = "a") -> str:
        return f'heori_worker_restarts_total{{consumer="{name}", reason="{reason}"}}'

    series = {
        info("a"): "1x10 _ 1x200",  # a scrape was missed
        info("new"): "_x60 1x100",
        info("gone"): "1x50 stale",
        'heori_draining{consumer="a"}': "0x60 1x100",
        # After 60 scrapes it is 2 × 3 in place of 1 × 8; one scrape is missed later.
        'heori_auto_processes{consumer="a"}': "1x60 2x10 _ 2x100",
        'heori_auto_slots{consumer="a"}': "8x60 3x10 _ 3x100",
        'heori_auto_coroutines{consumer="a"}': "100x171",
        'heori_auto_causes_total{consumer="a", cause="cores are idle"}': "0x60 1x10 _ 1x100",
        'heori_auto_causes_total{consumer="a", cause="known from before"}': "2x71 _ 2x100",
        restarts("SIGKILL"): "1x30 2x10 _ 2x100",
        restarts("exit 3"): "_x60 1x100",  # the first of its kind
        restarts("max-rss"): "5x60 7x100",
    }
    of_a = '{consumer="a", reason="%s"}'
    happened: dict[str, dict[str, float]] = {
        "Sizes": {
            '{consumer="a", cause="cores are idle", processes_before="1", processes="2", '
            'slots_before="8", slots="3", coroutines_before="100", coroutines="100"}': 1
        },
        "Starts": {'{consumer="new"}': 1},
        "Ends": {'{consumer="gone"}': 1},
        "Drains": {'{consumer="a"}': 1},
        "Deaths": {of_a % "SIGKILL": 1, of_a % "exit 3": 1},
        "Recycling": {of_a % "max-rss": 1},
    }
    asked_for = {mark["name"]: mark["expr"] for mark in marks(BOARDS["flow"])}
    assert asked_for.keys() == happened.keys()
    counted = {
        # Not of the first minutes: all that Prometheus finds when it starts has just started.
        f"count_over_time(({expr.replace('$__interval', '15s')})[15m:15s])": happened[name]
        for name, expr in asked_for.items()
    }
    check(tmp_path, series, counted)
