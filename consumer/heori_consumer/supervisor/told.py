"""What other consumers tell this one."""

from collections.abc import Callable, Mapping

import msgpack

from heori_common import logs

log = logs.get_logger(__name__)


class Told:
    """Passes on what is told, by its kind.

    Args:
        handlers: by kind, what is called with the rest of a message.
    """

    def __init__(self, handlers: Mapping[bytes, Callable[..., None]]) -> None:
        self._handlers = handlers

    def hear(self, payload: bytes) -> None:
        """Pass on a message: msgpack [kind, …]."""
        try:
            kind, *rest = msgpack.unpackb(payload, raw=True)
            self._handlers[kind](*rest)
        except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException):
            # Anybody may publish anything.
            log.warning("what was told cannot be read", payload=repr(payload[:200]))
