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

# What the lower half of a count is in immortal objects, from 3.12 on: as large as can be.
_IMMORTAL = 0xFFFFFFFF
_count = ctypes.c_uint32.from_address  # of the object with this id


def make_immortal() -> None:
    """Have nobody count references to what there is, as far as garbage collection knows of it.

    What has a `__del__`, such as a file, is left to end as it would. Nothing happens with an
    interpreter that counts all, or keeps its counts elsewhere.
    """
    if not _is_known():
        return
    gc.unfreeze()  # what is frozen is not told
    for each in gc.get_objects():
        if type(each) is types.FunctionType:
            _count(id(each.__code__)).value = _IMMORTAL
        elif hasattr(type(each), "__del__"):
            continue
        _count(id(each)).value = _IMMORTAL


def _is_known() -> bool:
    """Whether this interpreter has counts where they are looked for here, and immortal objects."""
    if object.__basicsize__ != 16:  # free-threaded, with tracing of references, or of 32 bits
        return False
    tried = object()
    count = _count(id(tried))
    before = count.value
    held = [tried] * 1000
    if count.value != before + 1000:
        return False
    count.value = _IMMORTAL
    held += held
    del held
    return count.value == _IMMORTAL
