"""What people name things, and what jobs carry, is text on every page that shows it."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from heori import Mutex, Producer
from heori_common.periodic.entry import Rules, ScheduleEntry
from heori_common.periodic.timing import Interval
from heori_common.protocol.commands import Commands
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from tests.rigs.browser import Browser, unsafe
from tests.rigs.service_rig import Service
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

# Without spaces, which the name of a tenant cannot have.
EVIL = "<script>alert(1)</script>\"'&><img/src=x/onerror=alert(2)>"


@pytest.fixture
def named(redis_url: str, producer: Producer) -> Iterator[str]:
    """One of everything that has a name; gives the id of a job."""
    entry = ScheduleEntry(EVIL, Interval(1000), Rules(), EVIL, EVIL, [])
    with RedisClient(redis_url) as client:
        client.execute(
            Commands(Keys()).publish_schedule(
                "service", [EVIL], [(EVIL, entry.pack())], consumer=EVIL, ttl=600
            )
        )
    options = producer.options(queue=EVIL, tenant=EVIL, meta={EVIL: EVIL}, delay=900)
    with Mutex(EVIL, redis_url):
        yield options.submit(sample_tasks.fail, EVIL).id


def test_names_arguments_and_meta_are_text(service: Service, redis: Any, named: str) -> None:
    redis.hset("rq:heori:paused", f"queue:{EVIL}", "2030-01-01T00:00:00Z")
    browser, name = Browser(service), quote(EVIL, safe="")
    until(lambda: "alert(1)" in browser.get("/").text)
    paths = ("/schedule", "/locks", f"/locks/mutex/{name}", "/queues", f"/queues/{name}")
    for path in ("/", *paths, "/jobs", f"/jobs/{named}", f"/jobs?q={name}"):
        shown = browser.get(path)
        assert shown.status == 200, path
        assert "alert(1)" in shown.text, path
        assert "<script>alert" not in shown.text, path
        assert unsafe(shown.text) == [], path
