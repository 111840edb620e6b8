"""`heori serve` over a real socket and a real Redis."""

import contextlib
import http.client
import json
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis as redis_py
from hypothesis import HealthCheck, given, settings

from heori_common.embedded import EmbeddedValkey
from tests.rigs.consumers import Consumer
from tests.rigs.proxy import Break, proxy
from tests.rigs.service_rig import JOB, TASKS, Answer, Service, enqueued, serving
from tests.rigs.waiting import until

TOKEN = "a-token-of-some-length"


# Jobs


def test_a_job_is_sent_run_and_awaited(service: Service, consume: Callable[..., Consumer]) -> None:
    sent = service.ask("POST", f"{TASKS}.order", {"article": "tea", "count": 3})
    assert sent.status == 202
    assert sent.headers["Location"] == JOB + sent.body["id"]
    assert sent.body["queue"] == "shop"
    assert service.ask("GET", JOB + sent.body["id"]).body["status"] == "queued"
    dated = service.ask("POST", f"{TASKS}.strictly", ["2026-01-02"])
    consume(queue="shop", HEORI_TASKS="tests.tasks.served_tasks").ready()
    job = service.ask("GET", f"{JOB}{sent.body['id']}?wait=60").body
    assert (job["status"], job["result"], job["deliveries"]) == ("finished", "3 tea", 1)
    job = service.ask("GET", f"{JOB}{dated.body['id']}?wait=60").body
    assert (job["status"], job["result"]) == ("finished", ["2026-01-02"])


def test_a_result_is_told_the_moment_it_is_there(
    service: Service, consume: Callable[..., Consumer]
) -> None:
    """Awaited first, so that only a wake-up can bring it."""
    sent = service.ask("POST", f"{TASKS}.order", {"article": "tea"})
    answers: list[Answer] = []
    waiting = threading.Thread(
        target=lambda: answers.append(service.ask("GET", f"{JOB}{sent.body['id']}?wait=60"))
    )
    waiting.start()
    consume(queue="shop", HEORI_TASKS="tests.tasks.served_tasks").ready()
    waiting.join(120)
    assert answers[0].body["result"] == "1 tea"


def test_a_failed_job_shows_its_traceback(
    service: Service, consume: Callable[..., Consumer]
) -> None:
    consume(HEORI_TASKS="tests.tasks.served_tasks").ready()
    sent = service.ask("POST", f"{TASKS}.fail", ["on purpose"])
    job = service.ask("GET", f"{JOB}{sent.body['id']}?wait=60").body
    assert job["status"] == "failed"
    assert job["error"].rstrip().endswith("ValueError: on purpose")


def test_a_result_without_a_json_form_is_still_json(
    service: Service, consume: Callable[..., Consumer]
) -> None:
    consume(HEORI_TASKS="tests.tasks.served_tasks").ready()
    sent = service.ask("POST", f"{TASKS}.not_a_number", {})
    assert service.ask("GET", f"{JOB}{sent.body['id']}?wait=60").body["result"] is None


def test_waiting_ends_with_its_time(service: Service) -> None:
    sent = service.ask("POST", f"{TASKS}.order", ["tea"])

    began = time.monotonic()
    assert service.ask("GET", f"{JOB}{sent.body['id']}?wait=0.3").body["status"] == "queued"
    assert 0.3 <= time.monotonic() - began < 50, "and not as long as one may wait, a minute"


def test_a_job_is_cancelled_once(service: Service) -> None:
    sent = service.ask("POST", f"{TASKS}.order", ["tea"])
    path = JOB + sent.body["id"]
    canceled = {"id": sent.body["id"], "action": "cancel", "status": "canceled"}
    assert service.ask("POST", f"{path}/cancel").body == canceled
    again = service.ask("POST", f"{path}/cancel")
    assert (again.status, "is canceled" in again.body["detail"]) == (409, True)
    assert service.ask("DELETE", JOB + "nobody").status == 404
    assert service.ask("GET", JOB + "nobody").status == 404


def test_the_same_key_is_the_same_job(service: Service, redis: Any) -> None:
    ids = {
        service.ask("POST", f"{TASKS}.order", ["tea"], Idempotency_Key="17").body["id"]
        for _ in range(3)
    }
    assert len(ids) == enqueued(redis) == 1
    other = service.ask("POST", f"{TASKS}.order", ["tea"], Idempotency_Key="18")
    assert other.body["id"] not in ids


