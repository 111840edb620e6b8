"""What this process has seen of its locks; counting costs next to nothing."""

import bisect
import threading
from dataclasses import dataclass, field

# Seconds; an uncontended acquisition takes tens of microseconds.
BUCKETS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
MOST_FAMILIES = 100


@dataclass(slots=True)
class Histogram:
    """How often which duration was seen.

    Attributes:
        counts: for each of BUCKETS, and one more for what is longer.
        sum: of all, in seconds.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    sum: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


@dataclass(slots=True)
class Family:
    """Locks that are alike: of one kind, and with the same name before the first colon."""

    wait: Histogram = field(default_factory=Histogram)
    hold: Histogram = field(default_factory=Histogram)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def waited(self, seconds: float) -> None:
        """Somebody has got one of them."""
        with self._lock:
            self.wait.add(seconds)

    def held(self, seconds: float) -> None:
        """Somebody has released one of them."""
        with self._lock:
            self.hold.add(seconds)


@dataclass(slots=True)
class Statistics:
    """Since the process began.

    Attributes:
        families: by kind and name, such as ("mutex", "account") for `account:5`. Names are made
            from arguments, so that there may be any number; those beyond MOST_FAMILIES are
            counted as one, "…".
        lost: leases that ended, or were taken away, while they were held.
        expired: those of them whose renewal came too late, or never.
        deadlocks: that were found in waiting here.
        fenced_out: writes that were refused.
        abandoned: locks whose owner ended without releasing them.
    """

    families: dict[tuple[str, str], Family] = field(default_factory=dict)
    lost: int = 0
    expired: int = 0
    deadlocks: int = 0
    fenced_out: int = 0
    abandoned: int = 0

    def family(self, kind: str, name: str) -> Family:
        """Where a lock is counted."""
        key = (kind, name.partition(":")[0])
        family = self.families.get(key)
        if family is None:
            if len(self.families) >= MOST_FAMILIES:
                key = (kind, "…")
            family = self.families.setdefault(key, Family())
        return family
