"""Users with just the rights that docs/deploying.md gives them can do what it says they can."""

import asyncio
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from rq import Queue
from rq.serializers import JSONSerializer

from heori import (
    JobFailed,
    LockLost,
    Mutex,
    NotHeld,
    Producer,
    RedisExecutor,
    Semaphore,
    Settings,
    UnknownTask,
    acquire_all,
    group,
)
from heori_common.embedded import EmbeddedValkey
from heori_common.locks import session
from heori_common.protocol.scripts import script
from tests.rigs.commands import run_heori
from tests.rigs.consumers import Consumer
from tests.rigs.lua_files import CALLED
from tests.rigs.pages import users_with_rights
from tests.rigs.service_rig import serving
from tests.rigs.waiting import until
from tests.tasks import lock_tasks, sample_tasks

TASKS = "tests.tasks.sample_tasks,tests.tasks.lock_tasks"


class Rights:
    """A server with the page's users."""

    def __init__(self, endpoint: str, admin: Any) -> None:
        self.admin = admin
        self._endpoint = endpoint
        for words in users_with_rights().values():
            admin.execute_command(*words)

    def url(self, user: str) -> str:
        return f"redis://{user}:secret@{self._endpoint}/0"

    def denied(self) -> set[tuple[str, ...]]:
        """User, kind and name of each refusal since it was asked last."""
        names = ("username", "reason", "object")
        found = {tuple(str(entry[name]) for name in names) for entry in self.admin.acl_log()}
        self.admin.acl_log_reset()
        return found


@pytest.fixture
def rights() -> Iterator[Rights]:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as admin,
    ):
        yield Rights(server.url.removeprefix("redis://").removesuffix("/0"), admin)
        session.close()


def send_all_kinds(url: str) -> None:
    """What programs do that send jobs and wait for them."""
    settings = Settings(redis_url=url, queue_limits={"default": 50}, when_full="drop_oldest")
    with Producer(settings=settings) as producer:
        assert producer.submit_many(sample_tasks.add, range(200))[-1].result(60) == 201
        handle = producer.options(delay=0.05).submit(sample_tasks.add, 1)
        assert handle.result(60) == 3
        assert producer.options(key="once").submit(sample_tasks.add, 1).result(60) == 3
        assert producer.options(tenant="a").submit(sample_tasks.add, 1).result(60) == 3
        with pytest.raises(JobFailed):
            producer.submit(sample_tasks.fail, "no").result(60)
        late = producer.options(delay=60).submit(sample_tasks.add, 1)
        assert (late.status(), late.cancel(), late.status()) == ("scheduled", True, "canceled")
        assert group([producer.submit(sample_tasks.add, n) for n in range(3)]).results(60)
        assert producer.submit(lock_tasks.use_a_mutex, "inside").result(60)
        assert producer.submit(sample_tasks.flaky_soon, 1).result(60) == 1

        assert producer.send("tests.tasks.sample_tasks.add", 1).result(60) == 3
        with pytest.raises(UnknownTask):
            producer.send("tests.tasks.sample_tasks.nothing")

        async def wait() -> int:
            return await producer.submit(sample_tasks.add_later, 1, 2)

        assert asyncio.run(wait()) == 3
    with RedisExecutor(url) as executor:
        assert list(executor.map(sample_tasks.add, range(3))) == [2, 3, 4]


def cancel_limited(rights: Rights, user: str) -> None:
    """Cancel a job that has a slot of one of rq's rate limits, for which another waits."""
    with Producer(rights.url(user)) as producer:
        has, waits = (producer.options(delay=60).submit(sample_tasks.add, 1) for _ in range(2))
        for handle, status in ((has, "scheduled"), (waits, "rate_limited")):
            fields = {"rate_limit_key": "k", "rate_limit_concurrency": 1, "status": status}
            rights.admin.hset(f"rq:job:{handle.id}", mapping=fields)
        rights.admin.hset("rq:rl:k", "concurrency", 1)
        rights.admin.zadd("rq:rl:k:allowed", {has.id: 1})
        rights.admin.zadd("rq:rl:k:rate_limited", {waits.id: 1})
        assert has.cancel()
        assert waits.result(60) == 3


