"""The scripts of the locks: a machine that tries everything, against a model in plain Python."""

import itertools
from dataclasses import dataclass, field
from typing import Any

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

from heori_common.locks.commands import LockRequest
from heori_common.protocol.commands import HANDOVER_LEASE_US
from tests.rigs.lock_table import COMMANDS, LEASE, SECOND, A, B, S, Table


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


WAITS = [1, SECOND, HANDOVER_LEASE_US, LEASE - HANDOVER_LEASE_US, LEASE]  # microseconds


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
                request.handed = lock.holders[request.id] = self.table.now + min(
                    LEASE, HANDOVER_LEASE_US
                )

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

    @rule(
        microseconds=st.sampled_from(
            [1, SECOND, HANDOVER_LEASE_US, LEASE - HANDOVER_LEASE_US, LEASE]
        )
    )
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
