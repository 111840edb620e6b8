"""The descriptors that a process is started with, in whatever state its starter has left them."""

import os
import select


def open_closed() -> None:
    """Open those of the descriptors 0, 1 and 2 that are closed, before anything else is opened.

    Else the next socket would become standard output. Nothing can be written to what is opened
    here, so that an answer that nobody will see is noticed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # it gets the lowest number that is free
            os.set_inheritable(number, True)  # for the processes that this one starts


def write_some(file: int, data: bytes | memoryview) -> int:
    """Write at least one byte, however long that takes; returns how many.

    Raises:
        OSError: nothing can be written there.
    """
    while True:
        try:
            return os.write(file, data)
        except BlockingIOError:  # another program that has this descriptor has made it so
            poll = select.poll()
            poll.register(file, select.POLLOUT)
            poll.poll()