def use_locks(url: str) -> None:
    with Mutex("a", url) as mutex, Semaphore("b", 2, url):
        assert mutex.owner()
    with acquire_all([Mutex("a", url), Mutex("d", url)]):
        pass
    with pytest.raises(NotHeld):
        Mutex("a", url).release()


def test_the_users_of_the_page_may_do_what_it_says_and_nothing_else(
    rights: Rights, consume: Callable[..., Consumer], tmp_path: Path
) -> None:
    url = rights.url("heori")
    consumer = consume(HEORI_REDIS_URL=url, HEORI_TASKS=TASKS).ready()
    for user in ("heori-producer", "heori"):
        send_all_kinds(rights.url(user))
        cancel_limited(rights, user)
        use_locks(rights.url(user))
    stock = Queue(connection=rights.admin, serializer=JSONSerializer)
    first = stock.enqueue("tests.tasks.sample_tasks.add", 1)
    second = stock.enqueue("tests.tasks.sample_tasks.add", 5, depends_on=first)
    until(lambda: second.get_status() == "finished")
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"a": 1}\n{"a": 2}\n')

    def heori(*words: str) -> str:
        done = run_heori(url, *words)
        assert done.returncode in (0, 1), done
        assert "NOPERM" not in done.stdout + done.stderr
        return str(done.stdout)

    dead = rights.admin.zrange("rq:failed:default", 0, 0)[0].decode()
    heori("status")
    heori("jobs", "--search", "tests.tasks")
    heori("job", dead)
    heori("top", "--once")
    heori("limit", "default", "500")
    heori("locks")
    heori("dead", "list")
    heori("dead", "show", dead)
    heori("dead", "replay", dead)
    heori("dead", "purge", "--all")
    heori("doctor")
    heori("send", "tests.tasks.sample_tasks.add", "--args", "[1]", "--wait")
    heori("send", "tests.tasks.sample_tasks.add", "--from", str(jobs))
    use_locks(rights.url("heori-locks"))
    left_to_doctor = {"config|get", "scan"}
    assert {each for each in rights.denied() if each[2] not in left_to_doctor} == set()
    for user, words in (
        ("heori-top", ("top", "--once")),
        ("heori-top", ("status",)),
        ("heori-top", ("job", first.id)),
        ("heori-top", ("jobs", "--search", "nothing that any has")),
        ("heori-doctor", ("doctor",)),
    ):
        rights.admin.hset("rq:job:lost", mapping={"status": "queued", "origin": "q", "data": "x"})
        rights.admin.sadd("rq:workers", "rq:worker:silent")
        done = run_heori(rights.url(user), *words)
        assert done.returncode == (1 if user == "heori-doctor" else 0), done
        assert "does not let us see" not in done.stdout
        assert rights.denied() == set(), words
    assert consumer.stop() == 0
    assert rights.denied() == set()

    for user, refused_words in (
        ("heori-producer", ("SMEMBERS", "rq:workers")),
        ("heori-locks", ("SMEMBERS", "rq:workers")),
        ("heori-top", ("SADD", "rq:workers", "rq:worker:me")),
        ("heori-doctor", ("RPUSH", "rq:queue:default", "a")),
        ("heori", ("FLUSHALL",)),
        ("heori", ("GET", "balance:1")),
    ):
        refused = pytest.raises(redis_py.exceptions.NoPermissionError)
        with redis_py.Redis.from_url(rights.url(user), socket_timeout=None) as client, refused:
            client.execute_command(*refused_words)


PAGES = ("/queues", "/queues/default", "/jobs?q=x", "/dead", "/schedule", "/locks", "/consumers")
ANSWERS = (
    "queues",
    "jobs?task=x",
    "dead",
    "dead/groups",
    "schedule",
    "locks",
    "consumers",
    "pauses",
)


