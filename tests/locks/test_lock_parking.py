"""The scripts by which jobs take their locks, wait for them and let them go; time is the test's."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgpack
import pytest
import redis as redis_py

from heori_common.locks.commands import LockRequest
from heori_common.protocol.commands import DEADLOCK, HANDOVER_LEASE_US, Commands
from heori_common.protocol.job import FINISHED, RETURNED, Claim, LockName, NewJob, Outcome
from heori_common.protocol.payload import Call
from tests.rigs.lock_table import COMMANDS, KEYS, LEASE, SECOND, START, A, B, S, Table, table_on

MUTEX_A = LockName("mutex", "a")
MUTEX_B = LockName("mutex", "b")
SEMAPHORE_S = LockName("semaphore", "s", 2)


class Yard(Table):
    """What consumers do to the jobs of the queue x, which declare locks."""

    def __init__(self, redis: Any) -> None:
        super().__init__(redis)
        self.commands = Commands(KEYS)
        self.calls = 0

    def send(self, *ids: str, locks: Sequence[LockName] = (MUTEX_A,), queue: str = "x") -> None:
        call = Call("tests.tasks.sample_tasks.add", [1], {})
        jobs = [NewJob.create(each, call, 180, locks=locks) for each in ids]
        assert self.execute(self.commands.enqueue(queue, jobs)).new == len(ids)

    def send_again(self, *ids: str) -> None:
        """As rq's `requeue` does, whatever has become of them."""
        self.redis.rpush("rq:queue:x", *ids)

    def claim(self, *, deadlock: str = "raise") -> dict[str, Claim]:
        self.calls += 1
        claimed = self.execute(
            self.commands.claim(
                ["x"],
                10,
                lease=LEASE / SECOND,
                consumer="me",
                token=f"{self.calls:016x}",
                max_payload=1_000,
                about=("host", 42),
                deadlock=deadlock,
            )
        )
        return {claim.job_id: claim for claim in claimed.claims}

    def take(self, *ids: str, locks: Sequence[LockName] = (MUTEX_A,)) -> list[Claim]:
        """Send and claim jobs that get their locks at once."""
        self.send(*ids, locks=locks)
        claims = self.claim()
        assert list(claims) == list(ids)
        assert [claim.problem for claim in claims.values()] == [None] * len(ids)
        return list(claims.values())

    def park(self, *ids: str, locks: Sequence[LockName] = (MUTEX_A,), queue: str = "x") -> None:
        """Send jobs that have to wait."""
        self.send(*ids, locks=locks, queue=queue)
        assert self.claim() == {}
        assert [self.field(each, "status") for each in ids] == ["deferred"] * len(ids)

    def finish(self, *claims: Claim) -> None:
        ended = [(claim, Outcome(FINISHED, b"1", run_time=0.1)) for claim in claims]
        assert self.execute(self.commands.ack(ended, consumer="me"))[0] == []

    def give_back(self, claim: Claim) -> None:
        given_back = [(claim, Outcome(RETURNED))]
        release = self.commands.give_back(given_back, consumer="me", max_deliveries=3)
        assert self.execute(release) == ["queued"]

    def reclaim(self) -> None:
        self.redis.delete("rq:heori:watched:x", "rq:heori:watching:service")
        reclaim = self.commands.reclaim(
            ["x"],
            service="service",
            whole=True,
            leased=0,
            interval=1,
            lease=30,
            consumer="me",
            max_deliveries=3,
            evidence=b"lost",
            come_back=0,
        )
        self.execute(reclaim)

    def field(self, job: str, name: str) -> str | None:
        value = self.redis.hget(f"rq:job:{job}", name)
        return None if value is None else value.decode()

    def queued(self) -> list[str]:
        return [each.decode() for each in self.redis.lrange("rq:queue:x", 0, -1)]

    def parked(self) -> set[str]:
        return {each.decode() for each in self.redis.zrange("rq:heori:parked:x", 0, -1)}

    def locks_left(self) -> set[bytes]:
        return {key for key in self.left() if key.startswith(b"rq:heori:lock")}


