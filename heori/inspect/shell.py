"""Commands as they are typed in a shell, whatever is in a name."""

import shlex
from collections.abc import Iterable


def quoted(word: str) -> str:
    """A word as a shell reads it, and as it can be typed, whatever is in it."""
    if word.isprintable():
        return shlex.quote(word)
    raw = word.encode("utf-8", "surrogateescape")
    typed = (chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in raw)
    return f"$'{''.join(typed)}'"


def consume(queues: Iterable[str]) -> str:
    """A command for a shell that starts a consumer of these queues."""
    # What stands after the last = is a weight, so that a name with one needs another.
    words = (quoted(f"{queue}=1" if "=" in queue else queue) for queue in queues)
    return " ".join(["heori consume", *(f"--queue {word}" for word in words)])


def first(name: str, *options: str) -> str:
    """What a command is given whose first argument is a name, which may begin with a dash."""
    words = [*options, "--", name] if name.startswith("-") else [name, *options]
    return " ".join(map(quoted, words))
