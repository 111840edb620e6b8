"""The words of Heori's enqueue over a socket, with no client at all. It only sends."""

import socket
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from benchmarks.apps import Call, redis_url
from benchmarks.apps.floor import enqueues
from heori_common.redis.resp import pack

REPLY_BYTES = 1 << 16


def send_each(task: str, calls: Sequence[Call]) -> list[int]:
    commands = enqueues(task, calls)
    packed = [pack(command.words) for command in commands]
    where = urlsplit(redis_url())
    with socket.create_connection((where.hostname, where.port or 0)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert commands[0].in_full is not None
        link.sendall(pack(["SCRIPT", "LOAD", str(commands[0].in_full[1])]))
        link.recv(REPLY_BYTES)
        stamps = []
        for data in packed:
            stamps.append(time.time_ns())
            link.sendall(data)
            if link.recv(REPLY_BYTES)[:1] == b"-":  # so small a reply comes in one piece here
                raise ConnectionError("the server has refused it")
        return stamps