@pytest.fixture
def yard(redis: redis_py.Redis) -> Iterator[Yard]:
    with table_on(redis, Yard) as made:
        made.connect(0)
        yield made


def about(host: str, pid: int, name: str, job: str = "") -> bytes:
    """What `heori_common.locks` says of an owner."""
    packed: bytes = msgpack.packb([host, pid, name, job], use_bin_type=False)
    return packed


# To take them, to wait and to be handed them


def test_a_job_holds_its_locks_from_its_claim_to_its_end(yard: Yard) -> None:
    (claim,) = yard.take("j", locks=[MUTEX_A, SEMAPHORE_S])
    (a,) = yard.execute(COMMANDS.read(A.key)).holders
    (s,) = yard.execute(COMMANDS.read(S.key)).holders
    assert (a.id, a.owner, a.lease_end, a.limit) == ("job:j", "job:j", START + LEASE, None)
    assert (s.id, s.lease_end, s.limit) == ("job:j", START + LEASE, 2)
    assert msgpack.unpackb(a.about) == ["host", 42, "me", "j"]
    assert claim.locks == [(A.key, a.fence), (S.key, s.fence)]
    assert (claim.waited, s.fence) == (0, a.fence + 1)
    assert yard.field("j", "heori_ticket") == str(START)
    yard.finish(claim)
    assert yard.locks_left() == set()


def test_a_job_that_waits_is_no_ones_and_is_told_where_rq_looks(yard: Yard) -> None:
    (first,) = yard.take("first")
    yard.advance(SECOND)
    yard.park("second", "third")
    assert yard.field("second", "worker_name") == ""
    assert yard.field("second", "heori_ticket") == str(START + SECOND)
    assert yard.redis.zscore("rq:deferred:x", "second") == (START + SECOND) // SECOND
    assert yard.redis.zscore("rq:heori:parked:x", "second") == (START + SECOND) // SECOND + 10
    waiters = yard.execute(COMMANDS.read(A.key)).waiters
    assert [each.id for each in waiters] == ["job:second", "job:third"]
    assert msgpack.unpackb(waiters[0].about) == ["", 0, "queue x", "second"]
    assert waiters[0].since == START + SECOND
    yard.advance(SECOND)
    yard.finish(first)
    assert yard.holders(A) == ["job:second"]
    assert (yard.queued(), yard.field("second", "status")) == (["second"], "queued")
    assert yard.redis.zrange("rq:deferred:x", 0, -1) == [b"third"]
    assert yard.parked() == {"third"}
    claims = yard.claim()
    assert claims["second"].waited == 1.0
    assert yard.field("second", "heori_parked") is None
    yard.finish(claims["second"])
    yard.finish(yard.claim()["third"])
    assert yard.locks_left() == set()


def test_jobs_that_come_in_the_same_microsecond_keep_their_order(yard: Yard) -> None:
    yard.take("first")
    yard.park("z", "y", "a")
    assert yard.waiters(A) == ["job:z", "job:y", "job:a"]


def test_of_several_locks_a_job_waits_for_the_first_that_is_missing(yard: Yard) -> None:
    yard.take("first", locks=[MUTEX_A, MUTEX_B])
    yard.park("second", locks=[MUTEX_A, MUTEX_B, SEMAPHORE_S])
    assert (yard.waiters(A), yard.waiters(B)) == (["job:second"], [])
    assert yard.holders(S) == []


def test_a_job_that_is_handed_one_lock_gives_it_back_when_another_is_missing(yard: Yard) -> None:
    (first,) = yard.take("first")
    yard.park("both", locks=[MUTEX_A, MUTEX_B])
    yard.park("next")
    yard.take("other", locks=[MUTEX_B])
    yard.finish(first)
    assert yard.holders(A) == ["job:both"]
    assert yard.claim() == {}
    assert (yard.holders(A), yard.waiters(A)) == (["job:next"], [])
    assert yard.waiters(B) == ["job:both"]


