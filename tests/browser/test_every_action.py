"""Everything that people can do on the page, by the mouse, and what Redis then says.

Each action of the application has its function here, found by its route; one that has none fails.
"""

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import pytest
from fastapi.routing import APIRoute
from playwright.sync_api import Page
from starlette.routing import Match

from heori import Handle
from heori.http.app import Service as Application
from heori.http.tokens import SESSION
from heori_common.settings import Settings
from tests.rigs.at_work import LOST, NOBODYS, OF_ONE_KIND, OTHERS, AtWork, bury, reaches
from tests.rigs.consumers import Consumer
from tests.rigs.dead_letters import dead, queued
from tests.rigs.visits import SECRET, Visit
from tests.rigs.waiting import until
from tests.tasks import page_tasks

PAUSED = "rq:heori:paused"


class Case:
    """What an action is tried with."""

    def __init__(self, work: AtWork, visit: Callable[..., Visit]) -> None:
        self.work = work
        self.redis = work.redis
        self.visit = visit

    @cached_property
    def person(self) -> Visit:
        """Somebody who has logged in."""
        return self.visit()

    def open(self, path: str) -> Page:
        return self.person.open(path)

    def job(self, job: Handle[Any]) -> Page:
        return self.open(f"/jobs/{job.id}")


TRIED: dict[str, list[Callable[[Case], None]]] = {}


def by(route: str) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Notes what tries the action of a route."""

    def note(tries: Callable[[Case], None]) -> Callable[[Case], None]:
        TRIED.setdefault(route, []).append(tries)
        return tries

    return note


@cache
def posts() -> list[APIRoute]:
    """The routes by which pages change something, in the application's order."""
    application = Application(Settings(redis_url="redis://127.0.0.1:1")).app()
    return [
        route
        for route in application.routes
        if isinstance(route, APIRoute) and "POST" in route.methods and "/v1/" not in route.path
    ]


def route_of(path: str) -> str:
    """The route that a path leads to."""
    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    return next(route.path for route in posts() if route.matches(scope)[0] is Match.FULL)


def press(page: Page, label: str, *, within: str = "main", sure: bool = False) -> None:
    """Press a button, and say that one is sure if that is asked."""
    page.locator(within).get_by_role("button", name=label, exact=True).click()
    if sure:
        page.locator("#ask").get_by_role("button", name="Yes, do it").click()


def told(page: Page, text: str) -> str:
    """What the page says that was done, once it says this; it is seen for some seconds only."""
    said = page.locator("#said", has_text=text)
    said.wait_for(state="attached")
    return said.text_content() or ""


@by("/login")
def a_token_opens_a_session_and_another_does_not(case: Case) -> None:
    person = case.visit(token=None)
    person.expected = ("401 (Unauthorized)",)
    page = person.goto("/queues")
    page.get_by_label("Token").fill("nobody-has-this-token")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("That is no token of this service").wait_for()
    page.get_by_label("Token").fill(SECRET)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{person.url}/queues")


@by("/logout")
def who_logs_out_is_asked_for_a_token_again(case: Case) -> None:
    page = case.open("/")
    page.locator("#menu summary").click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    assert SESSION not in [each["name"] for each in case.person.context.cookies()]
    page.goto(f"{case.person.url}/queues")
    page.get_by_label("Token").wait_for()


@by("/language")
def a_page_stays_where_it_is_in_another_language(case: Case) -> None:
    page = case.open("/queues?x=y")
    page.locator("#menu summary").click()
    page.get_by_role("button", name="한국어").click()
    page.locator("html[lang=ko]").wait_for()
    assert page.url.endswith("/queues?x=y")
    assert case.open("/").get_attribute("html", "lang") == "ko"


@by("/jobs/{job_id:path}/cancel")
def a_job_that_waits_is_canceled(case: Case) -> None:
    job = case.work.producer.options(queue=NOBODYS).submit(page_tasks.add, 1, 2)
    page = case.job(job)
    press(page, "Cancel the job", sure=True)
    told(page, f"Job {job.id} is canceled.")
    assert job.status() == "canceled"
    assert job.id not in queued(case.redis, NOBODYS)


