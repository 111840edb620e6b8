"""`heori consume` for a demonstration: it goes when the program that has started it is killed.

In all other cases that program ends it, by a signal.
"""

import fcntl
import os
import runpy
import select
import signal


def _go_with_owner() -> None:
    """End when standard input does; nothing is ever written to it.

    A signal tells of that, and no thread: a consumer forks only what has one thread.
    """

    def go(*_: object) -> None:
        os._exit(1)  # its server goes, too, so that there is nobody to give jobs back to

    signal.signal(signal.SIGIO, go)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    ended = select.poll()
    ended.register(0, select.POLLIN)
    if ended.poll(0):  # before it could be told
        go()


if __name__ == "__main__":
    _go_with_owner()
    runpy.run_module("heori", run_name="__main__", alter_sys=True)
