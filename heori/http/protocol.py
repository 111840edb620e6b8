"""One connection to the service: uvicorn's, within bounds that uvicorn does not have."""

import asyncio
import time
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from heori_common.connections import ANSWER_S, BODY_S, HEAD_S, Connections


class ServiceState(ServerState):
    """What all connections of a server share.

    Attributes:
        bounded: these connections, few at a time.
    """

    def __init__(self, bounded: Connections) -> None:
        super().__init__()
        self.bounded = bounded


class HttpConnection(H11Protocol):
    """Is dropped when it says nothing for too long, or there are too many.

    uvicorn waits for the head of a request for ever, and for the rest of a body that was refused.
    """

    address = ""
    until: float | None = None
    _receiving: object = None  # the request whose body is under way

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It is there."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.until = time.monotonic() + HEAD_S
        if not self._bounded.add(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self._bounded.remove(self)

    def data_received(self, data: bytes) -> None:
        """Read it; what it asks for is begun."""
        try:
            super().data_received(data)
        except h11.ProtocolError:  # it makes no sense after what came before
            self.transport.abort()
        self._look_at_request()

    def on_response_complete(self) -> None:
        """It is answered; whether the other side takes that is another matter."""
        is_taken = not self.transport.get_write_buffer_size()
        self.until = time.monotonic() + (HEAD_S if is_taken else ANSWER_S)
        super().on_response_complete()
        self._look_at_request()  # the next one may be here already

    def send_400_response(self, msg: str) -> None:
        """Tell that this is no request; or that no body, and nothing more is answered."""
        if cycle := self._underway():
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()

    def shutdown(self) -> None:
        """Answer what has come whole, and end; a body that is yet to come is not waited for."""
        if self._underway() is not None and self.until is not None:
            self.drop()
        else:
            super().shutdown()

    def drop(self) -> None:
        """Close it, whatever it is at."""
        self.transport.abort()

    def _look_at_request(self) -> None:
        """Note who is waited for: the other side, for its body, or this one."""
        cycle = self._underway()
        if cycle is None:
            return
        if not cycle.more_body:
            self.until = None
        elif self._receiving is not cycle:
            self._receiving = cycle
            self.until = time.monotonic() + BODY_S

    def _underway(self) -> RequestResponseCycle | None:
        """The request that is not answered yet."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first
        return None if cycle is None or cycle.response_complete else cycle

    @property
    def _bounded(self) -> Connections:
        assert isinstance(self.server_state, ServiceState)
        return self.server_state.bounded
