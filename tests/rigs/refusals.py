"""Servers that refuse for a while: what writes, or everything."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import redis as redis_py

from tests.rigs.configured import configured
from tests.rigs.waiting import until


@contextmanager
def replica(client: Any) -> Iterator[None]:
    """It is a replica, of a primary that does not answer."""
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        yield
    finally:
        client.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def cannot_store(client: Any) -> Iterator[None]:
    """It cannot write its dump, as something else is there."""
    dump = Path(client.config_get("dir")["dir"]) / client.config_get("dbfilename")["dbfilename"]
    (dump / "in the way").mkdir(parents=True)
    client.config_set("save", "3600 1")
    client.bgsave()
    until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    try:
        yield
    finally:
        client.config_set("save", "")
        (dump / "in the way").rmdir()
        dump.rmdir()


@contextmanager
def busy(client: Any) -> Iterator[None]:
    """A script of somebody else does not end."""

    def spin() -> None:
        with (
            client.__class__(connection_pool=client.connection_pool) as other,
            contextlib.suppress(redis_py.ResponseError),  # it is killed
        ):
            other.eval("while true do end", 0)

    def is_busy() -> bool:
        try:
            client.ping()
        except redis_py.ResponseError:
            return True
        return False

    spinning = threading.Thread(target=spin)
    with configured(client, {"busy-reply-threshold": 10}):
        spinning.start()
        until(is_busy)
        try:
            yield
        finally:
            client.script_kill()
            spinning.join()


@contextmanager
def full(client: Any) -> Iterator[None]:
    """Its memory is full: what would take more is refused."""
    with configured(client, {"maxmemory": 1}):
        yield


@contextmanager
def login(client: Any) -> Iterator[None]:
    """It wants a password that nobody has, and nobody is connected any more but who looks."""
    client.config_set("requirepass", "unknown")
    client.execute_command("CLIENT KILL TYPE normal")
    client.execute_command("CLIENT KILL TYPE pubsub")
    try:
        yield
    finally:
        client.config_set("requirepass", "")


# Those that pass by themselves.
REFUSALS: dict[str, Callable[[Any], AbstractContextManager[None]]] = {
    "READONLY": replica,
    "MISCONF": cannot_store,
    "BUSY": busy,
}
