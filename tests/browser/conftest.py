"""The page in a real browser, Debian's Chromium, over real consumers that are at work."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_py
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import sync_playwright

from heori import Producer, chain
from heori_common.embedded import EmbeddedValkey
from tests.rigs.consumers import Consumer
from tests.rigs.service_rig import Service, serving
from tests.rigs.visits import LANGUAGE, READS, SECRET, SHAPES, Visit
from tests.rigs.waiting import until
from tests.tasks import page_tasks

# Not even a name of another machine is looked up.
HERE_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without the target that brings a Chromium, the tests say so."""
    if os.environ.get("HEORI_TEST_PAGE"):
        return
    for item in items:
        if "tests/browser" in str(item.path):
            item.add_marker(pytest.mark.skip(reason="run by `make test-page`, in a Chromium"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail("there is no Chromium; apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", HERE_ONLY])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def at_work(valkey: EmbeddedValkey) -> Iterator[str]:
    """The URL of a Redis where much is going on."""
    own = {
        "HEORI_REDIS_URL": valkey.url,
        "HEORI_TASKS": "tests.tasks.page_tasks",
        "HEORI_GRACE": "0",
    }
    at_once = {"HEORI_GRACE": "0"}  # for what still runs in the end
    with redis_py.Redis.from_url(valkey.url) as client:
        client.flushdb()
    threads = Consumer(["--model", "threads", "--slots", "6"], own | at_once)
    processes = Consumer(["--model", "processes", "--processes", "1"], own | at_once)
    with Producer(valkey.url) as producer:
        for consumer in (threads, processes):
            consumer.ready()
        producer.submit(page_tasks.keep, "kim")
        producer.submit(page_tasks.keep, "kim")
        producer.submit(page_tasks.count_up, "one")
        producer.submit(page_tasks.count_up, page_tasks.HOSTILE)
        failed = [producer.submit(page_tasks.refuse, number) for number in range(30)]
        producer.options(queue="nobody.serves").submit(page_tasks.add, 1, 2)
        producer.options(delay="1h", meta={"who": page_tasks.HOSTILE}).submit(page_tasks.add, 1, 2)
        producer.submit_flow(chain(page_tasks.count_up.s("first"), page_tasks.keep.s("lee")))
        until(lambda: all(job.status() == "failed" for job in failed))
        yield valkey.url
    for consumer in (threads, processes):
        consumer.stop()


@pytest.fixture(scope="session")
def service(at_work: str) -> Iterator[Service]:
    tokens = {"HEORI_API_TOKENS": f"ana:{SECRET}", "HEORI_API_READ_TOKENS": f"eve:{READS}"}
    with serving(at_work, HEORI_TASKS="tests.tasks.page_tasks", **tokens) as one:
        yield one


@pytest.fixture
def visit(chromium: Chromium, service: Service) -> Iterator[Callable[..., Visit]]:
    """Has somebody log in; in the end nothing may have been wrong."""
    visits: list[Visit] = []

    def begin(shape: str = "desk", token: str = SECRET, **options: Any) -> Visit:
        width, height, colours = SHAPES[shape]
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if colours == "dark" else "light",
            **{"locale": LANGUAGE, **options},
        )
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(f"{service.url}/login")
        page.fill("#token", token)
        page.press("#token", "Enter")
        page.wait_for_url(f"{service.url}/")
        page.close()
        visits.append(Visit(context, service.url))
        return visits[-1]

    yield begin
    for each in visits:
        each.context.close()
    assert [wrong for each in visits for wrong in each.wrong] == []
