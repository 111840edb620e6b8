"""Locks while processes die, stop and fork, servers restart and connections break."""

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psutil
import pytest
import redis as redis_py

from heori import DeadlockDetected, LockLost, Mutex, NotHeld, Semaphore
from heori_common.embedded import EmbeddedValkey
from heori_common.locks import renewer, session
from heori_common.protocol.commands import Command
from heori_common.protocol.keys import Keys
from heori_common.protocol.scripts import script
from heori_common.redis.push import PushThread
from tests.chaos.locks import Locks, cancels, check, crowd, lost_replies, storm
from tests.rigs.lock_rig import Programs, outlives_its_lease, queued, thread, use
from tests.rigs.proxy import proxy
from tests.rigs.waiting import until

KEYS = Keys()

pytestmark = pytest.mark.usefixtures("no_lock_is_left")


def quiet(done: int, total: int) -> None:
    """No bar."""


# Connections


def test_coroutines_cancelled_at_random_moments_orphan_nothing(redis_url: str) -> None:
    result = Locks()
    cancels(redis_url, 400, seeded(), result, quiet)
    assert result.cancelled >= 400
    assert result.problems() == []


def test_lost_replies_orphan_nothing(redis_url: str) -> None:
    result = Locks()
    lost_replies(redis_url, 120, seeded(), result, quiet)
    assert result.cut >= 120
    assert result.problems() == []


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_lost_reply_to_a_release_that_came_too_late_is_no_excuse(
    redis_url: str, how: str
) -> None:
    with proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as between:
        url = f"redis://127.0.0.1:{between.port}/0"
        lock = Mutex("a", url, lease=0.3)

        def be_late() -> None:
            ctypes.PyDLL(None).usleep(500_000)  # holds the GIL, so that nobody renews or tells
            between.lose = script("lock_release").digest.encode()

        async def use() -> None:
            async with lock:
                be_late()

        def use_blocking() -> None:
            with lock:
                be_late()

        with Mutex("a", url):  # so that the server knows the scripts
            pass
        with pytest.raises(LockLost):
            asyncio.run(use()) if how == "async" else use_blocking()
        session.close()


def test_waiters_whose_line_is_cut_at_the_release_come_back(redis: Any) -> None:
    lock = Mutex("a")
    order: list[int] = []

    def wait(number: int) -> None:
        with Mutex("a"):
            order.append(number)

    with contextlib.ExitStack() as stack, lock:
        for number in range(3):
            stack.enter_context(thread(lambda n=number: wait(n)))  # type: ignore[misc]
            queued(lock, number + 1)
        redis.client_kill_filter(_type="pubsub")
    assert sorted(order) == [0, 1, 2]


@pytest.mark.usefixtures("turns_last")
def test_of_a_thousand_waiters_a_third_gives_up_and_the_others_keep_their_order(
    redis_url: str,
) -> None:
    result = Locks()
    crowd(redis_url, 1000, result)
    assert (result.gave_up, result.waiters) == (334, 666)
    assert result.problems() == []


# The server


@contextlib.contextmanager
def server(**config: str) -> Iterator[EmbeddedValkey]:
    """One that a test may kill."""
    with EmbeddedValkey(config) as started:
        try:
            yield started
        finally:
            session.close()


def kill(valkey: EmbeddedValkey) -> None:
    """End the server as a loss of power would."""
    with redis_py.Redis.from_url(valkey.url, socket_timeout=None) as client:
        process = psutil.Process(client.info("server")["process_id"])
    process.kill()
    process.wait(60)


def crash(valkey: EmbeddedValkey) -> None:
    """Kill the server, and start it again."""
    kill(valkey)
    valkey.stop()
    valkey.start()


