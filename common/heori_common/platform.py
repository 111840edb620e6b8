"""What the system offers. All that Linux alone has is asked for here, and nowhere else.

Where it is missing, on a Mac say, a function answers None or 0, and says so: Heori runs without
that figure. What is there is looked for, and not the name of the system.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROC = "/proc"  # of the kernel, proc(5)
CGROUP = Path("/sys/fs/cgroup")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
# <asm-generic/resource.h>. A limit that Linux has not looked at since 2.4.25 (getrlimit(2)). All
# that a process starts inherits it: through fork and exec, in a session and an environment of its
# own. So it can carry a mark.
RLIMIT_LOCKS = 10
M_MMAP_THRESHOLD = -3  # <malloc.h>
LONGEST_FILE = 4096  # bytes that are read of a file about a process: more than any of these has

# Whether the system tells what the threads of a process do (see `gil.states`).
TELLS_OF_THREADS = Path(f"{PROC}/self/task").exists()
# Whether the standard library's selectors wait for whole milliseconds: where the system has epoll.
WAITS_FOR_MILLISECONDS = hasattr(select, "epoll")


def has_one_thread() -> bool:
    """Whether this process has one thread, so that a fork is all of it.

    False where there is no telling.
    """
    return len(threads_of("self")) == 1


def inherited_files() -> list[int]:
    """The descriptors that programs which this process starts get, but for the standard ones.

    What Python has opened is not among them. Empty when there is no telling.
    """
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(f"{PROC}/self/fd"):  # noqa: PTH208
            with contextlib.suppress(OSError):  # of the look itself
                if int(name) > 2 and os.get_inheritable(int(name)):
                    found.append(int(name))
    return found


def thread_file(pid: int | str, thread: int, name: str) -> str:
    """Where the kernel tells about a thread; `pid` may be "self"."""
    return f"{PROC}/{pid}/task/{thread}/{name}"


def read_thread(pid: int, thread: int, name: str) -> bytes | None:
    """What the kernel tells about a thread; None when it has ended, or nothing is told here.

    Raises:
        PermissionError: it is not for this process to know.
    """
    return _read(thread_file(pid, thread, name))


def threads_of(pid: int | str) -> list[int]:
    """The threads of a process, or of "self"; none when it has ended, or nothing is told here."""
    try:
        return [int(name) for name in os.listdir(f"{PROC}/{pid}/task")]  # noqa: PTH208
    except OSError:
        return []


def read_process(pid: int, name: str) -> bytes | None:
    """What the kernel tells about a process; None and errors as `read_thread`."""
    return _read(f"{PROC}/{pid}/{name}")


def peak_memory(pid: int) -> int:
    """The most that another process ever had in memory, in bytes (proc_pid_status(5), VmHWM).

    0 when it has ended, or there is no telling.
    """
    try:
        status = read_process(pid, "status") or b""
    except PermissionError:
        return 0
    _, found, rest = status.partition(b"VmHWM:")
    return int(rest.split()[0]) * 1024 if found else 0


def own_peak_memory() -> int:
    """The most that this process ever had in memory, in bytes."""
    return peak_of(resource.getrusage(resource.RUSAGE_SELF))


def peak_of(usage: resource.struct_rusage) -> int:
    """The most that a process ever had in memory, in bytes, from what the kernel says of it."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # getrusage(2) of each


def own_mappings() -> list[tuple[int, int, str, str]]:
    """Beginning, end, protection and name of each mapping of this process (proc(5), ``maps``).

    None where nobody tells.
    """
    found = []
    with contextlib.suppress(OSError):
        for line in Path(f"{PROC}/self/maps").read_text().splitlines():
            addresses, protection, _, _, _, *name = line.split()
            first, _, last = addresses.partition("-")
            found.append((int(first, 16), int(last, 16), protection, " ".join(name)))
    return found


def give_back_blocks(size: int) -> None:
    """Have each block of so many bytes, or more, go back to the system as soon as it is freed.

    glibc does so only with blocks larger than any that was freed before, and keeps the others for
    later: after a burst, a process stays as large as it was (mallopt(3), M_MMAP_THRESHOLD). With
    other libraries this does nothing.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, size)


def give_back_memory() -> None:
    """Give back to the system what was freed and is kept for later (malloc_trim(3)).

    With other libraries than glibc this does nothing.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def open_files(pid: int) -> int:
    """How many files another process has open; 0 when that cannot be told at once.

    Linux tells since 6.2, as the size of a folder. Elsewhere they have to be counted.
    """
    try:
        return Path(f"{PROC}/{pid}/fd").stat().st_size
    except OSError:
        return 0


def files_limit() -> int | None:
    """How many files this process and those that it starts may have open; None for no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def files_left() -> bool:
    """Whether this process can open another file at this moment."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def cgroups(pid: int) -> str:
    """The cgroups of another process, one a line (cgroups(7)); empty when there is no telling."""
    try:
        return (read_process(pid, "cgroup") or b"").decode(errors="replace")
    except PermissionError:
        return ""


def oom_counter(groups: str, root: Path = CGROUP) -> Path | None:
    """The file in which a cgroup counts its processes that the kernel killed for memory.

    Of cgroup v2 it is ``memory.events``, of v1 ``memory.oom_control`` (kernel documentation,
    "Control Group v2" and "Memory Resource Controller"). None where there is none.

    Args:
        groups: as `cgroups` tells them.
    """
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            name = "memory.oom_control" if controllers else "memory.events"
            # A container may see its own cgroup as the root, whatever it is called outside.
            for folder in (root / controllers / path.lstrip("/"), root / controllers):
                if (folder / name).exists():
                    return folder / name
    return None


