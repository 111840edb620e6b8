"""The mark of what programs import from `heori`."""

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T", bound=Callable[..., Any])


def public(thing: T) -> T:
    """Let a class or a function say `heori` as its module, which is where programs import it.

    So tracebacks, reprs, pickles and what RQ stores of an error say ``heori.JobTimeout``, and stay
    readable when the file of its definition moves. It is set where the thing is defined, because an
    error may be raised in a process that has never imported `heori` itself.
    """
    thing.__module__ = "heori"
    return thing
