"""Who may be connected to a port, and who makes room for others."""

import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest

from heori_common.connections import LEAVING, ONE_TURN, Connections, ListeningSocket, origin_of


@dataclass(eq=False)
class Peer:
    """A connection that somebody has made.

    Attributes:
        until: when its time is over, as `Connection` tells it; None while it is answered.
    """

    connections: Connections
    address: str = "192.0.2.1"
    until: float | None = field(default_factory=lambda: time.monotonic() + 60)
    dropped: bool = False
    closes: bool = True  # at once, when it is dropped

    def drop(self) -> None:
        self.dropped = True
        if self.closes:
            self.connections.remove(self)

    def enter(self) -> bool:
        return self.connections.add(self)


def test_the_one_that_is_waited_for_longest_makes_room_for_others_of_its_address() -> None:
    port = Connections("test", 8)
    elsewhere = Peer(port, "192.0.2.2")
    answered = Peer(port, until=None)
    silent = [Peer(port) for _ in range(3)]
    assert all(each.enter() for each in (elsewhere, answered, *silent))
    newer = [Peer(port) for _ in range(3)]
    for new, old in zip(newer, silent, strict=True):
        assert new.enter()
        assert old.dropped
    assert not answered.dropped
    assert not elsewhere.dropped
    assert not any(each.dropped for each in newer)


def test_whoever_has_most_connections_makes_room_when_all_are_taken() -> None:
    port = Connections("test", 6)
    few, many = Peer(port, "192.0.2.2"), [Peer(port) for _ in range(3)]
    others = [Peer(port, f"198.51.100.{number}") for number in range(2)]
    assert all(each.enter() for each in (few, *many, *others))
    assert Peer(port, "203.0.113.1").enter()
    assert [each.dropped for each in (few, *many, *others)] == [
        *(False, True, False, False),
        *(False, False),
    ]


def test_nobody_is_let_in_while_all_are_answered_or_too_many_have_yet_to_close() -> None:
    port = Connections("test", 4)
    answered = [Peer(port, until=None) for _ in range(2)]
    assert all(each.enter() for each in answered)
    assert not Peer(port).enter()
    answered[0].drop()
    assert Peer(port).enter()

    slow = Connections("test", 4)
    entered = [Peer(slow, closes=False).enter() for _ in range(LEAVING + 10)]
    assert entered == [True] * (LEAVING + 2) + [False] * 8


def test_a_network_of_ipv6_is_one_address() -> None:
    assert origin_of("2001:db8::1") == origin_of("2001:db8::ffff:2") != origin_of("2001:db8:1::1")
    assert origin_of("::ffff:192.0.2.1") == origin_of("192.0.2.1") != origin_of("192.0.2.2")
    assert origin_of("fe80::1%eth0") == origin_of("fe80::2")
    assert origin_of("") == ""


def test_those_whose_time_is_over_are_dropped_and_one_line_tells_how_many_were_too_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = Connections("test", 4)
    over, answered = Peer(port, until=time.monotonic()), Peer(port, until=None)
    assert over.enter()
    assert answered.enter()
    port.look()
    assert over.dropped
    assert not answered.dropped
    assert [Peer(port).enter() for _ in range(30)] == [True] * 30
    deadline = time.monotonic() + 60
    while not caplog.records and time.monotonic() < deadline:
        port.look()
        time.sleep(0.01)
    port.refuse("192.0.2.9")
    port.look()
    [said] = caplog.records
    assert "too many connections" in said.getMessage()
    assert "dropped=29" in said.getMessage()


EXHAUSTED = """
import resource, socket, sys
from heori_common.connections import Connections, ListeningSocket
listening = ListeningSocket(socket.AF_INET, socket.SOCK_STREAM)
listening.connections = Connections("test", 100)
listening.bind(("127.0.0.1", 0))
listening.listen(50)
listening.setblocking(False)
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (socket.socket().fileno(), hard))
print(listening.getsockname()[1], flush=True)
sys.stdin.readline()
for _ in range(100):
    try:
        listening.accept()
    except BlockingIOError:
        pass
    else:
        sys.exit("there was a descriptor")
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
print("again", flush=True)
sys.stdin.readline()
for _ in range(2):
    try:
        listening.accept()[0].sendall(b"here")
    except BlockingIOError:
        pass
"""


def test_those_for_whom_no_descriptor_is_left_are_turned_away_and_the_next_one_is_let_in() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", EXHAUSTED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        address = ("127.0.0.1", int(program.stdout.readline()))
        strangers = [socket.create_connection(address, timeout=60) for _ in range(20)]
        print(file=program.stdin, flush=True)
        for each in strangers:
            with each:
                assert each.recv(1) == b""
        assert program.stdout.readline() == "again\n"
        with socket.create_connection(address, timeout=60) as guest:
            print(file=program.stdin, flush=True)
            assert guest.recv(10) == b"here"
    assert program.returncode == 0


def test_a_turn_ends_after_some_so_that_they_can_be_counted() -> None:
    with ListeningSocket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        listening.setblocking(False)
        strangers = [socket.create_connection(listening.getsockname()) for _ in range(40)]
        accepted: list[socket.socket] = []
        turns = [0]
        while len(accepted) < len(strangers):
            try:
                accepted.append(listening.accept()[0])
                turns[-1] += 1
            except BlockingIOError:
                turns.append(0)  # or the kernel is not done with the next one yet
        assert max(turns) == ONE_TURN
        for each in (*strangers, *accepted):
            each.close()
