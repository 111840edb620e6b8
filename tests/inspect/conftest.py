"""A reader of this run's server."""

from collections.abc import Iterator

import pytest

from heori.inspect.reader import RedisReader
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient


@pytest.fixture
def reader(redis_url: str) -> Iterator[RedisReader]:
    with RedisClient(redis_url) as client:
        yield RedisReader(client, Keys())
