"""What all producers of a process share for one server: a client, and a watcher.

A URL with another login, database or option is another server here. What nobody has any more is
closed, whether its producers were closed or only let go.
"""

import os
from typing import NamedTuple
from weakref import WeakValueDictionary

from heori_common.given_back import lock_given_back
from heori_common.redis.address import Address
from heori_common.redis.client import RedisClient
from heori_producer.watcher import Watcher


class Shared(NamedTuple):
    """The client and the watcher of one server."""

    client: RedisClient
    watcher: Watcher


class _Servers:
    def __init__(self) -> None:
        self.lock = lock_given_back()
        self.clients: WeakValueDictionary[Address, RedisClient] = WeakValueDictionary()
        self.watchers: WeakValueDictionary[Address, Watcher] = WeakValueDictionary()


_servers = _Servers()


def share(url: str) -> Shared:
    """What this process has of a server already, or will have from now on.

    Raises:
        ValueError: the URL is malformed.
    """
    where = Address.parse(url)
    with _servers.lock:
        client, watcher = _servers.clients.get(where), _servers.watchers.get(where)
        if client is None:
            client = _servers.clients[where] = RedisClient(url)
        if watcher is None:
            watcher = _servers.watchers[where] = Watcher(url)
        client.on_other_server = watcher.connect_anew
        return Shared(client, watcher)


def _begin_anew() -> None:
    """A forked process has copies, but neither their threads nor a right to their connections."""
    global _servers
    inherited, _servers = _servers, _Servers()
    for watcher in inherited.watchers.values():
        watcher.reset()


os.register_at_fork(after_in_child=_begin_anew)
