"""`heori redis`: one command for the server."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from heori.cli.ending import guarded
from heori.plain import say
from heori_common.protocol.commands import Command
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings

# What begins with a dash is the command's own, as the -1 of LRANGE.
CONTEXT = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def redis(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND", help="A command and its arguments, such as LLEN rq:queue:default."
        ),
    ],
) -> None:
    """Send one command to the server, with the login, TLS and sentinels of HEORI_REDIS_URL.

    `heori doctor` prints such commands. They run where it runs, also in a container, and need no
    redis-cli. A command is sent once, whatever comes of it.
    """
    settings = Settings()

    def send() -> None:
        with RedisClient(settings.redis_url, patience=0) as client:
            raw = tuple(word.encode("utf-8", "surrogateescape") for word in words)
            say(*_lines(client.execute(Command(raw, lambda reply: reply))))

    guarded(send)


def _lines(reply: Any) -> Iterator[str]:
    if isinstance(reply, dict):
        for name, value in reply.items():
            yield f"{' '.join(_lines(name))}: {' '.join(_lines(value))}"
    elif isinstance(reply, list | set):
        for part in reply:
            yield " ".join(_lines(part))
    elif isinstance(reply, bytes):
        yield from reply.decode(errors="backslashreplace").splitlines() or [""]
    else:
        yield "none" if reply is None else str(reply)
