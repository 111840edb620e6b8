"""Ten periodic jobs that tell of their ticks."""

import os
import time
from pathlib import Path

import redis

from heori import Every, current_job, task

ENTRIES = 10


@task(result_ttl=1, timeout=-1)
def tell(path: str, entry: int) -> None:
    """Note the tick, and when its job was sent: the job itself is gone a second later.

    A tick that was sent twice has two of these times. One that runs twice, as a job may, has one.
    """
    job = current_job()
    sent_at = None
    with redis.Redis.from_url(os.environ["HEORI_REDIS_URL"], socket_timeout=None) as client:
        while sent_at is None:
            try:
                sent_at = client.hget(f"rq:job:{job.id}", "created_at") or b"gone"
            except redis.RedisError:  # the server is started again just now
                time.sleep(0.1)
    with Path(path).open("ab", buffering=0) as file:
        file.write(b"%d %s %s\n" % (entry, job.id.encode(), sent_at))


PATH = os.environ.get("CHAOS_TICKS", os.devnull)
schedule = [
    Every(1, tell.s(PATH, number), name=f"entry-{number}", catch_up="all")
    for number in range(ENTRIES)
]
