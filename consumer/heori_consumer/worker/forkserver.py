"""The process that forks the workers: it has imported what all of them need, and runs no task.

    supervisor ──requests, with files──▶ forkserver ──fork──▶ worker
               ◀──────pids, ends────────

It is what `multiprocessing` calls a forkserver, and not that one, which dies of a signal to the
whole group, takes all workers for dead when it is killed, and cannot be spoken to while it imports.
This one imports what the tasks use only after a worker has done so, one library at a time. It goes
when its supervisor does, however that ends, and takes all workers along, whatever they are doing.
What a worker has started ends with it.
"""

import contextlib
import errno
import importlib
import os
import pickle
import select
import signal
import socket
import struct
import sys
import traceback
from collections import deque
from typing import NoReturn

from heori_common import logs
from heori_common.importing import when_imported
from heori_common.platform import adopt_orphans, peak_of
from heori_consumer.between import family
from heori_consumer.between.entry import REPLY, REQUEST, STARTED, Files
from heori_consumer.between.signals import STOPPING
from heori_consumer.gil.inside import find_gil
from heori_consumer.worker import process
from heori_consumer.worker.ending import Inheritance
from heori_consumer.worker.signals import let_pass

# What the first connection would import while a job runs, any at all and one of redis-py. The
# exception that ends a job may strike inside an import, and leave the process with a module that
# nobody can import any more.
importlib.import_module("encodings.idna")
when_imported("redis", lambda _: importlib.import_module("email.parser"))


def main(control: int) -> NoReturn:
    """Fork workers until the supervisor has gone.

    Args:
        control: the file descriptor of the socket to the supervisor.
    """
    let_pass(STOPPING)
    # Blocked until here, where they would have ended it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    adopt_orphans()
    logs.configure_as_parent()
    find_gil()  # here, and no worker has to
    parent = _Parent(socket.socket(fileno=control))
    parent.run()
    os._exit(0)  # which closes what it has open, as it leaves it


class _Parent:
    """Its sockets, and the workers that have not ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: dict[int, int] = {}  # the marks of their families
        self._libraries: deque[str] = deque()  # that are still to be imported
        self._inherited = Inheritance()
        self._inherited.add()
        # A child's end wakes the wait for requests: the interpreter writes to this pair.
        self._woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)

    def run(self) -> None:
        """Serve, and end all workers when the supervisor has gone."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        poll = select.poll()
        for each in (self._control, self._woken):
            poll.register(each, select.POLLIN)
        with contextlib.suppress(ConnectionError, struct.error):  # it has gone in the midst of it
            while True:
                ready = dict(poll.poll(0 if self._libraries else None))
                if self._woken.fileno() in ready:
                    self._woken.recv(4096)
                    self._tell_ends()
                asked = ready.get(self._control.fileno(), 0)
                if asked & select.POLLHUP:
                    break  # the supervisor has gone
                if self._libraries:
                    self._import_next()
                elif asked:
                    self._obey()
        for worker in self._workers:
            os.kill(worker, signal.SIGKILL)
        for worker, mark in self._workers.items():
            os.waitpid(worker, 0)
            family.end(mark, worker)

    def _tell_ends(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                worker, status, usage = os.wait4(-1, os.WNOHANG)
                if not worker:
                    break
                # Others are orphans that it has adopted, or children that a library has left.
                if (mark := self._workers.pop(worker, None)) is not None:
                    family.end(mark, worker)
                    self._control.sendall(REPLY.pack(worker, status, peak_of(usage)))

    def _obey(self) -> None:
        header, files, _, _ = socket.recv_fds(
            self._control, REQUEST.size, len(Files._fields), socket.MSG_WAITALL
        )
        [length] = REQUEST.unpack(header)
        pickled = self._control.recv(length, socket.MSG_WAITALL)
        if files:
            self._fork(Files(*files), pickled)
        else:
            self._libraries.extend(pickle.loads(pickled))

    def _fork(self, files: Files, options: bytes) -> None:
        for file in files:
            os.set_inheritable(file, False)
        mark = family.new()
        try:
            worker = os.fork()
        except OSError as error:  # there are too many processes, or no memory
            worker = -(error.errno or errno.EAGAIN)
        if worker == 0:
            self._become_worker(files, options, mark)
        for file in files:
            os.close(file)
        if worker > 0:
            self._workers[worker] = mark
        self._control.sendall(REPLY.pack(worker, STARTED, mark))

    def _import_next(self) -> None:
        with contextlib.suppress(BaseException):  # workers import it again, and report it
            importlib.import_module(self._libraries.popleft())
        if not self._libraries:
            let_pass(STOPPING)  # whatever one of them would do then
            self._inherited.add()

    def _become_worker(self, files: Files, options: bytes, mark: int) -> NoReturn:
        try:
            family.begin(mark)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for each in (self._control, self._woken, self._wake):
                each.close()
            process.main(files, pickle.loads(options), mark, self._inherited)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)
