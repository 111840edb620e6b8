"""The private parts of redis-py that Heori uses: in one file, and as they were when it was tried.

A new version of redis-py may change them without saying so. Then a test of this file fails, and
names what has changed.
"""

import ast
import asyncio
import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis as redis_py

from heori_common.redis import private
from heori_common.redis.address import Address
from heori_common.redis.redis_py import AsyncRedisPyDialer, RedisPyDialer

ROOT = Path(__file__).parents[2]
THE_FILE = Path(private.__file__).resolve()
SHIPPED = [
    path
    for package in ("common", "consumer", "heori", "producer")
    for path in sorted((ROOT / package).rglob("*.py"))
]
PRIVATE = re.compile(r"_(?!_)\w+")


@contextlib.contextmanager
def naming(part: str) -> Iterator[None]:
    """Fail with the name of the part of redis-py that is not as Heori needs it."""
    try:
        yield
    except Exception as error:
        pytest.fail(
            f"redis-py {redis_py.__version__} has changed a private part: {part}: {error!r}\n"
            f"Mend {THE_FILE.relative_to(ROOT)}, or bound redis's version in pyproject.toml."
        )


def test_a_connection_keeps_its_socket_where_it_was(redis_url: str) -> None:
    connection, _ = RedisPyDialer(Address.parse(redis_url)).connect()
    with naming("Connection._sock is the connected socket, all of whose answers were read"):
        taken = private.socket_of(connection)
        assert isinstance(taken, socket.socket)
        taken.settimeout(60)
        taken.sendall(b"PING\r\n")
        assert taken.recv(100) == b"+PONG\r\n"
    with naming("Connection.disconnect() closes Connection._sock"):
        connection.disconnect()
        assert taken.fileno() == -1


class Reading(asyncio.Protocol):
    """What a transport is handed over to."""

    def __init__(self) -> None:
        self.read: asyncio.Queue[bytes] = asyncio.Queue()
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.read.put_nowait(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


def test_an_asyncio_connection_keeps_its_transport_where_it_was(redis_url: str) -> None:
    async def look() -> None:
        connection, _ = await AsyncRedisPyDialer(Address.parse(redis_url)).connect()
        reading = Reading()
        with naming("asyncio Connection._writer.transport is the connection, and all was read"):
            taken = private.transport_of(connection)
            taken.set_protocol(reading)
            taken.write(b"PING\r\n")
            assert await asyncio.wait_for(reading.read.get(), 60) == b"+PONG\r\n"
        with naming("asyncio Connection.disconnect(nowait=True) closes the transport"):
            await connection.disconnect(nowait=True)
            await asyncio.wait_for(reading.lost.wait(), 60)
        assert reading.read.empty()

    asyncio.run(look())


def test_what_a_new_version_changes_is_named() -> None:
    renamed: Any = object()
    said = rf"redis-py {redis_py.__version__} has changed .*_sock.*\nMend common/.*private\.py, or"
    with pytest.raises(pytest.fail.Exception, match=said), naming("Connection._sock"):
        private.socket_of(renamed)
    with pytest.raises(pytest.fail.Exception, match="_writer"), naming("Connection._writer"):
        private.transport_of(renamed)


def names_of(tree: ast.AST) -> set[str]:
    """The private names that a program gives to attributes and functions."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name, ctx=ast.Store()):
                names.add(name)
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                names.add(name)
    return {name for name in names if PRIVATE.fullmatch(name)}


def imports_of(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What a program imports of redis-py: its full name, and the name that it has there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [(each.name, each.asname or each.name.partition(".")[0]) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [
                (f"{node.module}.{each.name}", each.asname or each.name) for each in node.names
            ]
        else:
            continue
        yield from (names for names in found if names[0].partition(".")[0] == "redis")


def private_uses(tree: ast.AST, theirs: set[str]) -> Iterator[str]:
    """What a program uses that is private to redis-py.

    Args:
        theirs: the private names that redis-py's attributes and functions have.
    """
    imported = dict(imports_of(tree))
    yield from (name for name in imported if any(map(PRIVATE.fullmatch, name.split("."))))
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if name in theirs:
                yield ast.unparse(node)
            case ast.Constant(value=str(name)) if name in theirs:  # for getattr, say
                yield ast.unparse(node)
            case ast.ClassDef(bases=bases):  # whose private parts would be those of `self`
                roots = {ast.unparse(base).partition(".")[0] for base in bases}
                yield from (f"class {node.name}" for _ in roots & set(imported.values()))


class _AnyTuple(NamedTuple):
    """Its `_fields` and the like are public, in spite of their names."""


def test_what_is_private_in_redis_py_is_used_in_one_file() -> None:
    library = [
        ast.parse(path.read_text(encoding="utf-8"))
        for path in Path(redis_py.__file__).parent.rglob("*.py")
    ]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SHIPPED}
    theirs = {name for tree in library for name in names_of(tree)}
    ours = {name for tree in trees.values() for name in names_of(tree)}
    theirs -= ours | set(dir(_AnyTuple))
    used = {path: sorted(private_uses(tree, theirs)) for path, tree in trees.items()}
    assert {path.relative_to(ROOT): found for path, found in used.items() if found} == {
        THE_FILE.relative_to(ROOT): ["connection._sock", "connection._writer"]
    }


@pytest.mark.parametrize(
    "program",
    [
        "from redis._parsers import Encoder",
        "import redis._parsers.hiredis",
        "from redis import _parsers",
        "client.connection._sock",
        "getattr(connection, '_sock')",
        "import redis as r\nclass Mine(r.Connection): pass",
        "from redis.asyncio import Connection\nclass Mine(Connection): pass",
    ],
)
def test_the_scan_finds(program: str) -> None:
    assert len(list(private_uses(ast.parse(program), {"_sock"}))) == 1