def test_a_job_keeps_its_ticket_and_the_time_since_it_waits_through_all_its_waits(
    yard: Yard,
) -> None:
    (first,) = yard.take("first")
    yard.park("j", locks=[MUTEX_A, MUTEX_B])
    (other,) = yard.take("other", locks=[MUTEX_B])
    yard.advance(SECOND)
    yard.park("later", locks=[MUTEX_B])
    yard.finish(first)
    assert yard.claim() == {}
    assert yard.waiters(B) == ["job:j", "job:later"]
    yard.advance(SECOND)
    yard.finish(other)
    assert yard.claim()["j"].waited == 2.0
    assert yard.field("j", "heori_ticket") == str(START)


def test_a_job_that_was_given_back_has_the_ticket_of_its_first_claim(yard: Yard) -> None:
    (claim,) = yard.take("j")
    yard.advance(SECOND)
    yard.give_back(claim)
    assert yard.locks_left() == set()
    yard.claim()
    assert yard.field("j", "heori_ticket") == str(START)


def test_a_clock_that_goes_back_makes_no_negative_wait(yard: Yard) -> None:
    (first,) = yard.take("first")
    yard.park("second")
    yard.advance(-SECOND)
    yard.finish(first)
    assert yard.claim()["second"].waited == 0


def test_a_job_is_kept_from_a_free_lock_by_who_came_before_it_and_by_no_other(yard: Yard) -> None:
    three, one = S._replace(limit=3), S._replace(limit=1)
    job = [LockName("semaphore", "s", 3)]
    yard.acquire(three, owner="p", request="p")
    (early,) = yard.take("early", locks=job)
    yard.give_back(early)
    yard.advance(SECOND)
    assert yard.acquire(one, owner="q", request="q").state == "waiting"
    assert list(yard.claim()) == ["early"]
    yard.park("late", locks=job)
    assert yard.waiters(S) == ["q", "job:late"]
    yard.send_again("late")
    assert yard.claim() == {}


def test_a_job_that_asks_again_has_its_place_though_its_hash_knows_no_ticket(yard: Yard) -> None:
    yard.take("first")
    yard.park("a")
    yard.advance(SECOND)
    yard.park("b")
    yard.redis.hdel("rq:job:a", "heori_ticket")
    yard.advance(SECOND)
    yard.send_again("a")
    assert yard.claim() == {}
    assert yard.waiters(A) == ["job:a", "job:b"]


def test_a_job_that_asks_again_for_what_is_free_now_stands_in_no_queue(yard: Yard) -> None:
    yard.take("first")
    yard.park("j")
    yard.redis.delete(A.key + ":holders")
    yard.send_again("j")
    assert list(yard.claim()) == ["j"]
    assert yard.waiters(A) == []
    assert not yard.redis.exists(KEYS.lock_waits())


def test_a_lock_whose_holder_is_overdue_is_free_for_a_job(yard: Yard) -> None:
    yard.acquire(A, owner="p", request="p")
    yard.advance(LEASE)
    assert [claim.locks[0][0] for claim in yard.take("j")] == [A.key]


