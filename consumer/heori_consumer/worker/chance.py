"""Random numbers: each worker draws its own, though it is the copy of another process."""

import random
import sys


def draw_anew() -> None:
    """Seed the generators that a process has from the system: `random`, and NumPy's if it is there.

    Generators that a module has made for itself stay as they are.
    """
    random.seed()
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()
