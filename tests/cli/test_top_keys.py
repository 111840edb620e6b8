"""`heori top` on a terminal: what each key does, to real consumers on a real server."""

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis as redis_py
from rich.cells import cell_len

from heori import JobFailed, Producer
from heori.top.pane import Pane
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import Commands, Pause
from heori_common.redis.client import RedisClient
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.live_top import Desk, at_desk, live_top
from tests.rigs.proxy import Break, proxy
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

EVIL = "eu[west]mail[/]\x1b[2J\x9b31m\n\u202e[bold red]"
QUEUES = ("mail", "images", "invoices", "reports", "zeta")


@pytest.fixture
def queues(redis: Any) -> tuple[str, ...]:
    """Some, in which ever more jobs wait that nobody runs."""
    for number, queue in enumerate(QUEUES, 1):
        redis.sadd("rq:queues", f"rq:queue:{queue}")
        redis.rpush(f"rq:queue:{queue}", *range(number * 100))
    return tuple(sorted(QUEUES))


@pytest.fixture
def held(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> Iterator[Any]:
    """A job that runs until it is let go or stopped."""
    consume("--model", "threads", "--slots", "2").ready()
    handle = producer.submit(sample_tasks.about_itself, redis_url, "it")
    assert redis.blpop(["it:running"], timeout=60)
    yield handle
    redis.rpush("it:go", "now")


def paused(redis_url: str) -> list[tuple[str, str]]:
    with RedisClient(redis_url) as client:
        return [(each.kind, each.name) for each in client.execute(Commands().pauses())]


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("ctrl+c", 130)])
@pytest.mark.parametrize("where", ["panes", "dialog"])
def test_it_quits(redis_url: str, key: str, code: int, where: str) -> None:
    async def work(desk: Desk) -> None:
        if where == "dialog":
            await desk.press("question_mark")
            await desk.until(lambda: desk.dialog)
            if key == "q":  # closes that first
                await desk.press("q")
                await desk.until(lambda: not desk.dialog)
        await desk.press(key)

    assert at_desk(redis_url, work) == code


def test_help_tells_of_every_key_that_there_is(redis_url: str) -> None:
    async def work(desk: Desk) -> None:
        await desk.press("question_mark")
        await desk.until(lambda: "the next pane" in desk.dialog)
        for words in ("Tab", "Enter", "PgUp", " /", "pause the queue", "stop the job", "notices"):
            assert words.strip() in desk.dialog
        await desk.press("escape")
        await desk.until(lambda: not desk.dialog)

    at_desk(redis_url, work)


def test_a_filter_shows_what_has_the_text_until_escape(
    redis_url: str, queues: tuple[str, ...]
) -> None:
    async def work(desk: Desk) -> None:
        await desk.until(lambda: desk.column("queues") == [*queues])
        await desk.press("slash")
        await desk.type("I")  # it filters while it is typed, whatever the case; and q would quit
        await desk.until(lambda: desk.column("queues") == ["images", "invoices", "mail"])
        await desk.type("nvoq")
        await desk.until(lambda: desk.column("queues") == [])
        await desk.press("backspace", "enter")
        await desk.until(lambda: desk.column("queues") == ["invoices"])
        assert "1 with “Invo”" in desk.lines("queues")[0]
        await desk.press("escape")
        await desk.until(lambda: desk.column("queues") == [*queues])
        await desk.press("slash")
        await desk.type("mail")
        await desk.press("escape")
        await desk.until(lambda: desk.column("queues") == [*queues])

    at_desk(redis_url, work)


def test_rows_are_sorted_by_the_column_that_is_asked_for(
    redis: Any, redis_url: str, queues: tuple[str, ...]
) -> None:
    async def work(desk: Desk) -> None:
        await desk.until(lambda: desk.column("queues") == [*queues])
        await desk.go_to("queues", "mail")
        await desk.press("s", "down", "down", "enter")
        await desk.until(lambda: desk.column("queues") == [*reversed(QUEUES)])
        assert "by waiting ↓" in desk.lines("queues")[0]
        await desk.press("end")  # at mail, with the least; the cursor goes with it
        redis.rpush("rq:queue:mail", *range(1000))
        await desk.until(lambda: desk.column("queues")[0] == "mail")
        selected = desk.pane("queues").selected
        assert selected is not None
        assert selected.key == ("mail",)
        await desk.press("s", "enter")  # the same once more
        await desk.until(lambda: desk.column("queues") == [*QUEUES[1:], "mail"])
        await desk.press("s", "home", "enter")
        await desk.until(lambda: desk.column("queues") == [*queues])

    at_desk(redis_url, work)


