"""Dead letters over HTTP: found, counted, replayed and purged by steps."""

import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from heori import JobFailed, Producer
from tests.rigs.consumers import Consumer
from tests.rigs.dead_letters import FAIL, damaged, dead, letter, queued
from tests.rigs.service_rig import Service, serving
from tests.tasks import sample_tasks


def steps(service: Service, method: str, path: str, **query: Any) -> Iterator[Any]:
    """All answers, until there is no cursor."""
    cursor = ""
    while True:
        asked = urlencode({**query, **({"cursor": cursor} if cursor else {})})
        got = service.ask(method, f"/v1/dead{path}?{asked}")
        assert got.status == 200, got.body
        yield got.body
        cursor = got.body["cursor"]
        if cursor is None:
            return


def counted(service: Service, **query: Any) -> dict[tuple[str, str], int]:
    """How many there are of each group."""
    groups: Counter[tuple[str, str]] = Counter()
    for body in steps(service, "GET", "/groups", **query):
        for group in body["groups"]:
            groups[group["task"], group["error"]] += group["count"]
    return dict(groups)


def changed(service: Service, path: str, **query: Any) -> tuple[int, dict[str, int]]:
    """How many were replayed or purged, and what became of others."""
    done, left = 0, Counter[str]()
    for body in steps(service, "POST", path, **query):
        done += body["done"]
        left.update(body["left"])
    return done, dict(left)


def test_a_queue_stands_for_its_tenants(service: Service, redis: Any) -> None:
    for queue in ("default", "default@@acme", "default@@zeta", "defaults"):
        letter(redis, f"of-{queue.replace('@@', '-')}", queue)
    kept = {"default@@acme": 1, "default": 3, "": 4}
    for queue, count in kept.items():
        named = {"queue": queue} if queue else {}
        assert sum(counted(service, **named).values()) == count, queue
    assert changed(service, "/purge", queue="default", all="true") == (3, {})
    assert dead(redis, "defaults") == {"of-defaults"}


def test_nine_hundred_of_one_kind_among_others_are_replayed_and_all_go_well(
    service: Service,
    consume: Callable[..., Consumer],
    producer: Producer,
    tmp_path: Path,
    redis: Any,
) -> None:
    consumer = consume().ready()
    folder = tmp_path / "not-yet"
    paths = [(str(folder / f"{n}"), n) for n in range(900)]
    lost = [producer.submit(sample_tasks.record, path, n) for path, n in paths]
    others = [producer.submit(sample_tasks.fail, f"order {n}") for n in range(100)]
    for handle in [*lost, *others]:
        with pytest.raises(JobFailed):
            handle.result(120)
    groups = counted(service)
    [(kind, _)] = [(kind, count) for kind, count in groups.items() if count == 900]
    assert kind[1].startswith("FileNotFoundError: [Errno #] No such file or directory: ")
    assert groups == {kind: 900, (FAIL, "ValueError: order #"): 100}
    query = {"task": kind[0], "error": kind[1]}
    assert changed(service, "/replay", dry_run=True, **query) == (900, {})
    assert len(dead(redis)) == 1000
    folder.mkdir()
    assert changed(service, "/replay", **query) == (900, {})
    assert [handle.result(120) for handle in lost] == list(range(900))
    assert dead(redis) == {handle.id for handle in others}
    assert consumer.stop() == 0


def test_letters_are_listed_by_pages_and_found_by_what_they_are(
    service: Service, redis: Any
) -> None:
    ids = [letter(redis, f"one-{n:03}", ago=1000 - n) for n in range(120)]
    letter(redis, "other", queue="mail", ago=9 * 86400, meta='{"customer": "acme", "n": 1}')
    add = zlib.compress(b'["tests.tasks.sample_tasks.add", null, [1], {}]')
    letter(redis, "added", queue="orders@@acme", data=add)

    def found(**query: Any) -> list[str]:
        bodies = steps(service, "GET", "", **query)
        return [each["id"] for body in bodies for each in body["letters"]]

    # How far an answer comes is a matter of time, too.
    bodies = [*steps(service, "GET", "", limit=20, queue="default")]
    assert [each["id"] for body in bodies for each in body["letters"]] == ids[::-1]
    assert max(len(body["letters"]) for body in bodies) <= 20
    searched = [body["searched"] for body in bodies]
    assert searched == sorted(searched)
    assert (searched[-1], {body["of"] for body in bodies}) == (120, {120})
    assert found(limit=50) == [*ids[::-1], "other", "added"]
    assert found(queue="orders@@acme") == found(task="tests.tasks.sample_tasks.add") == ["added"]
    assert found(older="7d") == found(meta="customer=acme") == found(q="ACME") == ["other"]
    assert len(found(error="ValueError: no")) == 122
    assert found(error="KeyError") == []
    [told] = [each for body in steps(service, "GET", "", queue="mail") for each in body["letters"]]
    assert (told["queue"], told["task"], told["ending"]) == ("mail", FAIL, "failed")
    assert (told["reason"], told["meta"]) == ("ValueError: no", {"customer": "acme", "n": 1})


