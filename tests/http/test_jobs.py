"""The routes of jobs, over a real socket and a real Redis."""

from typing import Any
from urllib.parse import quote, urlencode

from tests.rigs.service_rig import JOB, TASKS, Service


def listed(service: Service, **query: Any) -> Any:
    answer = service.ask("GET", f"/v1/jobs?{urlencode(query)}")
    assert answer.status == 200, answer.body
    return answer.body


def test_jobs_are_listed_by_pages(service: Service) -> None:
    calls = [["tea", number] for number in range(1, 6)]
    sent = service.ask("POST", f"{TASKS}.order/batch", calls).body["ids"]
    late = service.ask("POST", f"{TASKS}.order?delay=1h&tenant=acme", ["jam"]).body["id"]
    first = listed(service, limit=4)
    assert ([job["id"] for job in first["jobs"]], first["searched"], first["of"]) == (
        sent[:4],
        4,
        6,
    )
    rest = listed(service, limit=4, cursor=first["cursor"])
    assert ([job["id"] for job in rest["jobs"]], rest["cursor"]) == ([sent[4], late], None)
    [job] = listed(service, state="scheduled")["jobs"]
    assert (job["tenant"], job["queue"], job["due_at"] is None) == ("acme", "shop@@acme", False)
    assert [job["id"] for job in listed(service, q="JAM")["jobs"]] == [late]
    assert [job["id"] for job in listed(service, queue="shop", q=late)["jobs"]] == [late]
    assert listed(service, task="no.task")["jobs"] == []


def test_what_makes_no_sense_is_refused(service: Service) -> None:
    for query in ("state=odd", "limit=0", "limit=201", "cursor=x", f"q={'x' * 501}"):
        assert service.ask("GET", f"/v1/jobs?{query}").status == 422, query
    assert service.ask("GET", "/v1/jobs?sate=queued").status == 400


def test_each_action_is_done_or_refused_with_the_reason(service: Service) -> None:
    job_id = service.ask("POST", f"{TASKS}.order?delay=1h", ["tea"]).body["id"]
    path = JOB + job_id
    assert service.ask("GET", path).body["actions"] == ["run", "cancel", "delete"]

    def act(action: str) -> tuple[int, Any]:
        words = ("DELETE", path) if action == "delete" else ("POST", f"{path}/{action}")
        answer = service.ask(*words)
        return answer.status, answer.body.get("status", answer.body.get("detail"))

    assert act("stop") == (409, f"job {job_id} cannot be stopped: it is scheduled")
    assert act("run") == (200, "queued")
    assert act("run") == (409, f"job {job_id} cannot be run now: it is in its queue already")
    assert act("cancel") == (200, "canceled")
    assert act("cancel")[0] == 409
    assert act("retry") == (200, "queued")
    assert act("delete") == (200, "deleted")
    for action in ("stop", "run", "cancel", "retry", "delete"):
        assert act(action)[0] == 404
    assert service.ask("POST", f"{JOB}a%20b/cancel").status == 422


def test_whatever_stands_in_redis_is_answered(service: Service, redis: Any) -> None:
    redis.sadd("rq:queues", "rq:queue:odd")
    redis.rpush("rq:queue:odd", b"\xff<script>")
    redis.hset("rq:job:odd", mapping={"origin": "odd", "status": "queued", "data": b"x"})
    redis.hset("rq:job:odd", mapping={"meta": b'{"a": "\\ud800"}', "description": b"\xff("})
    redis.rpush("rq:queue:odd", "odd")
    rows = listed(service, queue="odd")["jobs"]
    assert [row["id"] for row in rows] == ["\\udcff<script>", "odd"]
    assert service.ask("GET", f"{JOB}odd").body["meta"] == {"a": "\\ud800"}
    assert listed(service, q="<script")["jobs"][0]["status"] == "gone"
    assert listed(service, queue=quote("no such"))["jobs"] == []