def test_rows_stay_where_they_are_while_figures_change(
    redis: Any, redis_url: str, queues: tuple[str, ...]
) -> None:
    async def work(desk: Desk) -> None:
        await desk.until(lambda: desk.column("queues") == [*queues])
        redis.rpush("rq:queue:mail", *range(5000))
        await desk.until(lambda: "5,100" in desk.column("queues", "waiting"))
        assert desk.column("queues") == [*queues]
        redis.srem("rq:queues", "rq:queue:invoices")
        await desk.until(lambda: any(row.is_gone for row in desk.pane("queues").rows))
        assert desk.column("queues") == [*queues], "what is gone is struck out, and moves nothing"
        redis.sadd("rq:queues", "rq:queue:aaa")
        redis.rpush("rq:queue:aaa", "a")
        await desk.until(lambda: "aaa" in desk.column("queues"))
        now = ["aaa" if name == "invoices" else name for name in queues]
        assert desk.column("queues") == now, "what comes takes that place"

    at_desk(redis_url, work)


def test_p_pauses_the_queue_at_the_cursor_and_lets_it_go_on(
    held: Any, producer: Producer, redis_url: str
) -> None:
    async def work(desk: Desk) -> None:
        await desk.go_to("queues", "default")
        await desk.press("p")
        await desk.until(lambda: "queue default is paused" in desk.bars)
        assert paused(redis_url) == [("queue", "default")]
        waits = producer.submit(sample_tasks.add, 1)
        await desk.until(lambda: desk.column("queues", "state") == ["paused"])
        await desk.until(lambda: desk.column("queues", "waiting") == ["1"])
        assert waits.status() == "queued"
        await desk.press("p")
        await desk.until(lambda: "queue default goes on" in desk.bars)
        await desk.until(lambda: waits.status() == "finished")
        await desk.until(lambda: desk.column("queues", "state") == [""])

    at_desk(redis_url, work)
    assert paused(redis_url) == []


def test_p_pauses_a_task_and_a_periodic_job(
    consume: Callable[..., Consumer], producer: Producer, redis_url: str
) -> None:
    consume(HEORI_TASKS="tests.tasks.sample_tasks,tests.tasks.periodic_tasks").ready()
    producer.submit(sample_tasks.add, 1).result(60)

    async def work(desk: Desk) -> None:
        task = "add · tests.tasks.sample_tasks"
        await desk.until(lambda: task in desk.column("tasks"))
        await desk.go_to("tasks", task)
        await desk.press("p")
        await desk.until(lambda: ("task", "tests.tasks.sample_tasks.add") in paused(redis_url))
        await desk.until(lambda: "paused" in desk.column("tasks", "state"))
        await desk.go_to("schedule", "greetings")
        state = desk.column("schedule").index("greetings")
        await desk.press("p")
        # A reading may have it before the command has answered.
        await desk.until(lambda: "entry greetings is paused" in desk.bars)
        await desk.until(lambda: desk.column("schedule", "state")[state] == "paused")
        await desk.press("p")
        await desk.until(lambda: desk.column("schedule", "state")[state] == "active")
        await desk.go_to("workers")
        await desk.press("p")
        await desk.until(lambda: "go to one" in desk.bars)

    at_desk(redis_url, work)


def test_k_stops_the_job_at_the_cursor_once_that_is_confirmed(held: Any, redis_url: str) -> None:
    async def work(desk: Desk) -> None:
        await desk.press("k")
        await desk.until(lambda: "k stops a job that runs" in desk.bars)
        await desk.until(lambda: len(desk.column("jobs")) == 1)
        await desk.go_to("jobs")
        for other in ("n", "escape"):
            await desk.press("k")
            await desk.until(lambda: held.id in desk.dialog)
            assert "about_itself" in desk.dialog
            await desk.press(other)
            await desk.until(lambda: not desk.dialog)
        assert held.status() == "started"
        await desk.press("k")
        await desk.until(lambda: desk.dialog)
        await desk.press("y")
        await desk.until(lambda: f"{held.id} is stopped" in desk.bars)
        await desk.until(lambda: desk.column("jobs") == [])

    at_desk(redis_url, work)
    with pytest.raises(JobFailed, match="was stopped by request"):
        held.result(60)
    assert held.status() == "stopped"