def test_one_letter_is_replayed_or_deleted(service: Service, redis: Any) -> None:
    for job_id in ("one", "two"):
        letter(redis, job_id, queue="mail")
    letter(redis, "gone")
    redis.delete("rq:job:gone")
    letter(redis, "running", status="started")
    assert service.ask("POST", "/v1/dead/one/replay").body == {"id": "one", "fate": "replayed"}
    assert queued(redis, "mail") == ["one"]
    assert service.ask("DELETE", "/v1/dead/two").body == {"id": "two", "fate": "purged"}
    assert not redis.exists("rq:job:two")
    for method, path in (("POST", "/one/replay"), ("DELETE", "/two"), ("DELETE", "/nobody")):
        assert service.ask(method, f"/v1/dead{path}").status == 404
    for method, path, why in (
        ("POST", "/gone/replay", "its job is gone"),
        ("POST", "/running/replay", "it is not failed any more"),
        ("DELETE", "/running", "it is not failed any more"),
    ):
        refused = service.ask(method, f"/v1/dead{path}")
        assert refused.status == 409
        assert why in refused.body["detail"]
    assert service.ask("DELETE", "/v1/dead/gone").status == 200
    assert dead(redis) == {"running"}


def test_what_a_filter_finds_is_purged_and_all_only_if_that_is_said(
    service: Service, redis: Any
) -> None:
    for n in range(30):
        letter(redis, f"one-{n}", ago=60 if n % 3 else 9 * 86400)
    for path in ("/purge", "/replay", "/purge?dry_run=true", "/purge?queue=default"):
        assert service.ask("POST", f"/v1/dead{path}").status == 422
    assert service.ask("POST", "/v1/dead/purge?all=true&older=7d").status == 422
    assert len(dead(redis)) == 30
    assert changed(service, "/purge", older="7d", dry_run=True) == (10, {})
    assert changed(service, "/purge", older="7d") == (10, {})
    assert len(redis.keys("rq:job:*")) == 20
    redis.delete("rq:job:one-1")
    assert changed(service, "/replay", all=True) == (19, {"gone": 1})
    assert changed(service, "/purge", all=True, queue="default") == (1, {})
    assert dead(redis) == set()


def test_two_who_replay_at_once_move_each_letter_once(service: Service, redis: Any) -> None:
    ids = [letter(redis, f"one-{n:04}", ago=60) for n in range(1500)]
    with ThreadPoolExecutor(4) as pool:
        told = [*pool.map(lambda _: changed(service, "/replay", error="ValueError"), range(4))]
    assert sum(done for done, _ in told) == 1500
    assert {fate for _, left in told for fate in left} <= {"absent"}
    assert sorted(queued(redis)) == ids
    assert dead(redis) == set()


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "cursor=e30",
        "cursor=" + "A" * 5000,
        "older=a+week",
        "meta=customer",
        "meta==acme",
        "limit=0",
        "limit=100000",
        "q=" + "x" * 2000,
    ],
)
def test_what_makes_no_sense_is_refused(service: Service, query: str) -> None:
    assert service.ask("GET", f"/v1/dead?{query}").status == 422
    assert service.ask("GET", "/v1/dead?quue=mail").status == 400
    assert service.ask("GET", "/v1/dead/groups?over=0").status == 422
    assert service.ask("GET", "/v1/dead/groups?over=x").status == 422


def test_letters_of_every_damage_are_answered(service: Service, redis: Any) -> None:
    damaged(redis)
    hostile = '{"\\ud800": ["\\udfff", "<b>", "\\u0000"]}'
    letter(redis, "hostile", meta=hostile, data=zlib.compress(b'["\\ud800", null, [], {}]'))
    bodies = [*steps(service, "GET", "", limit=3)]
    assert sum(len(body["letters"]) for body in bodies) == redis.zcard("rq:failed:default") == 12
    groups = counted(service)
    assert sum(groups.values()) == 12
    for (task, error), count in groups.items():
        assert counted(service, task=task, error=error) == {(task, error): count}
    redis.delete("rq:failed:default")
    redis.set("rq:failed:default", "no zset")
    letter(redis, "one", queue="mail")
    bodies = [*steps(service, "GET", "")]
    assert [each["id"] for body in bodies for each in body["letters"]] == ["one"]
    assert "rq:failed:default cannot be read" in bodies[0]["unreadable"][0]


def test_a_token_that_may_only_read_changes_nothing(redis: Any, redis_url: str) -> None:
    letter(redis, "one")
    with serving(redis_url, HEORI_API_TOKENS="a" * 32, HEORI_API_READ_TOKENS="b" * 32) as service:
        service.headers = {"Authorization": "Bearer " + "b" * 32}
        assert counted(service) == {(FAIL, "ValueError: no"): 1}
        for method, path in (
            ("POST", "/replay?all=true"),
            ("POST", "/purge?all=true&dry_run=true"),
            ("POST", "/one/replay"),
            ("DELETE", "/one"),
        ):
            assert service.ask(method, f"/v1/dead{path}").status == 403
    assert dead(redis) == {"one"}
