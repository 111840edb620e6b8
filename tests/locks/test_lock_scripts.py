"""The scripts of the locks: a machine that tries everything, against a model in plain Python.

Time is the test's: `server_time.lua` is put in by the loader, and here another is put in its place.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis as redis_py
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from heori_common.locks.commands import Answer, LockRequest, read_grant
from heori_common.protocol.commands import GRANT
from tests.rigs.lock_table import COMMANDS, KEYS, LEASE, SECOND, START, A, B, S, Table, table_on


@pytest.fixture
def table(redis: redis_py.Redis) -> Iterator[Table]:
    with table_on(redis, Table) as made:
        made.connect(0)
        made.connect(1)
        yield made


# One at a time


def test_the_same_request_twice_is_one_acquisition(table: Table) -> None:
    first = table.acquire(A, owner="x", request="r")
    again = table.acquire(A, owner="x", request="r")
    assert (first.state, again.state) == ("held", "held")
    assert first.fences == again.fences
    assert table.release(A, "r") == "held"
    assert table.release(A, "r") == "gone"
    assert table.left() == set()


def test_fences_keep_every_digit_and_rise_though_the_clock_goes_back(table: Table) -> None:
    fences: list[int] = []
    for n in range(5):
        fences += table.acquire(A, owner="x", request=str(n)).fences
        table.release(A, str(n))
        table.advance(-3 * SECOND)
    assert fences == [START + n for n in range(5)]
    assert table.redis.get(KEYS.fence()) == str(START + 4).encode()


def test_a_release_hands_over_to_the_longest_waiting_who_hears_of_it(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    for request, process in (("dead1", 7), ("dead2", 7), ("living", 1), ("later", 0)):
        assert table.acquire(A, owner=request, request=request, process=process).state == "waiting"
    table.release(A, "holder")
    assert table.holders(A) == ["living"]
    assert table.waiters(A) == ["later"]
    assert read_grant(table.hear("message")).id == "living"


def test_one_who_is_handed_a_lock_and_does_not_stir_has_it_for_two_seconds(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    for request, process in (("stopped", 1), ("stopped too", 1), ("next", 0)):
        table.acquire(A, owner=request, request=request, process=process)
    table.release(A, "holder")
    table.advance(GRANT - 1)
    table.acquire(A, owner="next", request="next")
    assert table.holders(A) == ["stopped"]
    table.advance(1)
    assert table.acquire(A, owner="next", request="next").state == "held"
    assert table.waiters(A) == []  # nothing of the process that did not stir stands in the way


def test_nothing_is_left_of_a_process_that_does_not_stir_and_others_keep_their_place(
    table: Table,
) -> None:
    table.acquire(A, owner="x", request="holder")
    for request, process in (("stopped", 1), ("next", 0), ("stopped too", 1), ("last", 0)):
        table.acquire(A, owner=request, request=request, process=process)
    table.release(A, "holder")
    table.advance(GRANT)
    assert table.execute(COMMANDS.sweep()) == 1
    assert (table.holders(A), table.waiters(A)) == (["next"], ["last"])
    assert set(table.redis.hkeys(A.key)) == {b"next", b"last"}
    assert table.redis.hkeys(KEYS.lock_waits()) == [b"last"]


def test_one_who_was_passed_over_comes_back_with_its_ticket(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    ticket = table.acquire(A, owner="early", request="early", process=1).ticket
    table.acquire(A, owner="late", request="late")
    table.acquire(A, owner="later", request="later")
    table.die(1)
    table.release(A, "holder")
    assert table.holders(A) == ["late"]
    table.connect(1)
    back = table.acquire(A, owner="early", request="early", process=1, ticket=ticket)
    assert (back.state, back.before) == ("waiting", 0)
    assert table.waiters(A) == ["early", "later"]


def test_one_who_looks_again_stays_as_it_was(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    first = table.acquire(A, owner="y", request="y")
    table.acquire(A, owner="z", request="z")
    before = table.execute(COMMANDS.read(A.key)).waiters
    table.advance(SECOND)
    again = table.acquire(A, owner="y", request="y")
    assert (again.state, again.ticket, again.before) == ("waiting", first.ticket, 0)
    assert table.execute(COMMANDS.read(A.key)).waiters == before
    table.release(A, "holder")
    assert table.holders(A) == ["y"]


def test_who_does_not_wait_leaves_nothing(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    assert table.acquire(A, owner="y", wait=False).state == "busy"
    table.release(A, "holder")
    assert table.left() == set()


def test_a_lease_that_is_over_is_not_renewed_even_if_nobody_has_asked_since(table: Table) -> None:
    table.acquire(A, owner="x", request="r")
    assert table.execute(COMMANDS.renew([(A.key, "r", LEASE)])) == []
    table.advance(LEASE)
    assert table.execute(COMMANDS.renew([(A.key, "r", LEASE), (B.key, "r", LEASE)])) == [0, 1]


def test_a_lowered_limit_counts_at_once_and_a_raised_one_lets_in_who_waits(table: Table) -> None:
    for request in "ab":
        assert table.acquire(S, owner=request, request=request).state == "held"
    table.execute(COMMANDS.set_limit(S.key, 1))
    table.acquire(S, owner="c", request="c")
    table.release(S, "a")
    assert (table.holders(S), table.waiters(S)) == (["b"], ["c"])
    table.execute(COMMANDS.set_limit(S.key, 2))
    assert set(table.holders(S)) == {"b", "c"}
    for request in "bc":
        table.release(S, request)
    assert table.left() == {S.key.encode()}
    table.execute(COMMANDS.set_limit(S.key, None))
    assert table.left() == set()


def test_a_lock_that_is_taken_by_force_goes_to_the_next(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    table.acquire(A, owner="y", request="y")
    assert table.execute(COMMANDS.force_release(A.key, "holder")) is True
    assert (table.holders(A), table.waiters(A)) == (["y"], [])
    assert table.execute(COMMANDS.force_release(A.key, "holder")) is False


def test_a_changed_limit_finds_holders_whose_lease_is_over(table: Table) -> None:
    for request in "ab":
        table.acquire(S, owner=request, request=request)
    table.acquire(S, owner="c", request="c")
    table.advance(LEASE)
    table.execute(COMMANDS.set_limit(S.key, 1))
    assert table.holders(S) == ["c"]


def test_what_the_dead_left_behind_is_swept(table: Table) -> None:
    table.acquire(A, owner="x", request="holder", process=7)
    table.acquire(A, owner="y", request="waiter", process=7)
    table.acquire(B, owner="z", request="living")
    assert table.execute(COMMANDS.sweep()) == 0
    table.advance(LEASE)
    table.execute(COMMANDS.renew([]))
    assert table.execute(COMMANDS.sweep()) == 2
    assert table.left() == set()


def test_nobody_overtakes_one_who_declares_a_lower_limit(table: Table) -> None:
    more, less = S._replace(limit=3), S._replace(limit=1)
    table.acquire(more, owner="x", request="x")
    assert table.acquire(less, owner="y", request="y").state == "waiting"
    assert table.acquire(more, owner="z", request="z").state == "waiting"
    assert table.waiters(S) == ["y", "z"]
    table.release(S, "x")
    assert set(table.holders(S)) == {"y", "z"}  # when its turn came there was none but y


def test_a_sweep_comes_when_the_first_of_several_leases_is_over(table: Table) -> None:
    table.acquire(S, owner="x", request="short", lease=SECOND)
    table.acquire(S, owner="y", request="long", lease=LEASE)
    table.acquire(S, owner="z", request="waits")
    table.advance(SECOND)
    assert table.execute(COMMANDS.sweep()) == 1
    assert set(table.holders(S)) == {"long", "waits"}
    assert table.execute(COMMANDS.sweep()) == 0
    table.advance(GRANT)
    assert table.execute(COMMANDS.sweep()) == 1
    assert table.holders(S) == ["long"]


def test_several_locks_are_taken_all_or_none(table: Table) -> None:
    assert table.acquire(A, S, owner="x", request="x").state == "held"
    table.acquire(B, owner="y", request="y")
    answer = table.acquire(B, S, owner="z", request="z")
    assert answer.state == "waiting"
    assert (table.waiters(B), table.waiters(S)) == (["z"], [])
    assert table.holders(S) == ["x"]
    table.release(B, "y")  # z is handed b, and asks for both
    assert table.acquire(B, S, owner="z", request="z").state == "held"
    assert sorted(table.holders(S)) == ["x", "z"]


def test_one_who_gets_one_of_several_locks_gives_it_back_when_another_is_missing(
    table: Table,
) -> None:
    table.acquire(A, owner="x", request="x")
    table.acquire(A, B, owner="z", request="z")
    table.acquire(B, owner="y", request="y")
    table.acquire(A, owner="w", request="w")
    table.release(A, "x")
    assert table.holders(A) == ["z"]
    assert table.acquire(A, B, owner="z", request="z").state == "waiting"
    assert (table.holders(A), table.holders(B)) == (["w"], ["y"])
    assert table.waiters(B) == ["z"]


@pytest.mark.parametrize("suffix", ["", ":holders", ":waiters"])
def test_a_key_of_the_wrong_type_is_told_and_nobody_has_the_lock(table: Table, suffix: str) -> None:
    if suffix == ":waiters":
        table.acquire(A, owner="x", request="holder")
    table.redis.set(A.key + suffix, "text")
    with pytest.raises(redis_py.ResponseError, match="WRONGTYPE"):
        table.acquire(A, owner="y", request="y")
    table.redis.delete(A.key + suffix)
    assert "y" not in table.holders(A)
    assert table.acquire(A, owner="y", request="y").state == (
        "waiting" if suffix == ":waiters" else "held"
    )


def test_a_renewal_goes_on_for_the_others_where_one_key_is_of_the_wrong_type(table: Table) -> None:
    table.acquire(A, owner="x", request="x")
    table.redis.set(B.key + ":holders", "text")
    renewed = [(B.key, "b", LEASE), (A.key, "x", LEASE)]
    assert table.execute(COMMANDS.renew(renewed)) == [0]


def test_waiters_whose_records_were_deleted_do_not_block_the_queue(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    table.acquire(A, owner="y", request="y")
    table.redis.delete(A.key)
    assert (table.holders(A), table.waiters(A)) == ([], [])  # nobody knows whose they are
    table.acquire(A, owner="z", request="z")
    table.release(A, "holder")
    assert table.holders(A) == ["z"]


def test_a_holder_whose_record_was_deleted_expires(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    table.redis.delete(A.key)
    table.advance(LEASE)
    assert table.acquire(A, owner="y", request="y").state == "held"


def test_where_a_process_is_silent_waiters_without_a_record_are_no_obstacle(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    table.acquire(A, owner="silent", request="silent", process=1)
    for request in ("unknown", "next"):
        table.acquire(A, owner=request, request=request)
    table.release(A, "holder")
    table.redis.hdel(A.key, "unknown")
    table.advance(GRANT)
    assert table.acquire(A, owner="next", request="next").state == "held"


def test_who_waits_gets_a_lock_whose_holders_were_deleted(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    table.acquire(A, owner="y", request="y")
    table.redis.delete(A.key + ":holders")
    assert table.acquire(A, owner="y", request="y").state == "held"


def test_what_was_deleted_by_hand_is_swept_from_the_list_of_locks(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    table.redis.delete(A.key, A.key + ":holders")
    table.advance(LEASE)
    assert table.execute(COMMANDS.sweep()) == 1
    assert table.left() == set()


@pytest.mark.parametrize("suffix", ["", ":holders", ":waiters"])
def test_a_sweep_goes_on_where_a_key_of_a_lock_is_of_the_wrong_type(
    table: Table, suffix: str
) -> None:
    for lock, lease in ((A, SECOND), (B, LEASE)):
        table.acquire(lock, owner="x", request="x", lease=lease)
        table.acquire(lock, owner="y", request="y")
    table.redis.delete(A.key + suffix)
    table.redis.set(A.key + suffix, "text")
    table.advance(LEASE)
    assert table.execute(COMMANDS.sweep()) == 2
    assert table.holders(B) == ["y"]


def test_those_who_come_in_the_same_microsecond_keep_their_order(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    for request in "zya":
        table.acquire(A, owner=request, request=request)
    assert table.waiters(A) == ["z", "y", "a"]


def test_a_ticket_is_older_than_those_given_later_though_the_queue_was_empty(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    table.acquire(A, owner="first", request="first", process=7)
    ticket = table.acquire(A, owner="early", request="early", process=7).ticket
    table.release(A, "holder")
    table.advance(SECOND)
    table.acquire(A, owner="x", request="another")
    table.acquire(A, owner="late", request="late")
    table.acquire(A, owner="early", request="early", ticket=ticket)
    assert table.waiters(A) == ["early", "late"]


def test_one_who_is_handed_a_lock_has_it_no_longer_than_it_asked_for(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    table.acquire(A, owner="y", request="y", lease=SECOND)
    table.release(A, "holder")
    (holder,) = table.execute(COMMANDS.read(A.key)).holders
    assert holder.lease_end == table.now + SECOND


def test_of_several_it_waits_for_the_first_that_is_missing(table: Table) -> None:
    table.acquire(A, owner="x", request="x")
    table.acquire(B, owner="y", request="y")
    table.acquire(A, B, owner="z", request="z")
    assert (table.waiters(A), table.waiters(B)) == (["z"], [])


# Deadlocks


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


# Counting


def count(table: Table, consumer: str = "me") -> Any:
    return table.execute(COMMANDS.count(consumer=consumer, lease=30))


def test_one_consumer_is_told_of_all_locks(table: Table) -> None:
    for request in "abc":
        table.acquire(S, owner=request, request=request)
    table.acquire(A, owner="x", request="x")
    table.execute(COMMANDS.force_release(A.key, "x"))
    table.acquire(A, owner="y", request="y")
    told = count(table)
    assert sorted(told.locks) == [("mutex", "a", 1, 1, 0), ("semaphore", "s", 2, 2, 1)]
    assert told.forced == 1
    assert count(table, "another") is None
    assert count(table) == told
    table.execute(COMMANDS.set_limit(S.key, 5))
    assert ("semaphore", "s", 3, 5, 0) in count(table).locks


def test_locks_of_which_something_was_deleted_are_counted(table: Table) -> None:
    for lock in (A, B):
        table.acquire(lock, owner="x", request="x")
        table.acquire(lock, owner="y", request="y")
    table.redis.hdel(A.key, "x")
    table.redis.delete(B.key + ":holders")
    assert sorted(count(table).locks) == [("mutex", "a", 1, 0, 1), ("mutex", "b", 0, 0, 1)]


@pytest.mark.parametrize("suffix", ["", ":holders", ":waiters"])
def test_a_lock_that_holds_something_else_spoils_no_other_count(table: Table, suffix: str) -> None:
    for lock in (A, B):
        table.acquire(lock, owner="x", request="x")
    table.redis.delete(A.key + suffix)
    table.redis.set(A.key + suffix, "text")
    assert count(table).locks == [("mutex", "b", 1, 1, 0)]


def test_keys_that_hold_something_else_leave_what_can_be_counted(table: Table) -> None:
    table.acquire(A, owner="x", request="x")
    table.redis.hset(KEYS.forced(), "some", "thing")
    assert count(table) == ([("mutex", "a", 1, 1, 0)], 0)
    table.redis.set(KEYS.forced(), "many")
    assert count(table).forced == 0
    table.redis.delete(KEYS.locks())
    table.redis.set(KEYS.locks(), "text")
    assert count(table) == ([], 0)
    table.redis.delete(KEYS.lock_counter())
    table.redis.hset(KEYS.lock_counter(), "some", "thing")
    assert count(table) is None


# Fences


def test_a_guarded_command_is_refused_to_an_earlier_fence_and_an_equal_one_of_another(
    table: Table,
) -> None:
    def write(fence: int, owner: str, value: str) -> int | None:
        command = COMMANDS.fenced("row", fence, owner, ["SET", "row", value])
        return command.parse(table.redis.execute_command(*(command.in_full or ()))).by

    base = 1 << 52  # two of these differ by one, which a double with fewer digits would lose
    assert write(base + 1, "x", "1") is None
    assert write(base + 1, "x", "2") is None
    assert write(base, "y", "3") == base + 1
    assert write(base + 1, "y", "4") == base + 1
    assert table.redis.get("row") == b"2"
    assert write(base + 2, "y", "5") is None
    assert table.redis.get("row") == b"5"


# The machine


@dataclass
class Lock:
    """What a lock should be."""

    wanted: LockRequest
    limit: int | None = None  # that was set
    holders: dict[str, int] = field(default_factory=dict)  # request → end of the lease
    waiters: dict[str, int] = field(default_factory=dict)  # request → ticket

    def order(self) -> list[str]:
        return sorted(self.waiters, key=lambda request: (self.waiters[request], request))

    def most(self) -> int:
        return (self.limit or self.wanted.limit) if self.wanted.limit else 1


@dataclass
class Request:
    """What the machine remembers of a request."""

    id: str
    owner: str
    process: int
    lock: int
    ticket: int | None = None
    handed: int | None = None


class Machine(RuleBasedStateMachine):
    """Requests of a few owners in three processes, for two mutexes and a semaphore."""

    redis: Any
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushdb()
        self.table = Table(self.redis)
        self.locks = [Lock(A), Lock(B), Lock(S)]
        self.known: dict[str, Request] = {}
        self.last_fence = 0
        self.numbers = itertools.count()

    @initialize()
    def connect(self) -> None:
        for process in range(3):
            self.table.connect(process)

    def teardown(self) -> None:
        for request in list(self.known.values()):
            self.table.release(self.locks[request.lock].wanted, request.id)
        self.table.execute(COMMANDS.set_limit(S.key, None))
        self.table.advance(10 * LEASE)
        self.table.execute(COMMANDS.sweep())
        assert self.table.left() == set()
        self.table.heard.close()

    # What should come of it

    def expire(self, lock: Lock) -> None:
        over = [request for request, end in lock.holders.items() if end <= self.table.now]
        silent = {
            self.known[request].process
            for request in over
            if self.known[request].handed == lock.holders[request]
        }
        for request in over:
            del lock.holders[request]
        for request in list(lock.waiters):
            if self.known[request].process in silent:
                del lock.waiters[request]
        if over:
            self.pass_on(lock)

    def pass_on(self, lock: Lock) -> None:
        while lock.waiters and len(lock.holders) < lock.most():
            request = self.known[lock.order()[0]]
            del lock.waiters[request.id]
            if request.process in self.table.living:
                request.handed = lock.holders[request.id] = self.table.now + min(LEASE, GRANT)

    def would_close_a_cycle(self, request: Request) -> bool:
        """By brute force: is everyone that it would wait for, near and far, waiting, too?"""
        wants = {
            self.known[waiter].owner: number
            for number, lock in enumerate(self.locks)
            for waiter in lock.waiters
            if self.known[waiter].process in self.table.living
        }
        wants[request.owner] = request.lock

        def blockers(owner: str) -> set[str] | None:
            if owner not in wants:
                return None
            lock = self.locks[wants[owner]]
            living = [each for each, end in lock.holders.items() if end > self.table.now]
            return (
                {self.known[each].owner for each in living} if len(living) >= lock.most() else None
            )

        reached, edge = {request.owner}, [request.owner]
        closes = False
        while edge:
            found = blockers(edge.pop())
            if found is None:
                return False
            closes = closes or request.owner in found
            edge += found - reached
            reached |= found
        return closes

    def check_fence(self, fence: int) -> None:
        assert fence > self.last_fence
        self.last_fence = fence

    # What happens

    @rule(
        target=requests,
        lock=st.sampled_from([0, 1, 2]),
        owner=st.sampled_from("uvwxyz"),
        wait=st.booleans(),
    )
    def ask(self, lock: int, owner: str, wait: bool) -> Any:
        process = "uvwxyz".index(owner) % 3
        if any(
            self.known[each].owner == owner
            for each in (*self.locks[lock].holders, *self.locks[lock].waiters)
        ) or any(self.known[each].owner == owner for other in self.locks for each in other.waiters):
            return multiple()  # a mutex is re-entered without asking; and who waits does not ask
        request = Request(f"r{next(self.numbers)}", owner, process, lock)
        self.known[request.id] = request
        self.look(request, wait)
        return request

    def look(self, request: Request, wait: bool) -> None:
        lock = self.locks[request.lock]
        known = request.id in lock.holders or request.id in lock.waiters
        self.expire(lock)
        if request.id in lock.holders or (not lock.waiters and len(lock.holders) < lock.most()):
            expected = "held"
        elif not wait:
            expected = "busy"
        elif request.id not in lock.waiters and self.would_close_a_cycle(request):
            expected = "deadlock"
        else:
            expected = "waiting"
        answer = self.table.acquire(
            lock.wanted,
            owner=request.owner,
            request=request.id,
            process=request.process,
            ticket=request.ticket,
            wait=wait,
        )
        assert answer.state == expected, (answer, known)
        if expected == "held":
            if request.id not in lock.holders:
                self.check_fence(answer.fences[0])
            lock.holders[request.id] = self.table.now + LEASE
        elif expected == "waiting":
            assert answer.ticket is not None
            assert request.ticket in (None, answer.ticket)
            request.ticket = lock.waiters[request.id] = answer.ticket
            assert answer.before == lock.order().index(request.id)

    @rule(request=requests)
    def look_again(self, request: Request) -> None:
        lock = self.locks[request.lock]
        if request.id in lock.holders or request.id in lock.waiters:
            self.look(request, wait=True)

    @rule(request=consumes(requests))
    def release(self, request: Request) -> None:
        lock = self.locks[request.lock]
        held, waits = lock.holders.pop(request.id, None), lock.waiters.pop(request.id, None)
        if held is not None:
            self.pass_on(lock)
        fate = self.table.release(lock.wanted, request.id)
        assert fate == ("held" if held is not None else "waiting" if waits is not None else "gone")

    @rule(chosen=st.lists(requests, max_size=5, unique_by=lambda request: request.id))
    def renew(self, chosen: list[Request]) -> None:
        lost = self.table.execute(
            COMMANDS.renew([(self.locks[r.lock].wanted.key, r.id, LEASE) for r in chosen])
        )
        expected = []
        for number, request in enumerate(chosen):
            holders = self.locks[request.lock].holders
            if holders.get(request.id, 0) > self.table.now:
                holders[request.id] = self.table.now + LEASE
            else:
                expected.append(number)
        assert lost == expected

    @rule(process=st.sampled_from([0, 1, 2]))
    def die_or_come_back(self, process: int) -> None:
        if process in self.table.living:
            self.table.die(process)
        else:
            self.table.connect(process)

    @rule(limit=st.sampled_from([None, 1, 2, 3]))
    def set_limit(self, limit: int | None) -> None:
        lock = self.locks[2]
        lock.limit = limit
        self.table.execute(COMMANDS.set_limit(S.key, limit))
        self.expire(lock)
        self.pass_on(lock)

    @rule(microseconds=st.sampled_from([1, SECOND, GRANT, LEASE - GRANT, LEASE]))
    def wait(self, microseconds: int) -> None:
        self.table.advance(microseconds)

    @rule()
    @precondition(lambda self: any(lock.holders for lock in self.locks))
    def sweep(self) -> None:
        self.table.execute(COMMANDS.sweep())
        for lock in self.locks:
            self.expire(lock)

    # What is always so

    @invariant()
    def redis_and_the_model_agree(self) -> None:
        for lock in self.locks:
            state = self.table.execute(COMMANDS.read(lock.wanted.key))
            living = {each: end for each, end in lock.holders.items() if end > self.table.now}
            assert {holder.id: holder.lease_end for holder in state.holders} == living
            assert [waiter.id for waiter in state.waiters] == lock.order()
            assert len({holder.fence for holder in state.holders}) == len(state.holders)

    @invariant()
    def no_mutex_has_two_holders_and_no_free_lock_a_waiter(self) -> None:
        for lock in self.locks:
            holders = self.redis.zcard(lock.wanted.key + ":holders")
            assert holders <= (3 if lock.wanted.limit else 1)
            if self.redis.zcard(lock.wanted.key + ":waiters"):
                assert holders >= lock.most()


def test_the_scripts_do_what_the_model_does(redis: redis_py.Redis) -> None:
    class Connected(Machine):
        pass

    Connected.redis = redis
    run_state_machine_as_test(
        Connected,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
