"""How a lock passes from one holder to the next, by the scripts alone; time is the test's."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_py

from heori_common.locks.commands import read_grant
from heori_common.protocol.commands import HANDOVER_LEASE_US
from tests.rigs.lock_table import COMMANDS, KEYS, SECOND, A, B, S, Table, channel


def test_a_release_hands_over_to_the_longest_waiting_who_hears_of_it(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    for request, process in (("dead1", 7), ("dead2", 7), ("living", 1), ("later", 0)):
        assert table.acquire(A, owner=request, request=request, process=process).state == "waiting"
    table.release(A, "holder")
    assert table.holders(A) == ["living"]
    assert table.waiters(A) == ["later"]
    assert read_grant(table.hear("message")).id == "living"


def test_a_waiter_that_is_passed_over_is_told_nothing_wherever_it_listens(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    table.acquire(A, owner="y", request="waits", process=7)
    with table.redis.pubsub() as replica:  # what is published comes there, and it counts for nobody
        replica.psubscribe(channel(7))
        assert replica.get_message(timeout=60)["type"] == "psubscribe"
        table.release(A, "holder")
        table.redis.publish(channel(7), "last")
        assert replica.get_message(timeout=60)["data"] == b"last"
    assert (table.holders(A), table.waiters(A)) == ([], [])


def test_one_who_is_handed_a_lock_and_does_not_stir_has_it_for_two_seconds(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    for request, process in (("stopped", 1), ("stopped too", 1), ("next", 0)):
        table.acquire(A, owner=request, request=request, process=process)
    table.release(A, "holder")
    table.advance(HANDOVER_LEASE_US - 1)
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
    table.advance(HANDOVER_LEASE_US)
    assert table.execute(COMMANDS.sweep()) == 1
    assert (table.holders(A), table.waiters(A)) == (["next"], ["last"])
    assert set(table.redis.hkeys(A.key)) == {b"next", b"last"}
    assert table.redis.hkeys(KEYS.lock_waits()) == [b"last"]


def test_the_threads_of_a_process_that_does_not_stir_are_one_though_each_has_its_channel(
    table: Table,
) -> None:
    with table.redis.pubsub() as lines:
        lines.subscribe(*(f"{channel(5)}/{n}" for n in range(2)))
        for _ in range(2):
            assert lines.get_message(timeout=60)["type"] == "subscribe"
        table.acquire(A, owner="x", request="holder")
        table.acquire(A, owner="a", request="stopped", process=5, line="/0")
        table.acquire(A, owner="b", request="next")
        table.acquire(A, owner="c", request="stopped too", process=5, line="/1")
        table.release(A, "holder")
    table.advance(HANDOVER_LEASE_US)
    assert table.execute(COMMANDS.sweep()) == 1
    assert (table.holders(A), table.waiters(A)) == (["next"], [])


def test_one_who_asks_again_is_told_where_it_listens_now(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    for process in (7, 1):  # nobody listens there; its line was cut, say
        assert table.acquire(A, owner="y", request="waits", process=process).state == "waiting"
    table.release(A, "holder")
    assert table.holders(A) == ["waits"]
    assert read_grant(table.hear("message")).id == "waits"


def test_one_who_is_handed_a_lock_has_it_no_longer_than_it_asked_for(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    table.acquire(A, owner="y", request="y", lease=SECOND)
    table.release(A, "holder")
    (holder,) = table.execute(COMMANDS.read(A.key)).holders
    assert holder.lease_end == table.now + SECOND


def test_where_a_process_is_silent_waiters_without_a_record_are_no_obstacle(table: Table) -> None:
    table.acquire(A, owner="x", request="holder")
    table.acquire(A, owner="silent", request="silent", process=1)
    for request in ("unknown", "next"):
        table.acquire(A, owner=request, request=request)
    table.release(A, "holder")
    table.redis.hdel(A.key, "unknown")
    table.advance(HANDOVER_LEASE_US)
    assert table.acquire(A, owner="next", request="next").state == "held"


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


# When a process has ended


def test_the_locks_of_a_process_that_has_ended_go_to_the_next_and_others_keep_theirs(
    table: Table,
) -> None:
    for lock, request in ((A, "dead-1"), (S, "dead-2"), (S, "lives-1"), (B, "lives-2")):
        assert table.acquire(lock, owner=request, request=request).state == "held"
    for lock, request in ((A, "next"), (B, "dead-3")):
        assert table.acquire(lock, owner=request, request=request, process=1).state == "waiting"
    locks = [A.key, S.key, B.key]
    assert table.execute(COMMANDS.release_process(locks, "dead")) == 2
    assert [table.holders(lock) for lock in (A, S, B)] == [["next"], ["lives-1"], ["lives-2"]]
    assert read_grant(table.hear("message")).id == "next"
    assert table.execute(COMMANDS.release_process(locks, "dead")) == 0


def test_a_lock_whose_key_holds_something_else_keeps_no_other_from_the_next(table: Table) -> None:
    table.acquire(A, owner="x", request="dead-1")
    table.acquire(A, owner="y", request="next")
    table.redis.set(f"{B.key}:holders", "text")
    assert table.execute(COMMANDS.release_process([B.key, A.key], "dead")) == 1
    assert table.holders(A) == ["next"]


# Where a user lacks a right, or a waiter a channel


@pytest.fixture
def without(table: Table, redis: Any, redis_url: str) -> Iterator[Callable[[str], None]]:
    """Have scripts called by a user who may do everything but this."""
    url = redis_url.replace("redis://", "redis://few:pw@")
    try:
        with redis_py.Redis.from_url(url, socket_timeout=None) as few:

            def deny(*words: str) -> None:
                everything = ("~*", "&*", "+@all")
                redis.execute_command("ACL", "SETUSER", "few", "on", ">pw", *everything, *words)
                table.redis = few

            yield deny
    finally:
        redis.execute_command("ACL", "DELUSER", "few")


def test_a_user_who_may_not_ask_who_listens_passes_over_the_dead_all_the_same(
    table: Table, without: Callable[[str], None]
) -> None:
    without("-pubsub")
    table.acquire(A, owner="x", request="holder")
    for request, process in (("dead", 7), ("living", 1)):
        table.acquire(A, owner=request, request=request, process=process)
    assert table.release(A, "holder") == "held"
    assert table.holders(A) == ["living"]
    assert read_grant(table.hear("message")).id == "living"


def test_of_a_user_who_may_tell_nobody_the_next_has_the_lock_when_it_looks(
    table: Table, without: Callable[[str], None]
) -> None:
    without("-publish")
    table.acquire(A, owner="x", request="holder")
    for request in ("next", "last"):
        table.acquire(A, owner=request, request=request)
    assert table.release(A, "holder") == "held"
    assert (table.holders(A), table.waiters(A)) == (["next"], ["last"])


def test_one_who_looks_by_itself_is_handed_the_lock_and_tells_nothing_of_others_who_do(
    table: Table,
) -> None:
    table.acquire(A, owner="x", request="holder")
    for request, process in (("looks", None), ("too", None), ("listens", 1)):
        table.acquire(A, owner=request, request=request, process=process)
    table.release(A, "holder")
    assert table.holders(A) == ["looks"]
    table.advance(HANDOVER_LEASE_US)
    assert table.execute(COMMANDS.sweep()) == 1
    assert (table.holders(A), table.waiters(A)) == (["too"], ["listens"])


def test_where_a_process_is_silent_those_who_look_by_themselves_keep_their_place(
    table: Table,
) -> None:
    table.acquire(A, owner="x", request="holder")
    for request, process in (("silent", 1), ("looks", None), ("silent too", 1), ("last", 0)):
        table.acquire(A, owner=request, request=request, process=process)
    table.release(A, "holder")
    table.advance(HANDOVER_LEASE_US)
    assert table.execute(COMMANDS.sweep()) == 1
    assert (table.holders(A), table.waiters(A)) == (["looks"], ["last"])
