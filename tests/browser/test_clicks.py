"""A person's five tasks, from the overview on, each with as few clicks as docs/page.md says."""

import re
from collections.abc import Callable, Iterator

import pytest
import redis as redis_py
from playwright.sync_api import Locator, Page

from heori import Producer
from heori_common.embedded import EmbeddedValkey
from tests.rigs.consumers import Consumer
from tests.rigs.service_rig import Service, serving
from tests.rigs.visits import READS, SECRET, Visit
from tests.rigs.waiting import until
from tests.tasks import page_tasks, sample_tasks

TASKS = {"HEORI_TASKS": "tests.tasks.page_tasks,tests.tasks.sample_tasks"}
OF_ONE_KIND = 900
LONG_S = 240  # seconds, for so many jobs on a busy machine


class Hand:
    """Clicks, and counts that."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0

    def click(self, what: Locator) -> None:
        what.click()
        self.clicks += 1

    def go_to(self, area: str) -> None:
        """By the menu, which is on each page."""
        self.click(self.page.get_by_role("navigation").get_by_role("link", name=area, exact=True))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with EmbeddedValkey() as started:
        yield started.url


@pytest.fixture(scope="module")
def busy(server: str) -> Iterator[Consumer]:
    """A consumer, after jobs of two kinds have failed."""
    own = {"HEORI_REDIS_URL": server, "HEORI_METRICS_PORT": "0", "HEORI_GRACE": "0"}
    consumer = Consumer(["--model", "threads", "--slots", "3"], own | TASKS).ready()
    with Producer(server) as producer:
        producer.options(queue="waits").submit(page_tasks.add, 1, 2)
        producer.submit_many(page_tasks.refuse, [(number,) for number in range(OF_ONE_KIND)])
        producer.submit(sample_tasks.fail, "otherwise")
    until(lambda: failures(consumer, "refuse") == OF_ONE_KIND, LONG_S)
    until(lambda: failures(consumer, "fail") == 1)
    yield consumer
    consumer.stop()


def failures(consumer: Consumer, task: str) -> float:
    """How many jobs of a task have failed."""
    module = page_tasks if hasattr(page_tasks, task) else sample_tasks
    name = f"{module.__name__}.{task}"
    return consumer.metric("heori_jobs_total", outcome="failed", task=name)


@pytest.fixture(scope="module")
def service(server: str, busy: Consumer) -> Iterator[Service]:
    tokens = {"HEORI_API_TOKENS": f"ana:{SECRET}", "HEORI_API_READ_TOKENS": f"eve:{READS}"}
    with serving(server, **TASKS, **tokens) as one:
        yield one


@pytest.fixture
def held(server: str, busy: Consumer, request: pytest.FixtureRequest) -> str:
    """The id of a job that runs and holds a lock of its own."""
    with Producer(server) as producer:
        job = producer.submit(page_tasks.keep, request.node.name)
        until(lambda: job.status() == "started")
        return job.id


@pytest.fixture
def hand(visit: Callable[..., Visit]) -> Hand:
    """On the overview."""
    return Hand(visit().open("/"))


def test_why_a_job_failed(hand: Hand) -> None:
    hand.go_to("Dead letters")
    hand.page.get_by_role("link", name=re.compile("was refused")).first.wait_for()
    assert hand.clicks == 1, "of each kind the error, and how often it came"
    hand.click(hand.page.get_by_role("link", name=re.compile("was refused")).first)
    hand.click(hand.page.locator("tbody a.mono").first)
    hand.page.get_by_text("Traceback (most recent call last)").first.wait_for()
    assert hand.clicks == 3


def test_replay_900_of_one_kind(hand: Hand, busy: Consumer) -> None:
    hand.go_to("Dead letters")
    group = hand.page.locator("tr", has_text="page_tasks.refuse")
    hand.click(group.get_by_role("link", name="Replay …"))
    hand.click(hand.page.get_by_role("button", name=f"Replay {OF_ONE_KIND}"))
    assert hand.clicks == 3
    until(lambda: failures(busy, "refuse") == 2 * OF_ONE_KIND, LONG_S)
    assert failures(busy, "fail") == 1, "that of another kind is where it was"


def test_what_a_slot_does_now(held: str, hand: Hand) -> None:
    hand.go_to("Consumers")
    hand.click(hand.page.locator("tbody th a").first)
    hand.page.get_by_role("link", name=held).wait_for()
    assert hand.clicks == 2


def test_pause_a_queue(hand: Hand, server: str) -> None:
    hand.go_to("Queues")
    queue = hand.page.locator("tr", has=hand.page.get_by_role("link", name="waits", exact=True))
    hand.click(queue.get_by_role("button", name="Pause"))
    with redis_py.Redis.from_url(server, socket_timeout=None) as client:
        until(lambda: b"waits" in b" ".join(client.hkeys("rq:heori:paused")))
    assert hand.clicks == 2


def test_who_holds_a_lock(held: str, hand: Hand, request: pytest.FixtureRequest) -> None:
    hand.go_to("Locks")
    row = hand.page.locator("tr", has_text=request.node.name)
    row.locator(f"li.holder[title*='{held}']").wait_for()
    assert hand.clicks == 1
