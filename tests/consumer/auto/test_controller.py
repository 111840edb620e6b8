"""The controller, steering simulated machines."""

import json
import re
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from heori_consumer.auto import words
from heori_consumer.auto.controller import Controller
from heori_consumer.auto.demand import Demand, Observation, TaskUse, is_fed_slowly
from heori_consumer.auto.lesson import Lesson
from heori_consumer.auto.load import needs_else
from heori_consumer.auto.move import CameOf
from heori_consumer.auto.size import Size, SizeBounds
from tests.rigs.machine import PROCESS_BYTES, Machine
from tests.rigs.machine_parts import Phase
from tests.rigs.simulated_work import (
    DEFAULT,
    FED,
    PYTHON,
    RESTLESS,
    WAITS_FED,
    WORK,
    Work,
    coroutine,
    fixed,
    free,
    gil,
    moves,
    steady_rate,
    steer,
    task,
    wait,
)

SEARCH_S = 20  # in which the best size is to be found


def test_it_finds_a_size_that_is_about_as_good_as_the_best() -> None:
    """Of the best fixed size's throughput, and of the default's, what there is after the search."""
    shares = {}
    for name, work in WORK.items():
        # Jobs of 10 s that began in a crowd of eight at one GIL end after 80 s.
        is_long = name.startswith("long")
        skipped = 90 if is_long else 20
        seconds = skipped + min(600, max(5, round(3000 / best_of(name))))
        rate = fmean(steer(work, seconds).rates[skipped:])
        shares[name] = rate / best_of(name), rate / fixed(name)[DEFAULT]
    assert {name: few for name, few in shares.items() if few[0] < 0.95 or few[1] < 0.95} == {}
    assert fmean(share for share, _ in shares.values()) >= 0.98


def best_of(name: str) -> float:
    return max(fixed(name).values())


@pytest.mark.parametrize("name", ["pure Python", "hashing", "two tasks, one hashes"])
def test_it_holds_still(name: str) -> None:
    """At most two moves in ten minutes of the same load, once it has found its size."""
    run = steer(WORK[name], 300, seed=2)
    assert len([second for second, _ in run.moves if second > SEARCH_S]) <= 1


@pytest.mark.parametrize("name", RESTLESS)
def test_it_moves_twice_at_most_in_ten_minutes_of_a_load_that_stays(name: str) -> None:
    """Beginning as a consumer does here, and with as many processes as one may have.

    What it tries and undoes again are two moves, and what it saves then is one.
    """
    work = RESTLESS[name]
    start = Size(work.cores, 8, 100)
    controller = Controller(start, SizeBounds(2 * work.cores, 64, 1000))
    made = [(second, move) for second, move, _ in moves(work.start(start, 3), controller, 630)]
    told = [(second, move.reason) for second, move in made if move]
    assert len([second for second, _ in told if second > 30]) <= 2, told
    assert len(told) <= 3, told


def test_one_event_loop_is_found_where_redis_and_the_supervisor_want_the_other_core() -> None:
    """What a loop does that is hardly busy is not taken for all that it can do."""
    start = Size(2, 8, 100)
    controller = Controller(start, SizeBounds(4, 64, 1000))
    seen = list(moves(FED.start(start), controller, 60))
    made = [(second, str(move.size), move.cause) for second, move, _ in seen if move]
    assert [move[1:] for move in made] == [
        ("2 × 8", "event loops are full"),
        ("1 × 8", "less does as much"),
    ]
    assert made[-1][0] < SEARCH_S
    assert controller.size.coroutines == 1000
    sizes = (Size(1, 8, 1000), Size(2, 8, 1000), Size(3, 8, 512))
    best = max(steady_rate(FED.start(size), 3000) for size in sizes)
    assert fmean(done for _, _, done in seen[SEARCH_S:]) >= 0.97 * best


@pytest.mark.parametrize("seed", [1, 2])
def test_fewer_processes_of_more_threads_are_found_where_others_want_the_cores(seed: int) -> None:
    """Redis and the supervisor do: workers use little, and a third of them is in the way of all."""
    start = Size(2, 8, 100)
    controller = Controller(start, SizeBounds(4, 128, 1000))
    seen = list(moves(WAITS_FED.start(start, seed), controller, 40))
    made = [(second, str(move.size), move.cause) for second, move, _ in seen if move]
    assert [move[1:] for move in made] == [
        ("4 × 64", "jobs wait for other things"),
        ("2 × 128", "less does as much"),
    ]
    assert made[-1][0] < SEARCH_S
    best = max(steady_rate(WAITS_FED.start(Size(2, slots, 100)), 3000) for slots in (64, 128))
    assert fmean(done for _, _, done in seen[SEARCH_S:]) >= 0.95 * best


