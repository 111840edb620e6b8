"""Runs in a container: sends naps, and tells how many wait, run and are done, each time it changes.

Its arguments: how many jobs, and of how many seconds each. It ends when none has run for a second,
after some have.
"""

import json
import sys
import time

from compose_tasks import nap  # type: ignore[import-not-found] # beside it, in the container

from heori import Producer
from heori_common.protocol.commands import Commands
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings


def main(jobs: int, seconds: float) -> None:
    """Send, look, print."""
    url = Settings().redis_url
    with Producer(url) as producer:
        producer.submit_many(nap, [(seconds,)] * jobs)
    look = Commands().counts("naps")[:4]  # waiting, scheduled, running, finished
    seen: list[tuple[float, int, int, int]] = []
    idle = None
    with RedisClient(url) as client:
        while idle is None or time.time() < idle + 1:
            waiting, _, running, finished = client.execute_many(look)
            if not seen or (waiting, running, finished) != seen[-1][1:]:
                seen.append((time.time(), waiting, running, finished))
            idle = (idle or time.time()) if finished and not running else None
            time.sleep(0.005)
    print(json.dumps(seen))


main(int(sys.argv[1]), float(sys.argv[2]))
