"""What a consumer is given that runs inside another program, in a thread beside it.

Such a consumer leaves alone what is that program's: its signals, its children, its log.
"""

from collections.abc import Callable
from dataclasses import dataclass
from socket import socket
from typing import NamedTuple


class Zygote(NamedTuple):
    """A forkserver that was forked from the program itself, and so has all that is loaded there."""

    pid: int
    control: socket  # to it


@dataclass(frozen=True, slots=True)
class Guest:
    """What the program lends.

    Attributes:
        zygote: forks the workers; None where `call` runs the jobs.
        call: has a thread of the program call something, soon; for the only slot.
        address: under which Redis sees the program, as rq notes it.
    """

    zygote: Zygote | None
    call: Callable[[Callable[[], None]], None] | None
    address: str
