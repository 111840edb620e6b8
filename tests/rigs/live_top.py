"""`heori top` on a terminal, until Ctrl-C."""

import os
import pty
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rigs.zygote import Started

ROOT = Path(__file__).parents[2]
Drawn = Callable[[Callable[[bytes], bool]], None]


@contextmanager
def live_top(redis_url: str) -> Iterator[Drawn]:
    """Yields what reads all that is drawn from then on, until that is seen; ends it with Ctrl-C."""
    leader, follower = pty.openpty()
    with Started(
        *("heori", "top", "--every", "100ms"),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "HEORI_REDIS_URL": redis_url, "TERM": "xterm", "COLUMNS": "200"},
        cwd=ROOT,
    ) as process:
        os.close(follower)

        def drawn(is_seen: Callable[[bytes], bool]) -> None:
            seen = b""
            while not is_seen(seen):
                seen += os.read(leader, 65536)

        yield drawn
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            try:
                os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
        assert process.wait(60) == 130
    os.close(leader)
