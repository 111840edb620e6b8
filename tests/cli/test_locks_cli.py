"""`heori locks` as a person types it, with locks that real processes hold and wait for."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from heori import Producer
from heori.inspect.locks import Locks
from heori_common.locks.commands import LockCommands, LockRequest
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.rigs.zygote import Started
from tests.tasks import lock_tasks, sample_tasks

LEASE = 15.0  # seconds; a loss is told within a third of it


class Program:
    """A process that uses one mutex, see lock_program.py."""

    def __init__(self, url: str, name: str) -> None:
        self.process = Started(
            "tests.rigs.lock_program",
            *(url, name, str(LEASE)),
            env=os.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.heard() == ["ready", str(self.process.pid)]

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def heard(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def ask(self, command: str) -> str:
        self.tell(command)
        return self.heard()[0]


Start = Callable[[str], Program]


@pytest.fixture
def start(redis_url: str) -> Iterator[Start]:
    started: list[Program] = []

    def start(name: str) -> Program:
        started.append(Program(redis_url, name))
        return started[-1]

    yield start
    for program in started:
        program.process.kill()
        for pipe in (program.process.stdin, program.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def acquire(redis_url: str) -> Iterator[Callable[..., str]]:
    """Take locks without a process that renews them, as it takes one lease to see what is shown."""
    commands = LockCommands(Keys())
    number = 0
    with RedisClient(redis_url) as client:

        def acquire(kind: str, name: str, limit: int | None = None, state: str = "held") -> str:
            nonlocal number
            number += 1
            request = f"request-{number}"
            lock = commands.keys.lock(kind, name)
            about = b"\x94\xa4host\x2a\xa6thread\xa0"  # msgpack: host, 42, thread and no job
            answer = client.execute(
                commands.acquire(
                    [LockRequest(lock, limit)],
                    request,
                    owner=request,
                    about=about,
                    wake="nobody",
                    lease_us=60_000_000,
                    ticket=None,
                    wait=state != "held",
                    deadlock="raise",
                )
            )
            assert answer.state == state
            return request

        yield acquire


def shown(heori: Heori, *words: str) -> Any:
    done = heori("locks", *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def holders(redis_url: str, name: str) -> list[str]:
    """The requests that hold it, without the second that a command takes to start."""
    with RedisClient(redis_url) as client:
        found = Locks(client, Keys()).named(name, None)
        return [holder.request for lock in found for holder in lock.holders]


def test_of_many_who_wait_the_first_ten_are_shown_and_the_others_counted(
    heori: Heori, acquire: Callable[..., str]
) -> None:
    acquire("mutex", "a")
    for _ in range(47):
        acquire("mutex", "a", state="waiting")
    told = heori("locks", "a").stdout.splitlines()
    assert told[0] == "mutex a: 1 of 1 in use, 47 waiting"
    waiting = [line.partition(". waits:")[0].strip() for line in told if "waits:" in line]
    assert waiting == [str(place) for place in range(1, 11)]
    assert told[-1] == "  and 37 more; --json has all"
    [lock] = shown(heori, "a")["locks"]
    assert len(lock["waiters"]) == 47
    for _ in range(11):
        acquire("semaphore", "b", 11)
    told = heori("locks", "b").stdout.splitlines()
    assert sum("held by" in line for line in told) == 10
    assert told[-1] == "  and 1 more; --json has all"


def test_holders_and_waiters_are_told_in_order_and_names_cannot_command_the_terminal(
    heori: Heori, start: Start, redis: Any
) -> None:
    name = "a b"
    programs = [start(name) for _ in range(3)]
    programs[0].tell("acquire")
    fence = int(programs[0].heard()[1])
    for number, program in enumerate(programs[1:], 1):
        program.tell("acquire")
        waiters = f"{Keys().lock('mutex', name)}:waiters"
        until(lambda waiters=waiters, number=number: redis.zcard(waiters) == number)  # type: ignore[misc]

    [lock] = shown(heori)["locks"]
    about = (lock["kind"], lock["name"], lock["limit"], lock["in_use"])
    assert about == ("mutex", name, 1, 1)
    pids = [party["pid"] for party in (*lock["holders"], *lock["waiters"])]
    assert pids == [program.process.pid for program in programs]
    [holder] = lock["holders"]
    assert (holder["fence"], holder["host"]) == (fence, os.uname().nodename)
    assert 0 < holder["lease_ends_in"] <= LEASE
    assert holder["seconds"] >= lock["waiters"][0]["seconds"] >= lock["waiters"][1]["seconds"] > 0

    hostile = "a\x1b[31m"  # no program of ours makes such a name
    made, copy = (Keys().lock("mutex", each) for each in (name, hostile))
    for part in ("", ":holders", ":waiters"):
        redis.copy(f"{made}{part}", f"{copy}{part}")
    redis.zadd(Keys().locks(), {copy: 1e18})
    for request, _ in redis.zscan_iter(f"{copy}:holders"):  # nobody renews the lease of a copy
        redis.zadd(f"{copy}:holders", {request: 1e18})
    refused = heori("locks", hostile)
    assert refused.returncode == 2
    assert r"the name has '\x1b' in it" in refused.stderr
    assert hostile in {lock["name"] for lock in shown(heori)["locks"]}
    for words in ([], [name]):
        told = heori("locks", *words).stdout
        assert words or r"a\x1b[31m" in told
        assert "\x1b" not in told
        assert all(str(pid) in told for pid in (pids if words else pids[:1]))
    assert told.index("held by") < told.index("1. waits") < told.index("2. waits")


def test_a_forced_release_hands_over_tells_the_holder_and_its_fence_refuses_its_writes(
    heori: Heori, start: Start, redis: Any, redis_url: str
) -> None:
    holder, waiter = start("a"), start("a")
    assert holder.ask("acquire") == "held"
    waiter.tell("acquire")
    until(lambda: redis.zcard(f"{Keys().lock('mutex', 'a')}:waiters") == 1)
    before = holders(redis_url, "a")

    warned = heori("locks", "release", "a")
    assert warned.returncode == 2
    assert "nothing was done" in warned.stderr
    assert str(holder.process.pid) in warned.stderr
    assert "goes on beside the next one" in warned.stderr
    assert holders(redis_url, "a") == before

    released = heori("locks", "release", "a", "--force")
    assert (released.returncode, released.stdout) == (0, "released by force: 1 of 1\n")
    assert waiter.heard()[0] == "held"
    assert holder.heard() == ["told", "mutex", "a"]
    assert waiter.ask("write 2") == "written"
    assert holder.ask("write 1") == "FencedOut"
    assert redis.get("row") == b"2"
    assert holder.ask("release") == "LockLost"
    assert waiter.ask("release") == "released"
    told = heori("locks").stdout
    assert "nobody holds a lock" in told
    assert "by force so far: 1\n" in told


def test_of_several_holders_only_the_one_that_is_named_loses_its_permit(
    heori: Heori, acquire: Callable[..., str]
) -> None:
    first, second = (acquire("semaphore", "gpu", 3) for _ in range(2))
    undecided = heori("locks", "release", "gpu", "--force")
    assert undecided.returncode == 2
    assert first in undecided.stderr
    assert second in undecided.stderr

    released = heori("locks", "release", "gpu", "--force", "--request", first, "--json")
    assert json.loads(released.stdout)["released"] == [first]
    [lock] = shown(heori, "gpu")["locks"]
    assert (lock["limit"], [holder["request"] for holder in lock["holders"]]) == (3, [second])


def test_a_mutex_and_a_semaphore_of_one_name_are_told_apart(
    heori: Heori, acquire: Callable[..., str], redis_url: str
) -> None:
    mutex = acquire("mutex", "a")
    acquire("semaphore", "a", 1)
    which = heori("locks", "release", "a", "--force")
    assert which.returncode == 2
    assert "--kind" in which.stderr
    assert heori("locks", "release", "a", "--kind", "semaphore", "--force").returncode == 0
    assert holders(redis_url, "a") == [mutex]


@pytest.mark.parametrize("name", ["", "x" * 513, "caf\udce9.txt"])
@pytest.mark.parametrize("command", [[], ["release", "--force"]])
def test_a_name_that_no_lock_can_have_is_refused(
    heori: Heori, command: list[str], name: str
) -> None:
    done = heori("locks", *command, name)
    assert done.returncode == 2
    assert done.stderr.startswith("heori: lock '")
    assert "the name " in done.stderr


def test_a_lock_named_as_a_command_is_shown(heori: Heori, acquire: Callable[..., str]) -> None:
    acquire("mutex", "release")
    [lock] = shown(heori, "show", "release")["locks"]
    assert lock["name"] == "release"


def test_a_key_that_cannot_be_read_is_named_and_the_others_are_shown(
    heori: Heori, acquire: Callable[..., str], redis: Any
) -> None:
    acquire("mutex", "good")
    redis.zadd(Keys().locks(), {Keys().lock("mutex", "bad"): 1, b"\xff": 1})
    redis.set(f"{Keys().lock('mutex', 'bad')}:holders", "no zset")
    told = heori("locks", "--json")
    assert told.returncode == 1
    assert [lock["name"] for lock in json.loads(told.stdout)["locks"]] == ["good"]
    bad = Keys().lock("mutex", "bad")
    assert f"{bad} cannot be read: it holds another type of value" in told.stderr
    assert json.loads(told.stdout)["unreadable"].keys() == {bad}
    assert "Traceback" not in told.stderr


def test_a_holder_that_has_just_given_it_back_loses_nothing(
    redis_url: str, acquire: Callable[..., str]
) -> None:
    request = acquire("mutex", "a")
    with RedisClient(redis_url) as client:
        locks = Locks(client, Keys())
        [lock] = locks.named("a", None)
        [holder] = lock.holders
        client.execute(LockCommands(Keys()).release([lock.key], request))
        acquire("mutex", "a")
        assert not locks.force(lock, holder)
        assert locks.count_forced() == 0
        assert len(locks.named("a", None)[0].holders) == 1


def test_the_job_that_holds_a_lock_is_told(
    heori: Heori, consume: Callable[..., Consumer], producer: Producer, redis_url: str, redis: Any
) -> None:
    consume("--model", "threads").ready()
    handle = producer.submit(sample_tasks.hold_mutex, redis_url, "account:5")
    assert redis.blpop(["account:5:running"], timeout=60)
    [lock] = shown(heori, "account:5")["locks"]
    assert lock["holders"][0]["job"] == handle.id
    redis.rpush("account:5:go", 1)
    handle.result(60)
    assert holders(redis_url, "account:5") == []


def test_a_job_that_waits_in_the_queue_of_a_lock_is_told(
    heori: Heori,
    acquire: Callable[..., str],
    consume: Callable[..., Consumer],
    producer: Producer,
    redis_url: str,
) -> None:
    consume("--model", "threads", HEORI_TASKS="tests.tasks.lock_tasks").ready()
    acquire("mutex", "account:5")
    handle = producer.submit(lock_tasks.enter, redis_url, 5, 1)
    until(lambda: handle.status() == "deferred")
    [lock] = shown(heori, "account:5")["locks"]
    [waiter] = lock["waiters"]
    assert (waiter["job"], waiter["runner"]) == (handle.id, "queue default")
    assert (waiter["host"], waiter["pid"], waiter["request"]) == ("", 0, f"job:{handle.id}")
    table = heori("locks", "account:5")
    assert f"job {handle.id} (queue default)" in " ".join(table.stdout.split())
