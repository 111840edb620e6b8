"""Whatever keeps Redis from doing what was asked: a program gets an error of Heori's, no other."""

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest
import redis as redis_py

from heori import (
    Fence,
    HeoriError,
    Mutex,
    Producer,
    RedisExecutor,
    RedisRefused,
    RedisUnavailable,
    Semaphore,
    acquire_all,
)
from heori_common.embedded import EmbeddedValkey
from heori_common.locks import session
from heori_common.protocol.keys import Keys
from heori_common.redis.address import Address
from heori_common.redis.errors import error_of
from tests.rigs.commands import run_heori
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

LOCKS = ("mutex-now", "mutex-later", "semaphore", "several-a", "several-b")
# What connects anew, logs in with this. Before a fault it is the server's password, too.
PASSWORD = "before"


class Server:
    """A server of a test's own, with what an administrator can do to it."""

    def __init__(self, valkey: EmbeddedValkey, admin: redis_py.Redis) -> None:
        self.valkey = valkey
        self.admin = admin
        self.set_user("admin", "reset", "on", "nopass", "allkeys", "allchannels", "+@all")
        self.execute("AUTH", "admin", "any")
        admin.config_set("requirepass", PASSWORD)

    @property
    def endpoint(self) -> str:
        return endpoint_of(self.valkey)

    @property
    def url(self) -> str:
        """For programs."""
        return f"redis://:{PASSWORD}@{self.endpoint}/0"

    def set_user(self, *rules: str) -> None:
        self.execute("ACL SETUSER", *rules)

    def execute(self, *words: str) -> None:
        self.admin.execute_command(*words)  # type: ignore[no-untyped-call]

    def disconnect_programs(self) -> None:
        """They connect, and log in, anew."""
        for kind in ("normal", "pubsub"):
            self.admin.client_kill_filter(_type=kind, skipme=True)


def endpoint_of(valkey: EmbeddedValkey) -> str:
    return valkey.url.removeprefix("redis://").removesuffix("/0")


@contextmanager
def another_password(server: Server) -> Iterator[None]:
    server.admin.config_set("requirepass", "after")
    server.disconnect_programs()
    yield
    server.admin.config_set("requirepass", PASSWORD)


@contextmanager
def it_is_a_replica(server: Server) -> Iterator[None]:
    with (
        EmbeddedValkey() as other,
        redis_py.Redis.from_url(other.url, socket_timeout=None) as primary,
    ):
        for each in (primary, server.admin):
            each.config_set("repl-diskless-sync-delay", 0)  # seconds, for replicas to come
        primary.config_set("masterauth", PASSWORD)
        primary.replicaof(*server.endpoint.split(":"))  # first it takes over what is there
        until(lambda: primary.info("replication").get("master_link_status") == "up")
        primary.replicaof("NO", "ONE")
        server.admin.replicaof(*endpoint_of(other).split(":"))
        until(lambda: server.admin.info("replication")["master_link_status"] == "up")
        yield
        server.admin.replicaof("NO", "ONE")


@contextmanager
def no_memory(server: Server) -> Iterator[None]:
    server.admin.config_set("maxmemory-policy", "noeviction")
    server.admin.config_set("maxmemory", 1)
    yield
    server.admin.config_set("maxmemory", 0)


@contextmanager
def other_types(server: Server) -> Iterator[None]:
    """Every key that there is, and those that would come, become a string or, if one, a list."""
    keys = Keys()
    found = {str(key, "utf-8") for key in server.admin.scan_iter()}
    coming = {keys.lock(kind, name) for name in LOCKS for kind in ("mutex", "semaphore")}
    coming |= {keys.results(key.removeprefix(keys.job(""))) for key in found}
    for key in found | coming:
        was_string = server.admin.type(key) == b"string"
        server.admin.delete(key)
        if was_string:
            server.admin.rpush(key, "not what Heori keeps here")
        else:
            server.admin.set(key, "not what Heori keeps here")
    yield
    server.admin.flushall()


@contextmanager
def no_permission(server: Server) -> Iterator[None]:
    server.set_user("default", "-@all")
    yield
    server.set_user("default", "+@all")


@contextmanager
def it_went_away(server: Server) -> Iterator[None]:
    server.valkey.stop()
    yield
    server.valkey.start()


@dataclass(frozen=True)
class Fault:
    """What is done to a server.

    Attributes:
        told: the first word of what the server says; "" when it says nothing any more.
        served: the uses that it does not keep from doing what they do.
        passes: whether it is met with patience, like an outage.
    """

    cause: Callable[[Server], AbstractContextManager[None]]
    told: str
    served: frozenset[str] = frozenset()
    passes: bool = False