def test_options_are_those_of_submit(service: Service, redis: Any) -> None:
    first = service.ask("POST", f"{TASKS}.order?queue=other", ["tea"])
    front = service.ask("POST", f"{TASKS}.order?queue=other&at_front=true", ["tea"])
    ids = [front.body["id"].encode(), first.body["id"].encode()]
    assert redis.lrange("rq:queue:other", 0, -1) == ids
    sent = service.ask("POST", f"{TASKS}.order?tenant=a%40b.org", ["tea"]).body
    assert sent["queue"] == "shop@@a@b.org"
    assert service.ask("GET", JOB + sent["id"]).body["queue"] == sent["queue"]
    batch = service.ask("POST", f"{TASKS}.order/batch?tenant=a%40b.org", [["tea"]]).body
    assert batch["queue"] == sent["queue"]
    assert redis.llen("rq:queue:shop@@a@b.org") == 2
    assert service.ask("DELETE", JOB + sent["id"]).status == 200
    for bad in ("queue=shop%40a", "tenant=a%20b", "tenant="):
        assert service.ask("POST", f"{TASKS}.order?{bad}", ["tea"]).status == 422
    later = service.ask("POST", f"{TASKS}.order?delay=5min", ["tea"])
    assert service.ask("GET", JOB + later.body["id"]).body["status"] == "scheduled"
    at = "2100-01-01T00:00:00%2B00:00"
    later = service.ask("POST", f"{TASKS}.order?at={at}", ["tea"])
    due = service.ask("GET", JOB + later.body["id"]).body["due_at"]
    assert due == "2100-01-01T00:00:00+00:00"


def test_a_batch_is_sent_whole_or_not_at_all(service: Service, redis: Any) -> None:
    calls = [{"article": "tea"}, ["jam", 2]]
    assert len(service.ask("POST", f"{TASKS}.order/batch", calls).body["ids"]) == 2
    refused = service.ask("POST", f"{TASKS}.order/batch", [*calls, {"article": ""}])
    assert refused.status == 422
    assert refused.body["detail"][0]["loc"] == ["body", 2, "article"]
    keyed = service.ask("POST", f"{TASKS}.order/batch", calls, Idempotency_Key="k")
    assert keyed.status == 422
    assert enqueued(redis) == 2


def test_queues_are_shown(service: Service) -> None:
    service.ask("POST", f"{TASKS}.order", ["tea"])
    [queue] = service.ask("GET", "/v1/queues").body
    assert (queue["queue"], queue["waiting"], queue["limit"]) == ("shop", 1, None)


def test_a_head_is_answered_as_a_get_without_its_body(service: Service) -> None:
    sent = service.ask("POST", f"{TASKS}.order", ["tea"])
    for path in ("/livez", "/readyz", "/metrics", "/v1/queues", JOB + sent.body["id"]):
        get, head = service.ask("GET", path), service.ask("HEAD", path)
        assert (head.status, head.body) == (get.status, "")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
        if path in ("/livez", "/readyz", "/v1/queues"):  # the others tell what time does
            assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert service.ask("HEAD", JOB + "nobody").status == 404
    assert service.ask("HEAD", f"{TASKS}.order").status == 405


# What is refused


def test_a_query_that_means_nothing_is_refused_by_name(service: Service, redis: Any) -> None:
    known = "known: queue, tenant, delay, at, at_front"
    for query, detail in (
        ("Delay=5", f"the query has 'Delay', which is not known; {known}"),
        ("delay=5&prio=1", f"the query has 'prio', which is not known; {known}"),
        ("delay=5&delay=6", "the query has 'delay' twice"),
    ):
        refused = service.ask("POST", f"{TASKS}.order?{query}", ["tea"])
        assert (refused.status, refused.body) == (400, {"detail": detail})
    for method, path in (
        ("POST", f"{TASKS}.order/batch?at_front=1"),
        ("GET", "/v1/queues?queue=shop"),
        ("GET", f"{JOB}nobody?Wait=1"),
        ("DELETE", f"{JOB}nobody?wait=1"),
    ):
        assert service.ask(method, path, [] if method == "POST" else None).status == 400
    assert service.ask("GET", "/livez?probe=1").status == 200
    assert enqueued(redis) == 0


