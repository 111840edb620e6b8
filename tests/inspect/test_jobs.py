"""Jobs are listed by state, paged, filtered and found, whatever stands in Redis."""

import pickle
from typing import Any

import pytest

from heori import Producer
from heori.inspect.jobs import STATES, JobFilter, JobPage, count_jobs, list_jobs
from heori.inspect.reader import RedisReader
from heori_common.protocol.commands import Pause
from heori_common.protocol.payload import encode_failure
from heori_common.settings import Settings
from tests.rigs.script_bench import Bench
from tests.tasks import limited_tasks, lock_tasks, sample_tasks

ADD = "tests.tasks.sample_tasks.add"
Everything = list[str]


def all_pages(
    reader: RedisReader, settings: Settings, wanted: JobFilter, limit: int = 50
) -> list[JobPage]:
    pages = [list_jobs(reader, settings, wanted, None, limit)]
    while pages[-1].cursor is not None:
        assert len(pages) < 1000
        pages.append(list_jobs(reader, settings, wanted, pages[-1].cursor, limit))
    return pages


def found(reader: RedisReader, settings: Settings, limit: int = 50, **wanted: str) -> Everything:
    pages = all_pages(reader, settings, JobFilter(**wanted), limit)
    assert pages[-1].searched == pages[-1].of
    return [job.id for page in pages for job in page.jobs]


def end(redis: Any, job_id: str, status: str, expires: float, **fields: str) -> None:
    """As if a job had ended so."""
    redis.lrem("rq:queue:default", 1, job_id)
    redis.hset(f"rq:job:{job_id}", mapping={"status": status, **fields})
    register = "failed" if status == "stopped" else status
    redis.zadd(f"rq:{register}:default", {job_id: expires})


def test_each_state_has_its_jobs_in_its_order(
    reader: RedisReader, settings: Settings, bench: Bench
) -> None:
    bench.send("late", delay=2000)
    bench.send("soon", delay=1000)
    bench.send("runs")
    assert [claim.job_id for claim in bench.claim()] == ["runs"]
    bench.send("a", "b", "c")
    bench.send("old", "new", "stopped", "over", "off")
    for number, (job_id, status) in enumerate(
        {"old": "failed", "new": "failed", "stopped": "stopped", "over": "finished"}.items()
    ):
        end(bench.redis, job_id, status, 2e9 + number)
    assert bench.execute(bench.commands.cancel("default", ["off"])) == [0]
    by_state = {
        "started": ["runs"],
        "queued": ["a", "b", "c"],
        "scheduled": ["soon", "late"],
        "deferred": [],
        "rate_limited": [],
        "failed": ["stopped", "new", "old"],
        "canceled": ["off"],
        "finished": ["over"],
    }
    for limit in (1, 2, 50):
        told = {state: found(reader, settings, limit, state=state) for state in by_state}
        assert told == by_state
        everything = [job_id for ids in by_state.values() for job_id in ids]
        assert found(reader, settings, limit) == everything
    assert found(reader, settings, state="stopped") == ["stopped"]
    assert count_jobs(reader) == {state: len(ids) for state, ids in by_state.items()}
    assert {*by_state, "stopped"} == {*STATES}


def test_a_queue_is_listed_with_its_tenants_and_a_tenant_alone(
    reader: RedisReader, settings: Settings, bench: Bench
) -> None:
    for queue in ("mail", "mail@@acme", "mail@@zen", "mailing"):
        bench.send(f"{queue}-1".replace("@@", "_"), queue=queue)
        bench.send(f"{queue}-2".replace("@@", "_"), queue=queue, delay=1000)
    assert found(reader, settings, 3, queue="mail", state="queued") == [
        *("mail-1", "mail_acme-1", "mail_zen-1")
    ]
    assert found(reader, settings, 1, queue="mail@@acme") == ["mail_acme-1", "mail_acme-2"]
    assert set(found(reader, settings, queue="mail", state="scheduled")) == {
        *("mail-2", "mail_acme-2", "mail_zen-2")
    }
    [acme] = list_jobs(reader, settings, JobFilter("mail@@acme", "queued")).jobs
    assert (acme.queue, acme.tenant) == ("mail@@acme", "acme")
    assert found(reader, settings, queue="nobody") == []


def test_a_page_goes_on_after_the_last_job_though_others_come_and_go(
    reader: RedisReader, settings: Settings, bench: Bench
) -> None:
    bench.send(*(f"j{number}" for number in range(10)))
    queued = JobFilter(state="queued")
    first = list_jobs(reader, settings, queued, None, 4)
    assert [job.id for job in first.jobs] == ["j0", "j1", "j2", "j3"]
    bench.claim(count=2)
    bench.send("j10")
    rest = list_jobs(reader, settings, queued, first.cursor)
    assert [job.id for job in rest.jobs] == [f"j{number}" for number in range(4, 11)]
    assert rest.cursor is None

    for number in range(6):
        bench.send(f"f{number}")
        end(bench.redis, f"f{number}", "failed", 2e9 + number)
    failed = JobFilter(state="failed")
    first = list_jobs(reader, settings, failed, None, 2)
    assert [job.id for job in first.jobs] == ["f5", "f4"]
    bench.send("f6")
    end(bench.redis, "f6", "failed", 2e9 + 6)
    bench.redis.zrem("rq:failed:default", "f4")  # after which it was to go on
    rest = list_jobs(reader, settings, failed, first.cursor)
    assert [job.id for job in rest.jobs] == ["f3", "f2", "f1", "f0"]


