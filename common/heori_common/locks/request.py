"""One request for some locks, from the first question to the answer.

What to ask and when is one generator; a thread and a coroutine only differ in how they wait.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, TypeVar

from heori_common import clock
from heori_common.background import Bell
from heori_common.current_job import BLOCKED_AT_MOST_S
from heori_common.locks.commands import Answer, Grant
from heori_common.locks.errors import DeadlockDetected
from heori_common.locks.hold import HeldLock, Hold
from heori_common.locks.line import Line
from heori_common.locks.owner import Owner, new_id
from heori_common.locks.session import LISTEN_TIMEOUT_S, POLL_EVERY_S, Session
from heori_common.locks.standing import Standing
from heori_common.locks.statistics import observers
from heori_common.locks.status import US_PER_S, steps
from heori_common.loggers import standard_logger
from heori_common.protocol.commands import HANDOVER_LEASE_US, Command
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.redis.push import Reply

T = TypeVar("T")
# Yields commands to execute, seconds to wait, and None to make sure of being heard; returns whether
# it is held.
Dialogue = Generator[Command[Any] | float | None, Any, bool]

log = standard_logger(__name__)

# A message may be lost. So a waiter looks by itself: the first in the queue when the lease of the
# holder ends, if it ends at all; and each now and then, those behind less often.
LOOK_AFTER_LEASE_S = 0.005
LOOK_EVERY_S = 1.0
LOOK_SELDOM_S = 10.0
POLL_SELDOM_S = 1.0  # the same for those that cannot be told: sooner than a handed lock expires
LATE_S = 0.5  # after its timeout, about, in which one that waits tries to tell Redis so
GIVING_UP_S = 0.02  # until it is seen whether what is being given up here was in the way


class AcquireRequest:
    """One owner asks for some locks, until it has them all or gives up.

    Args:
        locks: of one server, in the order in which they are to be taken.
        timeout: seconds; None: for ever.
    """

    def __init__(
        self,
        session: Session,
        owner: Owner,
        locks: Sequence[HeldLock],
        lease: float,
        timeout: float | None,
    ) -> None:
        self.id = new_id()
        self._session = session
        self._owner = owner
        self._locks = locks
        self._keys = [lock.key for lock in locks]
        self._wanted = tuple([lock.wanted for lock in locks])
        self._lease = lease
        self._began = clock.now()
        self._deadline = float("inf") if timeout is None else self._began + timeout
        self._ticket: int | None = None
        self._is_known = False  # to the server: it has held or waited
        self._grant: Grant | None = None
        self._is_to_look = False
        self._wake: Callable[[], object] = _nobody_waits
        self._line: Line | None = None
        self._is_heard = True  # a grant would be
        self._asks_to_wait = False  # or did so last
        self._held: tuple[Sequence[int], float] = (), 0.0
        self._got: list[Hold] = []

    @property
    def standing(self) -> Standing | None:
        """What it waits for, once it stands in line; any thread may ask."""
        if self._ticket is None:
            return None
        named = [(lock.kind, lock.name) for lock in self._locks]
        return Standing(self._owner.job, named, self._began)

    def run(self) -> list[Hold] | None:
        """Try until it is decided, blocking the thread; None: not in time.

        If this raises anything but DeadlockDetected, it is to be taken back.
        """
        session = self._session
        session.waiters[self.id] = self
        self._line = session.lines.take()
        is_whole = False  # whether nothing is left half-read
        try:
            # Else it does not wait before it has a line, or has tried to get one.
            self._is_heard = self._line is not None or (
                session.hears and not session.lines.has_room
            )
            answer = self._execute(self._first_question())
            if not self._has_got(
                answer
            ):  # mostly it has: nothing is made for a wait that there is not
                bell = Bell()
                self._wake = bell.ring
                if not self._run(self._steps(answer), bell):
                    is_whole = True
                    return None
            is_whole = True
            return self._holds(None)
        finally:
            session.waiters.pop(self.id, None)
            if self._line is not None:
                if is_whole:
                    session.lines.give_back(self._line)
                else:
                    self._line.close()

    def _run(self, dialogue: Dialogue, bell: Bell) -> bool:
        """Do what the dialogue wants, blocking the thread; returns what it does."""
        try:
            step = next(dialogue)
            while True:
                if isinstance(step, Command):
                    try:
                        answer = self._execute(step)
                    except (RedisUnavailable, RedisRefused) as error:
                        step = dialogue.throw(error)
                    else:
                        step = dialogue.send(answer)
                    continue
                if step is None:
                    self._listen()
                elif self._line is not None:
                    self._hear(self._line, min(step, BLOCKED_AT_MOST_S))
                else:
                    bell.wait(min(step, BLOCKED_AT_MOST_S))
                step = next(dialogue)
        except StopIteration as decided:
            return bool(decided.value)

    def _execute(self, command: Command[Any]) -> Any:
        """Execute a command on the line, or as all others are where there is none."""
        if self._line is not None:
            try:
                return self._line.execute(command)
            except (RedisUnavailable, RedisRefused) as error:
                self._lose_line(self._line)
                if self._ticket is not None or not error.is_passing:
                    raise
                if self._asks_to_wait:
                    # Asked again as it is, a grant would not be heard: so as if it was not to wait.
                    return Answer("busy", 0)
        return self._session.execute(command, self._at_most())[0]

    def _hear(self, line: Line, seconds: float) -> None:
        try:
            grant = line.grant(seconds)
        except (RedisUnavailable, RedisRefused):
            self._lose_line(line)
            self._is_to_look = True
        else:
            if grant is not None and grant.id == self.id:  # else one that came too late for another
                self._grant = grant

    def _lose_line(self, line: Line) -> None:
        """Go on as one who is told by the thread for pushes."""
        self._line = None
        line.close()
        self._session.lines.close()
        if self._ticket is None:
            self._is_heard = self._session.hears
        else:  # it waits on, whatever becomes of that
            with contextlib.suppress(RedisUnavailable, RedisRefused):
                self._session.push.wait_until_greeted(0.0)

    def take_back(self) -> None:
        """Give up whatever it has got: nobody knows what Redis has done, or who was told of it."""
        for hold in self._got:
            hold.depth = 0
        self._session.renewer.abandon(self._keys, self.id, self._lease)
        for hold in self._got:
            self._session.drop(hold)

    async def run_async(self) -> list[Hold] | None:
        """As `run`, without blocking the event loop."""
        session = self._session
        loop = asyncio.get_running_loop()
        session.waiters[self.id] = self
        try:
            task = None if self._owner.is_passed_on else asyncio.current_task()
            # What is asked for there is sent after the subscription.
            answer, _ = await ask(session, self._first_question())
            if self._has_got(answer):
                return self._holds(task)
            bell = asyncio.Event()
            self._wake = partial(loop.call_soon_threadsafe, bell.set)
            dialogue = self._steps(answer)
            step = next(dialogue)
            while True:
                if isinstance(step, Command):
                    try:
                        answer, _ = await ask(session, step, self._at_most())
                    except (RedisUnavailable, RedisRefused) as error:
                        step = dialogue.throw(error)
                    else:
                        step = dialogue.send(answer)
                else:
                    assert step is not None
                    alarm = loop.call_later(step, bell.set)
                    try:
                        await bell.wait()
                    finally:
                        alarm.cancel()
                    bell.clear()
                    step = next(dialogue)
        except StopIteration as decided:
            return self._holds(task) if decided.value else None
        finally:
            session.waiters.pop(self.id, None)

    def wake(self, grant: Grant | None) -> None:
        """Called in the thread of the connection for pushes."""
        if grant is None:
            self._is_to_look = True
        else:
            self._grant = grant
        with contextlib.suppress(RuntimeError):  # its event loop is closed
            self._wake()

    def _at_most(self) -> float:
        """Seconds for which a command may be sent again."""
        if self._ticket is None:
            return math.inf
        return max(LATE_S, self._deadline - clock.now())

    def _listen(self) -> None:
        """See to it that a grant is heard."""
        left = self._deadline - clock.now()
        if self._ticket is None and self._session.lines.has_room:
            self._line = self._session.lines.open(min(left, LISTEN_TIMEOUT_S))
            if self._line is not None:
                return
        try:
            self._session.push.wait_until_greeted(min(left, LISTEN_TIMEOUT_S))
        except (RedisUnavailable, RedisRefused):
            if left > LISTEN_TIMEOUT_S:
                raise
            # Else its time is up, which is no error.

    def _first_question(self) -> Command[Answer]:
        return self._question(wait=self._is_heard and self._began < self._deadline)

    def _has_got(self, answer: Answer) -> bool:
        """Whether the answer to the first question was all that there is to it."""
        return answer.state == "held" and self._is_mine(
            answer.fences, self._began, answer.lease_end - answer.now
        )

    def _steps(self, answer: Answer) -> Dialogue:
        """Yields commands to execute, seconds to wait, and None to make sure of being heard.

        Args:
            answer: to the first question, which did not settle it.
        """
        sent, patient = self._began, self._began < self._deadline
        while True:
            self._is_known |= answer.state in ("held", "waiting")
            if answer.state == "held":
                if self._is_mine(answer.fences, sent, answer.lease_end - answer.now):
                    return True
            elif answer.state == "waiting":
                self._ticket = answer.ticket
                self._warn_of_cycle(answer)
                if (yield from self._wait(sent, answer)):
                    return True
                if clock.now() >= self._deadline:
                    yield from self._leave()
                    return False
            elif answer.state == "deadlock":
                self._refuse_to_wait(answer)
                yield GIVING_UP_S
            elif not patient:
                return False
            else:
                yield None
                self._is_heard = True
            patient = clock.now() < self._deadline
            asked = yield from self._ask(wait=patient and self._is_heard)
            if asked is None:
                return False
            sent, answer = asked

    def _ask(
        self, *, wait: bool
    ) -> Generator["Command[Any] | float", Any, tuple[float, Answer] | None]:
        """Ask, and as one that waits already ask on while Redis is away or refuses for now.

        Returns:
            clock.now() when it was sent, and the answer; None when its time is up.
        """
        while True:
            sent = clock.now()
            self._is_to_look = False
            try:
                answer: Answer = yield self._question(wait=wait)
            except (RedisUnavailable, RedisRefused) as error:
                if self._ticket is None or not error.is_passing:
                    raise
            else:
                return sent, answer
            left = self._deadline - clock.now()
            if left <= 0:
                self.take_back()
                return None
            yield min(LOOK_EVERY_S, left)

    def _leave(self) -> Generator["Command[Any]", Any, None]:
        """Leave the queue, as its time is up."""
        try:
            yield self._session.commands.release(self._keys, self.id)
        except (RedisUnavailable, RedisRefused) as error:
            if not error.is_general:
                raise
            self.take_back()

    def _wait(self, sent: float, answer: Answer) -> Generator[float, None, bool]:
        """Wait; returns whether it is held. If not, it is time to ask, or up."""
        often, seldom = (
            (POLL_EVERY_S, POLL_SELDOM_S) if self._session.polls else (LOOK_EVERY_S, LOOK_SELDOM_S)
        )
        first_end = sent + _seconds(answer.lease_end - answer.now)
        now = clock.now()
        look_at = min(
            max(first_end, now) + LOOK_AFTER_LEASE_S * (1 + answer.before),
            now + min(often * (1 + answer.before), seldom),
            self._deadline,
        )
        while True:
            grant, self._grant = self._grant, None
            if grant is not None:
                # Of several locks this is one: whether the others are to be had must be asked.
                return len(self._keys) == 1 and self._is_mine(
                    [grant.fence], sent, grant.lease_end - answer.now
                )
            pause = look_at - clock.now()
            if self._is_to_look or pause <= 0:
                return False
            yield pause

    def _is_mine(self, fences: Sequence[int], sent: float, lease: int) -> bool:
        """Take what was got, unless it took so long to hear of it that its lease is nearly over.

        Args:
            sent: clock.now() when something was asked that the server answered later.
            lease: microseconds from the server's time in that answer to the lease's end; so it
                lasts for longer than that after `sent`.
        """
        valid_until = sent + _seconds(lease)
        if valid_until - clock.now() < min(self._lease, _seconds(HANDOVER_LEASE_US)) / 2:
            return False
        self._held = fences, valid_until
        return True

    def _question(self, *, wait: bool) -> Command[Answer]:
        self._asks_to_wait = wait
        return self._session.commands.acquire(
            self._wanted,
            self.id,
            owner=self._owner.known_as,
            about=self._owner.about,
            wake=self._session.channel if self._line is None else self._line.channel,
            lease_us=round(self._lease * US_PER_S),
            ticket=self._ticket,
            wait=wait,
            deadlock=self._session.deadlock,
            known=self._is_known,
        )

    def _warn_of_cycle(self, answer: Answer) -> None:
        if answer.cycle:
            self._session.statistics.note("deadlocks")
            log.warning("%s", self._deadlock(answer))

    def _refuse_to_wait(self, answer: Answer) -> None:
        """Raise DeadlockDetected, unless it may be with what is being given up here."""
        if not self._session.renewer.is_giving_up(self._keys):
            self._session.statistics.note("deadlocks")
            raise self._deadlock(answer)

    def _deadlock(self, answer: Answer) -> DeadlockDetected:
        return DeadlockDetected(steps(answer.cycle, self._session.keys))

    def _holds(self, task: "asyncio.Task[Any] | None") -> list[Hold]:
        fences, valid_until = self._held
        now = clock.now()
        waited = now - self._began
        for lock, fence in zip(self._locks, fences, strict=True):
            hold = Hold(lock, self.id, self._owner, fence, self._lease, valid_until, task, now)
            self._got.append(hold)
            self._session.keep(hold)
            self._session.statistics.family(lock.kind, lock.name).waited(waited)
            for tell in observers:
                tell(lock.kind, lock.name, waited)
        return self._got


async def ask(session: Session, command: Command[T], at_most: float = math.inf) -> tuple[T, bool]:
    """As `Session.execute`, without blocking the event loop.

    When this is cancelled the command is executed all the same.

    Args:
        at_most: seconds for which it is sent again, where the session's patience is longer.

    Raises:
        RedisUnavailable: Redis cannot be reached.
        RedisRefused: it refuses the command.
    """
    loop = asyncio.get_running_loop()
    reply: asyncio.Future[tuple[T, bool]] = loop.create_future()

    def settle(got: Reply) -> None:
        if reply.done():
            return  # nobody waits any more
        if isinstance(got.value, Exception):
            reply.set_exception(got.value)
        else:
            reply.set_result((got.value, got.repeated))

    def done(got: Reply) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(settle, got)

    session.push.call(command, done, at_most)
    return await reply


def _nobody_waits() -> None:
    """It looks whether it was told anything before it waits."""


def _seconds(microseconds: int) -> float:
    return microseconds / US_PER_S
