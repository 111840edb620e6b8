"""What was learned of a task, for this consumer and those that come after it."""

import json
import math
from typing import NamedTuple

from heori_consumer.auto.demand import Demand
from heori_consumer.auto.size import Size


class Lesson(NamedTuple):
    """What was learned of jobs that are nearly all of one task.

    Attributes:
        demand: what each of them needs.
        size: that was best for them.
        cores: that there were.
    """

    demand: Demand
    size: Size
    cores: float

    def pack(self) -> bytes:
        """As it stands in Redis."""
        size = self.size.processes, self.size.slots, self.size.coroutines
        return json.dumps([*self.demand, *size, self.cores]).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> "Lesson | None":
        """The inverse of `pack`; None of what is no lesson."""
        try:
            gil, free, wait, processes, slots, coroutines, cores = json.loads(packed)
            numbers = [float(each) for each in (gil, free, wait, cores)]
            size = Size(int(processes), int(slots), int(coroutines))
        except (ValueError, TypeError, OverflowError):
            return None
        if not all(math.isfinite(each) and each >= 0 for each in numbers):
            return None
        return cls(Demand(*numbers[:3]), size, numbers[3])