def test_a_number_that_no_float_holds_is_refused(service: Service, redis: Any) -> None:
    for number in ("1e999", "-1E+0400", "1" * 400 + ".0", "1" * 220 + "e99"):
        for body in (f'["tea", {number}]', f'{{"article": [{{"x": {number}}}]}}'):
            refused = service.ask("POST", f"{TASKS}.order", body.encode())
            assert (refused.status, refused.body["detail"][0]["loc"]) == (422, ["body"]), number
            assert "too large" in refused.body["detail"][0]["msg"]
    for wait in ("nan", "inf", "1e999", "-1", "61"):
        assert service.ask("GET", f"{JOB}nobody?wait={wait}").status == 422
    assert enqueued(redis) == 0
    sent = service.ask("POST", f"{TASKS}.order", ["tea of 1e999 leaves"])
    assert sent.status == 202, "what looks like one in a text is none"


def test_what_does_not_fit_is_told_field_by_field(service: Service, redis: Any) -> None:
    refused = service.ask("POST", f"{TASKS}.order", {"count": 0, "to": {"street": 1}})
    assert refused.status == 422
    where = [problem["loc"] for problem in refused.body["detail"]]
    assert where == [
        ["body", "article"],
        ["body", "count"],
        ["body", "to", "street"],
        ["body", "to", "number"],
    ]
    assert enqueued(redis) == 0


def test_a_full_queue_says_when_to_try_again(serve: Callable[..., Service], redis: Any) -> None:
    service = serve(HEORI_QUEUE_LIMITS="shop=2")
    calls = [["tea"]] * 3
    full = service.ask("POST", f"{TASKS}.order/batch", calls)
    assert (full.status, len(full.body["sent"])) == (429, 2)
    assert int(full.headers["Retry-After"]) >= 1
    assert service.ask("POST", f"{TASKS}.order", ["tea"]).status == 429
    assert enqueued(redis) == 2


def test_what_is_too_large_is_refused(serve: Callable[..., Service], redis: Any) -> None:
    service = serve(HEORI_MAX_PAYLOAD="1000", HEORI_API_MAX_BODY="5000")
    large = service.ask("POST", f"{TASKS}.anything", {"value": "x" * 2000})
    assert (large.status, "HEORI_MAX_PAYLOAD" in large.body["detail"]) == (413, True)
    larger = service.ask("POST", f"{TASKS}.anything", {"value": "x" * 6000})
    assert (larger.status, "HEORI_API_MAX_BODY" in larger.body["detail"]) == (413, True)
    assert enqueued(redis) == 0


def test_what_is_too_large_for_redis_itself_is_refused() -> None:
    with (
        EmbeddedValkey({"proto-max-bulk-len": "1mb"}) as server,
        serving(server.url, HEORI_MAX_PAYLOAD="9000000") as service,
    ):
        noise = random.randbytes(2_000_000).hex()
        large = service.ask("POST", f"{TASKS}.anything", {"value": noise})
        assert (large.status, "proto-max-bulk-len" in large.body["detail"]) == (413, True)


def test_only_json_is_read_so_that_no_page_elsewhere_can_send(service: Service, redis: Any) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert service.ask("POST", f"{TASKS}.order", ["tea"], Content_Type=kind).status == 415
    assert service.ask("POST", f"{TASKS}.order", ["tea"], Host="evil.example").status == 403
    assert enqueued(redis) == 0


