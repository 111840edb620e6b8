"""What a pool of each size would do with the jobs of now.

Each process has a GIL, all share the cores, and what jobs wait for besides is a delay. The least of
what these allow is what they do together: a job that holds the GIL needs a core at the same time,
which such networks have no exact solution for.
"""

from collections.abc import Iterator

from heori_consumer.auto.demand import Mix
from heori_consumer.auto.queueing import Station
from heori_consumer.auto.size import Size, SizeBounds

# Fewer threads would do for some jobs. With two, waits for the GIL can be seen.
LEAST_SLOTS = 2
LEAST_COROUTINES = 8
# Of the throughput, where GILs and cores allow the same, and all computing is without the GIL; from
# the simulation (tests/rigs/machine.py).
HELD_UP = 0.12
# Numbers between which there is no difference worth a move.
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
MANY = 16  # processes; above it not every number is looked at
# How many times as many of anything there may be after one move, as what is far away is not known
# well; and when that was too far.
LEAP, SMALL_LEAP = 8, 2


class Forecast:
    """Throughput by size.

    Args:
        mix: what jobs need.
        margin: how many times that, but for cores: a little more than enough costs memory alone.
        cores: that there are.
        lid: jobs a second that were seen not to be exceeded: by what all of them wait for.
    """

    def __init__(
        self, mix: Mix, cores: float, lid: float | None = None, margin: float = 1.0
    ) -> None:
        self._mix, self._cores, self._lid, self._margin = mix, cores, lid, margin
        plain, coroutine = mix.plain, mix.coroutine
        longer = margin**2  # jobs come in crowds: the GIL is free then, if slots are too few
        self._gil = Station(plain.gil * margin, (plain.free + plain.wait) * longer)
        self._computing = Station(plain.cpu, plain.wait * longer, cores)
        # The more it has to do, the less a loop takes for each of them.
        self._loop = Station(coroutine.gil, coroutine.wait * longer)

    def throughput(self, size: Size) -> float:
        """Jobs a second."""
        mix, processes = self._mix, size.processes
        limits = []
        if mix.on_loop < 1:
            threads = self._together(
                processes * self._gil.flow(size.slots).throughput,
                self._computing.flow(processes * size.slots).throughput,
            )
            limits.append(threads / (1 - mix.on_loop))
        if mix.on_loop > 0:
            loops = processes * self._loop.flow(size.coroutines).throughput
            limits.append(loops / mix.on_loop)
            plain, coroutine = mix.plain.gil * (1 - mix.on_loop), mix.coroutine.gil * mix.on_loop
            if plain + coroutine > 0:
                cpu = plain + coroutine + mix.plain.free * (1 - mix.on_loop)
                limits += [processes / (plain * self._margin + coroutine), self._cores / cpu]
        if self._lid is not None:
            limits.append(self._lid)
        return min(limits)

    def _together(self, gils: float, cores: float) -> float:
        """What GILs and cores allow together.

        Threads that compute without the GIL take cores from those that hold it, and so hold up all
        that wait for it. That costs the more the nearer both are to their limits.
        """
        least, most = sorted((gils, cores))
        plain = self._mix.plain
        if most <= 0 or plain.cpu <= 0:
            return least
        return least * (1 - HELD_UP * plain.free / plain.cpu * (least / most) ** 4)


def candidates(
    now: Size, bounds: SizeBounds, leap: int, *, has_loops: bool, has_plain: bool
) -> Iterator[Size]:
    """The sizes that may come next.

    Args:
        leap: how many times as many of anything there may be.
        has_loops: whether the number of coroutines matters.
        has_plain: whether that of threads does.
    """
    all_processes = _numbers(now.processes, bounds.max_processes, 1, leap, each_up_to=MANY)
    all_slots = _numbers(now.slots, bounds.max_slots, LEAST_SLOTS, leap)
    all_coroutines = _numbers(now.coroutines, bounds.max_coroutines, LEAST_COROUTINES, leap)
    for processes in all_processes:
        for slots in all_slots if has_plain else [now.slots]:
            for coroutines in all_coroutines if has_loops else [now.coroutines]:
                yield Size(processes, slots, coroutines)


def _numbers(now: int, most: int, least: int, leap: int, *, each_up_to: int = 0) -> list[int]:
    """Those from the least to the most that are worth a look."""
    reach = min(most, now * leap)
    numbers = {*STEPS, *range(1, each_up_to + 1), now, reach}
    return sorted(number for number in numbers if min(least, reach) <= number <= reach)
