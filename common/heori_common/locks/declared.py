"""What a job holds since its claim because its task declares it.

Its consumer has got it, renews it with the job's lease and releases it when the job ends; here it
can only be entered, left and asked for its fence. All threads and tasks of the job share it: what
they do to what it protects at the same time is between them.
"""

from urllib.parse import urlsplit

from heori_common.locks.commands import job_owner
from heori_common.locks.hold import HeldLock, Hold
from heori_common.locks.owner import Owner
from heori_common.redis.address import Address


def hold_of(lock: HeldLock, owner: Owner) -> Hold | None:
    """What the owner's job holds of a lock; None when its task does not declare it."""
    job = owner.job
    if job is None or (fence := job.locks.get((lock.kind, lock.name))) is None:
        return None
    if not is_same_server(lock.url, job.server):
        return None
    if job.holds is None:
        job.holds = {}
    hold: Hold | None = job.holds.get(lock.key)
    if hold is None:
        fresh = Hold(lock, job_owner(job.id), owner, fence, 0.0, float("inf"), None)
        hold = job.holds.setdefault(lock.key, fresh)
        if job.lease_lost:
            job.lose()
    return hold


def is_same_server(one: str, other: str) -> bool:
    """Whether two URLs name the same database, whatever the login."""
    return one == other or _place(one) == _place(other)


def _place(url: str) -> tuple[str, str]:
    address = Address.parse(url)
    parts = urlsplit(address.url)
    database = parts.query if parts.scheme == "unix" else parts.path.strip("/") or "0"
    return str(address), database
