"""`heori top`: what is shown is what consumers and Redis say, and rates are differences."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from heori import Producer
from heori.inspect import scraper
from heori.inspect.overview import Reading, compare
from heori.inspect.scraper import Answers, NoMetrics, Samples, scrape, scrape_all
from heori_common.metrics import SLOTS, SLOTS_RUNNING
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.live_top import live_top
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

ONE = """
heori_jobs_total{task="a",outcome="succeeded"} 10.0
heori_jobs_total{task="a",outcome="failed"} 1.0
heori_job_run_seconds_count{task="a"} 11.0
heori_job_run_seconds_sum{task="a"} 1.1
heori_usable_cores 2.0
heori_worker_memory_bytes{worker="0",kind="rss"} 4e+07
heori_worker_cpu_seconds_total{worker="0"} 5.0
heori_worker_thread_state_seconds_total{worker="0",state="running"} 1.0
heori_worker_thread_state_seconds_total{worker="0",state="gil_wait"} 1.0
heori_gil_signal_source{worker="0",source="external"} 1.0
"""
TWO = (
    ONE.replace("} 10.0", "} 30.0")
    .replace('count{task="a"} 11.0', 'count{task="a"} 31.0')
    .replace("} 1.1\n", "} 5.1\n")
    .replace('seconds_total{worker="0"} 5.0', 'seconds_total{worker="0"} 7.0')
    .replace('state="running"} 1.0', 'state="running"} 2.0')
    .replace('state="gil_wait"} 1.0', 'state="gil_wait"} 4.0')
)


def reading(at: float, text: str) -> Reading:
    return Reading(at, {}, {}, {"c": {"state": "busy"}}, Answers({"c": Samples(text, at)}, 1, 1.0))


def test_what_is_shown_is_the_difference_of_two_readings() -> None:
    glance = compare(reading(100.0, ONE), reading(102.0, TWO))
    assert glance.seconds == 2.0
    [task] = glance.tasks
    assert (task.task, task.done, task.failed, task.jobs_per_second) == ("a", 30, 1, 10.0)
    assert task.run == pytest.approx(0.2)  # 4 seconds more for 20 jobs more
    [worker] = glance.workers
    assert (worker.cores, worker.memory, worker.source) == (1.0, 4e7, "external")
    assert worker.states == {"gil_wait": 0.75, "running": 0.25}
    assert worker.gil_loss == pytest.approx(0.5)  # of two cores, one is idle
    [consumer] = glance.consumers
    assert (consumer.jobs_per_second, consumer.cores, consumer.answers) == (10.0, 1.0, True)


def test_what_has_begun_or_gone_meanwhile_has_no_rate_below_zero() -> None:
    new = Reading(0.0, {}, {}, {}, Answers({}, 0, 1.0))
    [consumer] = compare(new, reading(1.0, TWO)).consumers
    assert consumer.jobs_per_second == 0.0
    [worker] = compare(reading(0.0, TWO), reading(1.0, ONE)).workers
    assert (worker.cores, worker.states) == (0.0, {})


def test_every_metric_that_it_reads_is_exported(
    consume: Callable[..., Consumer], producer: Producer, heori: Heori
) -> None:
    consumer = consume("--model", "threads", "--slots", "4").ready()
    producer.submit_many(sample_tasks.spin, [0.05] * 2_000)
    producer.submit(sample_tasks.fail, "on purpose")
    until(lambda: consumer.metric("heori_jobs_total", outcome="succeeded") >= 20)
    seen_so_far: list[dict[str, Any]] = []

    def is_all_told() -> bool:
        """On a busy machine neither jobs nor measurements come between any two readings."""
        seen_so_far.append(json.loads(heori("top", "--json").stdout))
        tasks = {row["task"].rpartition(".")[2]: row for row in seen_so_far[-1]["tasks"]}
        return (
            any(row["jobs_per_second"] for row in seen_so_far[-1]["consumers"])
            and any(row["states"].get("gil_wait") for row in seen_so_far[-1]["workers"])
            and tasks["spin"]["run"] is not None
        )

    until(is_all_told, timeout=200)
    told = seen_so_far[-1]
    [queue], [seen] = told["queues"], told["consumers"]
    assert queue["queue"] == "default"
    assert queue["waiting"] > 0
    assert queue["oldest"] > 0
    assert (seen["answers"], seen["slots"], seen["model"]) == (True, 4, "threads")
    assert seen["jobs_per_second"] > 0
    [worker] = told["workers"]
    assert worker["memory"] > 10e6
    assert sum(worker["states"].values()) == pytest.approx(1)
    assert worker["states"]["gil_wait"] > 0  # four threads compute
    spin = next(task for task in told["tasks"] if task["task"].endswith("spin"))
    assert spin["run"] > spin["cpu"] > 0
    words = ("jobs/s", "GIL loss", "spin · ", "threads", "default")
    # A consumer that is slow to answer is shown without what it alone knows.
    until(lambda: all(each in heori("top", "--once").stdout for each in words), timeout=200)


def test_it_is_live_on_a_terminal_until_ctrl_c(
    consume: Callable[..., Consumer], redis_url: str
) -> None:
    consume().ready()
    with live_top(redis_url) as terminal:
        terminal.drawn(lambda seen: seen.count(b"slots run") >= 3)  # drawn anew, several times


def test_stock_workers_and_consumers_that_do_not_answer_are_shown_without_metrics(
    redis: Any, heori: Heori
) -> None:
    redis.sadd("rq:workers", "rq:worker:stock", "rq:worker:deaf")
    redis.hset("rq:worker:stock", mapping={"state": "idle", "queues": "mail"})
    redis.hset(
        "rq:worker:deaf", mapping={"state": "busy\x1b[2J", "heori_metrics": "http://127.0.0.1:1"}
    )
    told = json.loads(heori("top", "--json").stdout)
    assert [row["answers"] for row in told["consumers"]] == [False, False]
    assert (told["asked"], told["answered"]) == (1, 0), "the stock worker has no metrics"
    shown = heori("top", "--once").stdout
    assert "0 of 1 consumers answered in 1.0 s" in shown
    assert shown.count("no metrics") == 2
    assert "\x1b[2J" not in shown


def test_thousands_are_named_to_scripts_only(redis: Any, heori: Heori) -> None:
    number = 2_000
    with redis.pipeline(transaction=False) as pipe:
        for n in range(number):
            pipe.sadd("rq:workers", f"rq:worker:{n}")
            record = {"state": "idle", "queues": "mail", "heori_waits_for": "mail"}
            pipe.hset(f"rq:worker:{n}", mapping=record)
        pipe.execute()
    told = json.loads(heori("top", "--json").stdout)
    assert len(told["consumers"]) == number
    for command, rest in ((("top", "--once"), "and 1,988 more"), (("status",), "and 1,900 more")):
        shown = heori(*command).stdout
        assert rest in shown
        assert "So do those of 1,995 more." in shown
        assert len(shown.splitlines()) < 200


class Answering(BaseHTTPRequestHandler):
    """Tells two metrics, or those that it is asked for."""

    def do_GET(self) -> None:
        told = "heori_slots 4.0\nheori_slots_running 1.0\n".splitlines(keepends=True)
        asked = parse_qs(urlsplit(self.path).query).get("name[]", [])
        self.send_response(200)
        self.end_headers()
        body = "".join(line for line in told if not asked or line.split()[0] in asked)
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """A scrape is no news."""


@pytest.fixture
def answering() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_those_who_do_not_answer_keep_nobody_waiting(
    answering: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scraper, "LEAST_S", 12.0)  # a busy machine is slow to answer
    monkeypatch.setattr(scraper, "MOST_S", 18.0)
    silent = 200
    with socket.create_server(("127.0.0.1", 0), backlog=2 * silent) as deaf:
        urls = {f"silent-{n}": f"http://127.0.0.1:{deaf.getsockname()[1]}" for n in range(silent)}
        urls |= {"nobody": "http://127.0.0.1:1", "nameless": "http://no.such.host.invalid"}
        urls |= {"stock worker": "", "nonsense": "http://[::1", "port": "http://localhost:99999"}
        urls |= {f"well-{n}": answering for n in range(3)}
        began = time.monotonic()
        answers = scrape_all(urls, [SLOTS])
        took = time.monotonic() - began
    assert sorted(answers.samples) == ["well-0", "well-1", "well-2"]
    assert answers.samples["well-0"].get(SLOTS) == 4
    assert answers.samples["well-0"].get(SLOTS_RUNNING) == 0, "it was not asked for"
    assert answers.asked == silent + 5
    assert answers.within == pytest.approx(12.1025)
    assert took < 150, "they are not asked one after the other, or a few at a time"


def test_with_few_files_those_who_answer_get_their_turn(answering: str) -> None:
    code = (
        "import resource, socket, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128));"
        "from heori.inspect import scraper; from heori_common.metrics import SLOTS;"
        "scraper.LEAST_S = scraper.MOST_S = 12.0;"
        "deaf = socket.create_server(('127.0.0.1', 0), backlog=999);"
        "urls = {n: f'http://127.0.0.1:{deaf.getsockname()[1]}' for n in range(90)};"
        "print(len(scraper.scrape_all(urls | {'well': sys.argv[1]}, [SLOTS]).samples))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, answering],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_one_that_answers_something_else_is_named(answering: str) -> None:
    assert scrape(answering, 60.0).get(SLOTS_RUNNING) == 1
    by_name = answering.replace("127.0.0.1", "localhost")
    assert scrape(by_name, 60.0).get(SLOTS) == 4, "at one of the addresses that the name may have"
    for url, reason in (
        ("http://no.such.host.invalid", "it has no address"),
        ("http://127.0.0.1:1", "127.0.0.1:1/metrics does not answer"),
        ("ftp://somewhere", "no address"),
    ):
        with pytest.raises(NoMetrics, match=reason):
            scrape(url, 60.0)


def test_without_redis_or_with_nonsense_it_says_so(heori: Heori) -> None:
    away = heori("top", "--once", HEORI_REDIS_URL="redis://127.0.0.1:1")
    assert away.returncode == 2
    assert "Is the server running" in away.stderr
    assert "between 100ms and 1h" in heori("top", "--every", "1ms").stderr
