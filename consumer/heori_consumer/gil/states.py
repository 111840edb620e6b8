"""What a thread is doing, from its line of the kernel's, and how such findings add up.

A line (proc_pid_syscall(5), of a thread) is ``running``, or the number of the system
call that the thread is blocked in with its arguments, stack pointer and program counter, or -1
with those two when it is blocked elsewhere. A thread that waits for the GIL waits in futex(2) on
an address within the interpreter's GIL; everything else that blocks is not the GIL's fault.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from heori_consumer.between.slot_table import Work

RUNNING, GIL_WAIT, IO_WAIT, WAIT = STATES = ("running", "gil_wait", "io_wait", "wait")

# The condition and the mutexes of a GIL are this close to each other, in bytes.
GIL_BYTES = 256
# How often threads are looked at, and how many of them at most, a second.
LOOKS_PER_S = 15
READS_PER_S = 200


class GilFutex(NamedTuple):
    """How a thread that waits for the GIL of one process is known."""

    call: int  # futex(2)'s number, which each architecture has its own of
    address: int


def state_of(line: bytes, gil: GilFutex | None) -> str:
    """Tell a thread's state from its line."""
    if line.startswith(RUNNING.encode()):
        return RUNNING
    call, _, rest = line.partition(b" ")
    if gil is None or int(call) != gil.call:
        return IO_WAIT
    address = int(rest.partition(b" ")[0], 16)
    return GIL_WAIT if abs(address - gil.address) <= GIL_BYTES else IO_WAIT


def pause() -> float:
    """Seconds until the next look; irregular, so as not to fall into step with what is seen."""
    return random.uniform(0.5, 1.5) / LOOKS_PER_S


@dataclass(slots=True)
class Tally:
    """Seconds by state, of the threads of one worker and of its tasks, by their numbers."""

    threads: dict[str, float] = field(default_factory=dict)
    tasks: dict[int, dict[str, float]] = field(default_factory=dict)

    def look(
        self,
        busy: Mapping[Work, int],
        at: Work | None,
        states_of: Callable[[Sequence[int]], dict[int, str]],
        *,
        share: float,
        seconds: float,
    ) -> tuple[dict[int, str], float]:
        """Add what is seen now.

        Args:
            busy: how many slots run what.
            at: what the slot runs whose coroutine an event loop is at, None if there is none.
            states_of: returns the states of threads, less those that have ended.
            share: how many of the threads to look at; these stand for all.
            seconds: since the last look.

        Returns:
            The states of those that were looked at, and the seconds for which each of them stands.
        """
        slots: Counter[int] = Counter()
        for (thread, _), count in busy.items():
            slots[thread] += count
        looked_at = random.sample(list(slots), max(1, round(len(slots) * share)))
        states = states_of(looked_at)
        seconds *= len(slots) / len(looked_at)
        for state in states.values():
            _add(self.threads, state, seconds)
        for (thread, task), count in busy.items():
            if thread in states:
                of_task = self.tasks.setdefault(task, {})
                # Of the coroutines that share a thread all but one wait, whatever it does.
                at_work = int(slots[thread] == 1 or at == (thread, task))
                if at_work:
                    _add(of_task, states[thread], seconds)
                if count > at_work:
                    _add(of_task, IO_WAIT, (count - at_work) * seconds)
        return states, seconds

    def add_estimate(self, waiting: "Tally", running: float) -> None:
        """Add what another has seen as waiting only, of which so much was running in truth."""
        _add_estimate(self.threads, waiting.threads, running)
        for task, states in waiting.tasks.items():
            _add_estimate(self.tasks.setdefault(task, {}), states, running)


def _add(to: dict[str, float], state: str, seconds: float) -> None:
    to[state] = to.get(state, 0.0) + seconds


def _add_estimate(to: dict[str, float], states: dict[str, float], running: float) -> None:
    for state, seconds in states.items():
        if state == WAIT:
            _add(to, RUNNING, seconds * running)
            _add(to, WAIT, seconds * (1 - running))
        else:
            _add(to, state, seconds)
