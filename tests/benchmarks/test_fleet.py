"""What measures fleets, at sizes that only show that it works."""

import resource
from pathlib import Path

import pytest

from benchmarks import fleet, simulated
from benchmarks.fleet_rig import Use
from tests.rigs.benchmarks import medians


def test_a_fleet_is_measured_idle_and_with_jobs_of_heori_and_of_rq(tmp_path: Path) -> None:
    found = medians(tmp_path / "figures.json", "fleet", "fleet: heori, 2 consumers", "SimpleWorker")
    two, rq = (found["fleet"][case] for case in ("heori, 2 consumers", "rq, 1 SimpleWorker"))
    assert two["repeats"] == rq["repeats"] == 0
    # A claim and an acknowledgement are some commands, whoever has sent the job.
    assert min(two["commands"], two["rq_commands"], rq["rq_commands"]) > 10
    assert 0 < two["p50"] <= two["p99"]
    assert 0 < two["rq_p50"] <= two["rq_p99"]
    assert two["idle_commands"] > 0 < two["idle_consumer"]
    assert two["drain"] > 0
    assert "commands" not in rq  # Heori's producer sends it nothing


def test_jobs_are_sent_to_all_of_many_queues(tmp_path: Path) -> None:
    [figures] = medians(tmp_path / "figures.json", "fleet", "20 queues")["fleet"].values()
    assert figures["queues"] == 20
    assert figures["repeats"] == 0  # and each was run
    assert figures["drain"] > 0


def test_simulated_consumers_run_jobs_beside_real_ones(tmp_path: Path) -> None:
    [figures] = medians(tmp_path / "figures.json", "fleet", "fleet: heori, 9")["fleet"].values()
    assert (figures["consumers"], figures["simulated"]) == (9, 8)
    assert figures["repeats"] == 0
    assert figures["idle_commands"] > 0


def test_shares_are_told(tmp_path: Path) -> None:
    [figures] = medians(tmp_path / "figures.json", "fleet", "fairness")["fleet fairness"].values()
    assert figures["least"] + figures["most"] == 100  # of two consumers
    assert figures["least_of_fair"] <= 1 <= figures["most_of_fair"]


def test_pick_up_is_measured(tmp_path: Path) -> None:
    figures = medians(tmp_path / "figures.json", "fleet", "fleet pick-up: heori")["fleet pick-up"]
    assert 0 < figures[fleet.ONE.name]["p50"] <= figures[fleet.ONE.name]["p99"]


def test_people_look_at_a_crowd(tmp_path: Path) -> None:
    [figures] = medians(tmp_path / "figures.json", "fleet", "9: idle")["fleet storms"].values()
    assert min(figures[look] for look in ("status", "top", "doctor", "metrics")) > 0
    assert figures["jobs"] > 0 == figures["failed"]


def test_a_crowd_comes_back_after_an_outage(tmp_path: Path) -> None:
    [figures] = medians(tmp_path / "figures.json", "fleet", "outage")["fleet storms"].values()
    assert figures["jobs"] > 0 == figures["failed"]
    assert figures["seconds"] > 0 < figures["connections"]


def test_jobs_are_run_when_most_consumers_are_killed(tmp_path: Path) -> None:
    [figures] = medians(tmp_path / "figures.json", "fleet", "dying")["fleet storms"].values()
    assert figures["jobs"] > 0 == figures["failed"]
    assert figures["p50"] <= figures["slowest"]


def test_what_an_idle_fleet_does_is_not_counted_for_jobs() -> None:
    idle = Use(seconds=10.0, commands=100.0, cpu=1.0)
    assert Use(5.0, 60.0, 0.75).without(idle) == Use(5.0, 10.0, 0.25)


def test_fleets_are_compared_with_one_consumer_and_with_one_queue() -> None:
    def of(consumers: int, queues: int, simulated: int, commands: float) -> dict[str, float]:
        return {
            "consumers": consumers,
            "queues": queues,
            "simulated": simulated,
            "commands": commands,
        }

    results = {
        "fleet": {
            "one": of(1, 1, 0, 10),
            "four": of(4, 1, 0, 11),
            "most simulated": of(200, 1, 196, 15),
            "many queues": of(4, 100, 0, 33),
            "four, beside": of(4, 1, 0, 99),
            "rq": {"rq_commands": 57.0},
        }
    }
    assert fleet.most("commands")(results) == 1.5
    assert fleet.most("commands", simulated=False)(results) == 1.1
    assert fleet.over_queues("commands", max)(results) == 3
    assert fleet.idle("commands")(results) == 11
    assert fleet.each_idle("commands")(results) == 2.75
    with pytest.raises(ValueError, match="not enough values"):
        fleet.most("commands")({"fleet": {"four": of(4, 1, 0, 11)}})


def test_a_crowd_that_may_not_open_so_many_files_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert simulated.files_missing(100) is None
    assert simulated.files_missing(2_000) == (
        "6,200 open files are needed, and 4,096 allowed (ulimit -Hn)"
    )
