"""What answers the requests of a `MetricsEndpoint`: a WSGI server of the standard library."""

import socket
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from heori_common.threaded_server import FewThreads, OneRequest
from heori_consumer.supervisor.endpoint import MOST_CONNECTIONS

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class _Scrape(OneRequest, WSGIRequestHandler):
    """A request for metrics, or a probe."""


class MetricsServer(FewThreads, WSGIServer):
    """Serves an application.

    Args:
        listening: on which others may be waiting already; it is taken over.
    """

    port_name = "metrics"
    most = MOST_CONNECTIONS

    def __init__(self, listening: socket.socket, app: "WSGIApplication") -> None:
        address = listening.getsockname()
        super().__init__(address, _Scrape, bind_and_activate=False)
        self.socket.close()  # which it has made
        self.socket = listening
        self.server_name, self.server_port = address[:2]
        self.setup_environ()
        self.set_app(app)
        self.server_activate()
