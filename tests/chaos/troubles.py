"""What Redis refuses, and how connections to it break: each trouble begins, lasts and ends."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from heori_common.embedded import EmbeddedValkey
from tests.rigs.proxy import Proxy, proxy
from tests.rigs.waiting import until

OFTEN = 0.5  # seconds between two kills of many connections
SOON = 0.05  # seconds between two kills of one connection
BUSY_AFTER_MS = 100  # the server answers BUSY from then on
NOWHERE = ("127.0.0.1", 1)  # where no primary is
# TIME stands still for a script. INFO does not, once the server looks after others meanwhile.
LOOP = """
local function now()
  return tonumber(string.match(redis.call('INFO', 'server'), 'server_time_usec:(%d+)'))
end
local last = now() + tonumber(ARGV[1]) * 1000000
while now() < last do end
"""


class Place:
    """A server and what stands around it, while there is a trouble.

    Attributes:
        redis: a connection of our own, which nothing kills.
        url: where everybody else thinks that the server is.
        primary: talks to the server that has the truth.
    """

    def __init__(self, server: EmbeddedValkey, chance: random.Random) -> None:
        self.server = server
        self.chance = chance
        self.url = server.url
        self.redis: Any = redis.Redis.from_url(
            server.url,
            single_connection_client=True,
            socket_timeout=None,
            retry=Retry(NoBackoff(), 1),  # the server may have been started again since
        )
        self.primary = self.redis
        self.replica: Any = None
        self.proxy: Proxy | None = None

    def set(self, **settings: object) -> None:
        """Change settings of the server."""
        for name, value in settings.items():
            self.redis.config_set(name.replace("_", "-"), value)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Have a replica, and a proxy in front of the primary, which can lead to the replica."""
        port = port_of(self.server.url)
        with ExitStack() as exits:
            settings = {"replicaof": f"127.0.0.1 {port}", "repl-diskless-sync-delay": 0}
            self.set(repl_diskless_sync_delay=0)
            follower = exits.enter_context(EmbeddedValkey(settings))
            self.replica = exits.enter_context(
                redis.Redis.from_url(follower.url, socket_timeout=None)
            )
            until(lambda: self.replica.info("replication")["master_link_status"] == "up")
            self.proxy = exits.enter_context(proxy(port))
            self.url = f"redis://127.0.0.1:{self.proxy.port}/0"
            yield

    def kill_all(self) -> None:
        """Break all connections to the server."""
        for kind in ("normal", "pubsub"):
            self.primary.client_kill_filter(_type=kind, skipme=True)

    def takes_writes(self) -> None:
        """Wait until a write is taken."""

        def written() -> bool:
            try:
                self.primary.set("chaos:written", 1)
            except redis.RedisError:
                return False
            return bool(self.primary.delete("chaos:written"))

        until(written)


@dataclass(frozen=True)
class Trouble:
    """One kind of it.

    Attributes:
        about: what it is, in a few words.
        last: has it begin, waits for some seconds, and returns when it is over.
        keeps: whether Redis can be read all the while, and takes what keeps or frees something.
        loses: whether Redis itself forgets jobs.
        persistent: whether the server has to keep its data beyond its own end.
        followed: whether a replica is needed, or what stands in front of the server.
    """

    about: str
    last: Callable[[Place, float], None]
    keeps: bool = False
    loses: bool = False
    persistent: bool = False
    followed: bool = False


def _out_of_memory(place: Place, seconds: float) -> None:
    place.set(maxmemory_policy="noeviction", maxmemory="1mb")
    time.sleep(seconds)
    place.set(maxmemory=0)


def _eviction(place: Place, seconds: float) -> None:
    room = place.redis.info("memory")["used_memory"] + 500_000
    place.set(maxmemory_policy="allkeys-lru", maxmemory=room)
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:  # others write, too
        place.redis.set(f"chaos:ballast:{number}", b"." * 10_000, ex=60)
        number += 1
        time.sleep(SOON)
    place.set(maxmemory=0)


def _misconf(place: Place, seconds: float) -> None:
    """A snapshot fails, as its file cannot be written: here a folder is in the way."""
    dump = Path(place.redis.config_get("dir")["dir"], "dump.rdb")

    def snapshot(expected: str) -> None:
        place.redis.bgsave()
        until(lambda: not place.redis.info("persistence")["rdb_bgsave_in_progress"])
        assert place.redis.info("persistence")["rdb_last_bgsave_status"] == expected

    dump.mkdir()
    place.set(save="3600 1000000")
    snapshot("err")
    time.sleep(seconds)
    dump.rmdir()
    snapshot("ok")
    place.set(save="")


def _no_replicas(place: Place, seconds: float) -> None:
    place.set(min_replicas_to_write=1)
    time.sleep(seconds)
    place.set(min_replicas_to_write=0)


def _readonly(place: Place, seconds: float) -> None:
    place.redis.replicaof(*NOWHERE)
    time.sleep(seconds)
    place.redis.replicaof("NO", "ONE")


def _master_down(place: Place, seconds: float) -> None:
    place.set(replica_serve_stale_data="no")
    _readonly(place, seconds)


