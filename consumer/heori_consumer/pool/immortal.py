"""Objects whose references nobody counts, so that processes that are forked go on to share them.

A count is in its object: whoever as much as calls a function writes to the page where that is, and
the kernel copies the page for this process. Since 3.12, CPython does not count what it takes for
immortal (PEP 683): None, small numbers, classes of its own. What has been imported when a consumer
forks is there until its processes end anyway. Were it counted, a tenth of their memory would be
such copies.
"""

import ctypes
import gc
import types
from typing import Any

# What the lower half of a count is in immortal objects, from 3.12 on: as large as can be.
_IMMORTAL = 0xFFFFFFFF
# Garbage collection knows nothing of these, which are constants of functions and in modules.
_VALUES = {str, bytes, int, float}
_ADDRESSES = 1 << 48  # of a process, as far as any system gives them to one


def make_immortal() -> None:
    """Have nobody count references to what there is, as far as it is found here.

    That is what garbage collection knows of, and the plain values in it. What has a `__del__`, such
    as a file, is left to end as it would. Nothing happens with an interpreter that counts all, or
    keeps its counts elsewhere.
    """
    counts = _counts()
    if not _is_known(counts):
        return
    gc.unfreeze()  # what is frozen is not told
    found = gc.get_objects()  # and nothing of what follows
    holders: list[Any] = []
    ends: dict[type, bool] = {}
    for each in found:
        kind = type(each)
        if kind not in ends:
            ends[kind] = hasattr(kind, "__del__")
        if ends[kind]:
            continue
        counts[id(each) >> 2] = _IMMORTAL
        if kind is types.FunctionType:
            counts[id(each.__code__) >> 2] = _IMMORTAL
            holders.append(each.__code__.co_consts)
        elif kind is dict:
            holders.append(each)
    for value in gc.get_referents(*holders):
        if type(value) in _VALUES:
            counts[id(value) >> 2] = _IMMORTAL


def _counts() -> memoryview:
    """The memory of this process, by fours of bytes: the count of an object begins at its id."""
    return memoryview((ctypes.c_ubyte * _ADDRESSES).from_address(0)).cast("B").cast("I")


def _is_known(counts: memoryview) -> bool:
    """Whether this interpreter has counts where they are looked for here, and immortal objects."""
    if object.__basicsize__ != 16:  # free-threaded, with tracing of references, or of 32 bits
        return False
    tried = object()
    at = id(tried) >> 2
    before = counts[at]
    held = [tried] * 1000
    if counts[at] != before + 1000:
        return False
    counts[at] = _IMMORTAL
    held += held
    del held
    return counts[at] == _IMMORTAL