def test_a_thousand_malformed_bodies_are_refused_and_nothing_is_sent(
    service: Service, redis: Any
) -> None:
    chance = random.Random(17)
    whole = json.dumps({"article": "tea", "count": 2, "to": {"street": "a", "number": 1}}).encode()
    fixed = [
        b"",
        b"null",
        b"true",
        b"1",
        b'"tea"',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"NaN",
        b'{"article": NaN}',
        b'{"article": "\\ud800"}',
        b'{"article": "tea", "count": 1e999}',
        b'{"article": "tea", "count": ' + b"9" * 5000 + b"}",
        b'{"article": "\xff"}',
        b"\xef\xbb\xbf" + whole,
        whole.decode().encode("utf-16"),
        b'{"article": "tea"} {}',
        b'{"article": "tea", "unknown": 1}',
        b'["tea", 1, 2, 3]',
        b"\x00",
        b"<xml/>",
    ]

    def spoilt() -> bytes:
        body = bytearray(whole)
        if chance.random() < 0.5:
            del body[chance.randrange(1, len(body)) :]
        else:
            body[chance.randrange(len(body))] = chance.choice(b"\x00\x01\xff{}[")
            body += b","
        return bytes(body)

    bodies = fixed + [spoilt() for _ in range(1000 - len(fixed))]
    host, port = service.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    for body in bodies:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"{TASKS}.order", body, headers)
        answer = connection.getresponse()
        told = json.loads(answer.read())
        assert answer.status == 422, (body[:100], told)
        assert told["detail"][0]["msg"]
    connection.close()
    assert enqueued(redis) == 0


def test_without_redis_it_says_so_and_goes_on_when_it_is_back(
    serve: Callable[..., Service],
) -> None:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
        proxy(urlsplit(server.url).port or 0) as between,
    ):
        service = serve(HEORI_REDIS_URL=f"redis://127.0.0.1:{between.port}")
        assert service.ask("GET", "/readyz").status == 200
        for name, bad, good in (("min-replicas-to-write", 1, 0), ("maxmemory", 1, 0)):
            client.config_set(name, bad)
            refusing = service.ask("GET", "/readyz")
            assert refusing.status == 503
            assert "Redis refuses: " in refusing.body["detail"]
            client.config_set(name, good)
            assert service.ask("GET", "/readyz").status == 200
        # Any number of calls may wait for a server that says nothing; all else is answered.
        between.hold(everything=True)
        calls = [http.client.HTTPConnection(urlsplit(service.url).netloc) for _ in range(60)]
        for call in calls:
            call.request("POST", f"{TASKS}.order", b'["tea"]', {"Content-Type": "application/json"})
        for path in ("/livez", "/metrics", "/livez", "/metrics"):
            assert service.ask("GET", path).status == 200
        between.let_go()
        for call in calls:
            with contextlib.closing(call):
                assert call.getresponse().status == 202
        between.lead_to(1)  # where there is nobody
        between.strike(Break.IDLE)
        away = service.ask("POST", f"{TASKS}.order", ["tea"])
        assert (away.status, away.headers["Retry-After"]) == (503, "1")
        assert away.body == {"detail": "Redis is away; try again"}
        assert service.ask("GET", JOB + "any?wait=1").status == 503
        assert service.ask("GET", "/readyz").status == 503
        assert service.ask("GET", "/livez").status == 200
        between.lead_to(urlsplit(server.url).port or 0)
        assert service.ask("GET", "/readyz").status == 200


def test_a_service_that_starts_without_redis_is_alive_and_not_ready(
    serve: Callable[..., Service],
) -> None:
    with EmbeddedValkey() as server:
        server.stop()
        service = serve(HEORI_REDIS_URL=server.url)
        assert service.ask("GET", "/livez").body == {"status": "alive"}
        assert service.ask("GET", "/readyz").status == 503
        server.start()
        until(lambda: service.ask("GET", "/readyz").status == 200)


# Who may call


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("LOCALHOST", 200),
        ("localhost.:80", 200),
        ("127.0.0.1.", 200),
        ("127.8.8.8:1", 200),
        ("[::1]", 200),
        ("[::ffff:127.0.0.1]:80", 200),
        ("localhost.example", 403),
        ("localhost..", 403),
        ("example.org:80", 403),
        ("[::2]", 403),
        ("[localhost]", 403),
        ("", 403),
        ("@localhost", 403),
    ],
)
def test_only_names_of_this_machine_are_let_in_without_tokens(
    service: Service, host: str, status: int
) -> None:
    assert service.ask("GET", "/v1/queues", Host=host).status == status


