"""Names, times and bodies in requests that no job can have."""

import contextlib
import http.client
import json
from typing import Any

from heori import Producer
from tests.rigs.service_rig import JOB, TASKS, Service, enqueued
from tests.tasks import served_tasks

UNSEEN = ("%00", "%1b%5b31m", "%c2%9b31m", "%e2%80%ae", "%e2%80%8b", "%e2%80%a8", "%0a", "%7f")


def test_a_name_with_a_character_that_cannot_be_seen_is_refused(
    service: Service, redis: Any
) -> None:
    for option in ("queue", "tenant"):
        for unseen in UNSEEN:
            for path in (f"{TASKS}.order", f"{TASKS}.order/batch"):
                refused = service.ask("POST", f"{path}?{option}=a{unseen}b", [["tea"]])
                assert refused.status == 422, unseen
                assert refused.body["detail"][0]["loc"] == ["query", option]
                assert len(str(refused.body)) < 400
            assert service.ask("POST", f"{TASKS}.order?{option}=a%ff", [["tea"]]).status == 400
    host, port = service.url.removeprefix("http://").split(":")
    for key in (b"\x1b[31m", b"a\x9bb", b"\xc2\x9b", "a\u202eb".encode(), "\u200b".encode()):
        with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=60)) as caller:
            named: Any = {"Content-Type": "application/json", "Idempotency-Key": key}
            caller.request("POST", f"{TASKS}.order", b'["tea"]', named)
            assert caller.getresponse().status in (400, 422), key  # some, no header may have
    assert service.ask("GET", f"{JOB}a%1b").status == 422
    assert enqueued(redis) == 0


def test_a_key_in_utf8_is_the_same_as_a_programs(
    service: Service, redis: Any, producer: Producer
) -> None:
    key = "주문-17\u2019"  # which in Latin-1 has controls
    made = producer.options(key=key).submit(served_tasks.order, "tea")
    header = key.encode().decode("latin-1")
    same = service.ask("POST", f"{TASKS}.order", ["tea"], Idempotency_Key=header)
    assert same.body["id"] == made.id
    assert enqueued(redis) == 1


def test_a_time_that_nobody_can_hold_is_refused_in_few_words(service: Service, redis: Any) -> None:
    digits = "9" * 4000
    for query in (
        "delay=nan", "delay=inf", "delay=-1", "delay=1e308", f"delay={digits}", f"delay={digits}h",
        "delay=-0.001", "delay=true", "delay=%00", f"delay={'x' * 4000}",
        "at=9999-12-31T23:59:59-14:00", "at=9999-12-31T23:59:59Z", "at=10000-01-01T00:00:00Z",
        "at=2030-01-01T00:00:00", "at=nan", "at=inf", "at=1e308", f"at={digits}", "at=soon",
    ):  # fmt: skip
        refused = service.ask("POST", f"{TASKS}.order?{query}", ["tea"])
        assert refused.status == 422, query
        assert len(str(refused.body)) < 400, query
    for wait in ("nan", "inf", "-1", "61", "1e308", digits, "true", "x"):
        refused = service.ask("GET", f"{JOB}any?wait={wait}")
        assert refused.status == 422, wait
        assert len(str(refused.body)) < 400, wait
    assert enqueued(redis) == 0
    past = service.ask("POST", f"{TASKS}.order?at=0001-01-01T00:00:00%2B14:00", ["tea"])
    assert service.ask("GET", JOB + past.body["id"]).body["status"] == "queued"


def test_an_answer_repeats_little_of_a_request_that_does_not_fit(service: Service) -> None:
    long = "x" * 50_000
    for body in ({long: 1}, {"article": long, "count": long}, {str(n): n for n in range(5000)}):
        refused = service.ask("POST", f"{TASKS}.order", body)
        assert refused.status == 422
        assert len(json.dumps(refused.body)) < 20_000
    assert len(str(service.ask("POST", f"{TASKS}.order?{long}=1", ["tea"]).body)) < 300


def test_names_are_as_long_as_a_programs(service: Service) -> None:
    for length, status in ((512, 202), (513, 422)):
        name = "n" * length
        for query in (f"queue={name}", f"tenant={name}"):
            assert service.ask("POST", f"{TASKS}.order?{query}", ["tea"]).status == status
        keyed = service.ask("POST", f"{TASKS}.order", ["tea"], Idempotency_Key=name)
        assert keyed.status == status
