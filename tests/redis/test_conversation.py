"""Commands and replies, in whatever pieces they come, and pushes between them."""

import asyncio
import contextlib
import socket
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heori_common.redis.address import Address
from heori_common.redis.async_connection import AsyncConnection
from heori_common.redis.async_dialer import AsyncDialer
from heori_common.redis.async_push import AsyncPushConnection
from heori_common.redis.errors import RedisRefused, RedisUnavailable, error_of
from heori_common.redis.resp import Push, ReplyReader, Word, pack

HERE = Address.parse("redis://127.0.0.1:6379")


def reader() -> ReplyReader:
    return ReplyReader(partial(error_of, where=HERE))


EVERY_TYPE = (
    (b"+OK\r\n", b"OK"),
    (b":-7\r\n", -7),
    (b"(340282366920938463463374607431768211456\r\n", 2**128),
    (b",1.5e3\r\n", 1500.0),
    (b"#t\r\n", True),
    (b"#f\r\n", False),
    (b"_\r\n", None),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"$0\r\n\r\n", b""),
    (b"$4\r\na\r\nb\r\n", b"a\r\nb"),
    (b"=7\r\ntxt:a\r\n\r\n", b"txt:a\r\n"),
    (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", [b"a", [1]]),
    (b"~2\r\n:1\r\n:2\r\n", [1, 2]),
    (b"%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n_\r\n", {b"a": 1, b"b": None}),
    (b"|1\r\n+ttl\r\n:3600\r\n:5\r\n", 5),
    (b">2\r\n+invalidate\r\n*1\r\n+key\r\n", Push([b"invalidate", [b"key"]])),
    (b">2\r\n$10\r\ninvalidate\r\n*1\r\n$4\r\nk\r\ny\r\n", Push([b"invalidate", [b"k\r\ny"]])),
    (b">2\r\n$10\r\ninvalidate\r\n*2\r\n+a\r\n+b\r\n", Push([b"invalidate", [b"a", b"b"]])),
    (b">2\r\n$10\r\ninvalidate\r\n_\r\n", Push([b"invalidate", None])),
    (b">3\r\n$10\r\ninvalidate\r\n*1\r\n:1\r\n:2\r\n", Push([b"invalidate", [1], 2])),
)  # fmt: skip


