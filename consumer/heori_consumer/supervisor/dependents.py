"""Jobs that wait for another: finished through rq's own code, which knows all their rules."""

from collections.abc import Sequence

from heori_common import logs
from heori_common.errors import summary
from heori_common.protocol.job import Claim
from heori_common.redis.address import Address
from heori_common.redis.errors import RedisUnavailable, translated
from heori_common.redis.redis_py import connect

log = logs.get_logger(__name__)


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
                    waited = job.dependent_ids
                    queue.enqueue_dependents(job)
                    for each in Job.fetch_many(waited, connection, serializer=JSONSerializer):
                        # It is known no more for what they have waited; nothing else ends that key.
                        if each is not None and not each.is_deferred:
                            connection.delete(each.dependencies_key)
            except NoSuchJobError:  # kept for no time at all
                continue
            except RedisUnavailable:
                raise
            except Exception as error:  # rq raises whatever it trips over in a record
                log.error("cannot enqueue dependents", of=claim.job_id, error=summary(error))
