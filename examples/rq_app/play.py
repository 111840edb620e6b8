"""Start workers, play all stories of the shop with them, and print how each has ended.

    export RQ_REDIS_URL=redis://localhost:6379/5
    python play.py "heori worker --allow shop shop" "heori worker --allow shop ordered shop json"

The server is emptied, but where workers run already. Of all workers, one with one slot serves the
queue `ordered`. record.py has the commands of RQ's own.
"""

import argparse
import json
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from shop.redis import redis
from stories import play


def main() -> None:
    """Play them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("worker", nargs="*", help="a command that starts one; none: they run")
    options.add_argument("--seconds", type=float, default=60.0, help="for all stories, at most")
    given = options.parse_args()
    if given.worker:
        redis().flushdb()
    with ExitStack() as running:
        for command in given.worker:
            folder = Path(__file__).parent
            worker = subprocess.Popen(shlex.split(command), cwd=folder, stdout=sys.stderr)
            running.callback(worker.wait)
            running.callback(worker.terminate)
        endings = play(given.seconds)
    print(json.dumps(endings, indent=1, ensure_ascii=False))  # noqa: T201


if __name__ == "__main__":
    main()
