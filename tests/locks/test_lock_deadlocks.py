"""The scripts of the locks: owners that wait for each other are told, and no others."""

import pytest

from heori_common.locks.commands import Answer, LockRequest
from tests.rigs.lock_table import COMMANDS, KEYS, SECOND, A, B, S, Table


def chain(table: Table, *pairs: tuple[str, LockRequest, LockRequest]) -> Answer:
    """Each owner holds its first lock; then, in turns, each wants its second; the last answer."""
    for owner, has, _ in pairs:
        assert table.acquire(has, owner=owner, request=f"{owner} has").state == "held"
    answers = [
        table.acquire(wants, owner=owner, request=f"{owner} wants") for owner, _, wants in pairs
    ]
    assert {answer.state for answer in answers[:-1]} <= {"waiting"}
    return answers[-1]


C = LockRequest(KEYS.lock("mutex", "c"), None)


@pytest.mark.parametrize("length", [2, 3])
def test_whoever_would_close_a_cycle_is_told_and_does_not_wait(table: Table, length: int) -> None:
    locks = [A, B, C][:length]
    owners = ["x", "y", "z"][:length]
    answer = chain(table, *zip(owners, locks, [*locks[1:], A], strict=True))
    assert answer.state == "deadlock"
    assert {step.owner: step.lock for step in answer.cycle} == dict(
        zip(owners, [lock.key for lock in [*locks[1:], A]], strict=True)
    )
    assert answer.cycle[0].owner == owners[-1]
    assert {step.about.decode() for step in answer.cycle} == set(owners)
    table.release(locks[-1], f"{owners[-1]} has")
    assert table.holders(locks[-1]) == [f"{owners[-2]} wants"]


def test_a_cycle_is_none_when_a_holder_in_it_has_expired(table: Table) -> None:
    table.acquire(B, owner="y", request="y has", lease=SECOND)
    table.acquire(A, owner="x", request="x has")
    table.acquire(A, owner="y", request="y wants")
    table.advance(SECOND)
    assert table.acquire(B, owner="x", request="x wants").state == "held"


def test_a_cycle_is_none_when_a_holder_far_off_in_it_has_expired(table: Table) -> None:
    table.acquire(A, owner="x", request="x has")
    table.acquire(B, owner="y", request="y has")
    table.acquire(C, owner="z", request="z has", lease=SECOND)
    table.acquire(C, owner="y", request="y wants")
    table.acquire(A, owner="z", request="z wants")
    table.advance(SECOND)  # nobody has looked at c since
    assert table.acquire(B, owner="x", request="x wants").state == "waiting"


def test_a_cycle_is_none_when_a_waiter_in_it_is_dead(table: Table) -> None:
    table.acquire(A, owner="x", request="x has")
    table.acquire(B, owner="y", request="y has", process=7)
    table.acquire(A, owner="y", request="y wants", process=7)
    assert table.acquire(B, owner="x", request="x wants").state == "waiting"


def test_a_semaphore_is_stuck_only_if_all_its_holders_are(table: Table) -> None:
    table.acquire(A, owner="me", request="me has")
    for owner in ("stuck", "runs"):
        table.acquire(S, owner=owner, request=f"{owner} has")
    table.acquire(A, owner="stuck", request="stuck wants")
    assert table.acquire(S, owner="me", request="me wants").state == "waiting"
    table.release(S, "me wants")
    table.acquire(A, owner="runs", request="runs wants")
    assert table.acquire(S, owner="me", request="me again").state == "deadlock"


def test_one_who_would_wait_for_its_own_permits_is_told(table: Table) -> None:
    for n in range(2):
        table.acquire(S, owner="x", request=str(n))
    assert table.acquire(S, owner="x").state == "deadlock"


def test_an_owner_who_reaches_it_twice_is_named_once(table: Table) -> None:
    table.acquire(A, owner="me", request="me has")
    table.acquire(B, owner="y", request="y has")
    for owner in "uv":
        table.acquire(S, owner=owner, request=f"{owner} has")
        table.acquire(B, owner=owner, request=f"{owner} wants")
    table.acquire(A, owner="y", request="y wants")
    answer = table.acquire(S, owner="me", request="me wants")
    assert [step.owner for step in answer.cycle] == ["me", "u", "v", "y"]


def test_a_cycle_is_none_when_a_permit_far_off_in_it_has_expired(table: Table) -> None:
    table.acquire(A, owner="me", request="me has")
    table.acquire(B, owner="y", request="y has")
    table.acquire(S, owner="stuck", request="stuck has")
    table.acquire(S, owner="gone", request="gone has", lease=SECOND)
    table.acquire(S, owner="y", request="y wants")
    table.acquire(A, owner="stuck", request="stuck wants")
    table.advance(SECOND)  # nobody has looked at s since
    assert table.acquire(B, owner="me", request="me wants").state == "waiting"


