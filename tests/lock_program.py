"""A process that uses a mutex as it is told on its standard input, and says what happens.

python -m tests.lock_program URL NAME LEASE
"""

import os
import sys
import time
from pathlib import Path

from common.locks import DeadlockDetected, Fence, FencedOut, LockLost, Mutex


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main() -> None:
    url, name, lease = sys.argv[1:]
    lock = Mutex(name, url, float(lease), on_lost=lambda lock: say("told", lock))
    also = None
    say("ready", os.getpid())
    for line in sys.stdin:
        command, *words = line.split()
        try:
            if command == "acquire":
                lock.acquire()
                say("held", lock.fence, time.time())
            elif command == "also":
                also = Mutex(words[0], url, float(lease))
                also.acquire()
                say("also", words[0])
            elif command == "release":
                if also is not None:
                    also.release()
                lock.release()
                say("released")
            elif command == "write":
                Fence("row", lock).execute("SET", "row", words[0])
                say("written")
            elif command == "sections":
                for _ in range(int(words[0])):
                    with lock:
                        inside = Path(words[1])
                        inside.touch(exist_ok=False)
                        inside.unlink()
                say("done")
        except (LockLost, FencedOut, DeadlockDetected) as error:
            say(type(error).__name__)


main()
