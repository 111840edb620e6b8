"""How many jobs a worker should have waiting, beside one for each of its slots; and which."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from heori_common.protocol.job import Claim, Settled

Worker = TypeVar("Worker")

# A worker may have waiting what its slots will begin within this time. Enough to bridge a round
# trip to Redis many times over, and too little for anyone to miss the jobs. How many are claimed at
# once follows from it, and each claim costs something, however few jobs it brings.
PREFETCH_S = 0.07
PREFETCH_BYTES = 4_000_000  # and no more than that, with their results; for each worker


class Room(NamedTuple):
    """What a worker has, and is to have."""

    held: int  # jobs
    slots: int
    aim: int  # jobs, those that wait for a slot included

    @property
    def left(self) -> int:
        """For how many more there is room."""
        return max(0, self.aim - self.held)

    @property
    def is_asked_for(self) -> bool:
        """Whether no more than half of those are left that were to wait.

        When the last of them has begun, a slot is idle already.
        """
        return self.left > 0 and (self.held < self.slots or self.left * 2 >= self.aim - self.slots)

    @property
    def is_short(self) -> bool:
        """Whether no more than a quarter of them is left."""
        return self.left > 0 and (self.held - self.slots) * 4 <= self.aim - self.slots


def is_time_to_claim(rooms: Sequence[Room]) -> bool:
    """Whether nothing is gained by waiting for more room, or a worker may have to."""
    return all(room.is_asked_for for room in rooms) or any(room.is_short for room in rooms)


class Prefetch:
    """Knows how long jobs have taken of late, and how large they were.

    Args:
        most: jobs, however short they are.
        strict: whether a job is to be claimed only when it can begin.
    """

    def __init__(self, most: int, *, strict: bool) -> None:
        self._most = 0 if strict else most
        self._run_s = _Mean()
        self._payload_bytes = _Mean()
        self._result_bytes = _Mean()

    def claimed(self, size: int, jobs: int) -> None:
        """Jobs have come, of so many bytes in all."""
        self._payload_bytes.add(size, jobs)

    def ended(self, settled: Sequence[Settled]) -> None:
        """Jobs have ended."""
        run_s, size = 0.0, 0
        for _, outcome in settled:  # once through them: this is done for each job
            run_s += outcome.run_time
            size += len(outcome.body or b"")
        self._run_s.add(run_s, len(settled))
        self._result_bytes.add(size, len(settled))

    @property
    def are_brief(self) -> bool:
        """Whether jobs have been so brief of late that some wait for each slot."""
        return self._run_s.value is not None and self._run_s.value <= PREFETCH_S

    def jobs(self, slots: int) -> int:
        """How many jobs a worker of so many slots should have waiting, more if they are short."""
        if self._run_s.value is None:
            return 0
        ahead = PREFETCH_S * slots / max(self._run_s.value, 1e-6)
        size = (self._payload_bytes.value or 0.0) + (self._result_bytes.value or 0.0)
        return int(min(ahead, self._most, PREFETCH_BYTES / max(size, 1.0)))


class _Mean:
    """A mean of late: each batch counts for a fifth of it."""

    def __init__(self) -> None:
        self.value: float | None = None

    def add(self, total: float, count: int) -> None:
        """Count a batch."""
        mean = total / count
        self.value = mean if self.value is None else 0.8 * self.value + 0.2 * mean


def share_out(claims: Sequence[Claim], room: Mapping[Worker, int]) -> dict[Worker, Sequence[Claim]]:
    """Which worker gets which jobs: each goes to the one that has the most room then.

    Args:
        room: for how many each of them has.
    """
    if len(room) == 1:
        return dict.fromkeys(room, claims)
    left = dict(room)
    shares: dict[Worker, list[Claim]] = {}
    for claim in claims:
        worker = max(left, key=left.__getitem__)
        left[worker] -= 1
        shares.setdefault(worker, []).append(claim)
    return dict(shares)
