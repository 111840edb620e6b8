"""The page of dead letters in a real browser: counted while one looks, replayed by two clicks."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_py
from axe_playwright_python.sync_playwright import Axe

from heori_common.protocol.payload import encode_failure
from tests.rigs.dead_letters import dead, letter, queued
from tests.rigs.visits import SHAPES, Visit

QUEUE = "nobody.serves.this"
LOST, OTHERS = 900, 300


@pytest.fixture
def redis(at_work: str) -> Iterator[Any]:
    """With many dead letters in a queue of their own."""
    with redis_py.Redis.from_url(at_work) as client:
        client.delete(f"rq:queue:{QUEUE}", f"rq:failed:{QUEUE}")
        for n in range(LOST + OTHERS):
            job_id, ago = f"dead-{n}", n * 60
            client.delete(f"rq:results:{job_id}")
            letter(client, job_id, queue=QUEUE, ago=ago)
            error = f"no way to 10.0.0.{n}" if n < LOST else "<img src=x onerror=alert(1)>"
            told = {"type": "2", "exc_string": encode_failure(f"ConnectionError: {error}\n")}
            client.xadd(f"rq:results:{job_id}", told)
        yield client


@pytest.mark.parametrize("shape", SHAPES)
def test_it_can_be_read_by_all(shape: str, visit: Callable[..., Visit], redis: Any) -> None:
    assert redis.zcard(f"rq:failed:{QUEUE}")
    person = visit(shape)
    for path in (f"/dead?queue={QUEUE}", f"/dead/letters?queue={QUEUE}", "/dead/replay?error=None"):
        page = person.open(path)
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        sideways = "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
        assert page.evaluate(sideways) == 0
        assert page.evaluate("window.struck") is None


def test_one_kind_is_counted_while_one_looks_and_replayed(
    visit: Callable[..., Visit], redis: Any
) -> None:
    page = visit().open(f"/dead?queue={QUEUE}")
    page.get_by_text("Looked at 1,200 of 1,200").wait_for()
    group = page.locator("tr", has_text="no way to #")
    assert "900" in (group.text_content() or "")
    group.get_by_role("link", name="Replay …").click()
    page.get_by_role("button", name=f"Replay {LOST}").click()
    page.get_by_role("heading", name=f"Back on their queues: {LOST}").wait_for()
    assert len(queued(redis, QUEUE)) == LOST
    assert len(dead(redis, QUEUE)) == OTHERS


def test_one_letter_is_deleted_once_that_is_confirmed(
    visit: Callable[..., Visit], redis: Any
) -> None:
    page = visit().open(f"/dead/letters?queue={QUEUE}")
    row = page.locator("#letters tbody tr").first
    job_id = row.get_by_role("link").first.text_content() or ""
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Cancel").click()
    assert job_id in dead(redis, QUEUE)
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Yes, do it").click()
    page.get_by_text(f"{job_id} is deleted.").wait_for()
    assert job_id not in dead(redis, QUEUE)
    page.get_by_role("link", name=job_id, exact=True).wait_for(state="detached")
