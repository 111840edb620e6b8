"""A `heori` for shell scripts that costs no imports: this process has the zygote start it."""

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.rigs.zygote import MOST, Started

# It hands its streams over, passes SIGTERM on, and ends as the command that it had started does.
SCRIPT = """\
#!{python} -IS
import json, os, signal, socket, sys
asked = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
asked.connect({address!r})
request = json.dumps({{"words": sys.argv[1:], "env": dict(os.environ), "folder": os.getcwd()}})
socket.send_fds(asked, [request.encode()], [0, 1, 2])
pid = int(asked.recv(10))
signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
sys.exit(int(asked.recv(10)))
"""


@contextlib.contextmanager
def shell_heori(folder: Path) -> Iterator[Path]:
    """A folder for the front of PATH, with a program `heori` in it."""
    program = folder / "heori"
    address = str(folder / "socket")
    program.write_text(SCRIPT.format(python=sys.executable, address=address))
    program.chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener,))
        thread.start()
        try:
            yield folder
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listener: socket.socket) -> None:
    with contextlib.ExitStack() as answering, contextlib.suppress(OSError):  # it was shut down
        while True:
            caller, _ = listener.accept()
            thread = threading.Thread(target=_answer, args=(caller,))
            thread.start()
            answering.callback(thread.join)


def _answer(caller: socket.socket) -> None:
    with caller, contextlib.ExitStack() as streams:
        message, descriptors, _, _ = socket.recv_fds(caller, MOST, 3)
        request = json.loads(message)
        stdin, stdout, stderr = (streams.enter_context(os.fdopen(each)) for each in descriptors)
        started = Started(
            "heori",
            *request["words"],
            env=request["env"],
            cwd=Path(request["folder"]),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        caller.send(str(started.pid).encode())
        caller.send(str(started.wait()).encode())
