"""The embedded server leaves nothing behind, however its owner or its keeper ends."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis as redis_py

from heori_common import embedded
from heori_common.embedded import EmbeddedValkey, free_port
from tests.rigs.waiting import is_alive, until

# Who is killed loses its files a moment before it is gone: this one has lost them, and stays.
DYING = """
import os, sys
from heori_common.embedded import EmbeddedValkey
server = EmbeddedValkey()
server.start()
print("started", flush=True)
sys.stdin.readline()
os.closerange(3, 256)
sys.stdin.read()
"""


def test_a_keeper_of_one_that_dies_tidies_up(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DYING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as dying:
        assert dying.stdin is not None
        assert dying.stdout is not None
        assert dying.stdout.readline() == b"started\n"
        assert [*tmp_path.iterdir()]
        dying.stdin.write(b"\n")
        dying.stdin.flush()
        until(lambda: not [*tmp_path.iterdir()])
        assert dying.poll() is None
    assert dying.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_keeper_takes_its_server_along() -> None:
    with EmbeddedValkey() as server:
        with redis_py.Redis.from_url(server.url, socket_timeout=None) as client:
            valkey = psutil.Process(client.info("server")["process_id"])
        keeper = valkey.parent()
        assert keeper is not None
        keeper.kill()
        until(lambda: not is_alive(valkey))
        until(lambda: not server.running)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which ports it gives")
def test_a_server_that_is_stopped_finds_its_port_free_as_the_system_gives_it_to_nobody() -> None:
    limits = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    given = range(int(limits[0]), int(limits[1]) + 1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert listening.getsockname()[1] in given
    assert not any(free_port() in given for _ in range(100))


def test_nobody_else_gets_the_port_of_a_server_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # No connection comes before that whose end might keep the port for a while.
    with EmbeddedValkey() as server, redis_py.Redis.from_url(server.url) as client:
        port = int(server.url.split(":")[-1].split("/")[0])
        server.stop()
        monkeypatch.setattr(embedded, "NOT_GIVEN", [port, port + 1 if port % 2 else port - 1])
        assert port not in {free_port() for _ in range(30)}
        with pytest.raises(redis_py.ConnectionError):
            client.ping()
        server.start()
        assert client.ping()
