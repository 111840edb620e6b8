"""Those who look at thousands of queues ask for many of them in one round trip."""

import json
from typing import Any

import pytest

from tests.rigs.commands import Heori
from tests.rigs.script_bench import Bench

QUEUES = 1000
# Reads of the server's, of 16 kB at most: some for each command that is so long, and a round trip.
MOST_READS = QUEUES // 4


@pytest.mark.parametrize(
    "words", [["status", "--json"], ["top", "--json", "--every", "100ms"], ["doctor", "--json"]]
)
def test_commands_ask_for_many_queues_at_once(
    words: list[str], heori: Heori, bench: Bench, redis: Any
) -> None:
    for number in range(QUEUES):
        bench.send(f"job{number}", queue=f"q{number}")
        redis.zadd(f"rq:finished:q{number}", {f"job{number}": "inf"})
        redis.zadd(f"rq:wip:q{number}", {f"job{number}:heori": "inf"})
    before = redis.info("stats")["total_reads_processed"]
    shown = json.loads(heori(*words).stdout)
    assert redis.info("stats")["total_reads_processed"] - before < MOST_READS
    match words[0]:
        case "status":
            found = {of["waiting"] for of in shown["queues"].values()}
            assert (len(shown["queues"]), found) == (QUEUES, {1})
        case "top":
            waits = [row["oldest"] for row in shown["queues"]]
            assert (len(waits), min(waits) > 0) == (QUEUES, True)
        case _:
            unserved = [each for each in shown if each["check"] == "consumers"]
            assert len([each for each in unserved if each["level"] == "problem"]) == QUEUES
            assert "jobs, each in its place" in " ".join(each["says"] for each in shown)


def test_a_person_is_shown_as_many_queues_as_may_be_read_the_fullest_first(
    heori: Heori, bench: Bench
) -> None:
    for number in range(110):
        bench.send(*(f"job{number}-{n}" for n in range(1 + number % 2)), queue=f"q{number:03}")
    shown = heori("status").stdout
    assert all(f"q{number:03}" in shown for number in range(1, 110, 2))
    assert "and 10 more; --json has all" in shown
    shown = heori("doctor").stdout
    assert shown.count("which no consumer serves") == 20
    assert "consumers    and 90 more; --json has all" in shown
    assert "problems: 111," in shown, "none is left out of the count; the other is persistence"
    shown = heori("top", "--once", "--every", "100ms").stdout
    assert "and 98 more" in shown
    assert "q001" in shown
    assert "q000" not in shown, "fewer wait there"
