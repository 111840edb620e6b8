"""Mutexes and semaphores over Redis: fair, fenced, told of their loss, and free of deadlocks.

from heori import Mutex

with Mutex("account:5") as lock:
    write(row, fence=lock.fence)

Guaranteed, on one Redis that loses no data: at most one holder (at most N, of a semaphore) whose
lease has not run out, by the server's clock; the longest waiting gets it next; fences rise. Not
guaranteed: that a process that was paused knows at once that its lease has run out meanwhile. So
what must not go wrong even then is guarded by the fence. After a failover two may hold it, for
the lease at most, if the old primary had not told the new one of the first.
"""
