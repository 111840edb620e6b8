"""The producer of `heori up`, in a process of its own.

``python -m heori.demo.producer OPTIONS``, with `ProducerOptions` as JSON, prints one JSON object a
line: how many jobs of each task it has sent so far. It ends when its standard input does, or when
it has sent each file once and that was all it was asked for.
"""

import json
import select
import sys
from dataclasses import dataclass

from heori.demo.sender import LoadSender
from heori.examples import corpus
from heori.examples.tasks import ALL, QUEUE
from heori_common.protocol.commands import Commands
from heori_common.redis.client import RedisClient

# Files per round. So few that the three tasks alternate: slots that wait for the file server
# leave the cores to slots that compute.
FILES_AT_ONCE = 5
# Nothing more is sent while so many jobs wait: enough that no consumer runs dry, and so few
# that they are soon done when the run is to end.
MOST_WAITING = 300
PAUSE = 0.02  # seconds between two looks at a queue that is full


@dataclass(frozen=True, slots=True)
class ProducerOptions:
    """What to send, and where."""

    redis_url: str
    files_url: str  # of the file server
    once: bool  # or over and over again


def produce(options: ProducerOptions) -> None:
    """Send jobs until there are no more files, or standard input ends.

    Raises:
        RedisUnavailable: Redis cannot be reached.
    """
    commands = Commands()
    [waiting, *_] = commands.counts(QUEUE)
    total = len(corpus.files()) * len(ALL) if options.once else None
    with RedisClient(options.redis_url) as client:
        sender = LoadSender(client, commands, dict.fromkeys(ALL, 1), options.files_url)
        _report(sender)
        while total is None or sender.made < total:
            while client.execute(waiting) >= MOST_WAITING:
                if _told_to_stop(within=PAUSE):
                    return
            if _told_to_stop(within=0):
                return
            jobs = FILES_AT_ONCE * len(ALL)
            sender.make(jobs if total is None else min(jobs, total - sender.made))
            sender.flush()
            _report(sender)


def _told_to_stop(within: float) -> bool:
    """Whether standard input ends in so many seconds; nothing is ever written to it."""
    readable, _, _ = select.select([sys.stdin], [], [], within)
    return bool(readable)


def _report(sender: LoadSender) -> None:
    print(json.dumps(sender.sent), flush=True)  # noqa: T201 - for what has started it


if __name__ == "__main__":
    produce(ProducerOptions(**json.loads(sys.argv[1])))