def test_jobs_that_come_no_faster_are_a_backlog_and_no_reason_for_more() -> None:
    """Slots are idle, and yet a move is judged: what did not help is undone."""
    work = Work((task(gil(0.0005), wait(0.02)),), {"feeding": 0.002})
    controller = Controller(DEFAULT, SizeBounds(4, 64, 256))
    machine = work.start(DEFAULT)
    list(moves(machine, controller, 60))
    seen = [machine.run(1.0) for _ in range(3)]
    assert is_fed_slowly(seen)
    assert controller.size.processes == 1
    assert controller.size.slots <= 32


def test_fewer_threads_are_tried_where_all_cores_are_busy() -> None:
    """That more processes might do a little more does not keep it from saving."""
    work = Work((task(gil(0.016), free(0.004)),), {"crowding": 0.02})
    start = Size(2, 8, 100)
    controller = Controller(start, SizeBounds(4, 64, 1000))
    seen = list(moves(work.start(start), controller, 60))
    ((second, move),) = [(second, move) for second, move, _ in seen if move]
    assert second < 15
    assert (move.cause, str(move.size)) == ("less does as much", "2 × 2")
    assert move.outcome is not None
    assert move.outcome.fate == "kept"
    best = max(steady_rate(work.start(Size(2, slots, 100)), 800) for slots in (1, 2, 4, 8))
    assert fmean(done for _, _, done in seen[20:]) >= 0.95 * best


def needs(cpu: float, jobs: int, name: str = "job") -> list[Observation]:
    """Three seconds in which jobs each needed about so much CPU, and stayed ten times as long."""
    seen = Machine([task(gil(0.02))], DEFAULT).run(1.0)
    return [
        replace(seen, tasks={name: TaskUse(jobs, jobs * cpu * 10, jobs * cpu * noise)})
        for noise in (0.97, 1.0, 1.03)
    ]


def test_jobs_that_need_another_time_of_cpu_are_other_work() -> None:
    """However long they stay, as that is for others who are in their way."""
    assert needs_else(needs(0.02, 50), needs(0.03, 50))
    assert needs_else(needs(0.02, 50), needs(0.0001, 3000)), "of which hardly any is left"
    assert not needs_else(needs(0.02, 50), needs(0.022, 50))
    assert not needs_else(needs(0.000015, 3000), needs(0.00003, 3000)), "it takes no core"
    assert not needs_else(needs(0.02, 50), needs(0.04, 5)), "these are too few to tell"
    assert needs_else(needs(0.02, 50), needs(0.02, 50, "other"))


def test_the_same_jobs_need_more_cpu_where_more_threads_are_in_their_way() -> None:
    """So at another size they have to need much more, or much less, to be other work."""

    def at(size: Size, cpu: float) -> list[Observation]:
        return [replace(each, size=size) for each in needs(cpu, 500)]

    many, few = Size(4, 64, 64), Size(1, 64, 64)
    assert not needs_else(at(many, 0.00065), at(few, 0.00045))
    assert needs_else(at(many, 0.00065), at(many, 0.00045))
    assert needs_else(at(many, 0.002), at(few, 0.001))


def test_what_a_size_does_in_its_first_second_is_not_looked_at() -> None:
    """Threads that have just come import and connect."""
    machine = WORK["20 ms of waiting"].start(DEFAULT)
    controller = Controller(DEFAULT, SizeBounds(2, 64, 256))
    (move,) = [move for _, move, _ in moves(machine, controller, 3) if move]
    first = replace(machine.run(1.0), settled=True, tasks={"job": TaskUse(2, 1.0, 1.0)})
    assert controller.step(first) is None
    assert [move for _, move, _ in moves(machine, controller, 10) if move] == []
    assert move.outcome is not None
    assert move.outcome.fate == "kept"


def test_a_bound_of_memory_reckons_with_threads_that_grow() -> None:
    """Each that is new may take four times as much as one that runs nothing large."""
    seen = replace(Machine([PYTHON], DEFAULT).run(1.0), process_bytes=100, slot_bytes=1)
    assert seen.memory(Size(2, 18, 64)) == 2 * 110
    assert seen.memory(Size(2, 18, 64), 4) == 2 * 140
    assert seen.memory(Size(2, 4, 64), 4) == 2 * 96


