"""The pages of jobs: lists, one job, and its buttons."""

import re
from typing import Any
from urllib.parse import quote

import pytest

from tests.rigs.service_rig import TASKS, Service

EVIL = "<script>alert(1)</script>\"'&"


def act(service: Service, job_id: str, action: str) -> Any:
    body = b"x=1"
    return service.ask(
        "POST",
        f"/jobs/{job_id}/{action}",
        body,
        Content_Type="application/x-www-form-urlencoded",
        HX_Request="true",
        Origin=service.url,
    )


def test_a_job_is_found_looked_at_and_acted_on(service: Service) -> None:
    job_id = service.ask("POST", f"{TASKS}.order?delay=1h", ["tea"]).body["id"]
    for query in ("", "state=scheduled", "q=TEA", f"q={job_id}", "queue=shop"):
        shown = service.ask("GET", f"/jobs?{query}")
        assert (shown.status, f'href="/jobs/{job_id}"' in shown.body) == (200, True), query
    assert job_id not in service.ask("GET", "/jobs?state=failed").body
    shown = service.ask("GET", f"/jobs/{job_id}").body
    assert re.findall(r'action="/jobs/[^/]+/(\w+)"', shown) == ["run", "cancel", "delete"]
    assert act(service, job_id, "run").status == 200
    refused = act(service, job_id, "run")
    assert (refused.status, "in its queue already" in refused.headers["HX-Trigger"]) == (409, True)
    assert act(service, job_id, "cancel").status == 200
    deleted = act(service, job_id, "delete")
    assert (deleted.status, deleted.headers["HX-Redirect"]) == (200, "/jobs")
    assert service.ask("GET", f"/jobs/{job_id}").status == 404
    assert act(service, job_id, "retry").status == 404


def test_pages_go_on_with_a_cursor(service: Service) -> None:
    calls = [["tea", number] for number in range(1, 71)]
    sent = service.ask("POST", f"{TASKS}.order/batch", calls).body["ids"]
    first = service.ask("GET", "/jobs?queue=shop").body
    assert [job_id for job_id in sent if f'href="/jobs/{job_id}"' in first] == sent[:50]
    [more] = re.findall(r'rel="next" href="([^"]+)"', first)
    rest = service.ask("GET", more.replace("&amp;", "&")).body
    assert [job_id for job_id in sent if f'href="/jobs/{job_id}"' in rest] == sent[50:]
    assert 'rel="next"' not in rest
    for query in ("state=odd", "cursor=x"):
        assert service.ask("GET", f"/jobs?{query}").status == 422


@pytest.mark.parametrize("job_id", [EVIL, "a/b?c#d", "../locks"])
def test_nothing_that_a_job_carries_is_markup(service: Service, redis: Any, job_id: str) -> None:
    fields = {"origin": f"q{EVIL}", "status": "queued", "description": f"{EVIL}(", "data": EVIL}
    more = {"meta": f'{{"a": "{EVIL[:20]}"}}', "heori_progress": "0.5", "worker_name": EVIL}
    redis.hset(f"rq:job:{job_id}", mapping=fields | more | {"heori_progress_text": EVIL})
    redis.sadd("rq:queues", f"rq:queue:q{EVIL}")
    redis.rpush(f"rq:queue:q{EVIL}", job_id)
    for path in ("/jobs", f"/jobs?q={quote(job_id)}", f"/jobs/{quote(job_id, safe='')}"):
        shown = service.ask("GET", path)
        assert shown.status == 200, path
        assert "<script>alert" not in shown.body
        assert "alert(1)" in shown.body
