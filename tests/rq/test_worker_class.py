"""`heori.rq.Worker` and `SimpleWorker`: rq's worker objects with Heori's engine behind them."""

import json
import logging
import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import redis as redis_py
from redis.sentinel import Sentinel
from rq import Queue

from heori.rq import SimpleWorker, Worker
from heori.rq.connection import NoUrl, url_of
from heori.rq.worker import ENGINE, ENGINE_RQ, ENGINE_WHOLE, OWN_LOOP
from tests.rigs.commands import output_of
from tests.rigs.waiting import until
from tests.rigs.zygote import Started
from tests.tasks import horse_tasks


def run(scenario: str, redis_url: str) -> dict[str, Any]:
    words = output_of("tests.rigs.worker_class", scenario, redis_url, env=os.environ)
    seen: dict[str, Any] = json.loads(words.strip().splitlines()[-1])
    return seen


def test_jobs_run_with_all_that_the_program_has_set_up(redis_url: str) -> None:
    seen = run("plain", redis_url)
    for kind in ("Worker", "SimpleWorker"):
        told = seen[kind]
        assert (told["worked"], told["again"], told["way"]) == (True, False, ENGINE)
        well, badly = told["jobs"]
        process, prepared, job_id = well["value"]
        assert (prepared, job_id) == ("the program", well["id"])
        assert (process == seen["program"]) is (kind == "SimpleWorker")
        assert (well["status"], badly["status"]) == ("finished", "failed")
        assert told["counts"] == [1, 1]
        assert badly["words"] == "ValueError: as it was to be"
    assert seen["child lives"]


def test_what_an_application_has_changed_runs_in_the_slot(redis_url: str) -> None:
    seen = run("changed", redis_url)
    well, badly, patched = seen["jobs"]
    assert seen["way"] == ENGINE_RQ
    assert (well["status"], well["meta"]) == ("finished", {"performed": True})
    assert (badly["status"], badly["meta"]) == (
        "failed",
        {"performed": True, "handled": True, "failed": True},
    )
    assert (patched["status"], patched["meta"]) == ("finished", {"patched": True})


def test_what_rq_does_beside_a_work_horse_is_done_in_the_slot(redis_url: str) -> None:
    seen = run("whole", redis_url)
    killed, well = seen["jobs"]
    assert (seen["way"], seen["told"]) == (ENGINE_WHOLE, True)
    assert killed["status"] == "failed"
    assert "Work-horse terminated unexpectedly" in killed["words"]
    assert (well["status"], well["value"]) == ("finished", 3)


def test_heori_allow_holds_whoever_runs_a_job(redis_url: str) -> None:
    jobs = run("with_allow_list", redis_url)["jobs"]
    lets_in = [job["status"] for job in jobs]
    assert lets_in[:2] == ["finished", "failed"]
    assert lets_in[2] == "failed", "its callback is under no allowed prefix"
    assert lets_in[3:] == ["failed", "finished", "failed", "finished"]
    refused = [job["words"] for job in jobs if job["status"] == "failed"]
    assert all("under no allowed prefix" in words for words in refused)


class OwnDequeue(SimpleWorker):
    def dequeue_job_and_maintain_ttl(self, *arguments: Any) -> Any:
        return super().dequeue_job_and_maintain_ttl(*arguments)


