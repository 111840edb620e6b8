"""The embedded server leaves nothing behind, however its owner or its keeper ends."""

import sys

import psutil
import pytest
import redis as redis_py

from heori_common.embedded import EmbeddedValkey
from tests.rigs.waiting import is_alive, until


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_keeper_takes_its_server_along() -> None:
    with EmbeddedValkey() as server:
        with redis_py.Redis.from_url(server.url) as client:
            valkey = psutil.Process(client.info("server")["process_id"])
        keeper = valkey.parent()
        assert keeper is not None
        keeper.kill()
        until(lambda: not is_alive(valkey), timeout=5)
        until(lambda: not server.running)