@by("/jobs/{job_id:path}/stop")
def a_job_that_runs_is_stopped(case: Case) -> None:
    job = case.work.producer.options(queue="long").submit(page_tasks.count_up, "to be stopped")
    reaches(job, "started")
    page = case.job(job)
    press(page, "Stop", sure=True)
    told(page, "was asked to stop it")
    reaches(job, "stopped")
    page.get_by_role("button", name="Retry").wait_for()


@by("/jobs/{job_id:path}/run")
def a_scheduled_job_is_put_on_its_queue_now(case: Case) -> None:
    job = case.work.producer.options(queue=NOBODYS, delay="8h").submit(page_tasks.add, 1, 2)
    page = case.job(job)
    press(page, "Run now")
    told(page, f"Job {job.id} is in its queue.")
    assert job.id in queued(case.redis, NOBODYS)
    assert case.redis.zscore(f"rq:scheduled:{NOBODYS}", job.id) is None


@by("/jobs/{job_id:path}/retry")
def a_failed_job_runs_again(case: Case) -> None:
    job = case.work.producer.submit(page_tasks.refuse, 1)
    reaches(job, "failed")
    page = case.job(job)
    press(page, "Retry")
    told(page, f"Job {job.id} runs again.")
    until(lambda: case.redis.xlen(f"rq:results:{job.id}") == 2)
    page.get_by_role("heading", name="Earlier ends").wait_for()


@by("/jobs/{job_id:path}/delete")
def a_job_is_deleted_once_that_is_confirmed(case: Case) -> None:
    job = case.work.producer.options(queue=NOBODYS).submit(page_tasks.add, 1, 2)
    page = case.job(job)
    press(page, "Delete")
    press(page, "Cancel", within="#ask")
    assert case.redis.exists(f"rq:job:{job.id}")
    press(page, "Delete", sure=True)
    page.wait_for_url("**/jobs")
    assert not case.redis.exists(f"rq:job:{job.id}")
    assert job.id not in queued(case.redis, NOBODYS)


@by("/queues/{queue:path}/pause")
@by("/queues/{queue:path}/resume")
def a_queue_is_paused_and_resumed(case: Case) -> None:
    for queue in (NOBODYS, f"{NOBODYS}@@acme"):
        page = case.open(f"/queues/{queue}")
        press(page, "Pause")
        told(page, f"{queue} is paused.")
        assert case.redis.hkeys(PAUSED) == [f"queue:{queue}".encode()]
        press(page, "Resume")
        told(page, f"{queue} is resumed.")
        assert case.redis.hkeys(PAUSED) == []
    page = case.open("/queues")
    row = page.locator("tr", has=page.get_by_role("link", name=NOBODYS, exact=True))
    row.get_by_role("button", name="Pause").click()
    row.get_by_text("paused").wait_for()
    assert case.redis.hexists(PAUSED, f"queue:{NOBODYS}")
    row.get_by_role("button", name="Resume").click()
    row.get_by_text("open").wait_for()
    assert not case.redis.hexists(PAUSED, f"queue:{NOBODYS}")


@by("/queues/{queue:path}/limit")
def a_limit_is_set_and_taken_away(case: Case) -> None:
    page = case.open(f"/queues/{LOST}")
    for typed, limit, shown in (
        ("1234", b"1234", "1,234 jobs may wait."),
        ("", None, "Any number of jobs may wait."),
    ):
        page.get_by_label("Jobs that may wait").fill(typed)
        press(page, "Change", within="#limit")
        page.get_by_text(shown).wait_for()
        assert case.redis.hget(f"rq:heori:bound:{LOST}", "limit") == limit


@by("/queues/{queue:path}/weight")
def a_tenant_gets_more_turns(case: Case) -> None:
    page = case.open(f"/queues/{NOBODYS}")
    page.get_by_label("Weight of zeta").fill("2.5")
    press(page, "Change", within="#tenant-zeta")
    told(page, "The share of zeta is changed.")
    weights = case.redis.hgetall("rq:heori:weights")
    assert [float(weights[key]) for key in weights if b"zeta" in key] == [2.5]


