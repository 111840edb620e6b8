"""A program that runs jobs with Heori's worker classes, as scripts of applications do.

    python -m tests.rigs.worker_class SCENARIO URL

It prints what it has seen, as JSON.
"""

import json
import logging
import os
import subprocess
import sys
from typing import Any

import redis
from rq import Queue, Worker
from rq.job import Job

from heori.rq import SimpleWorker
from heori.rq import Worker as HeoriWorker
from tests.tasks import horse_tasks

Seen = dict[str, Any]


class Noting(HeoriWorker):
    """As applications subclass rq's worker."""

    def perform_job(self, job: Job, *rest: Any) -> bool:
        job.meta["performed"] = True
        job.save_meta()  # type: ignore[no-untyped-call]
        return bool(super().perform_job(job, *rest))

    def handle_job_failure(self, job: Job, *rest: Any, **more: Any) -> None:
        job.meta["failed"] = True
        job.save_meta()  # type: ignore[no-untyped-call]
        super().handle_job_failure(job, *rest, **more)


def plain(connection: Any) -> Seen:
    """Both classes; all that was loaded and set up before is there, and lives on."""
    horse_tasks.PREPARED["by"] = "the program"
    child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
    seen: Seen = {"program": os.getpid()}
    for kind in (HeoriWorker, SimpleWorker):
        queue = Queue(connection=connection)
        jobs = [queue.enqueue(horse_tasks.where), queue.enqueue(horse_tasks.fail)]
        worker = kind([queue], connection=connection)
        seen[kind.__name__] = {
            "worked": worker.work(burst=True),
            "counts": counts(worker),
            "again": worker.work(burst=True),
            "way": worker.heori_way,
            "jobs": [told(job) for job in jobs],
        }
    seen["child lives"] = child.poll() is None
    child.kill()
    child.wait()
    return seen


def changed(connection: Any) -> Seen:
    """A subclass, then a patch of rq's own class, as sentry-sdk makes one."""
    queue = Queue(connection=connection)
    jobs = [queue.enqueue(horse_tasks.add, 1, 2), queue.enqueue(horse_tasks.fail)]
    worker = Noting([queue], connection=connection, exception_handlers=[note_in_meta])
    worker.work(burst=True)
    own = Worker.perform_job

    def patched(self: Any, job: Job, *rest: Any) -> bool:
        job.meta["patched"] = True
        job.save_meta()  # type: ignore[no-untyped-call]
        return own(self, job, *rest)

    Worker.perform_job = patched  # type: ignore[assignment, method-assign]
    jobs.append(queue.enqueue(horse_tasks.add, 3, 4))
    HeoriWorker([queue], connection=connection).work(burst=True)
    return {"way": worker.heori_way, "jobs": [told(job) for job in jobs]}


def whole(connection: Any) -> Seen:
    """What rq does in the parent of a work horse is done in the slot."""
    queue = Queue(connection=connection)
    jobs = [queue.enqueue(horse_tasks.die), queue.enqueue(horse_tasks.add, 1, 2)]

    def killed(job: Job, *_: Any) -> None:
        connection.set("killed", job.id)

    worker = HeoriWorker([queue], connection=connection, work_horse_killed_handler=killed)
    worker.work(burst=True)
    told_of = connection.get("killed").decode() == jobs[0].id
    return {"way": worker.heori_way, "told": told_of, "jobs": [told(job) for job in jobs]}


def with_allow_list(connection: Any) -> Seen:
    """HEORI_ALLOW holds for jobs that rq's code would run, too; this program sets it."""
    os.environ["HEORI_ALLOW"] = "tests.tasks"
    queue = Queue(connection=connection)
    jobs = [
        queue.enqueue(horse_tasks.add, 1, 2),
        queue.enqueue("os.getpid"),
        queue.enqueue(horse_tasks.add, 3, 4, on_success=note_success),
    ]
    for kind in (HeoriWorker, Noting):
        kind([queue], connection=connection).work(burst=True)
        jobs += [queue.enqueue("os.getpid"), queue.enqueue(horse_tasks.add, 5, 6)]
    Noting([queue], connection=connection).work(burst=True)
    return {"jobs": [told(job) for job in jobs]}


def note_success(*_: Any) -> None:
    raise AssertionError("it is under no allowed prefix")


def note_in_meta(job: Job, *_: Any) -> bool:
    job.meta["handled"] = True
    job.save_meta()  # type: ignore[no-untyped-call]
    return False


def told(job: Job) -> Seen:
    """What Redis says of a job."""
    job.refresh()  # type: ignore[no-untyped-call]
    result = job.latest_result()
    return {
        "id": job.id,
        "status": job.get_status(),
        "meta": job.meta,
        "value": result and result.return_value,
        "words": result and result.exc_string and result.exc_string.strip().splitlines()[-1],
    }


def counts(worker: Any) -> list[int]:
    """How many of its jobs have ended well, and how many badly."""
    worker.refresh()
    return [worker.successful_job_count, worker.failed_job_count]


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    with redis.Redis.from_url(sys.argv[2], socket_timeout=None) as client:
        print(json.dumps(globals()[sys.argv[1]](client)))
