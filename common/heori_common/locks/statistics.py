"""What a process has seen of its locks; counting costs next to nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from heori_common.given_back import GivenBack, lock_given_back
from heori_common.metrics import LOCK_SECONDS, MOST_FAMILIES, OTHER, Histogram

# Called with the kind and the name of a lock, and with the seconds that its holder has waited.
Acquired = Callable[[str, str, float], None]
observers: list[Acquired] = []
Event = Literal["lost", "expired", "deadlocks", "fenced_out", "abandoned"]


def when_acquired(observer: Acquired) -> None:
    """Have it called for each lock that this process acquires, in the thread or task that does."""
    observers.append(observer)


def family_name(name: str) -> str:
    """What locks that are alike have in common: their name before the first colon."""
    return name.partition(":")[0]


def _times() -> Histogram:
    return Histogram(LOCK_SECONDS)


@dataclass(slots=True)
class Family:
    """Locks that are alike: of one kind, and with the same name before the first colon.

    Attributes:
        wait, hold: in seconds.
    """

    wait: Histogram = field(default_factory=_times)
    hold: Histogram = field(default_factory=_times)
    _lock: GivenBack = field(default_factory=lock_given_back, repr=False, compare=False)

    def waited(self, seconds: float) -> None:
        """Somebody has got one of them."""
        with self._lock:
            self.wait.observe(seconds)

    def held(self, seconds: float) -> None:
        """Somebody has released one of them."""
        with self._lock:
            self.hold.observe(seconds)


@dataclass(slots=True)
class Statistics:
    """Since the process began.

    Attributes:
        families: by kind and name, such as ("mutex", "account") for `account:5`. Names are made
            from arguments, so that there may be any number; those beyond MOST_FAMILIES are
            counted as one, OTHER.
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
    _lock: GivenBack = field(default_factory=lock_given_back, repr=False, compare=False)

    def note(self, what: Event, times: int = 1) -> None:
        """Count something that has happened; threads do so at once."""
        with self._lock:
            setattr(self, what, getattr(self, what) + times)

    def family(self, kind: str, name: str) -> Family:
        """Where a lock is counted."""
        key = (kind, family_name(name))
        family = self.families.get(key)
        if family is None:
            if len(self.families) >= MOST_FAMILIES:
                key = (kind, OTHER)
            family = self.families.setdefault(key, Family())
        return family

    def add(self, other: "Statistics") -> None:
        """Count all that another has, too."""
        for (kind, name), more in other.families.copy().items():
            family = self.family(kind, name)
            family.wait += more.wait
            family.hold += more.hold
        self.lost += other.lost
        self.expired += other.expired
        self.deadlocks += other.deadlocks
        self.fenced_out += other.fenced_out
        self.abandoned += other.abandoned

    def to_wire(self) -> list[Any]:
        """As it travels from a worker to its supervisor."""
        families = [
            [*key, *((times.counts, times.total) for times in (family.wait, family.hold))]
            for key, family in self.families.copy().items()
        ]
        return [
            families,
            self.lost,
            self.expired,
            self.deadlocks,
            self.fenced_out,
            self.abandoned,
        ]

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> "Statistics":
        """The inverse of `to_wire`."""
        families, *counts = wire
        read = {
            (kind, name): Family(Histogram(LOCK_SECONDS, *wait), Histogram(LOCK_SECONDS, *hold))
            for kind, name, wait, hold in families
        }
        return cls(read, *counts)


def total(parts: Sequence[Statistics]) -> Statistics:
    """The sum of all."""
    whole = Statistics()
    for part in parts:
        whole.add(part)
    return whole
