"""What a task can ask about the job it runs for, and how a job is ended from outside.

from heori import current_job

job = current_job()
for n, row in enumerate(rows):
    if job.lease_lost:
        return  # another consumer runs it now
    job.progress(n / len(rows), f"row {n}")
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from heori_common.errors import HeoriError, short
from heori_common.public import public

# No exception, such as a job's timeout, reaches a thread that is blocked in C. So what waits in a
# job is blocked for no longer than this, in seconds, and then goes on waiting.
BLOCKED_AT_MOST_S = 0.5
TICK = (
    "scheduled_for"  # in the meta of a job that a tick of a periodic task has sent: when that was
)
LONGEST_PROGRESS_CHARS = 1000  # of what a job tells: it is sent on and kept with the job

# Returns the queues and ids of the jobs that a job waits for, as far as they have not ended; the id
# is empty where any job of the queue will do. Called from any thread.
AwaitedJobs = Callable[[], Sequence[tuple[str, str]]]

_IMPORTLIB = "<frozen importlib._bootstrap>"

_current: ContextVar["CurrentJob | None"] = ContextVar("heori_job", default=None)


@public
class CurrentJob:
    """One delivery of a job, while it runs.

    Attributes:
        id: the job's.
        task: its task's name.
        queue: which it came from.
        delivery: how often it has been delivered since it was last enqueued; 1 is the first.
        timeout: seconds it may take, -1 for no limit.
        deadline: time.monotonic() when it is ended; infinity without a limit.
        lease_lost: whether this consumer has lost the job: it may run elsewhere by now, and
            what it returns here will be refused.
        attempt: which try of it this is: 1, and more when it is retried.
        queue_time: seconds from being enqueued to being claimed.
        lock_time: seconds of these for which it waited for the locks that its task declares.
        run_time: seconds it took, once it is over.
        cpu_time: seconds of CPU time that it took, likewise.
        consumer: the name of the one that it runs in; empty where it runs in none.
        server: the URL of the Redis that its consumer serves.
        locks: fences of the locks that its task declares, by kind and name.
        holds: what `heori_common.locks` keeps of them.
        owner: the first of its threads or tasks that used a lock; it stands for the job.
        programs: what it has started as a coroutine, for workers.
        rq_job: rq's Job of it, once its function has asked for that; for `heori_common.rq`.
        ended_in_import: whether the exception that ends it struck inside an import, so that the
            process may be left with half a module, or with one that nobody can import any more.
    """

    __slots__ = (
        "_meta",
        "_report",
        "attempt",
        "consumer",
        "cpu_time",
        "deadline",
        "delivery",
        "ended_in_import",
        "holds",
        "id",
        "lease_lost",
        "lock_time",
        "locks",
        "owner",
        "programs",
        "queue",
        "queue_time",
        "rq_job",
        "run_time",
        "server",
        "task",
        "timeout",
    )

    def __init__(
        self,
        job_id: str,
        task: str,
        queue: str,
        delivery: int,
        timeout: int,
        report: Callable[[float, str], None],
        server: str = "",
        locks: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self.id = job_id
        self.task = task
        self.queue = queue
        self.delivery = delivery
        self.timeout = timeout
        self.deadline = time.monotonic() + timeout if timeout > 0 else float("inf")
        self.lease_lost = False
        self.attempt = 1
        self.queue_time = 0.0
        self.lock_time = 0.0
        self.run_time = 0.0
        self.cpu_time = 0.0
        self.consumer = ""
        self.server = server
        self.locks = locks or {}
        self.holds: dict[str, Any] | None = None
        self.owner: object | None = None
        self.programs: list[Any] = []
        self.rq_job: Any = None
        self.ended_in_import = False
        self._meta: dict[str, Any] | None = None
        self._report = report

    @property
    def meta(self) -> dict[str, Any]:
        """What travels with it, as its sender has given it, and middleware there; else empty.

        Raises:
            MalformedJob: its field has no meaning.
        """
        if self._meta is None:
            self._meta = self._read_meta()
        return self._meta

    def save_meta(self) -> None:
        """Keep its meta as it is now: for a later try, and for whoever looks at the job.

        As cheap as writing its JSON: the latest is sent on, ten times a second at most, and before
        the job ends. It is refused when the lease of the job is lost.

        Raises:
            TypeError, ValueError: it has no JSON form, or takes more than 16,384 bytes.
            MalformedJob: what the job was sent with has no meaning.
        """
        self._write_meta(self.meta)

    @property
    def scheduled_for(self) -> datetime | None:
        """The time of its tick, in UTC, if it is the job of a tick of a periodic task."""
        time_of_tick = self.meta.get(TICK)
        return datetime.fromisoformat(time_of_tick) if time_of_tick else None

    def _read_meta(self) -> dict[str, Any]:
        return {}

    def _write_meta(self, meta: dict[str, Any]) -> None:
        pass

    @property
    def fences(self) -> Mapping[str, int]:
        """The fences of the locks that its task declares, by name.

        Give one to what the lock protects: it rises with each holder.
        """
        return {name: fence for (_, name), fence in self.locks.items()}

    def lose(self) -> None:
        """Know that its lease is lost, and its locks with it; for workers."""
        self.lease_lost = True
        for hold in list((self.holds or {}).values()):
            hold.why = "the job has lost its lease"
            hold.lost.set()

    def __repr__(self) -> str:
        return f"<CurrentJob {self.id} of {self.task}>"

    def wait_begins(self, awaited: AwaitedJobs) -> object:
        """Know that it waits for these jobs; returns what `wait_ends` is to be given."""

    def wait_ends(self, wait: object) -> None:
        """Know that this wait is over."""

    def asks_about(self, queue: str) -> None:
        """Know that it has looked how a job of this queue is doing: it may be waiting for that."""

    def progress(self, fraction: float, text: str = "") -> None:
        """Tell how far it is; a handle can read it.

        As cheap as a dict entry, however often it is called: only the latest is sent on, ten
        times a second at most.

        Args:
            fraction: done so far, from 0 to 1.
            text: for people; of a long one the first 1,000 characters are told, and its length.

        Raises:
            ValueError: the fraction is not between 0 and 1.
        """
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"progress({short(fraction)}): a number from 0 to 1 is needed")
        text = str(text)
        if len(text) > LONGEST_PROGRESS_CHARS:  # no reason to end a job
            text = f"{text[:LONGEST_PROGRESS_CHARS]}… ({len(text)} characters)"
        self._report(float(fraction), text)


@public
class JobTimeout(HeoriError):
    """Raised inside a task that has run for longer than its timeout.

    Attributes:
        job_id: which job.
        timeout: its limit, in seconds.
    """

    def __init__(self) -> None:  # CPython makes it, from the class alone, in the job's thread
        job = _current.get()
        self.job_id = job.id if job else "?"
        self.timeout = job.timeout if job else 0
        _look_for_import(job)
        super().__init__(f"job {self.job_id} ran for longer than its timeout of {self.timeout} s")


@public
class JobStopped(BaseException):
    """Raised inside a task whose job was stopped by a person, or has lost its locks.

    Not an Exception: what a task catches to go on must not keep it running.

    Attributes:
        job_id: which job.
    """

    def __init__(self) -> None:  # as JobTimeout
        job = _current.get()
        self.job_id = job.id if job else "?"
        _look_for_import(job)
        why = "has lost its lease" if job and job.lease_lost else "was stopped by request"
        super().__init__(f"job {self.job_id} {why}")


def _look_for_import(job: CurrentJob | None) -> None:
    """Note whether what ends a job strikes inside an import: the exception is made there."""
    frame = sys._getframe(2)
    while job is not None and not job.ended_in_import:
        job.ended_in_import = frame.f_code.co_filename == _IMPORTLIB
        if frame.f_back is None:
            break
        frame = frame.f_back


@public
def current_job() -> CurrentJob:
    """The job that this thread or coroutine runs.

    Raises:
        LookupError: it runs none; the task was called as a function, say.
    """
    job = _current.get()
    if job is None:
        raise LookupError("no job is running here")
    return job


def running_job() -> CurrentJob | None:
    """The same, or None."""
    return _current.get()


@contextlib.contextmanager
def waiting_for_jobs(awaited: AwaitedJobs) -> Iterator[None]:
    """While whatever runs here only waits for these jobs.

    If it is a job itself, its slot is lent meanwhile: another job runs in its place, perhaps one of
    those that it waits for.
    """
    job = _current.get()
    if job is None:
        yield
        return
    wait = job.wait_begins(awaited)
    try:
        yield
    finally:
        job.wait_ends(wait)


def set_current_job(job: CurrentJob) -> None:
    """Make this the job of the current context; for workers, which give each job its own."""
    _current.set(job)