def test_who_consumes_may_serve_the_page_and_do_all_that_it_offers(
    rights: Rights, consume: Callable[..., Consumer]
) -> None:
    url, tasks = rights.url("heori"), f"{TASKS},tests.tasks.periodic_tasks"
    consumer = consume(HEORI_REDIS_URL=url, HEORI_TASKS=tasks).ready()
    with serving(url, HEORI_TASKS=tasks) as service, Producer(url) as producer:

        def do(method: str, path: str, body: Any = None) -> Any:
            asked = service.ask(method, f"/v1/{path}", body)
            assert asked.status in (200, 202), (path, asked.body)
            return asked.body

        for path in ("/readyz", *PAGES, *(f"/v1/{each}" for each in ANSWERS)):
            assert service.ask("GET", path, Accept="text/html").status == 200, path
        until(lambda: service.ask("GET", "/v1/overview").status == 200)
        until(lambda: service.ask("GET", "/consumers/" + consumer.name).status == 200)
        until(lambda: is_ready(consumer))

        runs = producer.submit(sample_tasks.hold, url_of_admin(rights), "k")
        rights.admin.blpop("k:running", 60)
        do("POST", f"jobs/{runs.id}/stop")
        until(lambda: runs.status() == "stopped")
        later = producer.options(delay=900).submit(sample_tasks.add, 1)
        for action in ("cancel", "retry"):
            do("POST", f"jobs/{later.id}/{action}")
        assert later.result(60) == 3
        last = producer.options(delay=900).submit(sample_tasks.add, 1)
        do("POST", f"jobs/{last.id}/run")
        assert last.result(60) == 3
        do("DELETE", f"jobs/{last.id}")

        do("POST", f"consumers/{consumer.name}/drain")
        until(lambda: do("GET", f"consumers/{consumer.name}")["state"] == "drained")
        do("POST", f"consumers/{consumer.name}/resume")
        do("POST", "queues/default/pause")
        do("POST", "queues/default/resume")
        do("PUT", "queues/default/limit", {"limit": 1000})
        do("PUT", "queues/default/tenants", {"acme": 3})
        do("PUT", "pauses/tasks/tests.tasks.sample_tasks.add")
        do("DELETE", "pauses/tasks/tests.tasks.sample_tasks.add")
        entry = "schedule/tests.tasks.periodic_tasks.tick"
        for action in ("pause", "resume", "run"):
            do("POST", f"{entry}/{action}")
        lock = Mutex("taken", url)
        assert lock.acquire()
        [holder] = do("GET", "locks/mutex/taken")["holders"]
        do("POST", "locks/mutex/taken/release", {"request": holder["request"]})
        with pytest.raises(LockLost):
            lock.release()

        dead = [producer.submit(sample_tasks.fail, "no").id for _ in range(3)]
        until(lambda: rights.admin.zcard("rq:failed:default") >= len(dead))
        do("POST", f"dead/{dead[0]}/replay")
        do("POST", "dead/replay?error=ValueError")
        do("DELETE", f"dead/{runs.id}")
        do("POST", "dead/purge?all=true")
    assert consumer.stop() == 0
    assert rights.denied() == set()


def test_the_page_needs_no_right_to_ask_how_full_redis_is(rights: Rights) -> None:
    rights.admin.execute_command("ACL", "SETUSER", "heori", "-info")
    with serving(rights.url("heori")) as service:
        until(lambda: service.ask("GET", "/v1/overview").status == 200)


def is_ready(consumer: Consumer) -> bool:
    try:
        with urllib.request.urlopen(f"{consumer.url}/readyz", timeout=60):
            return True
    except urllib.error.HTTPError:
        return False


def url_of_admin(rights: Rights) -> str:
    """For what a task of the tests does with keys of its own."""
    return rights.url("heori").replace("heori:secret@", "")


# Of the locks of a program; the others are those of consumers and of commands.
LOCK_SCRIPTS = [name for name in CALLED if name.startswith("lock_") and name != "lock_count"]


def commands_of(name: str) -> set[str]:
    """What a script calls."""
    called = re.findall(r"redis\.p?call\('(\w+)'|'([LR]PUSH)'", script(name).source)
    return {(one or other).lower() for one, other in called}


def test_the_page_names_each_command_of_a_script() -> None:
    rights = users_with_rights()
    for name in CALLED:
        for command in commands_of(name):
            assert f"+{command}" in rights["heori"], f"{name}.lua calls {command}"
    mine = {*rights["heori"], "%R~rq:*", "+config|get", "+scan"}
    for user in ("heori-producer", "heori-locks", "heori-top", "heori-doctor"):
        assert set(rights[user]) - {user} < mine
    for name in LOCK_SCRIPTS:
        for command in commands_of(name):
            assert f"+{command}" in rights["heori-locks"], f"{name}.lua calls {command}"
    for command in commands_of("find_lost"):
        assert f"+{command}" in rights["heori-doctor"]
