"""Who makes connections that block: Heori where it can, else redis-py, which is imported then."""

import importlib
from typing import Any

from heori_common.importing import import_apart
from heori_common.redis.address import Address
from heori_common.redis.dialed import Dialed
from heori_common.redis.plain import PlainDialer, PlainServer

REDIS_PY = "heori_common.redis.redis_py"


class Dialer:
    """Makes connections that block. Safe to share between threads.

    Attributes:
        sentinels: who is asked where the primary is; None where the URL names the server.
    """

    def __init__(self, where: Address) -> None:
        self.where = where
        server = PlainServer.of(where)
        self._maker = PlainDialer(server) if server else import_apart(REDIS_PY).RedisPyDialer(where)
        self.sentinels: Any = self._maker.sentinels

    def dial(self, seconds: float | None = None) -> Dialed:
        """Connect, to the primary that sentinels name now, if there are any.

        Args:
            seconds: for which the server may say nothing until it is done; None for what it may
                take later, too.

        Raises:
            RedisUnavailable: nobody answers.
            RedisRefused: the server does not take the login, say.
        """
        dialed: Dialed = self._maker.dial(seconds)
        return dialed

    def has_moved(self, dialed: Dialed) -> bool:
        """Whether sentinels have named another primary since; they are asked when it is time."""
        if self.sentinels is None:
            return False
        self.sentinels.look()
        return bool(dialed.endpoint != self.sentinels.primary)


def prepare(url: str) -> None:
    """Import what connections to a server need, before there are any."""
    if PlainServer.of(Address.parse(url)) is None:
        importlib.import_module(REDIS_PY)