def test_it_follows_changes() -> None:
    """Every 30 s the work is another, and half of that later nearly all is done that could be."""
    bounds = SizeBounds(2, 64, 256)
    machine = Machine(WORK["pure Python"].tasks, DEFAULT, service=50)
    controller = Controller(DEFAULT, bounds)
    for name in (
        "pure Python",
        "20 ms of waiting",
        "a mixture with hashing",
        "hashing",
        "async",
        "a service of 50 at once",
        "pure Python",
    ):
        machine.tasks = list(WORK[name].tasks)
        rates = [done for _, _, done in moves(machine, controller, 30)]
        assert fmean(rates[15:]) >= 0.93 * best_of(name), name


@pytest.mark.parametrize("slots", [8, 64])
def test_what_a_service_bounds_is_not_answered_with_ever_more_slots(slots: int) -> None:
    """Not even where so many jobs wait for it that few of them end in the time of a look."""
    start = Size(2, slots, 64)
    work = Work((task(gil(0.0003), Phase("service", 0.02)),), {"service": 10})
    controller = Controller(start, SizeBounds(8, 64, 256))
    made = [move for _, move, _ in moves(work.start(start), controller, 120) if move]
    assert controller.size.processes * controller.size.slots <= max(64, 2 * slots), made


def test_an_idle_hour_makes_it_forget_nothing() -> None:
    """Of a service that bounds what it does it knows, and tries no more slots again."""
    machine = Work((task(gil(0.0003), Phase("service", 0.02)),), {"service": 10}).start(DEFAULT)
    controller = Controller(DEFAULT, SizeBounds(2, 1024, 256))
    assert [move for _, move, _ in moves(machine, controller, 60) if move]
    idle = replace(machine.run(1.0), backlog=False, running=0.0, io_wait=0.0, cpu=0.0, tasks={})
    assert [move for _ in range(3600) if (move := controller.step(idle))] == []
    assert [move for _, move, _ in moves(machine, controller, 60) if move] == []


def test_without_a_backlog_it_keeps_what_it_has() -> None:
    work = Work((task(gil(0.02)),), {"arrivals": 5.0})
    assert steer(work, 60).moves == []


def test_it_waits_for_a_size_to_be_there() -> None:
    """What a pool does on its way from one size to the next says nothing."""
    machine = WORK["pure Python"].start(DEFAULT)
    controller = Controller(DEFAULT, SizeBounds(2, 64, 256))
    made = [
        move for _ in range(60) if (move := controller.step(machine.run(1.0)))
    ]  # nobody makes them
    assert len(made) == 1


def test_a_lesson_is_a_start() -> None:
    work = WORK["20 ms of waiting"]
    first = steer(work, 30)
    assert set(first.controller.lessons) == {"job"}
    second = Controller(DEFAULT, work.bounds, first.controller.lessons)
    made = [move for _, move, _ in moves(work.start(DEFAULT, 5), second, 6) if move]
    assert [move.size for move in made] == [first.controller.size]


def test_a_lesson_of_a_task_that_has_changed_is_none() -> None:
    first = steer(WORK["20 ms of waiting"], 30)
    work = WORK["pure Python"]
    second = Controller(DEFAULT, work.bounds, first.controller.lessons)
    list(moves(work.start(DEFAULT), second, 10))
    assert second.size != first.controller.size


def test_a_lesson_is_read_as_it_was_written() -> None:
    lesson = Lesson(Demand(0.001, 0.0, 0.02), Size(2, 48, 64), 1.5)
    assert Lesson.unpack(lesson.pack()) == lesson


@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=3)), max_size=9)
        .map(json.dumps)
        .map(str.encode),
    )
)
def test_whatever_is_no_lesson_is_none(packed: bytes) -> None:
    lesson = Lesson.unpack(packed)
    assert lesson is None or lesson == Lesson.unpack(lesson.pack())


def test_a_move_says_why_in_words() -> None:
    (_, move), *_ = steer(WORK["pure Python"], 5).moves
    assert move.reason.startswith("1 × 8 → 2 × 2: threads wait for the GIL 8")
    assert "1.0 of 2 cores used; +" in move.reason


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("pure Python", "threads wait for the GIL"),
        ("20 ms of waiting", "jobs wait for other things"),
        ("async", "event loops are full"),
        ("pure Python on half a core", "less does as much"),
    ],
)
def test_a_move_has_a_cause_and_what_came_of_it(name: str, cause: str) -> None:
    (_, move), *_ = steer(WORK[name], 30).moves
    assert move.cause == cause
    assert move.outcome is not None
    assert move.outcome.fate == "kept"
    assert move.outcome.gain is not None
    assert move.outcome.gain == pytest.approx(move.gain, rel=0.25)
    assert words.came_of(move.outcome) == f"{move.outcome.gain - 1:+.0%} jobs/s since"


