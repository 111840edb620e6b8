"""Calls of tasks that are not sent yet: what flows are made of.

`@task` gives a function the attribute `s`. It makes a `TaskCall` of all arguments, or a `FlowStep`
where the first one is left out: that gets what the step before it has returned.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from heori_common.public import public
from heori_common.sendable import Sendable

P = ParamSpec("P")
Q = ParamSpec("Q")
A = TypeVar("A")
T = TypeVar("T")
A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


@public
class Flow(Generic[R_co]):
    """Jobs that can be sent together, and what the last of them returns."""

    __slots__ = ()


@public
class FlowStep(Generic[A_contra, R_co]):
    """Likewise, but they need what the step before them returns."""

    __slots__ = ()


@public
@dataclass(frozen=True, slots=True, eq=False)
class TaskCall(Flow[R_co]):
    """A task with all of its arguments. They are validated when it is sent."""

    task: Sendable[R_co]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@public
@dataclass(frozen=True, slots=True)
class FlowFailure:
    """A job of a flow that has not ended well, as the task gets it that handles failures.

    Attributes:
        job_id: of the job.
        task: its name.
        status: failed, stopped or canceled.
        error: the last line of its traceback, or why it was cancelled; empty if nobody knows.
    """

    job_id: str
    task: str
    status: str
    error: str


@dataclass(frozen=True, slots=True, eq=False)
class PartialCall(FlowStep[Any, R_co]):
    """A task with all of its arguments but the first."""

    task: Sendable[R_co]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@public
class TaskFunction(Protocol[P, R_co]):
    """A function under @task, as type checkers know it."""

    __name__: str
    __qualname__: str
    __module__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call it here and now."""

    # A coroutine's result needs overloads of its own. The first parameter is learnt by mypy only
    # from a callable, and by pyright only from this protocol. They overlap for a function whose
    # first parameter has a default.
    @overload
    def s(  # type: ignore[overload-overlap]
        self: "TaskFunction[P, Coroutine[Any, Any, T]]", *args: P.args, **kwargs: P.kwargs
    ) -> TaskCall[T]: ...
    @overload
    def s(  # type: ignore[misc,overload-overlap]
        self: Callable[Concatenate[A, Q], Coroutine[Any, Any, T]], *args: Q.args, **kwargs: Q.kwargs
    ) -> FlowStep[A, T]: ...
    @overload
    def s(  # type: ignore[overload-overlap]
        self: "TaskFunction[Concatenate[A, Q], Coroutine[Any, Any, T]]",
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> FlowStep[A, T]: ...
    @overload
    def s(  # type: ignore[overload-overlap]
        self, *args: P.args, **kwargs: P.kwargs
    ) -> TaskCall[R_co]: ...
    @overload
    def s(
        self: Callable[Concatenate[A, Q], T], *args: Q.args, **kwargs: Q.kwargs
    ) -> FlowStep[A, T]: ...
    @overload
    def s(
        self: "TaskFunction[Concatenate[A, Q], T]", *args: Q.args, **kwargs: Q.kwargs
    ) -> FlowStep[A, T]: ...
    def s(self, *args: Any, **kwargs: Any) -> Any:
        """A call that can be sent; without the first argument, a step of a flow."""


class Signature:
    """Makes the calls of one task."""

    __slots__ = ("_task",)

    def __init__(self, task: Sendable[Any]) -> None:
        self._task = task

    def __call__(self, *args: Any, **kwargs: Any) -> TaskCall[Any] | PartialCall[Any]:
        """A call; a partial one where the arguments fit once there is one more before them.

        Raises:
            TypeError: they do not fit.
        """
        signature = self._task.signature
        if signature is None:
            return TaskCall(self._task, args, kwargs)
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            try:
                signature.bind(None, *args, **kwargs)
            except TypeError:
                raise TypeError(f"{self._task.name}: {error}") from None
            return PartialCall(self._task, args, kwargs)
        return TaskCall(self._task, args, kwargs)
