"""What people do on the page, by mouse, by keys alone, and without scripts."""

import json
import shlex
import urllib.request
from collections.abc import Callable

import pytest

from tests.rigs.at_work import AtWork
from tests.rigs.visits import READS, Visit, refreshed
from tests.rigs.waiting import until

PAUSED = "rq:heori:paused"


@pytest.fixture
def paused(work: AtWork) -> Callable[[], list[bytes]]:
    return lambda: list(work.redis.hkeys(PAUSED))


def test_keys_alone_lead_everywhere(
    visit: Callable[..., Visit], paused: Callable[[], list[bytes]]
) -> None:
    page = visit().open("/")
    keys = page.keyboard
    keys.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    keys.press("Escape")
    keys.press("?")
    assert page.locator("dialog#help").is_visible()
    keys.press("Escape")
    assert not page.locator("dialog#help").is_visible()
    keys.press("g")
    keys.press("q")
    page.wait_for_url("**/queues")
    refreshed(page)
    keys.press("j")
    first = page.evaluate("document.activeElement.textContent")
    keys.press("j")
    assert page.evaluate("document.activeElement.textContent") != first
    keys.press("k")
    assert page.evaluate("document.activeElement.textContent") == first
    # A refresh leaves the place where somebody is.
    refreshed(page)
    assert page.evaluate("document.activeElement.textContent") == first
    for press in ("Pause", "Resume"):
        row = page.locator("tr", has=page.get_by_role("link", name=first, exact=True))
        button = row.get_by_role("button", name=press)
        button.wait_for()
        while not button.evaluate("button => button === document.activeElement"):
            keys.press("Tab")
        keys.press("Enter")
        until(lambda press=press: bool(paused()) == (press == "Pause"))  # type: ignore[misc]
        keys.press("k")


def test_without_scripts_buttons_work_too(
    visit: Callable[..., Visit], paused: Callable[[], list[bytes]]
) -> None:
    person = visit(java_script_enabled=False)
    page = person.context.new_page()
    for press in ("Pause", "Resume"):
        page.goto(f"{person.url}/queues")
        page.get_by_role("button", name=press).first.click()
        until(lambda press=press: bool(paused()) == (press == "Pause"))  # type: ignore[misc]


def test_who_may_only_read_sees_no_button_that_is_refused(visit: Callable[..., Visit]) -> None:
    page = visit(token=READS).open("/queues")
    assert page.locator("table").count() == 1
    assert page.locator("main button").count() == 0


def test_colours_and_language_stay_as_they_were_chosen(visit: Callable[..., Visit]) -> None:
    person = visit()
    page = person.open("/queues")
    page.click("#menu summary")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.check("input[name=theme][value=dark]")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.click("button[lang=ko]")
    page.wait_for_selector("html[lang=ko]")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    again = person.open("/")
    assert again.get_attribute("html", "lang") == "ko"
    assert again.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_a_tab_that_nobody_sees_keeps_no_connection(visit: Callable[..., Visit]) -> None:
    page = visit().open("/queues")
    shown = "Object.defineProperty(document, 'hidden', {{ value: {}, configurable: true }});"
    shown += "document.dispatchEvent(new Event('visibilitychange'))"
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/events")):
        page.evaluate(shown.format("true"))
    with page.expect_request("**/events"):
        page.evaluate(shown.format("false"))
    refreshed(page)


def test_what_the_page_of_the_api_shows_can_be_asked_for(visit: Callable[..., Visit]) -> None:
    person = visit()
    page = person.open("/docs")
    curl, url, _, header = shlex.split(page.locator("pre.code").text_content() or "")
    assert curl == "curl"
    name, _, value = header.replace("TOKEN", READS).partition(": ")
    with urllib.request.urlopen(urllib.request.Request(url, headers={name: value})) as answer:
        assert "default" in [each["queue"] for each in json.load(answer)]
    described = page.locator("details.operation", has_text="GET /v1/queues ").first
    described.locator("summary").click()
    described.get_by_text("401").wait_for()
    link = page.get_by_role("link", name="openapi.json", exact=True).get_attribute("href")
    assert "/v1/queues" in person.context.request.get(f"{person.url}{link}").json()["paths"]
