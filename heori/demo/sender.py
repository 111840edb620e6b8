"""The producer of `heori up`: sends the jobs and tells how many, in a process of its own.

``python -m heori.feed OPTIONS``, with `FeedOptions` as JSON, prints one JSON object a line: how
many jobs of each task it has sent so far. It ends when its standard input does, or when it has
sent each file once and that was all it was asked for.
"""

import json
import select
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from heori import Producer
from heori.examples import corpus, tasks
from heori_common.protocol.commands import Commands
from heori_common.redis.client import RedisClient

# Files per round. So few that the three tasks alternate: slots that wait for the file server
# leave the cores to slots that compute.
CHUNK = 5
# Nothing more is sent while so many jobs wait: enough that no consumer runs dry, and so few
# that they are soon done when the run is to end.
MOST_WAITING = 300
PAUSE = 0.02  # seconds between two looks at a queue that is full


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """What to send, and where."""

    redis_url: str
    files_url: str  # of the file server
    once: bool  # or over and over again


def feed(options: FeedOptions) -> None:
    """Send jobs until there are no more files, or standard input ends.

    Raises:
        RedisUnavailable: Redis cannot be reached.
    """
    [waiting, *_] = Commands().counts(tasks.QUEUE)
    sent = dict.fromkeys(tasks.ALL, 0)
    with Producer(options.redis_url) as producer, RedisClient(options.redis_url) as client:
        _report(sent)
        for files in _chunks(once=options.once):
            while client.execute(waiting) >= MOST_WAITING:
                if _told_to_stop(within=PAUSE):
                    return
            if _told_to_stop(within=0):
                return
            for name, function in tasks.ALL.items():
                with_url = function is tasks.fetch
                calls = [(options.files_url, path) if with_url else (path,) for path in files]
                sent[name] += len(producer.submit_many(function, calls))
            _report(sent)


def _chunks(*, once: bool) -> Iterator[list[str]]:
    files = corpus.files()
    while True:
        for first in range(0, len(files), CHUNK):
            yield files[first : first + CHUNK]
        if once:
            return


def _told_to_stop(within: float) -> bool:
    """Whether standard input ends in so many seconds; nothing is ever written to it."""
    readable, _, _ = select.select([sys.stdin], [], [], within)
    return bool(readable)


def _report(sent: dict[str, int]) -> None:
    print(json.dumps(sent), flush=True)


if __name__ == "__main__":
    feed(FeedOptions(**json.loads(sys.argv[1])))
