"""Jobs that wait for another: finished through rq's own code, which knows all their rules."""

import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heori_common import logs
from heori_common.errors import summary
from heori_common.protocol.job import Claim
from heori_common.redis.address import Address
from heori_common.redis.errors import RedisUnavailable, translated
from heori_common.redis.redis_py import connect

if TYPE_CHECKING:
    from rq import Queue
    from rq.job import Job

log = logs.get_logger(__name__)

TRIES = 20  # to put what need not wait any more on its queue; what is left, the janitor finds
CONTENTION_S = 0.01  # between two of them, at most
READY = "ready_to_enqueue"  # its status until then; rq 2 has no such step


def enqueue_dependents(url: str, claims: Sequence[Claim]) -> None:
    """Enqueue what was waiting for these jobs and may run now. Blocks; call it in a thread.

    May be repeated: rq takes a job from those that wait in the step that enqueues it. What rq
    cannot read is told in the log, and does not keep the others waiting.

    Raises:
        RedisUnavailable: Redis cannot be reached.
    """
    # Only now: rq takes a quarter of a second and 15 MB, and most consumers never need it.
    from rq import Queue  # noqa: PLC0415
    from rq.exceptions import NoSuchJobError  # noqa: PLC0415
    from rq.job import Job  # noqa: PLC0415
    from rq.serializers import JSONSerializer  # noqa: PLC0415

    where = Address.parse(url)
    with translated(where), connect(url) as connection:
        for claim in claims:
            try:
                with translated(where):
                    job = Job.fetch(claim.job_id, connection, serializer=JSONSerializer)
                    queue = Queue(claim.queue, connection=connection, serializer=JSONSerializer)
                    _enqueue_dependents(queue, job)
            except NoSuchJobError:  # kept for no time at all
                continue
            except RedisUnavailable:
                raise
            except Exception as error:  # rq raises whatever it trips over in a record
                log.error("cannot enqueue dependents", of=claim.job_id, error=summary(error))


def _enqueue_dependents(queue: "Queue", job: "Job") -> None:
    read = type(job).fetch_many(job.dependent_ids, queue.connection, serializer=job.serializer)
    waiting = [each for each in read if each is not None]
    queue.enqueue_dependents(job)
    for _ in range(TRIES):
        ready = [each for each in waiting if each.get_status() == READY]
        if not ready:
            break
        # Where several do this at once, rq passes over jobs, and leaves them to its own workers.
        time.sleep(random.uniform(0.0, CONTENTION_S))
        for each in ready:
            queue.enqueue_ready_jobs_by_queue({each.origin: [each.id]})
    for each in waiting:
        if each.get_status() != "deferred":  # nothing else ends what is known of its waiting
            queue.connection.delete(each.dependencies_key)
