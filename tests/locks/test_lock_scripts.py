"""The scripts of the locks: a machine that tries everything, against a model in plain Python.

Time is the test's: `server_time.lua` is put in by the loader, and here another is put in its place.
"""

from typing import Any

import pytest
from redis import ResponseError

from heori_common.protocol.commands import HANDOVER_LEASE_US
from tests.rigs.lock_table import COMMANDS, KEYS, LEASE, SECOND, START, A, B, S, Table

# One at a time


def test_the_same_request_twice_is_one_acquisition(table: Table) -> None:
    first = table.acquire(A, owner="x", request="r")
    again = table.acquire(A, owner="x", request="r")
    assert (first.state, again.state) == ("held", "held")
    assert first.fences == again.fences
    assert table.release(A, "r") == "held"
    assert table.release(A, "r") == "gone"
    assert table.left() == set()


def test_a_lock_that_nobody_else_wants_takes_nine_commands_and_a_look_at_the_clock(
    table: Table,
) -> None:
    table.redis.config_resetstat()
    table.acquire(A, owner="x", request="r")
    assert table.release(A, "r") == "held"
    assert commands(table) == {
        "get": 1,  # in place of TIME
        "zrange": 1,
        "zpopmin": 1,
        "set": 1,
        "hset": 1,
        "zadd": 2,
        "zrem": 2,
        "hdel": 1,
    }


def test_a_mutex_that_passes_from_hand_to_hand_takes_24_commands_for_each(table: Table) -> None:
    table.acquire(A, owner="x", request="r0")
    table.acquire(A, owner="y", request="r1")
    table.advance(1)
    table.redis.config_resetstat()
    assert table.acquire(A, owner="z", request="r2").state == "waiting"
    assert table.release(A, "r0") == "held"
    called = commands(table)
    assert table.holders(A) == ["r1"]
    assert sum(called.values()) == 24, called


def commands(table: Table) -> dict[str, int]:
    """How often each was called since all were forgotten."""
    return {
        name.removeprefix("cmdstat_"): entry["calls"]
        for name, entry in table.redis.info("commandstats").items()
        if name not in ("cmdstat_eval", "cmdstat_config|resetstat")
    }


def test_fences_keep_every_digit_and_rise_though_the_clock_goes_back(table: Table) -> None:
    fences: list[int] = []
    for n in range(5):
        fences += table.acquire(A, owner="x", request=str(n)).fences
        table.release(A, str(n))
        table.advance(-3 * SECOND)
    assert fences == [START + n for n in range(5)]
    assert table.redis.get(KEYS.fence()) == str(START + 4).encode()


def test_one_whose_record_somebody_has_deleted_may_ask_again(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    table.acquire(A, owner="y", request="waits")
    table.redis.hdel(A.key, "waits")
    assert table.acquire(A, owner="y", request="waits").state == "waiting"


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
    table.advance(HANDOVER_LEASE_US)
    assert table.execute(COMMANDS.sweep()) == 1
    assert table.holders(S) == ["long"]


def test_several_locks_are_taken_all_or_none(table: Table) -> None:
    answer = table.acquire(A, S, owner="x", request="x")
    assert (answer.state, answer.fences) == ("held", [START, START + 1])
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
    with pytest.raises(ResponseError, match="WRONGTYPE"):
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


def test_of_several_it_waits_for_the_first_that_is_missing(table: Table) -> None:
    table.acquire(A, owner="x", request="x")
    table.acquire(B, owner="y", request="y")
    table.acquire(A, B, owner="z", request="z")
    assert (table.waiters(A), table.waiters(B)) == (["z"], [])


# Counting


def count(table: Table, service: str = "me") -> Any:
    return table.execute(COMMANDS.count(service=service, lease=30))


def test_one_service_is_told_of_all_locks_while_somebody_leads_it(table: Table) -> None:
    leader = COMMANDS.keys.leader("me")
    table.redis.set(leader, "1 a consumer")
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
    table.redis.delete(leader)
    assert count(table, "another") is not None


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