def test_a_job_whose_consumer_is_gone_is_not_said_to_be_stopped(redis: Any, redis_url: str) -> None:
    redis.sadd("rq:queues", "rq:queue:mail")
    redis.zadd("rq:wip:mail", {"lost:heori1": 1e12})
    record = {"status": "started", "origin": "mail", "worker_name": "away", "description": "f()"}
    redis.hset("rq:job:lost", mapping=record)

    async def work(desk: Desk) -> None:
        await desk.until(lambda: desk.column("jobs") == ["f()"])
        await desk.go_to("jobs")
        await desk.press("k")
        await desk.until(lambda: desk.dialog)
        await desk.press("y")
        await desk.until(lambda: "job lost cannot be stopped: whoever" in desk.bars)

    at_desk(redis_url, work)


def test_enter_tells_all_about_a_job_and_a_worker(held: Any, redis: Any, redis_url: str) -> None:
    async def work(desk: Desk) -> None:
        # Its consumer tells in which slot it runs: worker 0 of threads has two of them.
        await desk.until(lambda: set(desk.column("jobs", "slot")) & {"0/0", "0/1"})
        [call] = desk.column("jobs")
        assert call.startswith("about_itself('redis://"), "which task it is comes first"
        await desk.go_to("jobs")
        await desk.press("enter")
        await desk.until(lambda: held.id in desk.dialog)
        await desk.until(lambda: "of worker 0" in desk.dialog)
        for words in ("50%", "half of it", "about_itself", "started", "timeout"):
            await desk.until(lambda words=words: words in desk.dialog)  # type: ignore[misc]
        redis.rpush("it:go", "now")
        await desk.until(lambda: "finished" in desk.dialog)  # it is read anew
        await desk.until(lambda: "result" in desk.dialog)
        await desk.press("escape")
        await desk.go_to("workers")
        await desk.until(lambda: desk.pane("workers").selected is not None)
        await desk.press("enter")
        await desk.until(lambda: "consumer: heartbeat" in desk.dialog)
        await desk.until(lambda: "memory" in desk.dialog)
        for pane in ("queues", "consumers", "tasks"):
            await desk.press("escape")
            await desk.go_to(pane)
            # Who answers late has no row for a while, and then Enter opens nothing.
            await desk.until(lambda pane=pane: desk.pane(pane).selected is not None)  # type: ignore[misc]
            await desk.press("enter")
            await desk.until(lambda: "jobs/s" in desk.dialog or "waiting" in desk.dialog)

    at_desk(redis_url, work)


def test_the_details_of_a_lock_name_its_holder(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consume("--model", "threads", "--slots", "2").ready()
    jobs = [producer.submit(sample_tasks.hold_mutex, redis_url, "door") for _ in range(2)]
    assert redis.blpop(["door:running"], timeout=60)

    async def work(desk: Desk) -> None:
        await desk.until(lambda: desk.column("locks") == ["door"])
        await desk.go_to("locks")
        await desk.press("enter")
        await desk.until(lambda: "waiter 1" in desk.dialog)
        assert "holder 1" in desk.dialog

    at_desk(redis_url, work)
    redis.rpush("door:go", "now", "now")
    for job in jobs:
        job.result(60)


def test_no_key_waits_for_a_redis_that_says_nothing(valkey: EmbeddedValkey, redis: Any) -> None:
    redis.sadd("rq:queues", "rq:queue:mail")
    with proxy(urlsplit(valkey.url).port or 0) as between:

        async def work(desk: Desk) -> None:
            await desk.until(lambda: desk.column("queues") == ["mail"])
            between.hold(everything=True)
            await desk.until(lambda: "nothing has come for" in desk.bars)
            assert desk.column("queues") == ["mail"]
            await desk.press("p", "question_mark")
            await desk.until(lambda: "pause the queue" in desk.dialog)
            await desk.press("escape", "tab")
            await desk.until(lambda: desk.pane("consumers").has_focus)
            between.let_go(lose=True)
            await desk.until(lambda: "nothing has come" not in desk.bars)
            between.lead_to(1)  # where there is nobody

            def is_told() -> bool:
                between.strike(Break.IDLE)  # each time, as a connection may just be on its way
                return "trying again; what follows was before" in desk.bars

            await desk.until(is_told)
            between.lead_to(urlsplit(valkey.url).port or 0)
            redis.sadd("rq:queues", "rq:queue:new")
            await desk.until(lambda: desk.column("queues") == ["mail", "new"])
            await desk.until(lambda: "trying again" not in desk.bars)
            between.hold(everything=True)
            await desk.press("q")

        assert at_desk(f"redis://127.0.0.1:{between.port}", work) == 0
        between.let_go(lose=True)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40), (200, 50), (40, 12)])
