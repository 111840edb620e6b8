"""The model of a pool, against the simulation of a machine."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from heori_consumer.auto.demand import Demand, Mix, Observation, TaskUse, estimate
from heori_consumer.auto.model import Forecast
from heori_consumer.auto.queueing import Station, busy_at_line
from heori_consumer.auto.size import Size
from tests.rigs.machine import Machine
from tests.rigs.simulated_work import (
    DEFAULT,
    FED,
    TENTH,
    WORK,
    Work,
    free,
    gil,
    steady_rate,
    task,
    wait,
)

NOTHING = Demand(0.0, 0.0, 0.0)


def test_a_server_that_all_wait_for_is_never_idle() -> None:
    flow = Station(0.5, 0.0).flow(4)
    assert flow.throughput == pytest.approx(2.0)
    assert flow.line == pytest.approx(3.0)


def test_customers_that_only_think_do_not_wait() -> None:
    flow = Station(0.0, 0.25).flow(3)
    assert flow.throughput == pytest.approx(12.0)
    assert flow.line == 0.0


def test_two_customers_of_one_server() -> None:
    """By hand: the second meets the first with the chance that it is at the server alone, 1/2."""
    assert Station(1.0, 1.0).flow(2).throughput == pytest.approx(2 / (1 + 1.5))


def test_as_many_servers_as_customers_keep_nobody_waiting() -> None:
    flow = Station(1.0, 1.0, servers=3).flow(3)
    assert flow.throughput == pytest.approx(1.5)
    assert flow.line == pytest.approx(0.0, abs=1e-9)


def test_half_a_server_takes_twice_as_long() -> None:
    assert Station(1.0, 0.0, servers=0.5).flow(5).throughput == pytest.approx(0.5)


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.floats(1e-4, 10.0), st.floats(0.0, 10.0), st.sampled_from([0.5, 1, 1.5, 2, 3, 4, 8, 128]))
def test_more_customers_are_never_served_less_and_never_more_than_can_be(
    service: float, think: float, servers: float
) -> None:
    station = Station(service, think, servers)
    rates = [station.flow(customers).throughput for customers in range(200)]
    assert rates == sorted(rates)
    assert all(
        rate <= min(servers / service, n / (service + think)) * 1.001
        for n, rate in enumerate(rates)
    )


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.9])
def test_a_line_tells_how_busy_a_server_is(busy: float) -> None:
    station = Station(busy, 1 - busy)
    line, throughput = station.flow(6).line, station.flow(6).throughput
    assert busy_at_line(6, line) == pytest.approx(busy * throughput, rel=0.01)


@pytest.mark.parametrize(
    ("work", "share"),
    [
        (Work((task(gil(0.02)),)), 1.0),
        (Work((task(gil(0.01), free(0.01)),)), 0.5),
        (Work((task(gil(0.001), free(0.02)),)), 1 / 21),
        (Work((task(gil(0.004), wait(0.006)),)), 1.0),
        (Work((task(gil(0.003), free(0.009), wait(0.02)),), {"cores": 4}), 0.25),
    ],
    ids=["all", "half", "hardly any", "with waiting", "a quarter with waiting"],
)
def test_the_line_at_the_gil_tells_what_holds_it(work: Work, share: float) -> None:
    machine = work.start(DEFAULT)
    machine.run(1.0)
    mix = estimate([machine.run(1.0) for _ in range(5)])
    assert mix.gil_share == pytest.approx(share, abs=0.15)


def test_where_few_compute_nobody_can_tell() -> None:
    machine = WORK["500 ms of waiting"].start(DEFAULT)
    mix = estimate([machine.run(1.0) for _ in range(5)], guess=0.7)
    assert mix.gil_share is None
    assert mix.plain.gil == pytest.approx(0.7 * mix.plain.cpu)


def test_where_cores_are_short_the_line_says_nothing() -> None:
    """Figures of a consumer of pure Python beside ten times as many processes as cores."""
    seen = Observation(
        seconds=1.0,
        size=DEFAULT,
        settled=True,
        backlog=True,
        running=3.5,
        gil_wait=2.98,
        io_wait=0.0,
        cpu=0.31,
        loop_busy=0.0,
        coroutines=0.0,
        cores=2.0,
        process_bytes=1,
        slot_bytes=1,
        tasks={"python": TaskUse(16, 5.8, 0.32)},
    )
    assert estimate([seen]).gil_share is None
    assert estimate([seen]).plain.free == 0.0


@pytest.mark.parametrize(
    "name",
    [
        "pure Python",
        "hashing",
        "as NumPy",
        "20 ms of waiting",
        "a mixture",
        "a mixture with hashing",
        "a mixture in parts",
        "a mixture on one core",
        "waiting on half a core",
    ],
)
def test_what_is_seen_at_one_size_foretells_the_others(name: str) -> None:
    machine = WORK[name].start(DEFAULT)
    machine.run(1.0)
    seen = [machine.run(1.0) for _ in range(5)]
    forecast = Forecast(estimate(seen), seen[-1].cores)
    for processes, slots in ((1, 2), (1, 16), (2, 2), (2, 8), (2, 32)):
        size = Size(processes, slots, DEFAULT.coroutines)
        truth = steady_rate(WORK[name].start(size), 400)
        assert forecast.throughput(size) == pytest.approx(truth, rel=0.16), size


def test_coroutines_are_told_from_threads() -> None:
    machine = WORK["async"].start(Size(1, 8, 8))
    machine.run(1.0)
    mix = estimate([machine.run(1.0) for _ in range(5)])
    assert mix.on_loop == pytest.approx(1.0, abs=0.01)
    assert mix.coroutine.gil == pytest.approx(0.001, rel=0.1)
    assert mix.coroutine.wait == pytest.approx(0.1, rel=0.1)


def test_no_size_is_better_than_what_all_wait_for() -> None:
    mix = Mix(Demand(0.001, 0.0, 0.02), NOTHING, 0.0, None)
    assert Forecast(mix, 2.0, lid=100.0).throughput(Size(2, 64, 8)) == 100.0


# Jobs a second of tasks that await 50 ms on two quiet cores, by processes and coroutines of each,
# as `python -m benchmarks auto --only async` found them.
MEASURED = {(1, 50): 964, (1, 200): 3868, (1, 1000): 16116, (2, 200): 7671, (2, 1000): 13967}


@pytest.mark.parametrize(("processes", "coroutines"), MEASURED)
def test_simulated_event_loops_do_what_real_ones_did(processes: int, coroutines: int) -> None:
    size = Size(processes, 8, coroutines)
    rate = steady_rate(FED.start(size), 3000) * TENTH
    assert rate == pytest.approx(MEASURED[processes, coroutines], rel=0.08)


def test_a_simulated_machine_does_what_it_can() -> None:
    """The simulation itself: a GIL is a core at most, a service serves so many at once."""
    python = WORK["pure Python"]
    assert steady_rate(python.start(Size(1, 8, 8)), 500) == pytest.approx(50, rel=0.05)
    assert steady_rate(python.start(Size(2, 8, 8)), 500) == pytest.approx(100, rel=0.05)
    hashing = Work((task(free(0.02)),))
    assert steady_rate(hashing.start(Size(1, 8, 8)), 500) == pytest.approx(100, rel=0.05)
    service = WORK["a service of 50 at once"]
    assert steady_rate(service.start(Size(2, 64, 8)), 2000) == pytest.approx(2500, rel=0.05)
    some = Machine([task(gil(0.01))], Size(1, 4, 8), arrivals=20.0)
    assert steady_rate(some, 400) == pytest.approx(20, rel=0.15)
    assert not some.run(1.0).backlog