def test_a_server_that_kept_what_it_was_told_goes_on_where_it_crashed(programs: Programs) -> None:
    with server(appendonly="yes", appendfsync="always") as valkey:
        lock = Mutex("a", valkey.url, lease=30.0)
        (waiter,) = programs(1, lease=30.0, url=valkey.url)
        with lock:
            before = lock.owner()
            waiter.tell("acquire")
            queued(lock, 1)
            crash(valkey)
            after = lock.owner()
            assert before is not None
            assert after is not None
            assert (after.request, after.fence) == (before.request, before.fence)
            queued(lock, 1)  # in its place, or back in it
        fence, _ = waiter.hear("held")
        assert int(fence) > before.fence
        waiter.ask("release", expect="released")


def test_a_server_that_forgot_everything_tells_the_holder_and_fences_go_on_rising(
    programs: Programs,
) -> None:
    with server() as valkey:
        [holder] = programs(1, lease=9.0, url=valkey.url)
        [waiter] = programs(1, lease=30.0, url=valkey.url)
        early, _ = holder.ask("acquire", expect="held")
        waiter.tell("acquire")
        queued(Mutex("a", valkey.url), 1)
        crash(valkey)
        late, _ = waiter.hear("held")
        waiter.ask("write", "late", expect="written")
        holder.hear("told", "mutex", "a")
        holder.ask("write", "early", expect="FencedOut")
        holder.ask("release", expect="LockLost")
        assert int(late) > int(early)
        waiter.ask("release", expect="released")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Redis is asked while it is away fails at once, not in five seconds."""
    monkeypatch.setattr(session, "PATIENCE_S", 0.2)
    monkeypatch.setattr(renewer, "ABANDON_AGAIN_S", 0.1)


def leave_without_redis(
    lock: Mutex, valkey: EmbeddedValkey, how: str, stay: Callable[[], object]
) -> None:
    """Kill the server inside the lock, and leave it."""

    def inside() -> None:
        kill(valkey)
        stay()

    async def use_async() -> None:
        async with lock:
            inside()

    if how == "async":
        asyncio.run(use_async())
    else:
        with lock:
            inside()


@pytest.mark.parametrize("how", ["sync", "async"])
def test_what_is_released_without_redis_is_free_when_it_is_back(
    how: str, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []
    send = PushThread.call

    def spy(ours: PushThread, command: Command[Any], *rest: Any) -> None:
        tried.append(command.words[0])
        send(ours, command, *rest)

    monkeypatch.setattr(PushThread, "call", spy)
    with server(appendonly="yes", appendfsync="always") as valkey:
        lock = Mutex("a", valkey.url, lease=600.0)
        leave_without_redis(lock, valkey, how, lambda: None)
        before = len(tried)
        until(lambda: len(tried) > before + 4)  # however long Redis is away
        valkey.stop()
        valkey.start()
        until(lambda: lock.owner() is None)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_holder_is_told_of_its_loss_though_redis_is_away(how: str, impatient: None) -> None:
    with server() as valkey:
        lock = Mutex("a", valkey.url, lease=0.3)
        # It holds the GIL, so that nobody tells of the loss before the lock is left.
        oversleep = partial(ctypes.PyDLL(None).usleep, 500_000)
        with pytest.raises(LockLost, match="its lease"):
            leave_without_redis(lock, valkey, how, oversleep)


# Holders


def test_the_lock_of_a_killed_holder_is_free_when_its_lease_is_over(
    programs: Programs,
) -> None:
    def seconds_after_it() -> float:
        (holder,) = programs(1, lease=5.0)
        lock = Mutex("a")
        holder.ask("acquire", expect="held")
        with thread(use(lock)) as join:
            queued(lock, 1)
            owner = lock.owner()
            assert owner is not None
            holder.process.kill()
            got: float = join()
        return got - owner.lease_end

    # It was renewed once more, perhaps; alone: 5 ms. A busy machine is not late each time.
    assert any(seconds_after_it() < 4.0 for _ in range(5))


def test_a_holder_that_was_stopped_past_its_lease_is_told_and_its_write_refused(
    programs: Programs, redis: Any
) -> None:
    [early], [late] = programs(1, lease=5.0), programs(1, lease=30.0)
    early.ask("acquire", expect="held")
    early.process.send_signal(signal.SIGSTOP)
    late.ask("acquire", expect="held")
    late.ask("write", "late", expect="written")
    early.process.send_signal(signal.SIGCONT)
    early.hear("told", "mutex", "a")
    early.ask("write", "early", expect="FencedOut")
    early.ask("release", expect="LockLost")
    assert redis.get("row") == b"late"
    late.ask("release", expect="released")
    redis.delete("row", KEYS.fenced("row"))


def test_a_holder_whose_gil_is_held_for_three_leases_is_told_and_its_write_refused(
    programs: Programs, redis: Any
) -> None:
    [early], [late] = programs(1, lease=2.0), programs(1, lease=30.0)
    early.ask("acquire", expect="held")
    early.tell("hog", 6)
    late.ask("acquire", expect="held")
    late.ask("write", "late", expect="written")
    heard = {early.hear()[0], early.hear()[0]}
    assert heard == {"hogged", "told"}  # whose thread the interpreter lets go on first
    early.ask("write", "early", expect="FencedOut")
    early.ask("release", expect="LockLost")
    assert redis.get("row") == b"late"
    late.ask("release", expect="released")
    redis.delete("row", KEYS.fenced("row"))


def test_a_fork_owns_nothing_and_the_holder_keeps_what_it_holds() -> None:
    lock = Mutex("a", lease=5.0)
    with lock:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            answers = [str(lock.lost.is_set()), str(Mutex("a").acquire(0))]
            try:
                lock.release()
            except NotHeld:
                answers.append("NotHeld")
            with Mutex("b"):
                answers.append("works")
            os.write(write, " ".join(answers).encode())
            os._exit(0)
        os.waitpid(child, 0)
        with os.fdopen(read) as answers_of_child:
            os.close(write)
            assert answers_of_child.read() == "True False NotHeld works"
        outlives_its_lease(lock)  # it is renewed as before


def test_a_lowered_limit_holds_as_soon_as_holders_are_fewer(programs: Programs) -> None:
    *holders, first, second = programs(5, name="s/3", lease=30.0)
    semaphore = Semaphore("s", 3)
    for holder in holders:
        holder.ask("acquire", expect="held")
    for number, waiter in enumerate((first, second)):
        waiter.tell("acquire")
        queued(semaphore, number + 1)
    semaphore.set_permits(1)
    for left, holder in zip((2, 1), holders, strict=False):
        holder.ask("release", expect="released")
        status = semaphore.statistics()
        assert (status.limit, len(status.holders), len(status.waiters)) == (1, left, 2)
    holders[-1].ask("release", expect="released")
    first.hear("held")
    assert len(semaphore.statistics().waiters) == 1
    semaphore.set_permits(2)
    second.hear("held")
    for waiter in (first, second):
        waiter.ask("release", expect="released")
    semaphore.set_permits(None)


# Waiters


def test_waiters_that_were_killed_are_skipped(programs: Programs) -> None:
    def seconds_until_the_third_has_it() -> float:
        three = programs(3, lease=30.0)
        lock = Mutex("a")
        with lock:
            for number, program in enumerate(three):
                program.tell("acquire")
                queued(lock, number + 1)
            for program in three[:2]:
                program.process.kill()
                program.process.wait(60)
            released = time.time()
        _, when = three[2].hear("held")
        three[2].ask("release", expect="released")
        return float(when) - released

    # Leases are of thirty seconds; and a busy machine is not late each time.
    assert any(seconds_until_the_third_has_it() < 10.0 for _ in range(5))


def test_a_waiter_stopped_when_it_is_its_turn_keeps_the_next_for_two_seconds_at_most(
    programs: Programs,
) -> None:
    stopped, following = programs(2, lease=600.0)
    lock = Mutex("a")
    with lock:
        for number, program in enumerate((stopped, following)):
            program.tell("acquire")
            queued(lock, number + 1)
        stopped.process.send_signal(signal.SIGSTOP)
        released = time.time()
    _, when = following.hear("held")
    assert float(when) - released < 60.0, "two seconds on an idle machine, and no lease of 600"
    stopped.process.send_signal(signal.SIGCONT)
    queued(lock, 1)  # it has found out, and waits again
    following.ask("release", expect="released")
    stopped.hear("held")
    stopped.ask("release", expect="released")


# Deadlocks


@pytest.mark.parametrize("length", [2, 3])
def test_a_deadlock_among_processes_is_found_and_names_all(programs: Programs, length: int) -> None:
    names = [f"lock{number}" for number in range(length)]
    others = [programs(1, name=name, lease=30.0)[0] for name in names[1:]]
    for program in others:
        program.ask("acquire", expect="held")
    with Mutex(names[0]):
        # Each wants the next one's, and the last the first's.
        for program, name in zip(others, [*names[2:], names[0]], strict=True):
            program.tell("also", name)
            queued(Mutex(name), 1)
        with pytest.raises(DeadlockDetected) as found:
            Mutex(names[1]).acquire()
    assert [step.waits_for for step in found.value.cycle] == [
        f"mutex {name}" for name in (*names[1:], names[0])
    ]
    for step, pid in zip(found.value.cycle, (os.getpid(), *(p.pid for p in others)), strict=True):
        assert f"pid {pid} " in step.owner
    for program, name in reversed(list(zip(others, [*names[2:], names[0]], strict=True))):
        program.hear("also", name)
        program.ask("release", expect="released")


def test_a_cycle_is_none_when_the_lease_of_a_holder_in_it_is_over(programs: Programs) -> None:
    (stopped,) = programs(1, name="b", lease=5.0)
    stopped.ask("acquire", expect="held")
    with Mutex("a"):
        stopped.tell("also", "a")
        queued(Mutex("a"), 1)
        stopped.process.send_signal(signal.SIGSTOP)
        until(lambda: Mutex("b").owner() is None)
        with Mutex("b"):  # whose holder waits for us, but holds it no more
            pass
    stopped.process.send_signal(signal.SIGCONT)
    assert {stopped.hear()[0], stopped.hear()[0]} == {"told", "also"}
    stopped.ask("release", expect="LockLost")


# All of it


def test_a_storm_of_faults_breaks_nothing() -> None:
    result = Locks()
    with EmbeddedValkey({"appendonly": "yes", "appendfsync": "always"}) as valkey:
        chance = seeded()
        for _ in range(5):  # a machine that others keep busy needs more than one
            storm(valkey, 6.0, chance, result, quiet)
            if result.sections > 10:
                break
    print(result)
    assert result.sections > 10, "the locks go on being taken"
    assert result.problems() == []


@pytest.mark.parametrize(
    ("log", "broken"),
    [
        ("+1 -1 =1 +2 -2 =2", 0),
        ("+1 +2 -2 =2 -1", 0),  # it was lost while inside, and told
        ("+2 +1 -1 -2 =2", 0),  # it was lost on the way in, and told
        ("+1 +2 -2 =2", 0),  # it died inside
        ("+1 +2 -1 =1 -2 =2", 1),
        ("+2 +1 -1 =1 -2 =2", 1),
        ("+1 +2 -1 =1 -2", 1),
    ],
)
def test_the_log_of_a_storm_shows_who_lost_a_lock_and_was_not_told(
    redis: Any, log: str, broken: int
) -> None:
    redis.rpush("log:a", *log.split())
    result = Locks()
    check(redis, "a", result)
    assert result.broken == broken


def seeded() -> random.Random:
    """Chance whose seed a failure shows."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)