def test_a_cycle_is_none_when_a_queue_in_it_was_deleted(table: Table) -> None:
    table.acquire(A, owner="x", request="x has")
    table.acquire(B, owner="y", request="y has")
    table.acquire(A, owner="y", request="y wants")
    table.redis.delete(A.key + ":waiters")
    assert table.acquire(B, owner="x", request="x wants").state == "waiting"


def test_one_who_asks_for_a_mutex_that_it_is_giving_up_waits(table: Table) -> None:
    table.acquire(A, owner="x", request="abandoned")
    assert table.acquire(A, owner="x", request="again").state == "waiting"
    table.release(A, "abandoned")
    assert table.holders(A) == ["again"]


def test_a_request_that_is_given_up_late_hides_no_deadlock(table: Table) -> None:
    table.acquire(A, owner="x", request="x has")
    table.acquire(B, owner="y", request="y has")
    table.acquire(C, owner="z", request="z has")
    table.acquire(C, owner="y", request="abandoned")
    table.acquire(A, owner="y", request="y wants")
    table.release(C, "abandoned")
    assert table.acquire(B, owner="x", request="x wants").state == "deadlock"
    table.release(A, "y wants")
    table.acquire(A, owner="y", request="one")
    table.acquire(C, owner="y", request="two")
    assert table.release(C, "two") == "waiting"
    assert table.release(A, "one") == "waiting"


def test_with_deadlocks_off_nobody_looks_for_one(table: Table) -> None:
    table.acquire(A, owner="x", request="x has")
    table.acquire(B, owner="y", request="y has")
    table.acquire(B, owner="x", request="x wants")
    answer = table.acquire(A, owner="y", request="y wants", deadlock="off")
    assert (answer.state, list(answer.cycle)) == ("waiting", [])


def test_to_wait_for_a_deadlock_of_others_is_none(table: Table) -> None:
    table.acquire(A, owner="x", request="x has")
    table.acquire(B, owner="y", request="y has")
    table.acquire(B, owner="x", request="x wants", deadlock="off")
    assert table.acquire(A, owner="y", request="y wants", deadlock="off").state == "waiting"
    assert table.acquire(A, owner="z", request="z").state == "waiting"


def test_with_warn_it_waits_and_tells(table: Table) -> None:
    table.acquire(A, owner="x", request="x has")
    table.acquire(B, owner="y", request="y has")
    table.acquire(B, owner="x", request="x wants")
    answer = table.acquire(A, owner="y", request="y wants", deadlock="warn")
    assert answer.state == "waiting"
    assert [step.owner for step in answer.cycle] == ["y", "x"]


def test_the_search_goes_through_an_owner_that_waits_for_another(table: Table) -> None:
    table.acquire(A, owner="parent", request="parent has")
    join = COMMANDS.note_wait("parent", "child", about=b"parent", ttl=60.0, deadlock="raise")
    assert table.execute(join) == []
    answer = table.acquire(A, owner="child", request="child wants")
    assert [(step.owner, step.about, step.lock) for step in answer.cycle] == [
        ("child", b"child", A.key),
        ("parent", b"parent", None),
    ]
    assert table.redis.execute_command(*COMMANDS.end_wait("parent").words) == 1
    assert table.acquire(A, owner="child", request="child wants").state == "waiting"
    assert [step.owner for step in table.execute(join)] == ["parent", "child"]
    assert not table.redis.exists(f"{KEYS.lock_waits()}:parent")


def test_a_search_ends_after_200_hops(table: Table) -> None:
    locks = [LockRequest(KEYS.lock("mutex", f"n{n}"), None) for n in range(250)]
    for n, lock in enumerate(locks):
        table.acquire(lock, owner=f"o{n}", request=f"has{n}")
    for n, lock in enumerate(locks[1:]):
        table.acquire(lock, owner=f"o{n}", request=f"wants{n}")
    assert table.acquire(locks[0], owner="o249", request="far").state == "waiting"
    table.release(locks[0], "far")
    assert table.acquire(locks[100], owner="o249", request="near").state == "deadlock"


def test_whoever_waits_for_itself_waits_for_ever(table: Table) -> None:
    join = COMMANDS.note_wait("x", "x", about=b"me", ttl=60.0, deadlock="raise")
    assert [(step.owner, step.lock) for step in table.execute(join)] == [("x", None)]
    off = COMMANDS.note_wait("x", "x", about=b"me", ttl=60.0, deadlock="off")
    assert table.execute(off) == []
