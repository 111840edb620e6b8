"""Commands on a terminal of a given width."""

import os
import pty
import re
import termios

from tests.rigs.zygote import Started

_STYLES = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]")


def on_terminal(
    redis_url: str, *words: str, columns: int = 100, answer: str = ""
) -> tuple[int, str]:
    """Run `heori` and answer its question; returns its exit code and what it shows, unstyled."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    environment = {**os.environ, "HEORI_REDIS_URL": redis_url, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    process = Started(
        *("heori", *words), env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
            if b"[y/N]" in shown and answer:
                os.write(ours, answer.encode())
                answer = ""
    except OSError:  # how Linux tells that the other side has closed
        pass
    finally:
        os.close(ours)
    return process.wait(120), _STYLES.sub("", shown.decode())
