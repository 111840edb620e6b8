"""/metrics, probes for whoever restarts containers, and /slots, in a daemon thread."""

import contextlib
import importlib
import json
import select
import socket
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from heori_common import logs
from heori_common.connections import LEAVING, ONE_TURN

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from prometheus_client import CollectorRegistry

_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - as the settings may say it

# Connections at a time, each with a thread: Prometheus, probes, `heori top` and others who look.
MOST_CONNECTIONS = 32
MOST_FILES = MOST_CONNECTIONS + LEAVING + ONE_TURN  # that they take
# How often the thread wakes to see whether it is to end: each time costs the machine a wake-up.
LOOK_EVERY_S = 2.0
# What answers; nobody imports http.server before somebody asks.
_SERVER = "heori_consumer.supervisor.metrics_server"

log = logs.get_logger(__name__)


class PortTaken(OSError):
    """The port for /metrics is not to be had."""


class MetricsEndpoint:
    """Serves until the process ends.

    Args:
        registry: makes what is asked at each scrape. It is called, and prometheus_client is
            imported, at the first one: a consumer that nobody scrapes does without. Nor does one
            import what answers before the first connection.
        ready: returns whether all is well and a report; called in another thread.
        alive: returns whether what serves the jobs still answers; called in another thread. It says
            nothing of Redis: to start anew what waits for Redis would mend nothing.
        slots: returns what the slots do, with so many jobs at most if it is given a number, and
            with none but one if it is given an id; called in another thread. None for a process
            that has no slots.

    Raises:
        PortTaken: something else listens there.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: "Callable[[], CollectorRegistry]",
        ready: Callable[[], tuple[bool, dict[str, Any]]],
        alive: Callable[[], bool],
        slots: Callable[[int | None, str], dict[str, Any]] | None = None,
    ) -> None:
        metrics = _Late(registry)

        def app(environ: "WSGIEnvironment", respond: "StartResponse") -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/metrics":
                answer: Iterable[bytes] = metrics(environ, respond)
                return answer
            if environ["PATH_INFO"] == "/livez":
                well = alive()
                report: dict[str, Any] = {"status": "alive" if well else "stands still"}
            elif environ["PATH_INFO"] == "/readyz":
                well, report = ready()
            elif environ["PATH_INFO"] == "/slots" and slots is not None:
                well, report = True, slots(*_asked(environ.get("QUERY_STRING", "")))
            else:
                respond("404 Not Found", [("Content-Type", "text/plain")])
                return [b"There are /metrics, /livez and /readyz, and /slots of a consumer.\n"]
            status = "200 OK" if well else "503 Service Unavailable"
            respond(status, [("Content-Type", "application/json")])
            return [json.dumps(report).encode() + b"\n"]

        try:
            self._listening = _listen(host, port)
        except OSError as error:
            raise PortTaken(
                f"cannot serve metrics on {host}:{port}: {error.strerror}; "
                "set HEORI_METRICS_PORT to another port, or to 0 for any free one"
            ) from error
        self._address = self._listening.getsockname()
        # Where others find it: "every address of this machine" is none.
        named = socket.gethostname() if host in _EVERYWHERE else host
        self.url = f"http://{named}:{self._address[1]}"
        self._app = app
        self._server: WSGIServer | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and free the port."""
        self._ended.set()
        ending: threading.Thread | None = None
        while self._thread.is_alive():  # it sees that when somebody connects, or when it looks
            if ending is None and self._server is not None:
                ending = threading.Thread(target=self._server.shutdown, daemon=True)
                ending.start()
            with contextlib.suppress(OSError):
                socket.create_connection(self._address[:2], LOOK_EVERY_S).close()
            self._thread.join(0.01)
        if self._server is not None:
            self._server.server_close()
        self._listening.close()

    def _serve(self) -> None:
        somebody = select.poll()
        somebody.register(self._listening, select.POLLIN)
        somebody.poll()
        while self._server is None and not self._ended.is_set():
            try:
                made = importlib.import_module(_SERVER).MetricsServer(self._listening, self._app)
                self._server = made
            except Exception as error:  # no file is left to import it, say
                log.warning("metrics cannot be served; trying again", reason=str(error))
                self._ended.wait(LOOK_EVERY_S)
        if self._server is not None:
            self._server.serve_forever(LOOK_EVERY_S)


class _Late:
    """What answers scrapes."""

    def __init__(self, registry: "Callable[[], CollectorRegistry]") -> None:
        self._registry = registry
        self._making = threading.Lock()
        self._made: WSGIApplication | None = None

    def __call__(self, environ: "WSGIEnvironment", respond: "StartResponse") -> Iterable[bytes]:
        with self._making:
            if self._made is None:
                from prometheus_client import make_wsgi_app  # noqa: PLC0415 - see above

                self._made = make_wsgi_app(self._registry())
        return self._made(environ, respond)


def _listen(host: str, port: int) -> socket.socket:
    with contextlib.ExitStack() as undo:
        listening = undo.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
        undo.pop_all()
    return listening


def _asked(query: str) -> tuple[int | None, str]:
    """What ?jobs= and ?job= say; None and nothing where they say nothing that can be read."""
    asked = parse_qs(query)
    most = asked.get("jobs", [""])[0]
    number = int(most) if most.isdecimal() and len(most) < 10 else None
    return number, asked.get("job", [""])[0]
