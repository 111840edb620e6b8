"""A small HTTP server of the standard library's files: ``python -m heori.examples.fileserver``.

It listens on a free port of the loopback interface, or on the address and port that are its
arguments, prints the port, and ends when its standard input does. A third argument says how many
seconds it takes for each answer.
"""

import sys
import threading
import time
from urllib.parse import unquote

from heori.examples import corpus
from heori_common.threaded_server import FewThreads, OneRequest

LATENCY = 0.01  # seconds before each answer: this stands for a server far away


class _FileServer(FewThreads):
    latency = LATENCY
    port_name = "files"
    most = 4096  # of which a half may be the slots of one consumer
    request_queue_size = 1024  # as many may ask at once as a consumer has slots


class _FileHandler(OneRequest):
    def do_GET(self) -> None:  # noqa: N802 - so it is called there
        """Answer with the file, after a while."""
        assert isinstance(self.server, _FileServer)
        time.sleep(self.server.latency)
        try:
            body = corpus.resolve(unquote(self.path).lstrip("/")).read_bytes()
        except OSError as error:
            self.send_error(500, str(error.strerror))
        except ValueError as error:  # outside, or with a null byte in its name
            self.send_error(404, explain=str(error))
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/x-python")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


def main() -> None:
    """Serve until standard input ends."""
    arguments = dict(enumerate(sys.argv[1:]))
    address = (arguments.get(0, "127.0.0.1"), int(arguments.get(1, "0")))
    with _FileServer(address, _FileHandler) as server:
        server.latency = float(arguments.get(2, LATENCY))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_port, flush=True)  # noqa: T201 - for the program that has started it
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
