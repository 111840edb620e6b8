"""The page of dead letters: its groups, the letters of one, and what its buttons do."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from heori_common.protocol.payload import encode_failure
from tests.rigs.browser import Browser, Shown, unsafe
from tests.rigs.dead_letters import FAIL, damaged, dead, letter, queued
from tests.rigs.service_rig import Service, serving

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[2J\x00\u202e"
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


def failed(redis: Any, job_id: str, text: str, **options: Any) -> str:
    """A dead letter with this traceback."""
    letter(redis, job_id, **options)
    redis.delete(f"rq:results:{job_id}")
    redis.xadd(f"rq:results:{job_id}", {"type": "2", "exc_string": encode_failure(text)})
    return job_id


@pytest.fixture
def browser(service: Service) -> Browser:
    return Browser(service)


def linked(page: Shown, path: str) -> list[str]:
    """The addresses of a page that begin so."""
    return [html.unescape(to) for to in re.findall(rf'href="({path}\?[^"]*)"', page.text)]


def fields(page: Shown) -> dict[str, str]:
    """What the form of a page sends that nobody types."""
    return {name: html.unescape(value) for name, value in HIDDEN.findall(page.text)}


def events(browser: Browser, path: str) -> Iterator[tuple[str, str]]:
    """All events of a stream that ends by itself."""
    for event in browser.get(path).text.strip().split("\n\n"):
        name, _, data = event.partition("\n")
        yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def counted(browser: Browser, query: str = "") -> Shown:
    """The groups, once all letters have been looked at, which may take several steps."""
    page = browser.get(f"/dead?{query}")
    assert page.status == 200
    for stream in re.findall(r'data-groups="([^"]*)"', page.text):
        *groups, last = events(browser, html.unescape(stream))
        assert last == ("end", "")
        page = Shown(200, page.headers, groups[-1][1])
    return page


def listed(browser: Browser, path: str) -> Iterator[Shown]:
    """The letters, page by page."""
    paths = [path]
    while paths:
        page = browser.get(paths.pop())
        yield page
        paths += [to for to in linked(page, "/dead/letters") if "cursor=" in to]


def ids_on(page: Shown) -> list[str]:
    """Those of the letters that a page has buttons for."""
    return re.findall(r'name="id" value="([^"]*)"', page.text)[::2]


def after_counting(browser: Browser, path: str) -> Shown:
    """The page that asks whether so many are meant."""
    page = browser.get(path)
    while "cursor" in fields(page):
        assert "Counting" in page.text
        page = browser.get(path.partition("?")[0] + "?" + urlencode(fields(page)))
    return page


def test_nine_hundred_of_one_kind_are_counted_and_replayed_by_steps(
    browser: Browser, redis: Any
) -> None:
    for n in range(900):
        failed(redis, f"lost-{n}", f"ConnectionError: no way to 10.0.0.{n}\n", ago=60)
    for n in range(300):
        failed(redis, f"other-{n}", "ValueError: no\n", ago=60)
    whole = counted(browser)
    assert "Looked at 1,200 of 1,200" in whole.text
    assert re.findall(r'<td class="n">([\d,]+)</td>', whole.text) == ["900", "300"]
    [there] = [to for to in linked(whole, "/dead/replay") if "ConnectionError" in to]
    page = after_counting(browser, there)
    assert "Replay 900?" in page.text
    assert len(dead(redis)) == 1200
    page = browser.post("/dead/replay", fields(page))
    while "cursor" in fields(page):
        assert "Replaying" in page.text
        assert "of 900" in page.text
        page = browser.post("/dead/replay", fields(page))
    assert "Back on their queues: 900" in page.text
    assert len(queued(redis)) == 900
    assert len(dead(redis)) == 300


def test_a_group_leads_to_its_letters_of_which_one_is_replayed_or_deleted(
    browser: Browser, redis: Any
) -> None:
    for n in range(60):
        failed(redis, f"lost-{n:02}", f"KeyError: 'order-{n}'\n", ago=100 - n)
    failed(redis, "other", "ValueError: no\n")
    failed(redis, "unread", "KeyError: 'order-7'\n", data=b"\x00")
    of_task, unread = sorted(
        (to for to in linked(counted(browser), "/dead/letters") if "KeyError" in to),
        key=lambda to: "unread" in to,
    )
    pages = [ids_on(page) for page in listed(browser, of_task)]
    assert [job_id for page in pages for job_id in page] == [f"lost-{59 - n:02}" for n in range(60)]
    assert len(pages) > 1
    assert [job_id for page in listed(browser, unread) for job_id in ids_on(page)] == ["unread"]
    assert browser.post("/dead/letters/replay", {"id": "lost-59"}).status == 303
    assert browser.post("/dead/letters/purge", {"id": "lost-58"}).status == 303
    assert queued(redis) == ["lost-59"]
    assert not redis.exists("rq:job:lost-58")
    assert browser.post("/dead/letters/purge", {"id": "lost-58"}).status == 404
    redis.hset("rq:job:lost-57", "status", "started")
    refused = browser.post("/dead/letters/replay", {"id": "lost-57"})
    assert refused.status == 409
    assert "it is not failed any more" in refused.text
    said = browser.post("/dead/letters/replay", {"id": "other"}, HX_Request="true")
    assert json.loads(said.headers["HX-Trigger"]) == {
        "said": {"text": "other is back on its queue."}
    }
    for path in ("/dead/letters/run", "/dead/run"):
        assert browser.post(path, {"id": "lost-01"}).status == 404
    assert len(dead(redis)) == 59


def test_what_a_filter_finds_is_deleted_and_nothing_else(browser: Browser, redis: Any) -> None:
    failed(redis, "old", "ValueError: no\n", ago=9 * 86400)
    failed(redis, "young", "ValueError: no\n")
    failed(redis, "mail", "ValueError: no\n", queue="mail", ago=9 * 86400)
    page = browser.get("/dead?queue=default&task=&error=&q=&meta=&older=7d&over=30d")
    [there] = [to for to in linked(page, "/dead/purge") if "error" not in to]
    page = after_counting(browser, there)
    assert "Delete 1 for good?" in page.text
    done = browser.post("/dead/purge", fields(page))
    while "cursor" in fields(done):
        done = browser.post("/dead/purge", fields(done))
    assert "Deleted: 1" in done.text
    assert (dead(redis), dead(redis, "mail")) == ({"young"}, {"mail"})
    for query in ("older=soon", "meta=acme", "cursor=x"):
        for path in ("/dead", "/dead/letters", "/dead/groups", "/dead/purge"):
            if (path, query) not in (("/dead", "cursor=x"), ("/dead/groups", "cursor=x")):
                assert browser.get(f"{path}?{query}").status == 422
    assert browser.get("/dead?older=soon").text.count("is no length of time") == 1


def test_hostile_letters_are_shown_as_text(browser: Browser, redis: Any) -> None:
    damaged(redis)
    failed(
        redis,
        "hostile",
        f"Traceback\nValueError: {HOSTILE}\n",
        queue="a<b>\"'",
        description=HOSTILE,
    )
    failed(redis, HOSTILE.replace("/", ""), f"{HOSTILE}\n")
    letter(redis, "large")
    redis.delete("rq:results:large")
    redis.xadd("rq:results:large", {"exc_string": b"\xff" * 10_000_000})
    paths = ["/dead", "/dead/letters", "/dead/purge", "/dead/replay"]
    groups = counted(browser)
    paths += linked(groups, "/dead/letters") + linked(groups, "/dead/purge")
    paths += [f"/dead?{urlencode({'q': HOSTILE, 'error': HOSTILE, 'queue': HOSTILE})}"]
    assert len(paths) > 15
    for path in paths:
        shown = browser.get(path)
        assert shown.status == 200, path
        assert unsafe(shown.text) == [], path
        for raw in ("<script>alert", "<img", "\x1b", "\x00"):
            assert raw not in shown.text, path
    assert "&lt;script&gt;alert(#)" in groups.text


def test_who_may_only_read_sees_all_and_changes_nothing(redis: Any, redis_url: str) -> None:
    failed(redis, "one", "ValueError: no\n")
    secrets = {"HEORI_API_TOKENS": "a" * 32, "HEORI_API_READ_TOKENS": "b" * 32}
    with serving(redis_url, **secrets) as service:
        browser = Browser(service)
        assert browser.get("/dead").status == 303
        assert browser.post("/login", {"token": "b" * 32}).status == 303
        for shown in (counted(browser), browser.get("/dead/letters")):
            assert "ValueError: no" in shown.text
            assert "eplay" not in shown.text
        counting = after_counting(browser, "/dead/replay?error=ValueError")
        assert "Replay 1?" in counting.text
        assert "<button class" not in counting.text
        for path in ("/dead/replay", "/dead/purge", "/dead/letters/purge"):
            assert browser.post(path, {"id": "one"}).status == 403
    assert dead(redis) == {"one"}


def test_the_page_is_there_in_korean(browser: Browser, redis: Any) -> None:
    failed(redis, "one", "ValueError: no\n")
    korean = Browser(browser.service, {"heori_language": "ko"})
    assert FAIL in counted(korean).text
    assert "그룹" in counted(korean).text
    assert "재실행" in browser.get("/dead/letters", Accept_Language="ko").text
