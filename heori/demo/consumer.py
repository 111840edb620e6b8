"""`heori consume` for a demonstration: it goes when the program that has started it is killed.

In all other cases that program ends it, by a signal.
"""

import os
import runpy
import sys
import threading


def _go_with_owner() -> None:
    sys.stdin.buffer.read()  # nothing is ever written to it: this is its end
    os._exit(1)  # its server goes, too, so that there is nobody to give jobs back to


if __name__ == "__main__":
    threading.Thread(target=_go_with_owner, name="owner", daemon=True).start()
    runpy.run_module("heori", run_name="__main__", alter_sys=True)