@by("/consumers/{name:path}/drain")
@by("/consumers/{name:path}/resume")
def a_consumer_is_drained_and_resumed(case: Case) -> None:
    record = f"rq:worker:{case.work.drained}"
    page = case.open(f"/consumers/{case.work.drained}")
    press(page, "Drain", sure=True)
    told(page, "claims nothing more")
    assert case.redis.hexists(record, "heori_drain")
    page.get_by_text("drained", exact=True).wait_for()
    press(page, "Resume")
    told(page, f"{case.work.drained} claims again.")
    assert not case.redis.hexists(record, "heori_drain")


@by("/schedule/{name:path}/pause")
@by("/schedule/{name:path}/resume")
@by("/schedule/{name:path}/run")
def a_periodic_job_is_paused_resumed_and_sent_now(case: Case) -> None:
    name = "tests.tasks.page_tasks.hourly"
    entry = f"rq:heori:entry:{name}"
    page = case.open("/schedule")
    row = page.locator("tr", has=page.get_by_role("link", name=name, exact=True))
    row.get_by_role("button", name="Pause").click()
    row.get_by_text("paused").wait_for()
    assert case.redis.hexists(entry, "paused")
    row.get_by_role("button", name="Resume").click()
    row.get_by_text("active").wait_for()
    assert not case.redis.hexists(entry, "paused")
    row.get_by_role("button", name="Run now").click()
    job_id = told(page, "is sent to default").split()[0]
    until(lambda: case.redis.hget(f"rq:job:{job_id}", "status") == b"finished")


@by("/schedule/{name:path}/delete")
def a_periodic_job_that_no_consumer_has_any_more_is_deleted(case: Case) -> None:
    name = "tests.tasks.seasonal_tasks.new_year"
    environment = {"HEORI_REDIS_URL": case.work.url, "HEORI_TASKS": "tests.tasks.seasonal_tasks"}
    consumer = Consumer(["--queue", "seasons"], environment)
    until(lambda: case.redis.exists(f"rq:heori:entry:{name}"))
    consumer.stop()
    page = case.open("/schedule")
    row = page.locator("tr", has=page.get_by_role("link", name=name, exact=True))
    row.get_by_text("nobody sends it").wait_for()
    row.get_by_role("button", name="Delete").click()
    page.locator("#ask").get_by_role("button", name="Yes, do it").click()
    told(page, f"{name} is deleted")
    row.wait_for(state="detached")
    assert case.redis.hexists(f"rq:heori:entry:{name}", "removed")


@by("/locks/{kind}/{name:path}/release")
def a_lock_is_taken_from_its_holder_and_what_that_means_is_said(case: Case) -> None:
    long = case.work.producer.options(queue="long")
    holds = "rq:heori:lock:{mutex:account:to-be-taken}:holders"
    before, after = long.submit(page_tasks.keep, "to-be-taken"), None
    until(lambda: case.redis.zcard(holds) == 1)
    holder = case.redis.zrange(holds, 0, -1)
    after = long.submit(page_tasks.keep, "to-be-taken")
    until(lambda: case.redis.zcard(holds.replace(":holders", ":waiters")) == 1)
    page = case.open("/locks/mutex/account%3Ato-be-taken")
    page.locator("#holders").get_by_role("link", name=before.id).wait_for()
    press(page, "Take it away")
    asked = page.locator("#ask-text").text_content() or ""
    assert "The holder is not stopped." in asked
    page.locator("#ask").get_by_role("button", name="Yes, do it").click()
    page.locator("#holders").get_by_role("link", name=after.id).wait_for()
    assert case.redis.zcard(holds) == 1
    assert case.redis.zrange(holds, 0, -1) != holder


