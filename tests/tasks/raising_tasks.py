"""Errors of every kind that a task may raise, by name; and the task that raises them."""

import asyncio
import decimal
import json
import re
import sqlite3
import ssl
import subprocess
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from heori import FencedOut, JobFailed, LockLost, task


class Status(Exception):
    """One whose text is made by its `__init__`."""

    def __init__(self, code: int) -> None:
        super().__init__(f"status {code}")
        self.code = code


class Counted(Exception):
    """One that counts what it gets."""

    def __init__(self, items: list[int]) -> None:
        super().__init__(f"{len(items)} items")
        self.items = items

    def __len__(self) -> int:
        return 0  # it must not pass for none


class Keyworded(Exception):
    """One that wants keywords."""

    def __init__(self, *, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class Two(Exception):
    """One with two arguments that it does not pass on."""

    def __init__(self, one: int, two: tuple[int, ...]) -> None:
        self.one = one
        self.two = two

    def __str__(self) -> str:
        return f"{self.one} and {self.two}"


class Slotted(Exception):
    """One with slots."""

    __slots__ = ("where",)

    def __init__(self, where: str) -> None:
        self.where = where


class Located(OSError):
    """An error of the system's with more."""

    def __init__(self, text: str, line: int) -> None:
        super().__init__(2, text, "orders.csv")
        self.line = line


class Outer:
    class Inner(LookupError):
        """One inside a class."""


class Holding(Exception):
    """One with something that is nothing plain."""

    def __init__(self, thing: object) -> None:
        self.thing = thing


class Explosive(Exception):
    """One that cannot say what it is."""

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class Changing(Exception):
    """One that says something else each time."""

    said = 0

    def __str__(self) -> str:
        Changing.said += 1
        return str(Changing.said)


def noted(error: Exception, *notes: Any) -> Exception:
    error.__notes__ = list(notes)
    return error


def raised(call: Callable[[], object]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError


def _local() -> Exception:
    class Local(Exception):
        pass

    return Local("nobody finds its class")


def _replaced() -> Exception:
    error: Exception = type("Status", (Exception,), {"__module__": __name__})(
        "another of that name"
    )
    return error


QUOTE = "it said:\nTraceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'quoted'"

EXACT: dict[str, Callable[[], Exception]] = {
    "plain": lambda: ValueError("because: 힐\nof two lines"),
    "empty": ValueError,
    "several": lambda: ValueError(1, "a", None, 2.5, b"\xff", ["x", {"y": (1,)}]),
    "surrogate": lambda: ValueError("caf\udce9.txt"),
    "quoting": lambda: RuntimeError(QUOTE),
    "status": lambda: Status(404),
    "counted": lambda: Counted([1, 2, 3]),
    "keyworded": lambda: Keyworded(reason="late", code=7),
    "two": lambda: Two(1, (2, 3)),
    "slotted": lambda: Slotted("here"),
    "located": lambda: Located("gone", 17),
    "nested": lambda: Outer.Inner("deep"),
    "key": lambda: KeyError(("a", 1)),
    "noted": lambda: noted(ValueError("text"), "first note", "second\nnote"),
    "file": lambda: raised(Path("/nonexistent/file").read_text),
    "rename": lambda: OSError(13, "Permission denied", "a", None, "b"),
    "no number": lambda: OSError("of no number"),
    "blocking": lambda: BlockingIOError(11, "later", 5),
    "decoding": lambda: raised(b"a\xffb".decode),
    "encoding": lambda: raised("\udce9".encode),
    "json": lambda: raised(lambda: json.loads("[1,")),
    "program": lambda: subprocess.CalledProcessError(3, ["a", "b"], b"out", b"err"),
    "late program": lambda: subprocess.TimeoutExpired("sleep", 0.5),
    "attribute": lambda: raised(lambda: [].nothing),  # type: ignore[attr-defined]
    "import": lambda: raised(lambda: __import__("nowhere_to_be_found")),
    "syntax": lambda: raised(lambda: compile("a b", "f.py", "exec")),
    "pattern": lambda: raised(lambda: re.compile("(")),
    "incomplete": lambda: asyncio.IncompleteReadError(b"part", 9),
    "sqlite": lambda: raised(lambda: sqlite3.connect(":memory:").execute("nonsense")),
    "tls": lambda: ssl.SSLError(1, "[SSL] no"),
    "url": lambda: urllib.error.URLError("no route"),
    "fenced": lambda: FencedOut(7, 9),
    "lost": lambda: LockLost("gone"),
    "failed": lambda: JobFailed("of another job", "its traceback"),
}

INEXACT: dict[str, Callable[[], Exception]] = {
    "holding": lambda: Holding(object()),
    "subclass": lambda: ValueError(type("Text", (str,), {})("looks like a text")),
    "group": lambda: ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
    "http": lambda: urllib.error.HTTPError("http://a", 404, "none", None, None),  # type: ignore[arg-type]
    "validation": lambda: raised(lambda: TypeAdapter(int).validate_python("x")),
    "decimal": lambda: raised(lambda: decimal.Decimal("x")),
    "large": lambda: ValueError("x" * 10_000_000),
    "huge number": lambda: ValueError(1 << 70),
    "local": _local,
    "replaced": _replaced,
    "main": lambda: type("Mine", (Exception,), {"__module__": "__main__"})("of a script"),
    "explosive": Explosive,
    "changing": Changing,
    "noted oddly": lambda: noted(ValueError("text"), 5),
}


@task
def throw(name: str) -> None:
    """A job that raises one of these, after another."""
    try:
        raise LookupError("the cause of it")
    except LookupError as cause:
        error = (EXACT | INEXACT)[name]()
        raise error from cause