def oom_kills(counter: Path) -> int:
    """How many that file has counted; 0 when it is gone."""
    try:
        lines = counter.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def stay_on_one_core() -> None:
    """Have this thread, and what it starts, run on the first of its cores.

    Where the system has no such thing, it goes on as before.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def usable_cores(groups: str | None = None, root: Path = CGROUP) -> float:
    """Cores this process may use: its CPU affinity, cut by the quotas of its cgroups.

    ``os.cpu_count()`` knows neither, so a container limited to one core of 64 would start
    64 workers. Reads cgroup v2's ``cpu.max`` and v1's ``cpu.cfs_*_us`` (Linux kernel
    documentation, "Control Group v2" and "CFS Bandwidth Control"). Elsewhere it is all cores.

    Args:
        groups: as `cgroups` tells them; by default this process's.
    """
    cores = float(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    groups = cgroups(os.getpid()) if groups is None else groups
    for folder in _limiting_folders("cpu", groups, root):
        for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            try:
                quota, period = map(int, " ".join((folder / f).read_text() for f in files).split())
            except (OSError, ValueError):  # no such file, or "max"
                continue
            if quota > 0 and period > 0:
                cores = min(cores, quota / period)
    return cores


def usable_memory(groups: str | None = None, root: Path = CGROUP) -> int | None:
    """Bytes of memory this process may use: the machine's, cut by the limits of its cgroups.

    Reads cgroup v2's ``memory.max`` and v1's ``memory.limit_in_bytes``. None when there is no
    telling.

    Args:
        groups: as `cgroups` tells them; by default this process's.
    """
    try:
        memory = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (OSError, ValueError):
        memory = []
    groups = cgroups(os.getpid()) if groups is None else groups
    for folder in _limiting_folders("memory", groups, root):
        for file in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
                memory.append(int((folder / file).read_text()))
    return min((each for each in memory if each > 0), default=None)


def _limiting_folders(what: str, groups: str, root: Path) -> Iterator[Path]:
    """The cgroups that limit something, by either version: its own, and those around it.

    The topmost are always among them: a container may see its own cgroup there, whatever it is
    called outside.

    Args:
        what: the controller of version 1: cpu or memory.
    """
    tops = {"": root, what: root / what}
    yield from tops.values()
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in tops.keys() & controllers.split(","):
            within = tops[controller] / path.lstrip("/")
            around = (within, *within.parents)
            yield from (each for each in around if tops[controller] in each.parents)


def shared_memory(size: int) -> int:
    """Memory that processes can share: the descriptor of a file without a name, of so many bytes.

    Raises:
        OSError: there is no memory, or no descriptor left.
    """
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("heori")
    else:
        with tempfile.TemporaryFile() as named:
            file = os.dup(named.fileno())
    os.truncate(file, size)
    return file


def end_with(parent: int) -> Callable[[], None] | None:
    """What a child calls before it runs its program, so that the kernel kills it with its parent.

    None where the system does not do that: there a child stays when its parent is killed.
    """
    try:
        prctl = ctypes.CDLL(None).prctl
    except AttributeError:
        return None

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it is gone already
            os._exit(1)

    return ask


def adopt_orphans() -> None:
    """Become the parent of what those below this process leave behind, in the place of PID 1.

    It is to bury them. Where the system does not do that, PID 1 stays their parent.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def highest_mark() -> int:
    """The highest mark that this process may give itself; 0 where processes cannot be marked."""
    if not (hasattr(resource, "prlimit") and TELLS_OF_THREADS):
        return 0
    try:
        _, hard = resource.prlimit(0, RLIMIT_LOCKS)
    except OSError:  # a sandbox forbids it
        return 0
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def mark(number: int) -> None:
    """Mark this process, and all that it will start, whatever becomes of that."""
    resource.setrlimit(RLIMIT_LOCKS, (number, number))


def marked(number: int) -> set[int]:
    """All processes that have this mark and that this one may ask; those that have just ended, too.

    It takes a millisecond for a hundred processes of the system.

    Raises:
        OSError: no file is left to look with.
    """
    found = set()
    for each in Path(PROC).iterdir():
        with contextlib.suppress(ValueError, OSError):  # no process; it has ended, or is another's
            if resource.prlimit(int(each.name), RLIMIT_LOCKS)[1] == number:
                found.add(int(each.name))
    return found


def children_of(thread: int, pid: int | str = "self") -> list[int]:
    """The processes that a thread of a process has started; empty when there is no telling."""
    return [int(child) for child in (_read(thread_file(pid, thread, "children")) or b"").split()]


def below(pid: int) -> list[int]:
    """All processes below another one, the lowest last; empty when there is no telling."""
    found = [pid]
    for each in found:  # which grows meanwhile
        for thread in threads_of(each):
            with contextlib.suppress(PermissionError):
                found += children_of(thread, each)
    return found[1:]


def age(pid: int) -> float:
    """Seconds since a process began; 0 when it has ended, or there is no telling.

    It may be a hundredth more than that, as the kernel counts these (proc_pid_stat(5)).
    """
    _, _, fields = (_read(f"{PROC}/{pid}/stat") or b"").rpartition(b")")
    if not fields:
        return 0.0
    began = int(fields.split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def _read(path: str) -> bytes | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, LONGEST_FILE)
        finally:
            os.close(file)
    except PermissionError:
        raise
    except OSError:  # it has ended; or there are too many open files, which others will tell
        return None
