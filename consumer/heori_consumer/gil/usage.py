"""What the kernel has counted of a worker process and its threads. Linux tells it all."""

from contextlib import suppress
from typing import NamedTuple

import psutil

from heori_common.platform import read_process, read_thread, threads_of
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.gil.states import RUNNING, GilFutex, state_of


class ThreadUse(NamedTuple):
    """What one thread has used so far."""

    runqueue: float  # seconds that it was ready and had no core
    voluntary: int  # context switches
    involuntary: int


class CoreUse(NamedTuple):
    """What a process has of the cores."""

    cpu: float  # seconds that it has had
    wants: bool  # whether one of its threads has one now, waits for one, or was stopped


class Memory(NamedTuple):
    """What one process has in memory, in bytes."""

    rss: int
    pss: int | None  # with what it shares with others divided among them


def line_of(pid: int, thread: int) -> bytes | None:
    """What a thread does (see `states`); None when it has ended.

    Raises:
        PermissionError: the system does not let us look.
    """
    return read_thread(pid, thread, "syscall")


def known_state(pid: int, thread: int, gil: GilFutex | None, table: SlotTable) -> str | None:
    """What a thread does; None when there is no telling."""
    try:
        line = line_of(pid, thread)
    except PermissionError:
        return None
    state = state_of(line, gil) if line else None
    # Without knowing its GIL, one cannot tell what a thread waits for, unless there is none.
    is_told = state == RUNNING or gil is not None or not table.gil_enabled()
    return state if is_told else None


def thread_use(pid: int, thread: int) -> ThreadUse | None:
    """What a thread has used (kernel documentation, "Scheduler Statistics"; proc_pid_status(5)).

    None when it has ended, or there is no telling.
    """
    with suppress(PermissionError):
        schedstat = read_thread(pid, thread, "schedstat")
        status = read_thread(pid, thread, "status")
        if schedstat and status:
            _, waited, *_ = schedstat.split()
            # The last two lines are: voluntary_ctxt_switches, nonvoluntary_ctxt_switches.
            *_, voluntary, _, involuntary = status.split()
            return ThreadUse(int(waited) / 1e9, int(voluntary), int(involuntary))
    return None


def thread_cpu(pid: int, thread: int) -> float | None:
    """CPU seconds of a thread, a tick late at most; None when it has ended, or no telling."""
    with suppress(PermissionError):
        if schedstat := read_thread(pid, thread, "schedstat"):
            return int(schedstat.partition(b" ")[0]) / 1e9
    return None


def core_use(process: psutil.Process | None) -> CoreUse | None:
    """What a process has of the cores; None when it has ended, or there is no telling."""
    if process is not None and (cpu := cpu_seconds(process)) is not None:
        with suppress(PermissionError):
            threads = threads_of(process.pid)
            return CoreUse(cpu, any(_wants_core(process.pid, each) for each in threads))
    return None


def _wants_core(pid: int, thread: int) -> bool:
    """Whether it has one, waits for one or was stopped (proc_pid_stat(5), ``state``)."""
    stat = read_thread(pid, thread, "stat") or b""
    return stat.rpartition(b") ")[2].startswith((b"R", b"T", b"t"))  # after its name


def cpu_seconds(process: psutil.Process) -> float | None:
    """CPU time of a process; None when it has ended, or there is no telling."""
    try:
        times = process.cpu_times()
    except (psutil.Error, OSError):
        return None
    return float(times.user + times.system)


def memory(process: psutil.Process) -> Memory | None:
    """Memory of a process; None when it has ended.

    Looking takes the kernel some milliseconds for a large process.
    """
    try:
        rss = process.memory_info().rss
    except (psutil.Error, OSError):
        return None
    pss = None
    with suppress(PermissionError):
        text = read_process(process.pid, "smaps_rollup") or b""
        _, found, rest = text.partition(b"\nPss:")
        if found:
            pss = int(rest.split()[0]) * 1024
    return Memory(rss, pss)
