"""Whom the service asks, when anybody may have written an address into a consumer's record."""

import socket
import threading
from collections.abc import Iterator

import pytest

from heori.inspect.scraper import NoMetrics, ask_slots


@pytest.mark.parametrize(
    "host", ["[fe80::1]", "[::ffff:169.254.1.1]", "169.254.1.1", "224.0.0.1", "0.0.0.0", "[::]"]
)
def test_what_is_no_address_of_a_machine_is_not_asked(host: str) -> None:
    url = f"http://{host}:9"
    told = ask_slots({"c": url}, 0, 60)["c"]
    assert isinstance(told, NoMetrics)
    assert "no consumer has such an address" in str(told)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_consumer_of_this_machine_is_asked_by_ipv6_too() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        url = f"http://[::1]:{server.getsockname()[1]}"

        def answer() -> None:
            one, _ = server.accept()
            with one:
                one.recv(10_000)
                one.sendall(b'HTTP/1.0 200 OK\r\n\r\n{"consumer": "c"}')

        thread = threading.Thread(target=answer)
        thread.start()
        assert ask_slots({"c": url}, 0, 60) == {"c": {"consumer": "c"}}
        thread.join(60)


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[bytes]]]:
    """A server that leads on, with a secret in its answer; and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        where = f"http://127.0.0.1:{port}"

        def answer() -> None:
            for _ in range(2):
                one, _ = server.accept()
                with one:
                    asked.append(one.recv(10_000))
                    one.sendall(f"HTTP/1.0 302 Go\r\nLocation: {where}/secret\r\n\r\n".encode())

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"a:b@127.0.0.1:{port}/path?query", asked
        with socket.create_connection(("127.0.0.1", port)) as last:
            last.sendall(b"end")
        thread.join(60)


def test_a_redirect_is_not_followed_and_little_is_told_of_it(
    elsewhere: tuple[str, list[bytes]],
) -> None:
    where, asked = elsewhere
    told = str(ask_slots({"c": f"http://{where}\r\nX: y"}, 0, 60)["c"])
    assert "b'HTTP/1.0 302 Go'" in told
    assert "secret" not in told
    [request] = asked
    assert request.startswith(b"GET /slots?jobs=0 HTTP/1.0\r\nHost: ")
    assert request.count(b"\r\n") == 3