def test_tokens_are_asked_for_everywhere_but_by_those_who_look_after_it(
    serve: Callable[..., Service], redis: Any
) -> None:
    service = serve(HEORI_API_TOKENS=f"another-token-of-some-length,{TOKEN}")
    for path in ("/v1/queues", "/openapi.json", "/docs", "/nothing"):
        refused = service.ask("GET", path)
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    for wrong in ("Bearer no", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xe9"):
        assert service.ask("POST", f"{TASKS}.order", ["a"], Authorization=wrong).status == 401
    assert enqueued(redis) == 0
    for path in ("/livez", "/readyz", "/metrics"):
        assert service.ask("GET", path).status == 200
    right = f"Bearer {TOKEN}"
    assert service.ask("POST", f"{TASKS}.order", ["a"], Authorization=right).status == 202
    description = service.ask("GET", "/openapi.json", Authorization=right).body
    assert "HTTPBearer" in description["components"]["securitySchemes"]


@pytest.mark.parametrize(
    ("words", "environment", "reason"),
    [
        (("--host", "0.0.0.0"), {}, "HEORI_API_TOKENS"),
        (("--host", "::"), {}, "HEORI_API_TOKENS"),
        (
            (),
            {"HEORI_API_TOKENS": "short"},
            "HEORI_API_TOKENS: a token needs 16 characters",
        ),
        ((), {"HEORI_TASKS": "nowhere"}, "HEORI_TASKS cannot be imported"),
        (("--host", "192.0.2.1"), {"HEORI_API_TOKENS": TOKEN}, "cannot listen on 192.0.2.1"),
    ],
)
def test_it_does_not_start_where_it_should_not(
    words: tuple[str, ...], environment: dict[str, str], reason: str, heori: Any
) -> None:
    ran = heori(
        "serve", "--port", "0", *words, **{"HEORI_TASKS": "tests.tasks.served_tasks"} | environment
    )
    assert ran.returncode == 2
    assert reason in ran.stderr
    assert "short" not in ran.stderr, "a token is told to nobody"


# Its end and its description


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_lets_those_go_who_wait(
    number: signal.Signals, serve: Callable[..., Service]
) -> None:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
    ):
        service = serve(HEORI_REDIS_URL=server.url)
        sent = service.ask("POST", f"{TASKS}.order", ["tea"])
        answers: list[Answer] = []
        waiting = threading.Thread(
            target=lambda: answers.append(service.ask("GET", f"{JOB}{sent.body['id']}?wait=60"))
        )
        waiting.start()
        until(lambda: client.info("stats")["tracking_total_keys"])  # its result is watched
        began = time.monotonic()
        service.process.send_signal(number)
        assert service.process.wait(60) == 0
        assert time.monotonic() - began < 30, "and not when its time is over"
        waiting.join(60)
    assert answers[0].body["status"] == "queued"


def test_requests_are_counted_by_route(serve: Callable[..., Service]) -> None:
    service = serve()
    service.ask("GET", "/v1/queues")
    service.ask("GET", "/v1/invented")
    told = service.ask("GET", "/metrics").body
    assert 'heori_api_requests_total{method="GET",route="/v1/queues",status="200"} 1.0' in told
    assert 'heori_api_requests_total{method="other",route="other",status="404"} 1.0' in told


def test_each_task_is_described_with_its_types(service: Service) -> None:
    description = service.ask("GET", "/openapi.json").body
    operation = description["paths"][f"{TASKS}.order"]["post"]
    assert operation["description"] == "Order an article."
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["article"]
    assert body["properties"]["count"]["maximum"] == 1000
    address = description["components"]["schemas"]["task.Address"]
    assert address["required"] == ["street", "number"]
    assert not [path for path in description["paths"] if "run_chunk" in path]


def test_no_answer_is_an_error_of_its_own_or_other_than_described(service: Service) -> None:
    # Here, as it takes long to import, and every process of a run imports this module.
    import schemathesis
    from schemathesis import checks
    from schemathesis.core.result import Ok

    conform = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]
    described = schemathesis.openapi.from_url(service.url + "/openapi.json")
    found = list(described.get_all_operations())
    operations = [each.ok() for each in found if isinstance(each, Ok)]
    assert len(operations) == len(found)
    assert len(operations) > 20
    for operation in operations:

        @given(operation.as_strategy())
        @settings(
            max_examples=10,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def answers_as_described(case: Any) -> None:
            case.call_and_validate(checks=conform)

        answers_as_described()
