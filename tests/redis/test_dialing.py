"""How connections are made: by Heori itself where a socket and a greeting will do."""

import asyncio
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import pytest

from heori_common.embedded import EmbeddedValkey
from heori_common.redis.address import Address
from heori_common.redis.async_connection import AsyncConnection
from heori_common.redis.async_dialer import AsyncDialer
from heori_common.redis.connection import BlockingConnection
from heori_common.redis.dialer import Dialer
from heori_common.redis.errors import RedisRefused, RedisUnavailable

PASSWORD = "a/b@c?%d"


@pytest.fixture
def login(redis: Any) -> Any:
    """A user's login, as it stands in a URL."""
    redis.acl_setuser("ana", enabled=True, passwords=["+" + PASSWORD], categories=["+@all"])
    yield f"ana:{quote(PASSWORD, safe='')}@"
    redis.acl_deluser("ana")


def both(url: str, *words: str) -> list[str]:
    """What a command answers on a connection that blocks, and on one of an event loop."""

    async def ask() -> Any:
        connection = AsyncConnection(AsyncDialer(Address.parse(url)))
        await connection.connect()
        try:
            return await connection.ask(words, 60)
        finally:
            await connection.close()

    blocking = BlockingConnection(Dialer(Address.parse(url)))
    try:
        answer = blocking.ask(words)
    finally:
        blocking.close()
    return [each.decode() for each in (answer, asyncio.run(ask()))]


def test_login_database_and_name_are_those_of_the_url(redis_url: str, login: str) -> None:
    server = redis_url.removeprefix("redis://").partition("/")[0]
    options = f"client_name=mine&username=ana&password={quote(PASSWORD, safe='')}"
    for url in (f"redis://{login}{server}/3?client_name=mine", f"redis://{server}?db=3&{options}"):
        for told in both(url, "CLIENT", "INFO"):
            fields = dict(field.partition("=")[::2] for field in told.split())
            assert (fields["user"], fields["db"]) == ("ana", "3"), url
            assert (fields["name"], fields["resp"]) == ("mine", "3"), url
            assert fields["lib-name"] == "heori", url


@pytest.mark.parametrize("denied", ["-client|setinfo", "-client"])
def test_a_user_who_may_not_say_who_it_is_is_connected_all_the_same(
    redis: Any, redis_url: str, login: str, denied: str
) -> None:
    redis.execute_command("ACL", "SETUSER", "ana", denied)
    url = redis_url.replace("redis://", f"redis://{login}")
    assert both(url, "PING") == ["PONG", "PONG"]


def test_a_server_is_reached_by_its_unix_socket() -> None:
    # Not that of pytest, whose path may be longer than a socket's can be.
    with TemporaryDirectory() as folder, EmbeddedValkey({"unixsocket": f"{folder}/socket"}):
        path = Path(folder, "socket")
        for told in both(f"unix://{quote(str(path))}?db=2", "CLIENT", "INFO"):
            assert f"{path}:0" in told
            assert " db=2 " in told


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (("redis://", "redis://ana:wrong@"), RedisRefused, "WRONGPASS"),
        (("/0", "/999999"), RedisRefused, "no database of the number"),
        (("127.0.0.1", "nowhere.invalid"), RedisUnavailable, "nowhere.invalid"),
    ],
)
def test_what_a_server_does_not_take_is_said(
    change: tuple[str, str], kind: type[Exception], told: str, redis_url: str
) -> None:
    url = redis_url.replace(*change)
    with pytest.raises(kind, match=told):
        BlockingConnection(Dialer(Address.parse(url)))
    with pytest.raises(kind, match=told):
        asyncio.run(AsyncDialer(Address.parse(url)).dial())


@pytest.mark.parametrize(
    ("url", "needs_it"),
    [
        ("redis://ana:secret@127.0.0.1:1/0?socket_timeout=3", False),
        ("unix:///nowhere/at/all?db=1", False),
        ("rediss://127.0.0.1:1/0", True),
        ("redis+sentinel://127.0.0.1:1/main", True),
        ("redis://127.0.0.1:1/0?password_file=/nowhere", True),
    ],
)
def test_redis_py_is_imported_for_what_needs_it_and_not_by_the_thread_that_asks(
    url: str, needs_it: bool
) -> None:
    """The exception that ends a job could strike there inside the import."""
    program = """
import sys, threading
importing = []
class Watch:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "redis":
            importing.append(threading.current_thread() is threading.main_thread())
sys.meta_path.insert(0, Watch())
from heori_common.protocol.commands import Command
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisUnavailable
assert not importing
try:
    with RedisClient(sys.argv[1], patience=0) as client:
        client.execute(Command(("PING",), bytes))
except RedisUnavailable as error:
    assert "is away: " in str(error), error
    print(bool(importing), any(importing))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == (f"{needs_it} False\n", "")
