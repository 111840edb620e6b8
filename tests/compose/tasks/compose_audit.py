"""Runs in a container: waits until no job waits or runs, and tells what came of them all.

Its arguments: how many jobs of each task were sent, as JSON, and how many seconds to wait. What
it has counted it deletes, so that the next tally counts its own.
"""

import json
import sys
import time
from dataclasses import asdict

from heori.demo.tally import Count, JobTally
from heori.examples.tasks import ALL, QUEUE
from heori_common.protocol.commands import Commands
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings


def main(sent: dict[str, int], patience: float) -> None:
    """Wait, count, print, delete."""
    busy = Commands().counts(QUEUE)[:3]  # waiting, scheduled, running
    deadline = time.monotonic() + patience
    with RedisClient(Settings().redis_url) as client:
        left = [1]
        while any(left) and time.monotonic() < deadline:
            left = client.execute_many(busy)
            time.sleep(0.1)
        tally = JobTally(client)
        tally.finish({**dict.fromkeys(ALL, 0), **sent})
        total = sum(tally.counts.values(), Count())
        print(json.dumps({**asdict(total), "lost": total.lost, "failure": tally.failure}))
        JobTally(client).count_and_forget(older=-1)


main(json.loads(sys.argv[1]), float(sys.argv[2]))
