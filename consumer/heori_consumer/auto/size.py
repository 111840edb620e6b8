"""How large a pool is, and how large it may become."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a pool whose workers have threads and an event loop each.

    Attributes:
        processes: worker processes.
        slots: threads of each process, for plain tasks.
        coroutines: async tasks that the event loop of each process runs at once, at most.
    """

    processes: int
    slots: int
    coroutines: int

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ValueError: one of the numbers is less than 1.
        """
        if min(self.processes, self.slots, self.coroutines) < 1:
            raise ValueError(f"{self}: a pool has at least one of each")

    def __str__(self) -> str:
        """For people: processes × threads of each."""
        return f"{self.processes} × {self.slots}"


@dataclass(frozen=True, slots=True)
class SizeBounds:
    """How large a pool may become.

    Attributes:
        max_processes, max_slots, max_coroutines: the largest of each in `Size`.
        max_memory: bytes of all processes together, the supervisor included; None for no bound.
    """

    max_processes: int
    max_slots: int
    max_coroutines: int
    max_memory: int | None = None

    def within(self, size: Size) -> Size:
        """The size, with what is too large of it cut down to the bound."""
        return Size(
            min(size.processes, self.max_processes),
            min(size.slots, self.max_slots),
            min(size.coroutines, self.max_coroutines),
        )