def test_of_an_overdue_job_the_lock_is_free_once_somebody_looks_who_still_lives(yard: Yard) -> None:
    yard.take("first")
    yard.advance(LEASE)
    yard.park("second")  # nobody has looked: whoever runs the first may come back
    assert yard.redis.zrange(f"{A.key}:holders", 0, -1) == [b"job:first"]
    yard.redis.set("rq:heori:watched:x", START // SECOND - 60)
    yard.send_again("second")
    assert list(yard.claim()) == ["second"]
    assert yard.holders(A) == ["job:second"]


def test_of_jobs_that_are_handed_a_lock_each_has_two_seconds_to_be_claimed(yard: Yard) -> None:
    (first,) = yard.take("first")
    yard.park("second", "third")
    yard.finish(first)
    yard.advance(HANDOVER_LEASE_US - 1)
    yard.reclaim()
    assert yard.holders(A) == ["job:second"]
    yard.advance(1)
    yard.reclaim()
    assert yard.holders(A) == ["job:third"]
    assert yard.queued() == ["third", "second"]


# What others have done to a job that waits


def test_a_job_of_a_tenant_has_its_turn_when_it_is_handed_its_lock(yard: Yard) -> None:
    (holder,) = yard.take("j1")
    yard.park("j2", queue="x@@acme")
    assert not yard.redis.exists(KEYS.turns("x")), "a tenant of whom nothing waits has no turn"
    yard.finish(holder)
    claims = yard.claim()
    assert {each: claim.queue for each, claim in claims.items()} == {"j2": "x@@acme"}
    yard.finish(*claims.values())
    assert yard.locks_left() == set()


def test_a_cancelled_and_a_deleted_job_are_passed_over(yard: Yard) -> None:
    (first,) = yard.take("first")
    yard.park("cancelled", "deleted", "text", "living")
    yard.redis.hset("rq:job:cancelled", "status", "canceled")
    yard.redis.delete("rq:job:deleted")
    yard.redis.set("rq:job:text", "text")
    yard.finish(first)
    assert yard.holders(A) == ["job:living"]
    assert (yard.queued(), yard.parked()) == (["living"], set())
    assert yard.field("cancelled", "status") == "canceled"


def test_a_job_whose_queue_holds_something_else_waits_until_that_is_mended(yard: Yard) -> None:
    (first,) = yard.take("first")
    yard.park("second")
    yard.redis.set("rq:queue:x", "text")
    yard.finish(first)
    assert yard.locks_left() == set()
    assert (yard.parked(), yard.field("second", "status")) == ({"second"}, "deferred")
    yard.redis.delete("rq:queue:x")
    yard.advance(10 * SECOND)
    yard.reclaim()
    assert list(yard.claim()) == ["second"]


@pytest.mark.parametrize("when", ["before", "while"])
@pytest.mark.parametrize("key", ["rq:deferred:x", "rq:heori:parked:x"])
def test_a_registry_that_holds_something_else_keeps_no_job_from_its_lock(
    yard: Yard, key: str, when: str
) -> None:
    (first,) = yard.take("first")
    if when == "before":
        yard.redis.set(key, "text")
    yard.park("cancelled", "second")
    yard.redis.set(key, "text")
    yard.redis.hset("rq:job:cancelled", "status", "canceled")
    yard.finish(first)
    assert yard.holders(A) == ["job:second"]
    assert list(yard.claim()) == ["second"]


@pytest.mark.parametrize("suffix", ["", ":holders", ":waiters"])
def test_a_lock_that_holds_something_else_keeps_no_job_from_its_end(
    yard: Yard, suffix: str
) -> None:
    (claim,) = yard.take("j", locks=[MUTEX_A, MUTEX_B])
    yard.redis.delete(A.key + suffix)
    yard.redis.set(A.key + suffix, "text")
    yard.finish(claim)
    assert yard.field("j", "status") == "finished"
    assert yard.holders(B) == []


@pytest.mark.parametrize(
    "field",
    [
        b"no JSON", b"5", b"null", b"[]", b"[5]", b'["ab"]', b"[[]]", b'[[1,"a",0]]',
        b'[["mutex",1,0]]', b'[["mutex","a"]]', b'[["mutex","a","0"]]',
    ],
)  # fmt: skip
def test_locks_that_have_no_meaning_are_told_and_no_job_is_lost(yard: Yard, field: bytes) -> None:
    yard.send("j", "other", locks=())
    yard.redis.hset("rq:job:j", "heori_locks", field)
    claims = yard.claim()
    assert claims["j"].problem == f"its heori_locks {field.decode()} have no meaning"
    assert (claims["j"].locks, claims["other"].problem) == ([], None)


def test_a_job_whose_locks_have_lost_their_meaning_ends_and_is_given_back(yard: Yard) -> None:
    (claim,) = yard.take("j")
    yard.redis.hset("rq:job:j", "heori_locks", "no JSON")
    yard.give_back(claim)
    assert yard.queued() == ["j"]


# Deadlocks


def test_a_job_whose_wait_would_never_end_is_told_who_waits_for_whom(yard: Yard) -> None:
    yard.take("parent")
    join = COMMANDS.note_wait(
        "job:parent", "job:child", about=about("h", 7, "w", "parent"), ttl=60, deadlock="raise"
    )
    assert yard.execute(join) == []
    yard.send("child", locks=[MUTEX_A, MUTEX_B])
    assert yard.claim()["child"].problem == (
        f"{DEADLOCK}: job child waits for mutex a; job parent waits for job child"
    )
    assert (yard.waiters(A), yard.holders(B)) == ([], [])


def test_a_deadlock_names_programs_and_those_who_do_not_say_who_they_are(yard: Yard) -> None:
    yard.acquire(A, owner="p", request="p has")
    for owner, whom, said in (
        ("p", "q", about("here", 1_234_567, "MainThread")),
        ("q", "job:j", b"\xc1"),
    ):
        assert (
            yard.execute(COMMANDS.note_wait(owner, whom, about=said, ttl=60, deadlock="raise"))
            == []
        )
    yard.send("j")
    assert yard.claim()["j"].problem == (
        f"{DEADLOCK}: job j waits for mutex a; MainThread (pid 1234567 on here) waits for "
        "somebody; somebody waits for job j"
    )


@pytest.mark.parametrize("deadlock", ["warn", "off"])
def test_a_job_waits_in_a_deadlock_where_that_is_wanted(yard: Yard, deadlock: str) -> None:
    yard.take("parent")
    yard.execute(COMMANDS.note_wait("job:parent", "job:child", about=b"", ttl=60, deadlock="raise"))
    yard.send("child")
    assert yard.claim(deadlock=deadlock) == {}
    assert yard.waiters(A) == ["job:child"]


def test_a_search_goes_through_a_job_that_waits_for_a_lock(yard: Yard) -> None:
    yard.take("parent")
    yard.park("child")
    join = COMMANDS.note_wait("job:parent", "job:child", about=b"p", ttl=60, deadlock="raise")
    assert [(step.owner, step.lock) for step in yard.execute(join)] == [
        ("job:parent", None),
        ("job:child", A.key),
    ]
    yard.redis.hset("rq:job:child", "status", "canceled")
    assert yard.execute(join) == []  # it will not wait when its turn comes


def test_a_search_ends_at_a_job_whose_key_holds_something_else(yard: Yard) -> None:
    yard.take("parent")
    yard.park("child")
    yard.redis.set("rq:job:child", "text")
    join = COMMANDS.note_wait("job:parent", "job:child", about=b"p", ttl=60, deadlock="raise")
    assert yard.execute(join) == []


def test_to_ask_again_for_what_the_job_itself_has_declared_would_never_end(yard: Yard) -> None:
    yard.take("j")
    assert yard.acquire(A, owner="job:j", request="r").state == "deadlock"


def test_a_job_that_gives_a_lock_back_as_its_wait_would_never_end_passes_it_on(yard: Yard) -> None:
    (first,) = yard.take("first")
    yard.park("child", locks=[MUTEX_A, MUTEX_B])
    yard.park("next")
    yard.take("parent", locks=[MUTEX_B])
    yard.execute(COMMANDS.note_wait("job:parent", "job:child", about=b"", ttl=60, deadlock="raise"))
    yard.finish(first)
    assert yard.claim()["child"].problem is not None
    assert yard.holders(A) == ["job:next"]


def test_a_program_and_jobs_stand_in_one_queue(yard: Yard) -> None:
    wanted = LockRequest(S.key, 2)
    yard.acquire(wanted, owner="p", request="p")
    (first,) = yard.take("first", locks=[SEMAPHORE_S])
    yard.park("second", locks=[SEMAPHORE_S])
    assert yard.acquire(wanted, owner="q", request="q").before == 1
    yard.release(wanted, "p")
    assert yard.holders(S) == ["job:second", "job:first"]
    yard.finish(first)
    assert sorted(yard.holders(S)) == ["job:second", "q"]
