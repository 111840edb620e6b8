"""What a consumer is given that runs inside another program, in a thread beside it.

Such a consumer leaves alone what is that program's: its signals, its children, its log.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guest:
    """What the program lends.

    Attributes:
        call: has a thread of the program call something, soon; for the only slot. None where
            processes run the jobs, which are forks of the program.
        address: under which Redis sees the program, as rq notes it.
    """

    call: Callable[[Callable[[], None]], None] | None
    address: str