def test_a_search_looks_at_a_bounded_number_and_says_so(
    reader: RedisReader, settings: Settings, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heori.inspect.jobs.LOOKED_AT", 40)
    monkeypatch.setattr("heori.inspect.jobs.AT_ONCE", 15)
    ids = [f"a-x{number}" for number in range(100)]
    bench.send(*ids)
    pages = all_pages(reader, settings, JobFilter(text="-X7"))
    assert [(page.searched, page.of) for page in pages] == [(40, 100), (80, 100), (100, 100)]
    assert [[job.id for job in page.jobs] for page in pages] == [
        ["a-x7"],
        [f"a-x{number}" for number in range(70, 80)],
        [],
    ]
    assert found(reader, settings, task=ADD) == ids
    assert found(reader, settings, task="tests.tasks.sample_tasks.nap") == []


def test_a_search_finds_each_part_of_a_job(
    reader: RedisReader, settings: Settings, producer: Producer, redis: Any
) -> None:
    long = "x" * 200 + "needle-one"
    argument = producer.submit(sample_tasks.speak_and_die, long)
    assert "needle" not in redis.hget(f"rq:job:{argument.id}", "description").decode()
    meta = producer.options(meta={"who": "Needle-Two"}).submit(sample_tasks.add, 1)
    failed = producer.submit(sample_tasks.add, 2)
    end(redis, failed.id, "failed", 2e9)
    failure = encode_failure("Traceback\nValueError: needle-three\n")
    redis.xadd(f"rq:results:{failed.id}", {"type": "2", "exc_string": failure})
    for text, handle in (
        ("needle-one", argument),
        ("needle-two", meta),
        ("NEEDLE-THREE", failed),
        (failed.id[4:].upper(), failed),
    ):
        assert found(reader, settings, text=text) == [handle.id], text
    assert set(found(reader, settings, text="needle")) == {argument.id, meta.id, failed.id}
    [row] = list_jobs(reader, settings, JobFilter(state="failed")).jobs
    assert row.error == "ValueError: needle-three"


def test_an_id_that_is_given_whole_is_found_at_once_if_it_is_wanted(
    reader: RedisReader, settings: Settings, bench: Bench
) -> None:
    bench.send(*(f"job-{number}" for number in range(300)))
    page = list_jobs(reader, settings, JobFilter(text="job-299"))
    assert ([job.id for job in page.jobs], page.searched, page.cursor) == (["job-299"], 1, None)
    bench.send("later", delay=1000)
    [row] = list_jobs(reader, settings, JobFilter(text="later")).jobs
    assert row.due_at != ""
    assert found(reader, settings, text="later", state="queued") == []
    assert found(reader, settings, text="later", task="no.task") == []
    assert found(reader, settings, text="later", queue="other") == []


def test_what_a_job_waits_for_is_told(
    reader: RedisReader, settings: Settings, producer: Producer, bench: Bench
) -> None:
    paused = producer.submit(limited_tasks.plain, 1)
    bench.execute(bench.commands.pause(Pause("task", "tests.tasks.limited_tasks.plain")))
    rated = producer.submit_many(limited_tasks.seldom, range(3))[2]
    holder, waiter = (producer.submit(lock_tasks.write, "redis://nowhere", 7) for _ in range(2))
    parent = producer.options(delay=1000).submit(sample_tasks.add, 1)
    child = producer.options(after=[parent]).submit(sample_tasks.add, 2)
    assert holder.id in {claim.job_id for claim in bench.claim()}
    told = {
        job.id: job.waits_for
        for job in list_jobs(reader, settings, JobFilter(state="deferred")).jobs
    }
    assert told == {
        paused.id: "its task tests.tasks.limited_tasks.plain to be resumed",
        rated.id: "its rate",
        waiter.id: "a lock",
        child.id: "other jobs",
    }


def test_whatever_stands_in_redis_is_listed(
    reader: RedisReader, settings: Settings, bench: Bench, redis: Any
) -> None:
    bench.send("good")
    redis.rpush("rq:queue:default", "gone", b"\xff\xfe")
    redis.set("rq:job:text", "text")
    redis.rpush("rq:queue:default", "text")
    redis.hset(
        "rq:job:odd", mapping={"status": b"\xff", "created_at": "x", "heori_progress": "nan"}
    )
    redis.hset("rq:job:odd", mapping={"data": pickle.dumps(print), "meta": b"\xff"})
    redis.rpush("rq:queue:default", "odd")
    redis.zadd("rq:scheduled:default", {"never": 1e300})
    redis.hset("rq:job:never", mapping={"status": "scheduled", "origin": "default"})
    redis.set("rq:failed:default", "text")
    rows = {job.id: job.status for job in list_jobs(reader, settings, JobFilter()).jobs}
    assert rows["good"] == "queued"
    assert (rows["gone"], rows["text"], rows["\udcff\udcfe"]) == ("gone", "gone", "gone")
    assert rows["never"] == "scheduled"
    assert list(reader.unreadable) == ["rq:failed:default"]
    assert found(reader, settings, text="nothing has this") == []


@pytest.mark.parametrize("cursor", ["x", "W10", "WyJhIl0", "é", "W" * 5000])
def test_what_is_no_cursor_is_refused(reader: RedisReader, settings: Settings, cursor: str) -> None:
    with pytest.raises(ValueError, match="no cursor that an answer has told"):
        list_jobs(reader, settings, JobFilter(), cursor)