class OtherKeys(Queue):
    redis_queue_namespace_prefix = "custom:queue:"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda q: OwnDequeue([q], connection=q.connection), "dequeue_job_and_maintain_ttl is not"),
        (
            lambda q: SimpleWorker(
                [OtherKeys(connection=q.connection)],
                connection=q.connection,
                queue_class=OtherKeys,
            ),
            "redis_queue_namespace_prefix is not",
        ),
    ],
    ids=["an own loop", "other keys"],
)
def test_rqs_own_loop_is_used_with_a_word(
    make: Any, reason: str, redis: "redis_py.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    worker = make(Queue(connection=redis))
    job = worker.queues[0].enqueue(horse_tasks.add, 1, 2)
    with caplog.at_level(logging.WARNING, "heori"):
        assert worker.work(burst=True)
    assert worker.heori_way == OWN_LOOP
    [line] = [each.getMessage() for each in caplog.records if "own loop" in each.getMessage()]
    assert reason in line
    assert job.return_value(refresh=True) == 3


def test_a_mock_sees_the_calls_in_its_own_process(redis: "redis_py.Redis") -> None:
    queue = Queue(connection=redis)
    queue.enqueue(horse_tasks.add, 1, 2)
    worker = SimpleWorker([queue], connection=redis)
    with mock.patch.object(SimpleWorker, "perform_job", wraps=worker.perform_job) as performed:
        worker.work(burst=True)
    assert performed.call_count == 1
    assert worker.heori_way == OWN_LOOP


def test_a_name_is_taken_once(redis: "redis_py.Redis") -> None:
    worker = SimpleWorker("default", name="one", connection=redis)
    worker.register_birth()  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match="active worker named 'one'"):
        SimpleWorker("default", name="one", connection=redis).work(burst=True)


def test_rqs_own_command_runs_it_and_sigterm_lets_the_job_end(
    redis_url: str, redis: "redis_py.Redis", tmp_path: Path
) -> None:
    queue = Queue(connection=redis)
    running = queue.enqueue(horse_tasks.wait_in, str(tmp_path))
    waiting = queue.enqueue(horse_tasks.add, 1, 2)
    words = ("worker", "--worker-class", "heori.rq.Worker", "--name", "w1", "--url", redis_url)
    worker = Started("rq.cli", *words, env=os.environ)
    try:
        until((tmp_path / "begun").exists)
        worker.send_signal(signal.SIGTERM)
        until(lambda: redis.hexists("rq:worker:w1", "shutdown_requested_date"))
        (tmp_path / "go").touch()
        assert worker.wait(60) == 0
    finally:
        worker.kill()
    assert running.return_value(refresh=True) == "waited"
    assert waiting.get_status() == "queued"
    assert queue.get_job_ids() == [waiting.id]


SENTINELS = Sentinel(  # type: ignore[no-untyped-call]
    [("s1", 26379), ("s2", 26380)], sentinel_kwargs={"password": "x"}
)
URLS = [
    (redis_py.Redis("r", 6380, 3), "redis://r:6380/3"),
    (redis_py.Redis("::1", username="me", password="p@s:s"), "redis://me:p%40s%3As@[::1]:6379/0"),
    (redis_py.Redis(unix_socket_path="/run/v.sock", db=2), "unix:///run/v.sock?db=2"),
    (
        redis_py.Redis("r", ssl=True, ssl_ca_certs="/ca.pem", ssl_check_hostname=False),
        "rediss://r:6379/0?ssl_ca_certs=%2Fca.pem&ssl_cert_reqs=required&ssl_check_hostname=false",
    ),
    (
        SENTINELS.master_for("main", db=1, password="y"),  # type: ignore[no-untyped-call]
        "redis+sentinel://:y@s1:26379,s2:26380/main/1?sentinel_password=x",
    ),
]


@pytest.mark.parametrize(("client", "url"), URLS)
def test_heori_connects_to_where_rq_does(client: Any, url: str) -> None:
    assert url_of(client) == url


class _Login(redis_py.CredentialProvider):
    def get_credentials(self) -> tuple[str]:
        return ("x",)


def test_a_connection_that_no_url_describes_is_told() -> None:
    with pytest.raises(NoUrl, match="credential_provider"):
        url_of(redis_py.Redis(credential_provider=_Login()))
    with pytest.raises(NoUrl, match="no redis"):
        url_of(object())


def test_the_classes_are_rqs(redis: "redis_py.Redis") -> None:
    import rq

    assert issubclass(Worker, rq.Worker)
    assert issubclass(SimpleWorker, rq.SimpleWorker)
