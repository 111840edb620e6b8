"""Tasks that ask rq about the job that they run for. rq itself is imported inside them alone."""

import asyncio
import threading
from typing import Any

from heori import task


def look() -> dict[str, Any]:
    """What a function sees of its job."""
    from rq import get_current_job

    job = get_current_job()
    assert job is not None
    assert get_current_job() is job
    seen = {"id": job.id, "status": job.get_status().value, "stopped": job.is_stopped}
    job.meta["seen"] = job.func_name
    job.save_meta()  # type: ignore[no-untyped-call]
    return seen | {"kwargs": dict(job.kwargs), "worker": job.worker_name, "origin": job.origin}


@task
def look_at_itself(*, pause: float) -> dict[str, Any]:
    threading.Event().wait(pause)
    return look()


@task
async def look_at_itself_later(*, pause: float) -> dict[str, Any]:
    await asyncio.sleep(pause)
    return look()


@task
def tell_from_a_thread() -> dict[str, Any]:
    """A job's function hands its Job on, as rq's documentation does with progress."""
    from rq import get_current_job

    job = get_current_job()
    assert job is not None

    def tell() -> None:
        job.meta["progress"] = 50
        job.save_meta()  # type: ignore[no-untyped-call]

    told = threading.Thread(target=tell)
    told.start()
    told.join()
    told_to_redis: dict[str, Any] = job.get_meta()
    return told_to_redis
