"""Flows: jobs that wait for others, get what these return, and are sent together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, overload

from heori_common.calls import Flow, FlowFailure, FlowStep
from heori_common.errors import short
from heori_common.public import public
from heori_producer.group import Group
from heori_producer.handle import Handle

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")

OnFailure: TypeAlias = FlowStep[list[FlowFailure], Any] | Flow[Any] | None


@dataclass(frozen=True, slots=True, eq=False)
class FlowChain(Flow[Any], FlowStep[Any, Any]):
    """Steps one after the other."""

    steps: Sequence[Any]
    on_failure: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class FlowGroup(Flow[Any], FlowStep[Any, Any]):
    """Flows beside each other, and what runs once all have ended."""

    members: Sequence[Any]
    then: Any = None
    on_failure: Any = None


@overload
def chain(a: Flow[T1], /, *, on_failure: OnFailure = None) -> Flow[T1]: ...
@overload
def chain(
    a: Flow[T1], b: FlowStep[T1, T2] | Flow[T2], /, *, on_failure: OnFailure = None
) -> Flow[T2]: ...
@overload
def chain(
    a: Flow[T1],
    b: FlowStep[T1, T2] | Flow[T2],
    c: FlowStep[T2, T3] | Flow[T3],
    /,
    *,
    on_failure: OnFailure = None,
) -> Flow[T3]: ...
@overload
def chain(
    a: Flow[T1],
    b: FlowStep[T1, T2] | Flow[T2],
    c: FlowStep[T2, T3] | Flow[T3],
    d: FlowStep[T3, T4] | Flow[T4],
    /,
    *,
    on_failure: OnFailure = None,
) -> Flow[T4]: ...
@overload
def chain(
    a: Flow[T1],
    b: FlowStep[T1, T2] | Flow[T2],
    c: FlowStep[T2, T3] | Flow[T3],
    d: FlowStep[T3, T4] | Flow[T4],
    e: FlowStep[T4, T5] | Flow[T5],
    /,
    *,
    on_failure: OnFailure = None,
) -> Flow[T5]: ...
@overload
def chain(
    a: Flow[T1],
    b: FlowStep[T1, T2] | Flow[T2],
    c: FlowStep[T2, T3] | Flow[T3],
    d: FlowStep[T3, T4] | Flow[T4],
    e: FlowStep[T4, T5] | Flow[T5],
    f: FlowStep[T5, T6] | Flow[T6],
    /,
    *more: FlowStep[Any, Any] | Flow[Any],
    on_failure: OnFailure = None,
) -> Flow[Any]: ...
@overload
def chain(a: FlowStep[A, T1], /, *, on_failure: OnFailure = None) -> FlowStep[A, T1]: ...
@overload
def chain(
    a: FlowStep[A, T1], b: FlowStep[T1, T2] | Flow[T2], /, *, on_failure: OnFailure = None
) -> FlowStep[A, T2]: ...
@overload
def chain(
    a: FlowStep[A, T1],
    b: FlowStep[T1, T2] | Flow[T2],
    c: FlowStep[T2, T3] | Flow[T3],
    /,
    *,
    on_failure: OnFailure = None,
) -> FlowStep[A, T3]: ...
@public
def chain(*steps: Any, on_failure: Any = None) -> Any:
    """Steps one after the other: ``chain(fetch.s(url), parse.s(), store.s(table="pages"))``.

    A step that lacks its first argument gets what the one before has returned. One that has all of
    its arguments runs after it, and gets nothing. If a step fails for good, the rest is cancelled.

    Args:
        on_failure: runs once a step has failed for good, was cancelled, stopped or has expired,
            and gets a list with a `FlowFailure` of each. Otherwise it is cancelled.

    Raises:
        TypeError: something is no step, or there is none.
    """
    if not steps:
        raise TypeError("chain() needs at least one step")
    return FlowChain(tuple(map(_checked, steps)), _checked_or_none(on_failure))


@overload
def group(handles: Iterable[Handle[R]]) -> Group[R]: ...
@overload
def group(
    handles: Iterable[Handle[R]], *, on_failure: FlowStep[list[FlowFailure], Any] | Flow[Any]
) -> Flow[list[R]]: ...
@overload
def group(handles: Iterable[Flow[R]], *, on_failure: OnFailure = None) -> Flow[list[R]]: ...
@overload
def group(
    handles: Iterable[FlowStep[A, R]], *, on_failure: OnFailure = None
) -> FlowStep[A, list[R]]: ...
@overload
def group(
    handles: Iterable[Flow[R]] | Iterable[Handle[R]],
    *,
    then: FlowStep[list[R], T] | Flow[T],
    on_failure: OnFailure = None,
) -> Flow[T]: ...
@overload
def group(
    handles: Iterable[FlowStep[A, R]],
    *,
    then: FlowStep[list[R], T] | Flow[T],
    on_failure: OnFailure = None,
) -> FlowStep[A, T]: ...
@public
def group(handles: Iterable[Any], *, then: Any = None, on_failure: Any = None) -> Any:
    """Make one of several jobs.

    Of handles, to wait for all: ``group(producer.submit_many(resize, files)).results()``. Of calls,
    a flow: ``group([resize.s(file) for file in files], then=pack.s())``.

    Args:
        handles: of jobs of any tasks and queues, sent in any way; or calls, chains and groups.
        then: runs once all have ended well, and gets what they have returned, in their order. It
            is cancelled when all have ended, and one of them not well.
        on_failure: runs once all have ended, and one of them or `then` not well, and gets a list
            with a `FlowFailure` of each. Otherwise it is cancelled.

    Raises:
        TypeError: these are neither handles nor calls, or both.
    """
    if not isinstance(handles, Iterable):
        raise TypeError(
            f"group() takes several handles or calls, such as a list; not {short(handles)}"
        )
    members = list(handles)
    are_handles = [isinstance(each, Handle) for each in members]
    if all(are_handles) and then is None and on_failure is None:
        return Group(members)
    if any(are_handles) and not all(are_handles):
        raise TypeError("group() takes handles or calls, and not both")
    if not members:
        raise TypeError("group() of no calls would never be followed by anything")
    checked = members if all(are_handles) else list(map(_checked, members))
    return FlowGroup(checked, _checked_or_none(then), _checked_or_none(on_failure))


def _checked(step: Any) -> Any:
    if not isinstance(step, Flow | FlowStep):
        raise TypeError(f"{short(step)} is no call of a task, such as add.s(1, 2), and no flow")
    return step


def _checked_or_none(step: Any) -> Any:
    return None if step is None else _checked(step)
