"""Every kind of lock there is: what a test says of locks, it says of each of them."""

from collections.abc import Callable

from heori import Mutex, Semaphore, acquire_all
from heori_common.locks.lockable import Lockable

Make = Callable[..., Lockable]  # with no argument, or its owner

KINDS: dict[str, Make] = {
    "mutex": lambda owner=None: Mutex("a", owner=owner),
    "semaphore of 1": lambda owner=None: Semaphore("a", 1, owner=owner),
    "semaphore of 3": lambda owner=None: Semaphore("a", 3, owner=owner),
    "several": lambda owner=None: acquire_all(
        [Semaphore("b", 3, owner=owner), Mutex("a", owner=owner)]
    ),
}
LIMIT = {"semaphore of 3": 3}