def test_panes_shrink_and_scroll_and_names_lose_their_middle(
    redis: Any, redis_url: str, columns: int, rows: int
) -> None:
    long = f"first-{'of-many-names-' * 10}한국어-last"
    names = [f"{number:03}-{long}-{number:03}" for number in range(100)]
    for name in names:
        redis.sadd("rq:queues", f"rq:queue:{name}")
        redis.rpush(f"rq:queue:{name}", *range(12))
        redis.sadd("rq:workers", f"rq:worker:{name}")
        redis.hset(f"rq:worker:{name}", mapping={"state": "busy", "queues": "mail"})

    async def work(desk: Desk) -> None:
        await desk.until(lambda: len(desk.column("consumers")) == 100)
        await desk.until(lambda: desk.app.size.height == rows)
        panes = list(desk.app.query(Pane))
        for name in ("queues", "consumers"):
            await desk.go_to(name)
            pane = desk.pane(name)
            await desk.until(lambda: pane.size.height >= min(5, rows // 4))  # noqa: B023
            for each in panes:
                if rows > 20:
                    assert each.size.height >= 1
                assert each.region.bottom <= rows - 1
            lines = desk.lines(name)
            assert {cell_len(line) for line in lines} == {pane.size.width}
            assert lines[2].split()[0].startswith("000-")
            if columns < 200:
                assert "…" in lines[2]
            await desk.press("end")
            await desk.until(lambda: f"{names[-1][-5:]}" in desk.lines(name)[-1])  # noqa: B023
            await desk.press("pageup", "home")
            await desk.until(lambda: desk.lines(name)[2].split()[0].startswith("000-"))  # noqa: B023
            assert f"of {len(names)}" in desk.lines(name)[0]

    at_desk(redis_url, work, columns=columns, rows=rows)


def test_nothing_that_it_shows_is_obeyed_by_the_terminal(redis: Any, redis_url: str) -> None:
    redis.rpush(f"rq:queue:{EVIL}", f"waits {EVIL}")
    redis.sadd("rq:queues", f"rq:queue:{EVIL}", b"rq:queue:\xff\x1b")
    redis.hset(f"rq:job:waits {EVIL}", mapping={"status": "queued", "origin": EVIL})
    redis.sadd("rq:workers", f"rq:worker:{EVIL}")
    record = {"state": EVIL, "queues": EVIL, "heori_waits_for": EVIL, "last_heartbeat": EVIL}
    redis.hset(f"rq:worker:{EVIL}", mapping=record)
    job = {"status": "started", "origin": EVIL, "worker_name": EVIL, "description": EVIL}
    redis.zadd(f"rq:wip:{EVIL}", {f"runs {EVIL}:heori1": 1e12})
    redis.hset(f"rq:job:runs {EVIL}", mapping={**job, "heori_progress": "nan", "timeout": EVIL})
    told = []

    async def work(desk: Desk) -> None:
        await desk.until(lambda: len(desk.column("jobs")) == 1)
        for pane in ("queues", "consumers", "jobs"):
            told.extend([desk.bars, *desk.lines(pane)])
            await desk.go_to(pane)
            await desk.press("enter")
            await desk.until(lambda: desk.dialog and "reading" not in desk.dialog)
            told.append(desk.dialog)
            await desk.press("escape")
            await desk.until(lambda: not desk.dialog)
        await desk.press("k")
        await desk.until(lambda: desk.dialog)
        told.append(desk.dialog)
        await desk.press("escape", "n")
        await desk.until(lambda: "All slots of" in desk.dialog)
        told.append(desk.dialog)

    at_desk(redis_url, work, columns=300)
    shown = "\n".join(told)
    assert r"eu[west]mail[/]\x1b[2J\x9b31m\n\u202e[bold red]" in shown
    assert {c for c in shown if not c.isprintable()} == {"\n"}


def test_who_may_only_look_is_told_what_is_not_seen_and_changes_nothing(
    consume: Callable[..., Consumer], redis: Any, redis_url: str
) -> None:
    consume(HEORI_TASKS="tests.tasks.sample_tasks,tests.tasks.periodic_tasks").ready()
    until(lambda: redis.keys("rq:heori:schedule:*"))
    rights = ["+get", "+hget", "+hgetall", "+hmget", "+lindex", "+llen", "+ping", "+select"]
    rights += ["+smembers", "+time", "+ttl", "+xrevrange", "+zcard", "+zrange", "+client|setinfo"]
    redis.execute_command("ACL", "SETUSER", "looks", "on", ">secret", "%R~rq:*", "-@all", *rights)
    looks = redis_url.replace("redis://", "redis://looks:secret@")

    async def work(desk: Desk) -> None:
        await desk.until(lambda: "may not read the schedule" in desk.bars)
        await desk.go_to("queues", "default")
        await desk.press("p")
        await desk.until(lambda: "NOPERM" in desk.bars)

    try:
        at_desk(looks, work)
    finally:
        redis.execute_command("ACL", "DELUSER", "looks")
    assert paused(redis_url) == []


def test_it_works_on_a_terminal_of_80_columns_and_24_lines(
    held: Any, redis_url: str, redis: Any
) -> None:
    with live_top(redis_url, rows=24, columns=80) as terminal:
        terminal.drawn(lambda seen: b"jobs 1" in seen and b"quit" in seen)
        terminal.press(b"?")
        terminal.drawn(lambda seen: b"the next pane" in seen)
        terminal.press(b"q")
        terminal.drawn(lambda seen: b"slots run" in seen)
        terminal.press(b"\t\tk")
        terminal.drawn(lambda seen: b"stop this job?" in seen)
        terminal.press(b"y")
        until(lambda: held.status() == "stopped")
        terminal.press(b"q")
        assert terminal.join() == 0
        assert b"\x1b[?1049l" in terminal.seen, "the terminal is as it was"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_leaves_the_terminal_as_it_was(
    redis_url: str, number: signal.Signals
) -> None:
    with live_top(redis_url) as terminal:
        terminal.drawn(lambda seen: seen.count(b"slots run") > 1)
        terminal.process.send_signal(number)
        assert terminal.join() == 128 + number
        assert b"\x1b[?1049l" in terminal.seen


def test_json_and_once_have_the_schedule(
    consume: Callable[..., Consumer], heori: Heori, redis: redis_py.Redis
) -> None:
    consume(HEORI_TASKS="tests.tasks.periodic_tasks").ready()
    until(lambda: redis.keys("rq:heori:schedule:*"))
    told = json.loads(heori("top", "--json", "--every", "100ms").stdout)
    assert "greetings" in {entry["name"] for entry in told["schedule"]}
    assert "greetings" in heori("top", "--once", "--every", "100ms").stdout


def test_a_tenant_is_paused_as_itself(bench: Any, redis: Any, redis_url: str) -> None:
    redis.sadd("rq:queues", "rq:queue:mail@@acme", "rq:queue:mail")
    with RedisClient(redis_url) as client:
        client.execute(Commands().pause(Pause.of_queue("mail", "acme")))

    async def work(desk: Desk) -> None:
        await desk.until(lambda: desk.column("queues") == ["mail", "mail@@acme"])
        assert desk.column("queues", "state") == ["", "paused"]
        await desk.go_to("queues", "mail@@acme")
        await desk.press("p")
        await desk.until(lambda: desk.column("queues", "state") == ["", ""])

    at_desk(redis_url, work)
    assert paused(redis_url) == []
