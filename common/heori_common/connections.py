"""Who is connected to a port: few at a time, few of them from one address, and none for long.

Anybody can connect who reaches the port, and needs no token for that. So each server keeps its
connections here. When there are too many, the one that has been waited for longest makes room:
a stranger who connects and says nothing keeps nobody out.
"""

import contextlib
import errno
import ipaddress
import math
import os
import socket
import threading
import time
from typing import Any, Protocol

from heori_common import logs

log = logs.get_logger(__name__)

# Seconds until the head of a request must be here; then its body; and until an answer is taken.
HEAD_S = 10.0
BODY_S = 60.0
ANSWER_S = 60.0
# Until the first line that tells of connections that were dropped, and between two of them.
TELL_AFTER_S = 1.0
TELL_EVERY_S = 60.0
# Connections that are accepted before the others have their turn.
ONE_TURN = 16
# Those that were dropped and are not closed yet, at most. Then nobody new is let in.
LEAVING = 2 * ONE_TURN
# Until it is tried again to have a descriptor, so that nobody takes a whole core for it.
NO_SPARE_S = 0.01
# An address of IPv6 is one of 2**64 that its owner has.
IPV6_PREFIX = 64

_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Connection(Protocol):
    """One connection, as far as it matters here."""

    @property
    def address(self) -> str:
        """Whom it is from."""

    @property
    def until(self) -> float | None:
        """The time.monotonic() at which the other side has had its time.

        None while it is this side that is waited for.
        """

    def drop(self) -> None:
        """Close it, whatever it is at; may be called in any thread, and more than once."""


class Connections:
    """The connections to one port.

    Args:
        port: what it is for, for the log.
        most: at a time; half of them may be from one address.
    """

    def __init__(self, port: str, most: int) -> None:
        self._port = port
        self._most = most
        self._of: dict[str, set[Connection]] = {}  # by origin; none is empty
        self._count = 0
        self._leaving: set[Connection] = set()  # that were dropped, and are not closed yet
        self._dropped = 0  # since it was told
        self._crowd = ""  # the origin that had too many last
        self._tell_at = 0.0  # time.monotonic()
        self._lock = threading.Lock()

    def add(self, new: Connection) -> bool:
        """Let one in, and drop another for it if there are too many.

        Returns:
            False if it is to be closed instead: all others are being answered, or still closing.
        """
        origin = origin_of(new.address)
        oldest = None
        with self._lock:
            if len(self._of.get(origin, ())) >= self._most // 2:
                crowd = origin
            elif self._count >= self._most:
                crowd = max(self._of, key=lambda each: len(self._of[each]))
            else:
                crowd = ""
            if crowd:
                self._turned_away(crowd)
                if len(self._leaving) >= LEAVING:
                    return False
                oldest = min(self._of[crowd], key=_until)
                if oldest.until is None:
                    return False
                self._discard(crowd, oldest)
                self._leaving.add(oldest)
            self._of.setdefault(origin, set()).add(new)
            self._count += 1
        if oldest is not None:
            oldest.drop()
        return True

    def remove(self, connection: Connection) -> None:
        """Forget one that is closed."""
        with self._lock:
            self._leaving.discard(connection)
            self._discard(origin_of(connection.address), connection)

    def refuse(self, address: str) -> None:
        """Count one for which no descriptor was left."""
        with self._lock:
            self._turned_away(origin_of(address))

    def look(self) -> None:
        """Drop those whose time is over, and tell of those that were too many; now and then."""
        now = time.monotonic()
        with self._lock:
            everyone = [each for group in self._of.values() for each in group]
        for each in everyone:
            if _until(each) <= now:
                each.drop()
        if self._dropped and now >= self._tell_at:
            self._tell_at = now + TELL_EVERY_S
            dropped, self._dropped = self._dropped, 0
            log.warning(
                "too many connections: those that say nothing are dropped for others",
                port=self._port,
                dropped=dropped,
                most=self._most,
                last_from=self._crowd,
            )

    def _turned_away(self, origin: str) -> None:
        if not self._dropped:
            self._tell_at = max(self._tell_at, time.monotonic() + TELL_AFTER_S)
        self._dropped += 1
        self._crowd = origin

    def _discard(self, origin: str, connection: Connection) -> None:
        group = self._of.get(origin, set())
        if connection in group:
            group.remove(connection)
            self._count -= 1
            if not group:
                del self._of[origin]


def _until(connection: Connection) -> float:
    until = connection.until
    return math.inf if until is None else until


def origin_of(address: str) -> str:
    """Who may have an address: it alone, or all of its network with IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))


class ListeningSocket(socket.socket):
    """Accepts those for whom there is a descriptor, and turns the others away at once.

    asyncio and `socketserver` leave them where they are, so that they are ready to be accepted
    again and again: either takes a whole core for that, and asyncio writes thousands of lines.

    Attributes:
        connections: where those are counted that were turned away.
    """

    connections: Connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._spare = _spare()
        self._turn = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept one.

        Raises:
            BlockingIOError: nobody is there; or it is for others to have their turn.
        """
        self._turn = (self._turn + 1) % (ONE_TURN + 1)
        if not self._turn:
            raise BlockingIOError
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR:
                raise
        if self._spare is None:
            time.sleep(NO_SPARE_S)
        else:
            os.close(self._spare)
            with contextlib.suppress(OSError):  # another thread was faster
                turned_away, address = super().accept()
                turned_away.close()
                self.connections.refuse(str(address[0]))
        self._spare = _spare()
        raise BlockingIOError

    def close(self) -> None:
        """Close it, and what it keeps."""
        super().close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None


def _spare() -> int | None:
    """A descriptor that is kept for the moment in which there is no other."""
    with contextlib.suppress(OSError):
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return None