def _failover(place: Place, seconds: float) -> None:
    """The replica becomes the primary; the address leads there in the end."""
    assert place.proxy is not None
    options = place.replica.connection_pool.connection_kwargs
    place.redis.execute_command("FAILOVER", "TO", options["host"], options["port"])
    until(lambda: place.replica.info("replication")["role"] == "master")
    place.primary = place.replica
    time.sleep(seconds)
    place.proxy.lead_to(options["port"])


def _busy(place: Place, seconds: float) -> None:
    running = _run_script(place, LOOP, 60 * seconds)
    time.sleep(seconds)
    place.redis.script_kill()
    running.join()


def _busy_writing(place: Place, seconds: float) -> None:
    _run_script(place, f"redis.call('SET', 'chaos:busy', 1, 'EX', 60) {LOOP}", seconds).join()


def _run_script(place: Place, script: str, seconds: float) -> threading.Thread:
    def run() -> None:
        with (
            suppress(redis.ResponseError),  # it was killed
            redis.Redis.from_url(place.server.url, socket_timeout=None) as client,
        ):
            client.eval(script, 0, seconds)

    place.set(busy_reply_threshold=BUSY_AFTER_MS)
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def _kill(kind: str) -> Callable[[Place, float], None]:
    def last(place: Place, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            place.redis.client_kill_filter(_type=kind, skipme=True)
            if time.monotonic() >= end:
                return
            time.sleep(OFTEN)

    return last


def _kill_one(place: Place, seconds: float) -> None:
    """One after the other, as their ids say."""
    ours = place.redis.client_id()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        others = [each["id"] for each in place.redis.client_list() if int(each["id"]) != ours]
        if others:
            place.redis.client_kill_filter(_id=place.chance.choice(others))
        time.sleep(SOON)


def _kill_replica(place: Place, seconds: float) -> None:
    """Without its replica, it takes no writes until that has come back."""
    place.set(min_replicas_to_write=1)
    _kill("replica")(place, seconds)
    place.set(min_replicas_to_write=0)


def _pause(kind: str) -> Callable[[Place, float], None]:
    def last(place: Place, seconds: float) -> None:
        place.redis.execute_command("CLIENT", "PAUSE", round(seconds * 1000), kind)
        time.sleep(seconds)  # it ends by itself

    return last


def _restart(place: Place, seconds: float) -> None:
    place.server.stop()
    time.sleep(seconds)
    place.server.start()
    until(lambda: not place.redis.info("persistence")["loading"])


def _max_clients(place: Place, seconds: float) -> None:
    """All connections break, and there is no room for new ones."""
    place.set(maxclients=1)
    place.kill_all()
    time.sleep(seconds)
    place.set(maxclients=10_000)


def _timeout(place: Place, seconds: float) -> None:
    """Connections are closed that were idle for a second."""
    place.set(timeout=1)
    time.sleep(seconds)  # this one, too
    place.set(timeout=0)


def _silence(place: Place, seconds: float) -> None:
    """The network keeps back what is said, and then all connections are broken."""
    assert place.proxy is not None
    place.proxy.hold(everything=True)
    time.sleep(seconds)
    place.proxy.let_go(lose=True)


def port_of(url: str) -> int:
    """The port in the URL of a server of our own."""
    return int(url.rpartition(":")[2].partition("/")[0])


TROUBLES = {
    "memory": Trouble("maxmemory with noeviction", _out_of_memory, keeps=True),
    "misconf": Trouble("a snapshot has failed", _misconf),
    "noreplicas": Trouble("min-replicas-to-write, and no replica", _no_replicas),
    "readonly": Trouble("it is a replica for a while", _readonly),
    "masterdown": Trouble("likewise, and serves no stale data", _master_down),
    "failover": Trouble("it is a replica, its address then leads on", _failover, followed=True),
    "busy": Trouble("a script of somebody's, killed in the end", _busy),
    "busy-writing": Trouble("one that has written, which none can kill", _busy_writing),
    "kill-normal": Trouble("CLIENT KILL TYPE normal", _kill("normal"), keeps=True),
    "kill-pubsub": Trouble("CLIENT KILL TYPE pubsub", _kill("pubsub"), keeps=True),
    "kill-one": Trouble("CLIENT KILL ID, 20 a second", _kill_one, keeps=True),
    "kill-replica": Trouble("CLIENT KILL TYPE replica, needed", _kill_replica, followed=True),
    "pause-write": Trouble("CLIENT PAUSE WRITE", _pause("WRITE")),
    "pause-all": Trouble("CLIENT PAUSE ALL", _pause("ALL")),
    "restart": Trouble("stopped and started again", _restart, persistent=True),
    "maxclients": Trouble("no room for connections", _max_clients),
    "timeout": Trouble("timeout 1", _timeout, keeps=True),
    "silence": Trouble("nothing comes through, then all breaks", _silence, followed=True),
    "eviction": Trouble("maxmemory with allkeys-lru", _eviction, keeps=True, loses=True),
}  # fmt: skip
