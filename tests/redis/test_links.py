"""What a URL says of a link: options as people spell them, files with passwords and for TLS."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_py

from heori import InvalidSetting, Mutex, Producer, RedisRefused, RedisUnavailable, connect
from heori_common.embedded import EmbeddedValkey
from heori_common.locks import session
from heori_common.protocol.commands import Commands
from heori_common.redis.address import Address
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings
from tests.rigs.commands import run_heori
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import lock_tasks, sample_tasks


class Rotating:
    """A server with a password that changes, and the file in which it is told."""

    def __init__(self, url: str, admin: "redis_py.Redis", file: Path) -> None:
        self.file = file
        self.endpoint = url.removeprefix("redis://").removesuffix("/0")
        self._admin = admin
        self._execute("ACL SETUSER", "admin", "reset", "on", "nopass", "~*", "&*", "+@all")
        self._execute("AUTH", "admin", "any")
        self.rotate("first")

    def _execute(self, *words: str) -> None:
        self._admin.execute_command(*words)  # type: ignore[no-untyped-call]

    def rotate(self, password: str) -> None:
        """Another password holds, the file says it, and whoever is connected has to come again."""
        self._execute("ACL SETUSER", "default", "resetpass", f">{password}")
        self._execute("ACL SETUSER", "heori", "reset", "on", f">{password}", "~*", "&*", "+@all")
        self.file.write_text(password + "\n")
        for kind in ("normal", "pubsub"):
            self._admin.client_kill_filter(_type=kind, skipme=True)


@pytest.fixture
def rotating(tmp_path: Path) -> Iterator[Rotating]:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(
            server.url, single_connection_client=True, socket_timeout=None
        ) as admin,
    ):
        yield Rotating(server.url, admin, tmp_path / "password")
        session.close()


async def ask(url: str) -> None:
    client = AsyncRedisClient(url)
    assert await client.execute(Commands().queues()) == ["default"]
    await client.close()


@pytest.mark.parametrize("user", ["", "heori@"])
def test_a_password_that_changes_in_its_file_needs_no_restart(
    rotating: Rotating,
    consume: Callable[..., Consumer],
    monkeypatch: pytest.MonkeyPatch,
    user: str,
) -> None:
    """For the commands and the pushes of a consumer, a producer, locks, and what uses redis-py."""
    tasks = "tests.tasks.sample_tasks,tests.tasks.lock_tasks"
    environment = {
        "HEORI_REDIS_URL": f"redis://{user}{rotating.endpoint}/0",
        "HEORI_REDIS_PASSWORD_FILE": str(rotating.file),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    url = Settings().redis_url
    consumer = consume(**environment, HEORI_TASKS=tasks).ready()
    with Producer() as producer, connect(url) as client:

        def all_work() -> None:
            assert producer.submit(sample_tasks.add, 1).result(60) == 3
            assert producer.submit(lock_tasks.use_a_mutex, "inside").result(60)
            with Mutex("outside"):
                pass
            assert client.ping()
            asyncio.run(ask(url))

        all_work()
        for password in ("second", "a/b@c", "third"):
            rotating.rotate(password)
            with contextlib.suppress(redis_py.ConnectionError):
                client.ping()  # redis-py hears only now that its connection is gone
            all_work()
    until(lambda: consumer.metric("heori_redis_up") == 1)
    assert consumer.stop() == 0


def test_a_password_file_that_is_gone_is_an_outage_with_its_name(rotating: Rotating) -> None:
    url = f"redis://{rotating.endpoint}/0?password_file={rotating.file}"
    with RedisClient(url, patience=0) as client:
        assert client.execute(Commands().queues()) == []
        rotating.rotate("second")
        rotating.file.unlink()
        for _ in range(2):
            with pytest.raises(RedisUnavailable) as caught:
                client.execute(Commands().queues())
        assert str(rotating.file) in str(caught.value)
        rotating.file.write_text(" ")
        with pytest.raises(RedisUnavailable, match="is empty"):
            client.execute(Commands().queues())
        rotating.rotate("third")
        assert client.execute(Commands().queues()) == []


@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("ssl_ca_certs", None),
        ("ssl_ca_certs", "no certificate"),
        ("ssl_ca_path", None),
        ("ssl_certfile", None),
    ],
)
def test_a_file_that_tls_needs_and_cannot_read_is_named_in_one_message(
    consume: Callable[..., Consumer], tmp_path: Path, option: str, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with EmbeddedValkey() as server:
        endpoint = server.url.removeprefix("redis://").removesuffix("/0")
        # It is no server of TLS, and so does not answer.
        url = f"rediss://{endpoint}/0?{option}={file}&socket_timeout=1"
        with RedisClient(url, patience=0) as client, pytest.raises(RedisUnavailable) as caught:
            client.execute(Commands().queues())
        assert f"{option}: {file}" in str(caught.value)
        with pytest.raises(InvalidSetting, match=f"{option}: {file}"):
            Settings(redis_url=url)
    if content is None and option == "ssl_ca_certs":
        consumer = consume(HEORI_REDIS_URL=url)
        assert consumer.join() == 2
        told = [line["event"] for line in consumer.log]
        assert len(told) == 1
        assert told[0].startswith("heori: a setting does not fit: HEORI_REDIS_URL")


@pytest.mark.parametrize("scheme", ["rediss://127.0.0.1:1/0", "rediss+sentinel://127.0.0.1:1/main"])
def test_options_are_read_as_redis_py_and_celery_spell_them(scheme: str) -> None:
    for spelt in ("CERT_NONE", "CERT_REQUIRED", "cert_optional", "none", "Required", "optional"):
        meant = spelt.lower().removeprefix("cert_")
        read = Address.parse(f"{scheme}?ssl_cert_reqs={spelt}&ssl_check_hostname=false&db=2")
        assert f"ssl_cert_reqs={meant}&" in read.url


def test_what_is_about_redis_pys_own_clients_has_no_effect(redis_url: str) -> None:
    ignored = "decode_responses=true&encoding=latin-1&protocol=2&max_connections=1"
    url = f"{redis_url}?{ignored}&retry_on_timeout=1&client_name=mine&socket_timeout=9"
    with Producer(url) as producer, connect(url) as client:
        handle = producer.submit(sample_tasks.add, 1)
        assert client.lrange("rq:queue:default", 0, -1) == [handle.id.encode()]
        assert client.client_getname() == "mine"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rediss://a/0?ssl_cert_reqs=CERT_HUSH", "ssl_cert_reqs must be none, optional or req"),
        ("redis://a/0?ssl_cert_reqs=none", "ssl_cert_reqs is about TLS, .* begins with rediss"),
        ("redis://a/0?ssl=true", "TLS is asked for by rediss in place of redis, not by ssl"),
        ("redis://a/0?virtual_host=hush", "virtual_host that is not known"),
        ("redis+sentinel://a/main?foo=hush", "foo that is not known"),
        ("redis://a/0?sentinel_password=hush", "sentinel_password that is not known"),
        ("redis://:123?hush=1@a/0", "one that is not known; .* a password is written %3F"),
        ("rediss://a/0?ssl_keyfile=hush", "ssl_keyfile has no certificate"),
        ("redis://a/zero", "the database must be a number"),
        ("redis://a/0?db=hush", "db must be a number"),
        ("redis://a/0?db=1.5", "db must be a number"),
        ("redis://a/99999999999999999999", "the database must be a number"),
        ("redis://a/0?socket_timeout=hush", "socket_timeout must be a number"),
        ("redis://a/0?socket_timeout=0", "socket_timeout must be a number of seconds, and not 0"),
        ("redis://a/0?socket_keepalive=hush", "socket_keepalive must be true or false"),
        ("rediss://a/0?ssl_check_hostname=hush", "ssl_check_hostname must be true or false"),
        ("rediss://a/0?ssl_min_version=1.3", r"ssl_min_version must be one of .*772 \(TLS 1.3\)"),
        ("redis://a:0/0", "the port must be a number from 1 to 65535"),
        ("redis://:123#hush@a/0", "# has no meaning there; in a password it is written %23"),
        ("redis+sentinel://:12#hush@a/main", "in a password it is written %23"),
        ("unix://:12#hush@/run/valkey.sock", "in a password it is written %23"),
        ("rediss://a/0#hush", "# has no meaning there"),
    ],
)
def test_an_option_that_does_not_fit_is_told_when_the_url_is_read(url: str, message: str) -> None:
    for read in (RedisClient, connect, lambda url: Settings(redis_url=url)):
        with pytest.raises(ValueError, match=message) as caught:
            read(url)
        assert "hush" not in str(caught.value).lower()


@pytest.mark.parametrize(
    ("login", "rest", "said"),
    [
        ("", "/0", "NOAUTH it wants a password, and was given none"),
        (":@", "/0", "NOAUTH it wants a password, and was given none"),
        (":hush@", "/0", "WRONGPASS it does not know this user with this password"),
        ("ann:hush@", "/0", "WRONGPASS it does not know this user with this password"),
        ("", "/0?password=hush", "WRONGPASS it does not know this user with this password"),
        (":first@", "/99", "it has no database of the number that the URL names"),
        (":first@", "?db=99", "it has no database of the number that the URL names"),
    ],
)
def test_what_a_server_refuses_in_a_url_is_said_in_one_sentence(
    rotating: Rotating, login: str, rest: str, said: str
) -> None:
    url = f"redis://{login}{rotating.endpoint}{rest}"
    told = f"Redis at {rotating.endpoint} refused: {said}"
    with RedisClient(url) as client, pytest.raises(RedisRefused) as caught:
        client.execute(Commands().queues())
    assert str(caught.value) == told
    ran = run_heori(url, "status")
    assert (ran.returncode, ran.stdout) == (2, "")
    hint = "" if "database" in said else "Does HEORI_REDIS_URL hold its login?\n"
    assert ran.stderr == f"heori: {told}\n{hint}"
