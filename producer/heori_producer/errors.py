"""What can go wrong for a producer, and how a failed job's exception is told from its traceback."""

import ast
import builtins
import re
import sys
from collections.abc import Iterator
from typing import Any

import heori_common.locks.errors  # noqa: F401 - jobs raise them: `original` must know them
from heori_common.errors import HeoriError
from heori_common.public import public


@public
class JobFailed(HeoriError, RuntimeError):
    """The job failed; the message is its traceback.

    Attributes:
        job_id: which job.
        traceback: the text that the consumer recorded.
    """

    def __init__(self, job_id: str, traceback: str) -> None:
        super().__init__(f"job {job_id} failed:\n{traceback}")
        self.job_id = job_id
        self.traceback = traceback


@public
class JobCanceled(JobFailed):
    """The job was cancelled before it began."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, "it was canceled")


@public
class JobNotFound(HeoriError, LookupError):
    """There is no such job: it was never sent, was deleted, or its result has expired."""


# How an exception's line begins after the frames of its traceback: `package.module.Error: text`.
_RAISED = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?\Z", re.DOTALL)

# How Python writes an error of the system's: `[Errno 2] No such file or directory: 'name'`.
_OS_ERROR = re.compile(r"\[Errno (\d+)\] (.*?)(?:: ('.*'|\".*\"))?", re.DOTALL)


def original(failed: JobFailed) -> BaseException:
    """The exception that the job raised, made anew, with the failure as its cause.

    Only of a class that is built in or that this program has imported: a name read from Redis
    makes nothing be imported. What cannot be made from its text alone stays the failure: one made
    of that text must say the same again, which those that want other arguments do not.
    """
    last = failed.traceback.rpartition("Traceback (most recent call last):\n")
    lines = last[2].rstrip("\n").split("\n")
    first = next((n for n, line in enumerate(lines) if not line.startswith(" ")), None)
    raised = None if not last[1] or first is None else _RAISED.match("\n".join(lines[first:]))
    if raised is None:
        return failed
    kind, text = _known(raised[1]), raised[2]
    if kind is None:
        return failed
    try:
        error = kind() if text is None else kind(*_arguments(kind, text))
        if str(error) not in (text or "", repr(text)):  # repr: of a key that no literal makes
            return failed
    except Exception:  # it wants other arguments, or runs whatever its class likes
        return failed
    error.__cause__ = failed
    return error


def _known(name: str) -> type[Exception] | None:
    """The class that a traceback names, if this program has it."""
    module, _, rest = name.rpartition(".")
    if not module:
        return _exception(vars(builtins).get(rest))
    if module == "heori":  # whose names are loaded when they are used
        return next((kind for kind in _derived(HeoriError) if kind.__qualname__ == rest), None)
    while module and module not in sys.modules:
        module, _, outer = module.rpartition(".")
        rest = f"{outer}.{rest}"
    found: Any = sys.modules.get(module)
    for part in rest.split("."):
        found = getattr(found, "__dict__", {}).get(part)  # not getattr, which may import
    return _exception(found)


def _exception(found: Any) -> type[Exception] | None:
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _derived(kind: type[Exception]) -> Iterator[type[Exception]]:
    """All of Heori's own errors: programs derive theirs from them, too, but in other modules."""
    if kind.__module__ == "heori":
        yield kind
        for each in kind.__subclasses__():
            yield from _derived(each)


def _arguments(kind: type[Exception], text: str) -> tuple[Any, ...]:
    if issubclass(kind, KeyError):  # whose text is its key as it is written in Python
        return (_literal(text),)
    if issubclass(kind, OSError) and (parts := _OS_ERROR.fullmatch(text)):
        number, said, name = parts.groups()
        return (int(number), said) if name is None else (int(number), said, _literal(name))
    return (text,)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