READING = frozenset({"result", "status"})
FAULTS = {
    fault.cause.__name__: fault
    for fault in (
        Fault(another_password, "WRONGPASS"),
        Fault(it_is_a_replica, "READONLY", READING, passes=True),
        Fault(no_memory, "OOM", READING | {"cancel"}),  # which takes more away than it adds
        Fault(other_types, "WRONGTYPE", frozenset({"cancel"})),  # such a job is not cancelled
        Fault(no_permission, "NOPERM"),
        Fault(it_went_away, "", frozenset({"result"})),  # the wait goes on until its time is up
    )
}

# What a program does. Each is made ready while all is well; what it yields is called afterwards.
Use = Callable[[str], AbstractContextManager[Callable[[], object]]]


@contextmanager
def submit(url: str) -> Iterator[Callable[[], object]]:
    with Producer(url) as producer:
        producer.submit(sample_tasks.add, 1)
        yield lambda: producer.submit(sample_tasks.add, 1)


@contextmanager
def submit_many(url: str) -> Iterator[Callable[[], object]]:
    with Producer(url) as producer:
        producer.submit(sample_tasks.add, 1)
        yield lambda: producer.submit_many(sample_tasks.add, [(1,), (2,)])


@contextmanager
def result(url: str) -> Iterator[Callable[[], object]]:
    with Producer(url) as producer:
        handle = producer.submit(sample_tasks.add, 1)

        def wait() -> None:
            with pytest.raises(TimeoutError):
                handle.result(2)

        yield wait


@contextmanager
def status(url: str) -> Iterator[Callable[[], object]]:
    with Producer(url) as producer:
        yield producer.submit(sample_tasks.add, 1).status


@contextmanager
def cancel(url: str) -> Iterator[Callable[[], object]]:
    with Producer(url) as producer:
        yield producer.submit(sample_tasks.add, 1).cancel


@contextmanager
def executor(url: str) -> Iterator[Callable[[], object]]:
    with RedisExecutor(url) as made:
        yield lambda: made.submit(sample_tasks.add, 1)


@contextmanager
def mutex(url: str) -> Iterator[Callable[[], object]]:
    with Mutex("mutex-now", url):
        pass
    yield lambda: Mutex("mutex-now", url).acquire(timeout=600)


@contextmanager
def mutex_of_a_coroutine(url: str) -> Iterator[Callable[[], object]]:
    async def acquire() -> None:
        async with Mutex("mutex-later", url):
            pass

    asyncio.run(acquire())
    yield lambda: asyncio.run(acquire())


@contextmanager
def semaphore(url: str) -> Iterator[Callable[[], object]]:
    with Semaphore("semaphore", 3, url):
        pass
    yield lambda: Semaphore("semaphore", 3, url).acquire(timeout=600)


@contextmanager
def several_locks(url: str) -> Iterator[Callable[[], object]]:
    def acquire() -> None:
        with acquire_all([Mutex("several-a", url), Mutex("several-b", url)]):
            pass

    acquire()
    yield acquire


@contextmanager
def fence(url: str) -> Iterator[Callable[[], object]]:
    lock = Mutex("fenced", url)
    lock.acquire()
    guarded = Fence("thing", lock)
    guarded.execute("SET", "thing", 1)
    yield lambda: guarded.execute("SET", "thing", 2)
    with contextlib.suppress(HeoriError):  # a server that was started anew has forgotten it
        lock.release()


USES: dict[str, Use] = {
    use.__name__: use
    for use in (
        *(submit, submit_many, result, status, cancel, executor),
        *(mutex, mutex_of_a_coroutine, semaphore, several_locks, fence),
    )
}


