"""The scenarios of `make chaos`, in a short form: what is counted must be right at any size."""

import json
import random
from collections import Counter

import pytest

from tests.chaos.__main__ import told
from tests.chaos.attacks import attacks
from tests.chaos.bound import bound
from tests.chaos.deploys import deploys
from tests.chaos.drains import drains
from tests.chaos.handover import handover
from tests.chaos.kills import kills
from tests.chaos.quarantine import quarantine
from tests.chaos.refusals import refusals
from tests.chaos.resizes import resizes
from tests.chaos.schedule import Schedule
from tests.chaos.soak import Soak


@pytest.mark.parametrize("model", ["processes"])
def test_kills_and_pauses_lose_no_job_and_repeat_only_what_was_in_flight(model: str) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance, strikes = random.Random(seed), 0
    for _ in range(5):  # who strikes may have stood still for as long as the jobs took
        counted = kills(model, 1500, chance, quiet, pace=0.01)
        print(counted)
        assert counted.problems() == []
        if (strikes := sum(counted.strikes.values())) >= 2:
            break
    assert strikes >= 2


def test_a_pool_that_changes_its_size_loses_no_job_and_leaves_nothing() -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    counted = resizes(1000, random.Random(seed), quiet)
    print(counted)
    assert counted.problems() == []
    assert counted.stopped > 0
    assert counted.resizes > 4


def test_a_crashing_job_is_put_away_with_evidence_and_the_good_ones_are_done() -> None:
    counted = quarantine("threads", 500, 1, quiet, pace=0.002)
    print(counted)
    assert counted.problems() == []


def test_drains_under_load_lose_nothing_and_keep_the_order() -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    counted = drains("hybrid", 5, random.Random(seed), quiet, pace=0.01)
    print(counted)
    assert counted.problems() == []
    assert counted.held > 0


def test_each_signal_at_each_moment_is_obeyed_and_costs_no_job_anything() -> None:
    counted = deploys("threads", quiet, short=True)
    print(counted)
    assert counted.problems() == []
    assert counted.stops == 16


def test_jobs_handed_to_consumers_that_are_struck_go_to_the_next_and_are_not_charged() -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    counted = handover("threads", 100, random.Random(seed), quiet)
    print(counted)
    assert counted.problems() == []
    assert sum(counted.hit.values()) >= 2, "the strikes have missed the moment"
    assert counted.told["hand-overs"] >= 30


def test_a_bound_holds_for_producers_at_once_and_nothing_is_lost() -> None:
    counted = bound("hybrid", 6000, 4, 200, quiet)
    print(counted)
    assert counted.problems() == []
    assert counted.highest >= 200, "it was full, or nothing is shown"


def test_what_is_refused_for_a_second_is_done_after_it_and_once() -> None:
    counted = refusals("readonly", "threads", 1.0, random.Random(), quiet, long=2.0)
    print(counted)
    assert counted.problems() == []
    assert counted.seen["results awaited"] > 0
    assert counted.seen["sections"] > 0


def test_strangers_keep_nobody_out_fill_no_log_and_leave_nothing_open() -> None:
    counted = attacks(
        [
            "from one address, and from many",
            "what is no request",
            "what is no request, to metrics",
            "two lengths",
            "JSON bombs",
            "jobs of invented tasks",
        ],
        quiet,
    )
    print(counted)
    assert counted.problems() == []
    assert len(counted.done) == 6
    assert {each.got["422"] for each in counted.done if each.name == "JSON bombs"} == {9}


def test_counters_and_sets_of_what_was_counted_are_told_as_json() -> None:
    schedule = Schedule("auto", ticks=210, strikes=Counter(SIGKILL=2))
    soak = Soak("auto", 5000, lasting={"two", "one"})
    read = json.loads(told({"seed": 7, "schedule": [schedule], "soak": [soak]}))
    assert read["seed"] == 7
    assert read["schedule"][0]["ticks"] == 210
    assert read["schedule"][0]["strikes"] == {"SIGKILL": 2}
    assert read["soak"][0]["lasting"] == ["one", "two"]


def quiet(done: int, total: int) -> None:
    """No bar."""
