"""What a check has seen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from heori import formats
from heori.inspect.shell import quoted

Level = Literal["problem", "warning", "fine", "unknown"]


MOST_NAMED = 50  # in one command


def for_each(names: Sequence[str], *words: str) -> str:
    """A command for a shell that sends one to the server for each of these names.

    Args:
        words: of the command; "NAME" stands for the name.
    """
    if len(names) == 1:
        return command(*(names[0] if word == "NAME" else word for word in words))
    named = " ".join(map(quoted, names[:MOST_NAMED]))
    sent = " ".join('"$name"' if word == "NAME" else quoted(word) for word in words)
    left = len(names) - MOST_NAMED
    again = f"  # and again: there are {formats.count(left)} more" if left > 0 else ""
    return f"for name in {named}; do heori redis {sent}; done{again}"


def command(*words: str) -> str:
    """A command for a shell that sends this one to the server."""
    return " ".join(["heori redis", *map(quoted, words)])


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        check: its name, for scripts.
        says, means: what is so; what it does to jobs.
        mend: a command for a shell; empty where none is needed.
    """

    check: str
    level: Level
    says: str
    means: str = ""
    mend: str = ""

    def record(self) -> dict[str, str]:
        """For scripts."""
        return asdict(self)
