"""A program whose main thread ends while another is at work: ``python ending.py HOW FILE``.

It needs nothing but Python, so that any interpreter can run it by its path. It tells, one JSON
record a line, what happens and when; what another thread does is to write lines to the file.
"""

import atexit
import concurrent.futures
import ctypes
import json
import os
import platform
import signal
import sys
import threading
import time
from pathlib import Path

LINES, ENOUGH = 10, 3  # that are to be written, and after which the main thread ends
PAUSE_S = 0.05  # between two
WAIT_S = 10.0  # for a thread, at most


def tell(what: str) -> None:
    """Say what happens now; in one write, which nothing tears and no end of a program can lose."""
    os.write(1, json.dumps({"what": what, "at": time.monotonic()}).encode() + b"\n")


def write_lines(path: str, enough: threading.Event) -> None:
    """What the other thread does."""
    tell("thread begins")
    try:
        with Path(path).open("w", encoding="utf-8") as file:
            for number in range(LINES):
                file.write(f"{number}\n")
                file.flush()
                if number + 1 == ENOUGH:
                    enough.set()
                time.sleep(PAUSE_S)
    finally:
        tell("finally")


def end_as(how: str, path: str) -> None:
    """Have a thread write, and end the main thread meanwhile."""
    enough = threading.Event()
    work = (path, enough)
    atexit.register(tell, "atexit")
    if how == "executor":
        executor = concurrent.futures.ThreadPoolExecutor(1)
        executor.submit(write_lines, *work)
        executor.submit(tell, "next job")
    else:
        thread = threading.Thread(target=write_lines, args=work, daemon="daemon" in how)
        thread.start()
    if how == "daemon":
        atexit.register(start_another)
    if how == "joined daemon":
        atexit.register(thread.join, WAIT_S)
    enough.wait(WAIT_S)
    tell("main ends")
    if how == "left":
        os._exit(0)
    if how == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(WAIT_S)  # it comes at once


def start_another() -> None:
    """Start a thread at the end of the program."""
    try:
        thread = threading.Thread(target=tell, args=("another thread",))
        thread.start()
        thread.join(WAIT_S)
    except RuntimeError:
        tell("no other thread")


def outlive_interpreter() -> None:
    """Leave a daemon that goes on asking for the GIL; and stay until standard input ends.

    The functions that C calls at the end of a process come after the interpreter's end.
    """

    def sleep() -> None:
        while True:
            time.sleep(PAUSE_S / 10)

    library = ctypes.CDLL(None)
    library.strdup.restype = ctypes.c_void_p
    last_word = ctypes.c_void_p(library.strdup(b'{"what": "interpreter ended"}'))
    for function, argument in (
        (library.getchar, None),
        (library.fflush, None),
        (library.puts, last_word),  # the last is called first
    ):
        library.__cxa_atexit(function, argument, None)
    threading.Thread(target=sleep, daemon=True).start()


def main() -> None:
    """Do as the arguments say."""
    how, *path = sys.argv[1:]
    os.write(1, json.dumps({"version": platform.python_version()}).encode() + b"\n")
    tell("main begins")
    if how == "outlive":
        outlive_interpreter()
    else:
        end_as(how, *path)


if __name__ == "__main__":
    main()
