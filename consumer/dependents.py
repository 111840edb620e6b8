"""Jobs that wait for another: finished through rq's own code, which knows all their rules."""

from collections.abc import Sequence

from common.address import Address
from common.broker import connect, reporting_outages
from common.protocol.job import Claim


def enqueue_dependents(url: str, claims: Sequence[Claim]) -> None:
    """Enqueue what was waiting for these jobs and may run now. Blocks; call it in a thread.

    May be repeated: rq takes a job from those that wait in the step that enqueues it.

    Raises:
        BrokerUnavailable: Redis cannot be reached.
        redis.exceptions.RedisError: Redis refuses.
    """
    # Only now: rq takes a quarter of a second and 15 MB, and most consumers never need it.
    from rq import Queue  # noqa: PLC0415
    from rq.exceptions import NoSuchJobError  # noqa: PLC0415
    from rq.job import Job  # noqa: PLC0415
    from rq.serializers import JSONSerializer  # noqa: PLC0415

    with reporting_outages(Address.parse(url)), connect(url) as connection:
        for claim in claims:
            try:
                job = Job.fetch(claim.job_id, connection, serializer=JSONSerializer)
            except NoSuchJobError:  # kept for no time at all
                continue
            queue = Queue(claim.queue, connection=connection, serializer=JSONSerializer)
            queue.enqueue_dependents(job)