def test_one_thread_that_always_computes_leaves_cores_idle() -> None:
    first = Size(1, 1, 64)
    (_, move), *_ = steer(WORK["pure Python"], 5, start=first).moves
    assert (move.cause, move.size.processes) == ("cores are idle", 2)


def test_a_move_that_does_not_help_is_undone_and_says_so() -> None:
    """Others want the cores from just then on."""
    machine = WORK["pure Python"].start(DEFAULT)
    controller = Controller(DEFAULT, SizeBounds(2, 64, 256))
    made = []
    for _, move, _ in moves(machine, controller, 30):
        if move:
            made.append(move)
            machine.burners = 12
    tried, undone = made[:2]
    assert tried.outcome is not None
    assert tried.outcome.fate == "undone"
    assert re.fullmatch(r"-\d+% jobs/s since, undone", words.came_of(tried.outcome))
    assert (undone.cause, undone.outcome) == ("the last move did not help", None)
    assert (undone.before, undone.size) == (tried.size, tried.before)


def test_of_a_move_nobody_can_tell_what_it_brought_when_the_work_has_changed() -> None:
    assert words.came_of(CameOf("overtaken")) == "the work changed before that could be told"


def test_it_tells_what_one_more_and_one_less_would_do() -> None:
    controller = Controller(DEFAULT, SizeBounds(1, 8, 256))
    assert controller.estimates == {}
    list(moves(Machine([task(gil(0.02))], DEFAULT, cores=4), controller, 5))
    assert controller.estimates["processes+1"] == pytest.approx(2.0, rel=0.1)
    assert controller.estimates["slots+1"] == pytest.approx(1.0, rel=0.05)
    assert "processes-1" not in controller.estimates


def test_a_move_that_is_declined_is_not_asked_for_again() -> None:
    controller = Controller(DEFAULT, SizeBounds(2, 64, 256))
    machine = WORK["pure Python"].start(DEFAULT)
    made = []
    for _ in range(60):
        if move := controller.step(machine.run(1.0)):
            made.append(move)
            controller.decline(move)
    assert [str(move.size) for move in made] == ["2 × 2"]
    assert controller.size == DEFAULT


def test_memory_that_grows_makes_the_pool_smaller() -> None:
    bounds = SizeBounds(4, 64, 256, max_memory=4 * PROCESS_BYTES)
    work = Work((task(gil(0.02)),), {"cores": 4})
    machine = work.start(Size(4, 8, 64))
    controller = Controller(Size(4, 8, 64), bounds)
    machine.resize(controller.size)
    list(moves(machine, controller, 30))
    assert machine.run(1.0).memory(controller.size) <= 4 * PROCESS_BYTES


phases = st.lists(
    st.one_of(
        st.builds(gil, st.floats(0.005, 0.1)),
        st.builds(free, st.floats(0.005, 0.1)),
        st.builds(wait, st.floats(0.02, 1.0)),
    ),
    min_size=1,
    max_size=3,
)


@hypothesis_settings(max_examples=15, deadline=None, derandomize=True)
@given(
    kinds=st.lists(st.tuples(phases, st.booleans(), st.floats(0.1, 1.0)), min_size=1, max_size=3),
    cores=st.sampled_from([0.5, 1, 1.5, 2, 4, 16, 128]),
    burners=st.sampled_from([0, 0, 2]),
    jitter=st.floats(0.0, 0.9),
    memory=st.integers(2, 200),
    seed=st.integers(0, 1000),
)
def test_bounds_are_kept_and_moves_come_to_an_end(
    kinds: list[tuple[list[Phase], bool, float]],
    cores: float,
    burners: int,
    jitter: float,
    memory: int,
    seed: int,
) -> None:
    tasks = [
        (coroutine(*parts, name=f"c{n}") if on_loop else task(*parts, name=f"t{n}", share=share))
        for n, (parts, on_loop, share) in enumerate(kinds)
    ]
    bounds = SizeBounds(max(1, int(cores)), 16, 64, max_memory=memory * PROCESS_BYTES)
    machine = Machine(tasks, DEFAULT, cores=cores, burners=burners, jitter=jitter, seed=seed)
    controller = Controller(DEFAULT, bounds)
    late = 0
    for second in range(70):
        seen = machine.run(1.0)
        move = controller.step(seen)
        if move is not None:
            assert move.size != move.before
            assert bounds.within(move.size) == move.size
            assert seen.memory(move.size) <= memory * PROCESS_BYTES
            late += second > 50
            machine.resize(move.size)
    assert late <= 2
