"""Makes connections that need no more than a socket and a greeting: without TLS and sentinels.

So most processes do without redis-py, whose import takes 6 MB, and a tenth of a consumer's start.
"""

import _socket
import contextlib
import socket
import struct
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from heori_common.redis.address import Address
from heori_common.redis.dialed import Dialed
from heori_common.redis.errors import RedisUnavailable, away, error_of
from heori_common.redis.resp import ReplyReader, pack
from heori_common.redis.retries import ANSWER_TIMEOUT_S

PORT = 6379
OFF = {"0", "false", "no"}
# Last of each greeting: so CLIENT LIST tells who is connected. Servers before 7.2 do not know it,
# and a user may have no right to it.
TELL_LIBRARY = ("CLIENT", "SETINFO", "LIB-NAME", "heori")


class PlainServer(NamedTuple):
    """A server, and how to greet it.

    Attributes:
        where: it, for messages.
        host: and `port`, unless there is a path.
        path: of its Unix socket; None for TCP.
        greeting: commands, the replies to which are no errors, but for that to TELL_LIBRARY.
        connect_s: seconds until it must be connected.
        answer_s: seconds for which it may say nothing.
        keepalive: whether the system is to notice that it has gone.
    """

    where: Address
    host: str
    port: int
    path: str | None
    greeting: tuple[tuple[str, ...], ...]
    connect_s: float
    answer_s: float
    keepalive: bool

    @classmethod
    def of(cls, where: Address) -> "PlainServer | None":
        """Read an address; None for one that needs more."""
        parts = urlsplit(where.url)
        if where.sentinels or where.login_file or parts.scheme not in ("redis", "unix"):
            return None
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        is_unix = parts.scheme == "unix"
        database = options.get("db") or ("" if is_unix else parts.path.strip("/")) or "0"
        user = unquote(parts.username or "") or options.get("username", "")
        password = unquote(parts.password or "") or options.get("password", "")
        login = ("AUTH", user or "default", password) if user or password else ()
        greeting: list[tuple[str, ...]] = [("HELLO", "3", *login)]
        if name := options.get("client_name"):
            greeting.append(("CLIENT", "SETNAME", name))
        if int(database):
            greeting.append(("SELECT", database))
        greeting.append(TELL_LIBRARY)
        answer_s = float(options.get("socket_timeout", ANSWER_TIMEOUT_S))
        return cls(
            where,
            unquote(parts.hostname or "localhost"),
            parts.port or PORT,
            unquote(parts.path) if is_unix else None,
            tuple(greeting),
            float(options.get("socket_connect_timeout", answer_s)),
            answer_s,
            options.get("socket_keepalive", "yes").lower() not in OFF,
        )

    def new_answers(self) -> "GreetingReplies":
        """Of one greeting."""
        return GreetingReplies(self)

    def greet(self) -> bytes:
        """All of the greeting, as it is sent in one go."""
        return b"".join(map(pack, self.greeting))

    def set_up(self, connected: Any) -> None:
        """Set the options of a TCP socket."""
        if self.path is None:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(self.keepalive))

    def failure(self, error: Exception) -> RedisUnavailable:
        """What is raised for an error of the system's."""
        if isinstance(error, TimeoutError):
            return away(self.where, "it does not answer in time")
        if isinstance(error, OSError) and error.strerror:
            return away(self.where, error.strerror)
        return away(self.where, error)


class GreetingReplies:
    """Reads the replies to a greeting."""

    def __init__(self, server: PlainServer) -> None:
        self._left = len(server.greeting)
        self._replies = ReplyReader(partial(error_of, where=server.where))

    def are_complete(self, data: bytes) -> bool:
        """Take what has come; whether it was all.

        Raises:
            RedisUnavailable, RedisRefused: the server says no.
            ConnectionError: it has hung up, and said nothing more.
            ValueError: this is no Redis.
        """
        if not data:
            raise ConnectionError("the server closed the connection")
        for reply in self._replies.feed(data):
            self._left -= 1
            if isinstance(reply, Exception) and self._left > 0:
                raise reply
        return self._left == 0


class PlainDialer:
    """Makes connections that block."""

    sentinels = None

    def __init__(self, server: PlainServer) -> None:
        self._server = server

    def dial(self, seconds: float | None = None) -> Dialed:
        """As `Dialer.dial`."""
        server = self._server
        with contextlib.ExitStack() as undo:
            try:
                connected = self._connect(seconds or server.connect_s)
                undo.callback(connected.close)
                connected.settimeout(seconds or server.answer_s)
                connected.sendall(server.greet())
                answers = server.new_answers()
                while not answers.are_complete(connected.recv(1 << 16)):
                    pass
            except RedisUnavailable:
                raise
            except (OSError, ValueError) as error:
                raise server.failure(error) from error
            _wait_at_most(connected, server.answer_s)
            undo.pop_all()
        return Dialed(connected, connected.close)

    def _connect(self, seconds: float) -> socket.socket:
        server = self._server
        if server.path is None:
            # As text it would be encoded by what takes a third of a megabyte; the stubs are behind.
            host: Any = server.host.encode() if server.host.isascii() else server.host
            connected = socket.create_connection((host, server.port), seconds)
        else:
            connected = socket.socket(socket.AF_UNIX)
            connected.settimeout(seconds)
        try:
            server.set_up(connected)
            if server.path is not None:
                connected.connect(server.path)
        except BaseException:
            connected.close()
            raise
        return connected


def _wait_at_most(connected: socket.socket, seconds: float) -> None:
    """Have a socket raise BlockingIOError when it has waited so long to read or to write.

    With a timeout of Python's each read and write asks first whether it would have to wait, which
    is another system call: a tenth of what a round trip takes the kernel. (CPython, socketmodule.c,
    sock_call_ex.) A timeout of the kernel's costs nothing. (POSIX, setsockopt.) Sockets that gevent
    or eventlet put in place of Python's never wait in the kernel: they keep their own timeout.
    """
    if not isinstance(connected, _socket.socket):
        connected.settimeout(seconds)
        return
    limit = kernel_time(seconds)
    try:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connected.setsockopt(socket.SOL_SOCKET, option, limit)
    except OSError:  # a system that counts time in other words
        connected.settimeout(seconds)
    else:
        connected.settimeout(None)


def kernel_time(seconds: float) -> bytes:
    """A timeout as SO_RCVTIMEO has it."""
    whole, part = divmod(seconds, 1)
    return struct.pack("ll", int(whole), int(part * 1e6) or int(not whole))  # 0 is for ever