@by("/dead/letters/{name}")
def one_dead_letter_is_replayed_and_one_deleted_once_that_is_confirmed(case: Case) -> None:
    bury(case.redis)
    page = case.open(f"/dead/letters?queue={LOST}")
    rows = page.locator("#letters tbody tr")
    job_id, other_id = (rows.nth(n).get_by_role("link").text_content() or "" for n in range(2))
    row = page.locator("tr", has=page.get_by_role("link", name=job_id, exact=True))
    row.get_by_role("button", name="Replay").click()
    told(page, f"{job_id} is back on its queue.")
    assert queued(case.redis, LOST) == [job_id]
    row.wait_for(state="detached")
    row = page.locator("tr", has=page.get_by_role("link", name=other_id, exact=True))
    row.get_by_role("button", name="Delete").click()
    press(page, "Cancel", within="#ask")
    assert other_id in dead(case.redis, LOST)
    row.get_by_role("button", name="Delete").click()
    page.locator("#ask").get_by_role("button", name="Yes, do it").click()
    told(page, f"{other_id} is deleted.")
    assert not dead(case.redis, LOST) & {job_id, other_id}
    row.wait_for(state="detached")


@by("/dead/{name}")
def a_kind_of_dead_letters_is_counted_while_one_looks_and_replayed(case: Case) -> None:
    bury(case.redis)
    page = case.open(f"/dead?queue={LOST}")
    page.get_by_text("Looked at 1,200 of 1,200").wait_for()
    group = page.locator("tr", has_text="no way to #")
    assert str(OF_ONE_KIND) in (group.text_content() or "")
    group.get_by_role("link", name="Replay …").click()
    page.get_by_role("button", name=f"Replay {OF_ONE_KIND}").click()
    page.get_by_role("heading", name=f"Back on their queues: {OF_ONE_KIND}").wait_for()
    assert len(queued(case.redis, LOST)) == OF_ONE_KIND
    assert len(dead(case.redis, LOST)) == OTHERS


@by("/dead/{name}")
def what_a_filter_finds_is_deleted(case: Case) -> None:
    bury(case.redis)
    page = case.open("/dead")
    page.get_by_label("Queue").fill(LOST)
    page.get_by_label("Text").fill("img src")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="Delete all that is found …").click()
    page.get_by_role("button", name=f"Delete {OTHERS}").click()
    page.get_by_role("heading", name=f"Deleted: {OTHERS}").wait_for()
    assert len(dead(case.redis, LOST)) == OF_ONE_KIND
    assert queued(case.redis, LOST) == []


def test_every_action_is_tried() -> None:
    assert TRIED.keys() == {route.path for route in posts()}


@pytest.mark.parametrize("tries", dict.fromkeys(each for of in TRIED.values() for each in of))
def test_an_action_does_what_it_says(
    tries: Callable[[Case], None], work: AtWork, visit: Callable[..., Visit]
) -> None:
    visits: list[Visit] = []

    def noted(*arguments: Any, **options: Any) -> Visit:
        visits.append(visit(*arguments, **options))
        return visits[-1]

    tries(Case(work, noted))
    posted = {route_of(path) for each in visits for path in each.posted}
    assert {route for route, several in TRIED.items() if tries in several} <= posted


# By the name of a state in `AtWork.jobs`: what may be done to such a job.
OFFERED = {
    "running": ["Stop"],
    "queued": ["Cancel the job", "Delete"],
    "scheduled": ["Run now", "Cancel the job", "Delete"],
    "deferred": ["Cancel the job", "Delete"],
    "limited": ["Cancel the job", "Delete"],
    "failed": ["Retry", "Delete"],
    "canceled": ["Retry", "Delete"],
    "finished": ["Delete"],
}


def test_a_job_offers_what_its_state_allows(work: AtWork, visit: Callable[..., Visit]) -> None:
    assert OFFERED.keys() == work.jobs.keys()
    page = visit().goto("/jobs")
    found = {}
    for state, job in work.jobs.items():
        page.goto(page.url.partition("/jobs")[0] + f"/jobs/{job}")
        found[state] = page.locator("main form.action button").all_text_contents()
    assert found == OFFERED
