"""Gives the pool of a consumer of the model auto its size, and says why."""

import asyncio
import time
from collections import Counter, deque
from typing import Any

from heori_common import logs
from heori_common.protocol.keys import service_of
from heori_consumer.auto import words
from heori_consumer.auto.apart import KeepingApart
from heori_consumer.auto.controller import Controller
from heori_consumer.auto.demand import Observation
from heori_consumer.auto.held_up import HeldByRate, HeldUp, held_up
from heori_consumer.auto.lesson import Lesson
from heori_consumer.auto.move import Cause, Move
from heori_consumer.auto.size import Size, SizeBounds
from heori_consumer.gil.sampler import Sampler
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.observer import Observer
from heori_consumer.supervisor.rate_lines import RateLines

log = logs.get_logger(__name__)

LOOK_EVERY_S = 0.25
KEEP_EVERY_S = 5.0  # what was learned, if anything was
IDLE_EVERY_S = 1.0
RATES_EVERY_S = 5.0  # while there is something to do, or jobs wait for one
MOST_MOVES = 50  # that are told of
LATEST = 5  # observations in which a lock has to hold all up


class Autoscaler:
    """Feeds the controller with what is seen, and makes its moves.

    Attributes:
        controller: what chooses.
        moves: the latest, with the time.monotonic() of each.
        causes: how many moves were made for what.
        apart: which tasks are kept from each other's way.
        held_up: by which lock or rate all jobs are, so that more slots are no use.
    """

    def __init__(self, context: Context, pool: Pool, sampler: Sampler, bounds: SizeBounds) -> None:
        self._context = context
        self._pool = pool
        self._sampler = sampler
        self.controller = Controller(context.options.size, bounds)
        self.moves: deque[tuple[float, Move]] = deque(maxlen=MOST_MOVES)
        self.causes: Counter[Cause] = Counter()
        self.apart = KeepingApart()
        self.held_up: HeldUp | HeldByRate | None = None
        self._rates = RateLines(context, pool)
        self._had_jobs = True  # since the rates were looked at
        self._latest: deque[Observation] = deque(maxlen=LATEST)
        self._on_trial: Move | None = None  # of which it was not told yet what came of it

    async def run(self) -> None:
        """Steer, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._steer())
            group.create_task(self._share_lessons())
            group.create_task(self._look_for_rates())

    async def _steer(self) -> None:
        observer = Observer(self._pool, self._sampler)
        while True:
            if not self._pool.occupied.is_set():
                await self._context.beat.wait(self._pool.occupied, IDLE_EVERY_S)
            self._had_jobs = self._had_jobs or self._pool.occupied.is_set()
            await asyncio.sleep(LOOK_EVERY_S)
            self._look(observer)

    async def _look_for_rates(self) -> None:
        while True:
            await self._context.beat.rest(RATES_EVERY_S)
            if not self._had_jobs and not isinstance(self.held_up, HeldByRate):
                continue
            self._had_jobs = False
            found = await self._rates.longest()
            if isinstance(self.held_up, HeldUp):
                continue
            before, self.held_up = self.held_up, found
            if found is not None and (before is None or before[:2] != found[:2]):
                log.info("auto adds no slots, as jobs wait for a rate", reason=str(found))

    async def _share_lessons(self) -> None:
        """Read what others have learned, and then write what is new."""
        controller = self.controller
        context, service = self._context, service_of(self._context.queues)
        found = await context.retry.once(
            "read what was learned of tasks",
            context.redis.execute(context.commands.lessons(service)),
        )
        for task, packed in (found or {}).items():
            if (lesson := Lesson.unpack(packed)) is not None:
                controller.lessons.setdefault(task, lesson)
        kept = controller.lessons.copy()
        while True:
            await context.beat.rest(KEEP_EVERY_S)
            now = controller.lessons.copy()
            new = {task: now[task].pack() for task in now if now[task] != kept.get(task)}
            if not new:
                continue
            done = await context.retry.once(
                "keep what was learned of tasks",
                context.redis.execute(context.commands.keep_lessons(service, new)),
            )
            if done is not None:
                kept = now

    def told(self) -> dict[str, Any]:
        """The size that is wanted now, what others would do, and the latest moves."""
        return {
            "wanted": _told(self.controller.size),
            "estimates": self.controller.estimates,
            "apart": str(self.apart),
            "held_up": "" if self.held_up is None else str(self.held_up),
            "moves": [_told_of(move, at) for at, move in self.moves.copy()],
        }

    def _look(self, observer: Observer) -> None:
        controller = self.controller
        seen = observer.look(controller.size)
        if seen is not None:
            self._look_for_lock(seen)
            self._keep_apart(seen)
        move = controller.step(seen) if seen is not None else None
        self._look_what_came_of_the_last()
        if move is None:
            return
        self.moves.append((time.monotonic(), move))
        if self._context.options.advises_only:
            log.info("auto would change the size", reason=move.reason)
            controller.decline(move)
            return
        undoes = move.cause == "the last move did not help"
        log.info(
            "auto takes back its last move" if undoes else "auto changes the size",
            reason=move.reason,
            **_told(move.size),
        )
        self.causes[move.cause] += 1
        self._on_trial = move
        self._pool.resize(move.size)

    def _look_for_lock(self, seen: Observation) -> None:
        before = self.held_up
        self._latest.append(seen)
        now = held_up(self._latest) if len(self._latest) == LATEST else None
        if now is not None or isinstance(before, HeldUp):
            self.held_up = now
        if now is not None and (not isinstance(before, HeldUp) or before.lock != now.lock):
            log.info("auto adds no slots, as all wait for one lock", reason=str(now))

    def _keep_apart(self, seen: Observation) -> None:
        apart, fate = self.apart, self.apart.fate
        is_free = self._on_trial is None and not self._context.options.advises_only
        if apart.step(seen, is_free=is_free):
            self._pool.roster.keep_apart(apart.tasks, apart.most)
        if apart.fate != fate and apart.fate == "on trial":
            log.info(
                "auto keeps jobs apart that only wait for each other for the GIL",
                tasks=sorted(apart.tasks),
            )
        elif apart.fate != fate:
            log.info(
                "auto knows what came of keeping jobs apart",
                fate=apart.fate,
                came_of=str(apart.effect or ""),
            )

    def _look_what_came_of_the_last(self) -> None:
        move = self._on_trial
        if move is None or move.outcome is None:
            return
        self._on_trial = None
        if move.outcome.fate != "undone":  # that is another move, with its reason
            log.info(
                "auto knows what came of its last move",
                move=words.path(move.before, move.size),
                came_of=words.came_of(move.outcome),
            )


def _told_of(move: Move, at: float) -> dict[str, Any]:
    outcome = move.outcome
    return {
        "ago": round(time.monotonic() - at, 1),
        "before": _told(move.before),
        "size": _told(move.size),
        "cause": move.cause,
        "reason": move.reason,
        "outcome": outcome.fate if outcome else None,
        "gain": round(outcome.gain, 3) if outcome and outcome.gain is not None else None,
        "came_of": words.came_of(outcome) if outcome else "",
    }


def _told(size: Size) -> dict[str, int]:
    return {"processes": size.processes, "slots": size.slots, "coroutines": size.coroutines}
