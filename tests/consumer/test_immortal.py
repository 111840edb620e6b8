"""Objects whose references nobody counts, so that forks share them."""

import subprocess
import sys
import sysconfig

import pytest

from heori_common.platform import TELLS_OF_THREADS

COUNTS_ALL = sys.version_info < (3, 12) or bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def run(program: str) -> str:
    """What a program of its own says: what it makes immortal stays so until it ends."""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


# A count is asked for only here: a function has as many references as whoever asks can see.
COUNTING = """
import sys
from heori_consumer.pool.immortal import make_immortal

def change(one):
    before = sys.getrefcount(one)
    held = [one] * 1000
    return sys.getrefcount(one) - before

TEXT, NUMBER = " ".join(["a", "text"]), int("1000000000")
class Kind: pass
def function(): pass
there = [Kind, function, function.__code__, [1], {"a": []}, Kind(), TEXT, NUMBER]
assert [change(each) for each in there] == [1000] * len(there)
"""


def test_references_to_what_is_there_are_not_counted_and_those_to_what_comes_are() -> None:
    program = f"""{COUNTING}
make_immortal()
print([change(each) for each in there])

import gc, weakref
there[3].append(2)
there[4]["a"].append(3)
assert there[3:5] == [[1, 2], {{"a": [3]}}] and function() is None and type(Kind()) is Kind
new = [Kind(), type("New", (), {{}})(), Kind()]
new[0].other, new[2].itself = [Kind()], new[2]  # in a cycle
gone = [*map(weakref.ref, new), weakref.ref(new[0].other[0])]
new.clear()
gc.collect()
assert [each() for each in gone] == [None] * 4
"""
    each = 1000 if COUNTS_ALL else 0
    assert run(program) == f"{[each] * 8}\n"


def test_what_ends_with_its_last_reference_still_does() -> None:
    program = f"""{COUNTING}
import os, tempfile

class Closing:
    def __del__(self):
        print("closed")

file = open(os.path.join(tempfile.mkdtemp(), "file"), "w")
name, closing = file.name, Closing()
file.write("all of it")
make_immortal()
del file, closing
print(open(name).read())
"""
    assert run(program) == "closed\nall of it\n"


def test_it_may_be_done_twice_and_after_what_is_there_was_frozen() -> None:
    program = f"""{COUNTING}
import gc
gc.freeze()
make_immortal()
there.append(lambda: None)
gc.freeze()
make_immortal()
print([change(each) for each in there])
"""
    each = 1000 if COUNTS_ALL else 0
    assert run(program) == f"{[each] * 9}\n"


@pytest.mark.skipif(COUNTS_ALL, reason="this interpreter counts all references")
@pytest.mark.skipif(not TELLS_OF_THREADS, reason="the system tells nothing of memory")
def test_a_fork_that_uses_what_is_there_copies_little_of_it() -> None:
    program = """
import gc, os, types
import heori_consumer.supervisor.supervisor
from heori_consumer.pool.immortal import make_immortal

def written():
    with open("/proc/self/smaps_rollup") as rollup:
        return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_Dirty:"))

def copied_by_use():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        before = written()
        held = functions + functions
        os.write(writing, str(written() - before).encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return int(os.read(reading, 100))

functions = [each for each in gc.get_objects() if type(each) is types.FunctionType]
gc.freeze()
counted = copied_by_use()
make_immortal()
gc.freeze()
print(counted, copied_by_use())
"""
    counted, shared = map(int, run(program).split())
    assert counted > 1_000  # kB; it has thousands of functions
    assert shared < counted / 3
