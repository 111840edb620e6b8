"""What consumers can import by name, and what to do about what they cannot.

A job names its function as an import statement would: a module, and the way from there. So it must
be a plain function at the top of a module or class, and stand there as itself.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from heori_common.errors import short

CALL_IT = "define a function that calls it, and have @task above that"


def why_not(thing: object) -> str | None:
    """Why consumers cannot import something by its name, and what to do; None if they can."""
    if inspect.isfunction(thing):
        return _of_function(thing)
    if isinstance(thing, str):
        return "it is a text; give the function itself, or send it by its name with `heori send`"
    if isinstance(thing, staticmethod):
        return "put @task below @staticmethod"
    if isinstance(thing, classmethod) or inspect.ismethod(thing):
        return (
            "it is a method, which is called with its instance or class, and a job has none; make "
            "it a function at the top of its module"
        )
    if inspect.isawaitable(thing) or not callable(thing):
        return "give the function itself, and its arguments apart, as in submit(add, 1, 2)"
    if isinstance(thing, functools.partial):
        return f"it is a partial, which has no name; {CALL_IT}"
    if isinstance(thing, type):
        return f"it is a class; {CALL_IT}"
    if hasattr(thing, "__wrapped__"):
        return f"a decorator has made a {type(thing).__name__} of it, and no function; {CALL_IT}"
    if inspect.isbuiltin(thing):
        return f"it is written in C; {CALL_IT}"
    return f"it is a {type(thing).__name__} that can be called, and no function; {CALL_IT}"


def _of_function(function: Callable[..., Any]) -> str | None:
    name = function.__qualname__
    if name.rpartition(".")[2] == "<lambda>":
        return "a lambda has no name; write it with def at the top of a module"
    if "<" in name:
        return (
            "it is defined inside another function; move it to the top of its module. If that is a "
            "decorator, it should use functools.wraps"
        )
    if "__name__" not in function.__globals__:
        return "its code is in no module, as exec() runs it; put it into one"
    first = next(iter(inspect.signature(function).parameters), "")
    if "." in name and first in ("self", "cls"):
        return (
            f"it is a method, which is called with its {first}, and a job has none; make it a "
            "function at the top of its module, or a @staticmethod with @task below that"
        )
    return None


def shown(thing: object) -> str:
    """The name of a function, or what else it is, for a message."""
    if inspect.isfunction(thing):
        return f"{thing.__module__}.{thing.__qualname__}"
    return short(thing)
