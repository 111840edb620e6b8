"""`heori lab` as a person runs it."""

from contextlib import suppress
from typing import Any

import psutil
from redis import Redis

from tests.rigs.waiting import until
from tests.rigs.zygote import Started

Lab = Started


def server(lab: Lab) -> Any:
    """A client of its Valkey, when it is there."""
    found: list[int] = []

    def listens() -> bool:
        for child in psutil.Process(lab.pid).children(recursive=True):
            with suppress(psutil.Error):  # it has just ended
                if "valkey-server" in child.name():
                    found.extend(
                        each.laddr.port
                        for each in child.net_connections(kind="tcp")
                        if each.status == psutil.CONN_LISTEN
                    )
        return bool(found)

    until(listens)
    return Redis(port=found[0], socket_timeout=None)