class Told:
    """What each use has told its program."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._step = threading.Barrier(len(USES) + 1, timeout=120)
        self.errors: dict[str, BaseException | None] = {}

    def _use(self, name: str) -> None:
        try:
            with USES[name](self._server.url) as act:
                self._step.wait()
                self._step.wait()
                try:
                    act()
                    self.errors[name] = None
                except BaseException as error:
                    self.errors[name] = error
                self._step.wait()
                self._step.wait()
        except BaseException:
            self._step.abort()
            raise

    def meet(self, fault: Fault) -> None:
        """Have all of them meet a fault, side by side: some are patient for seconds."""
        with ThreadPoolExecutor(len(USES)) as threads:
            running = [threads.submit(self._use, name) for name in USES]
            try:
                self._step.wait()
                with fault.cause(self._server):
                    self._step.wait()
                    self._step.wait()
                self._step.wait()
            except threading.BrokenBarrierError:
                pass  # the thread that broke it says why
            except BaseException:
                self._step.abort()
                raise
            for use in running:
                use.result()


@pytest.fixture
def server() -> Iterator[Server]:
    with (
        EmbeddedValkey() as valkey,
        redis_py.Redis.from_url(
            valkey.url, single_connection_client=True, socket_timeout=None
        ) as admin,
    ):
        yield Server(valkey, admin)
        session.close()


# Each as a server says it, how it begins for people, and whether it passes and is general.
REFUSALS = [
    ("READONLY You can't write against a read only replica.", "READONLY it is a", True, True),
    ("MASTERDOWN Link with MASTER is down", "MASTERDOWN it is a replica", True, True),
    ("MISCONF Valkey is configured to save", "MISCONF it takes no writes", True, True),
    ("BUSY Redis is busy running a script.", "BUSY it is executing", True, True),
    ("NOREPLICAS Not enough good replicas to write.", "NOREPLICAS it takes no", True, True),
    ("UNBLOCKED force unblock from blocking", "UNBLOCKED force", True, True),
    ("CLUSTERDOWN The cluster is down", "CLUSTERDOWN The", True, True),
    ("TRYAGAIN Multiple keys request", "TRYAGAIN Multiple", True, True),
    ("OOM command not allowed when used memory > 'maxmemory'.", "OOM its memory", False, True),
    ("NOAUTH Authentication required.", "NOAUTH it wants", False, True),
    ("WRONGPASS invalid username-password pair", "WRONGPASS it does", False, True),
    ("NOPERM User default has no permissions", "NOPERM User", False, True),
    ("WRONGTYPE Operation against a key", "WRONGTYPE Operation", False, False),
    ("BUSYKEY Target key name already exists.", "BUSYKEY Target", False, False),
    ("ERR unknown command", "unknown", False, False),
]


@pytest.mark.parametrize(("said", "told", "passes", "general"), REFUSALS)
def test_a_refusal_knows_whether_it_passes_and_whether_it_is_about_the_command(
    said: str, told: str, passes: bool, general: bool
) -> None:
    error = error_of(said, Address.parse("redis://here"))
    assert isinstance(error, RedisRefused)
    assert str(error).startswith(f"Redis at here:6379 refused: {told}")
    assert (error.is_passing, error.is_general) == (passes, general)


def in_short(error: BaseException | None) -> str:
    """The kind of an error, and what is asserted of its text."""
    if isinstance(error, RedisRefused):
        return error.code
    return "" if error is None else type(error).__name__


@pytest.mark.parametrize("name", FAULTS)
def test_a_program_is_told_by_an_error_of_heoris_where_and_what(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, told = FAULTS[name], Told(server)
    if fault.told and not fault.passes:  # then it is no use to ask again: who did would go on
        monkeypatch.setattr(session, "PATIENCE_S", 600.0)
    told.meet(fault)
    refused = fault.told or RedisUnavailable.__name__
    assert {use: in_short(error) for use, error in told.errors.items()} == {
        use: "" if use in fault.served else refused for use in USES
    }, told.errors
    for error in told.errors.values():
        if error is not None:
            assert isinstance(error, HeoriError)
            verb = f"refused: {fault.told}" if fault.told else "is away: "
            assert str(error).startswith(f"Redis at {server.endpoint} {verb}"), error
            assert "\n" not in str(error)
            assert PASSWORD not in str(error)


@pytest.mark.usefixtures("looks_often")
def test_a_result_is_awaited_no_more_when_the_login_is_refused(server: Server) -> None:
    async def awaited() -> int:
        return await handle

    refused = pytest.raises(RedisRefused, match=f"^Redis at {server.endpoint} refused: WRONGPASS")
    with Producer(server.url) as producer, RedisExecutor(server.url) as executor:
        handle = producer.submit(sample_tasks.add, 1)
        future = executor.submit(sample_tasks.add, 1)
        with another_password(server):
            with refused:
                asyncio.run(asyncio.wait_for(awaited(), 60))
            with refused:
                future.result(60)


@pytest.mark.parametrize("name", FAULTS)
def test_a_command_says_in_a_line_where_and_what(server: Server, name: str) -> None:
    fault = FAULTS[name]
    with Producer(server.url) as producer:
        job = producer.submit(sample_tasks.add, 1).id
        with fault.cause(server):
            sent = run_heori(server.url, "send", "tests.tasks.sample_tasks.add", "--args", "[1]")
            looked = run_heori(server.url, "status")
            read = run_heori(server.url, "job", job)
    for command, use in ((sent, "submit"), (looked, "status"), (read, "status")):
        if use in fault.served:
            assert (command.returncode, command.stderr) == (0, "")
            continue
        if fault.cause is other_types and use == "status":  # it shows what can be read
            assert command.returncode == 1
            assert re.match("heori: rq:.* cannot be read: it holds another type", command.stderr)
            continue
        first, *hint = command.stderr.splitlines()
        assert command.returncode == 2
        assert command.stdout == ""
        assert first.startswith("heori: ")
        assert f"at {server.endpoint}" in first, first
        assert (fault.told or "is away") in first
        assert len(hint) <= 1, command.stderr
        assert PASSWORD not in command.stderr