@given(st.lists(st.sampled_from(EVERY_TYPE), max_size=12), st.data())
def test_replies_are_read_whole_wherever_they_are_cut(
    sent: list[tuple[bytes, Any]], data: st.DataObject
) -> None:
    stream = b"".join(raw for raw, _ in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    replies = reader()
    read = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        read += replies.feed(stream[start:end])
    assert read == [value for _, value in sent]
    assert [type(value) for value in read] == [type(value) for _, value in sent]


def test_errors_are_returned_with_the_name_that_the_server_gives_them() -> None:
    [missing, wrong, bulk, loading] = reader().feed(
        b"-NOSCRIPT No matching script\r\n-WRONGTYPE Operation\r\n!9\r\nERR long!\r\n"
        b"-LOADING Redis is loading\r\n"
    )
    assert [type(error) for error in (missing, wrong, bulk)] == [RedisRefused] * 3
    assert [error.code for error in (missing, wrong, bulk)] == ["NOSCRIPT", "WRONGTYPE", "ERR"]
    assert str(wrong) == "Redis at 127.0.0.1:6379 refused: WRONGTYPE Operation"
    assert str(bulk) == "Redis at 127.0.0.1:6379 refused: long!"
    assert type(loading) is RedisUnavailable
    assert str(loading) == "Redis at 127.0.0.1:6379 is away: LOADING Redis is loading"


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400\r\n", b"$x\r\n", b"*1e3\r\n", b"\x00\r\n"])
def test_what_is_no_reply_is_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever int() says of it
        reader().feed(garbage)


def test_a_command_is_an_array_of_bulk_strings() -> None:
    packed = pack(("SET", b"k\r\n", "힐", -3, 0.5))
    assert (
        packed
        == b"*5\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$3\r\n\xed\x9e\x90\r\n$2\r\n-3\r\n$3\r\n0.5\r\n"
    )


@pytest.mark.parametrize("keys", [0, 2, 30])
def test_the_call_of_a_script_is_packed_as_any_command_is(keys: int) -> None:
    names = [f"k{n}힐\udcff" for n in range(keys)]
    for argument in (b"\x81\xa1x\x01", b"other"):
        words = ("EVALSHA", "5" * 40, keys, *names, argument)
        assert pack(words) == pack(list(words))
        assert pack(words).startswith(b"*%d\r\n$7\r\nEVALSHA\r\n" % (keys + 4))
        assert pack(words).endswith(b"\r\n$%d\r\n%b\r\n" % (len(argument), argument))


def test_a_real_server_answers_each_in_turn(redis_url: str) -> None:
    async def talk() -> None:
        connection = AsyncConnection(AsyncDialer(Address.parse(redis_url)))
        await connection.connect()
        asked = [connection.ask(("ECHO", "x" * size), 60) for size in (0, 1, 70_000)]
        assert await asyncio.gather(*asked) == [b"", b"x", b"x" * 70_000]
        with pytest.raises(RedisRefused, match="WRONGTYPE"):
            await asyncio.gather(
                connection.ask(("RPUSH", "a-list", "1"), 60),
                connection.ask(("GET", "a-list"), 60),
            )
        await connection.ask(("DEL", "a-list"), 60)
        await connection.close()
        with pytest.raises(RedisUnavailable):
            await connection.ask(("PING",), 60)

    asyncio.run(talk())


def ask(connection: AsyncPushConnection, *words: Word) -> "asyncio.Future[Any]":
    answer = asyncio.get_running_loop().create_future()
    connection.send([(words, answer.set_result)])
    return answer


def test_pushes_come_between_the_replies_on_one_connection(redis_url: str) -> None:
    async def talk() -> None:
        pushed: list[list[Any]] = []
        ready = asyncio.Event()
        connection = AsyncPushConnection(
            AsyncDialer(Address.parse(redis_url)),
            [("CLIENT", "TRACKING", "ON"), ("SUBSCRIBE", "news")],
            pushed.append,
            lambda refused: ready.set() if not refused else None,
        )
        running = asyncio.create_task(connection.run())
        await asyncio.wait_for(ready.wait(), 60)
        assert connection.is_ready
        assert pushed == []
        assert await ask(connection, "GET", "a-text") is None
        await ask(connection, "SET", "a-text", "1")
        await ask(connection, "PUBLISH", "news", "hello")
        assert pushed == [[b"invalidate", [b"a-text"]], [b"message", b"news", b"hello"]]
        await ask(connection, "DEL", "a-text")
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert not connection.is_connected

    asyncio.run(talk())


class _Peer:
    """A server that shakes hands like Redis and then sends what it is told to."""

    def __init__(self, then: bytes | None) -> None:
        self._then = then
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await self._serve(reader, writer)
            writer.close()
            await writer.wait_closed()
        self.ended.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = [await reader.readline() for _ in range(2 * int(line[1:]))][1::2]
            if words[0] == b"HELLO\r\n":
                writer.write(b"%1\r\n+proto\r\n:3\r\n")
            elif words[0] != b"ASK\r\n":
                writer.write(b"+OK\r\n")
            elif self._then is None:
                return
            else:
                writer.write(self._then)


@pytest.mark.parametrize(
    ("then", "seconds", "text"),
    [
        (None, 60, "was lost"),
        (b"nonsense\r\n", 60, "makes no sense"),
        (b"+one\r\n+too many\r\n", 60, "was lost"),
        (b"$100\r\nhalf a reply", 0.2, "no reply within 0.2 s"),
    ],
)
def test_a_server_that_breaks_off_fails_what_was_asked(
    then: bytes | None, seconds: float, text: str
) -> None:
    async def ask_twice(connection: AsyncConnection) -> None:
        for _ in range(2):
            await connection.ask(("ASK",), seconds)

    async def talk() -> None:
        listening, peer = socket.create_server(("127.0.0.1", 0)), _Peer(then)
        async with await asyncio.start_server(peer.serve, sock=listening) as server:
            url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            connection = AsyncConnection(AsyncDialer(Address.parse(url)))
            await connection.connect()
            with pytest.raises(RedisUnavailable, match=text):
                await ask_twice(connection)
            await connection.close()
            assert not connection.is_connected
            await peer.ended.wait()

    asyncio.run(talk())
