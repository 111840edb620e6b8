"""Tasks: functions that can be sent as jobs, with arguments and results checked by pydantic.

    from heori import task

    @task(queue="mail", timeout=30)
    def send_mail(to: str, subject: str) -> int: ...

The decorator returns the function itself: calling it runs it here and now, stock rq can enqueue it,
and a stock worker can import it. It only gets an attribute `s`, see `heori_common.calls`.
"""

import contextlib
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, cast, get_type_hints, overload

from pydantic import PydanticUserError, ValidationError
from pydantic_core import PydanticSerializationError

from heori_common.calls import Signature, TaskFunction
from heori_common.duration import Duration, whole_seconds
from heori_common.errors import HeoriError, PerhapsElsewhere, cut, short, summary
from heori_common.importable import shown, why_not
from heori_common.locks.templates import LockTemplates
from heori_common.names import check_queue
from heori_common.periodic.entry import CatchUp, Rules, declare
from heori_common.periodic.timing import Timing
from heori_common.protocol.job import LockName
from heori_common.public import public
from heori_common.rate import Rate, RateTemplate
from heori_common.retry import Retry
from heori_common.values.arguments import Arguments, Bound, Sent
from heori_common.values.forms import Unwritable
from heori_common.values.problems import MOST_TOLD, explain, explain_hint, first_of, first_problems
from heori_common.values.results import Returned, Stored

P = ParamSpec("P")
R = TypeVar("R")
_ITERATORS = (Iterator, AsyncIterator)
_SIMPLE = {type(None), bool, int, float, str, bytes, list, dict}  # kinds of values that are none
Errors = type[BaseException] | tuple[type[BaseException], ...]

_registry: dict[str, "Task[..., Any]"] = {}


@public
class InvalidArguments(HeoriError, TypeError):
    """The arguments do not fit the task; the message names each field."""


@public
class InvalidResult(HeoriError, TypeError):
    """What the task returned does not fit its return type, or cannot be serialised."""


@public
class UnknownTask(PerhapsElsewhere, HeoriError, LookupError):
    """There is no such task, or it may not be imported."""


@public
class Task(Generic[P, R]):
    """A function that can be sent as a job.

    Attributes:
        name: ``module.qualname``, under which every consumer can import it.
        queue: where its jobs go unless the producer says otherwise.
        timeout: seconds that one run may take; -1 for no limit.
        result_ttl: seconds for which its jobs are kept once they have succeeded; -1 for ever, None
            for what the consumer has: RQ's 500.
        retry: when and how often its jobs are tried again; None for not at all.
        retry_on, give_up_on: the errors after which they are, and those of them after which
            they are not.
        locks, permits: the names of the locks that its jobs need to run, as they were given.
        needs: the same, to be filled in; None when they need none.
        periodic: when consumers run it by themselves; None when they do not.
        rate: how many of its jobs may begin in a time; None for any number.
        is_async: whether it is a coroutine function.
    """

    def __init__(
        self,
        function: Callable[P, R],
        queue: str,
        timeout: int,
        *,
        result_ttl: int | None = None,
        retry: Retry | None = None,
        retry_on: tuple[type[BaseException], ...] = (Exception,),
        give_up_on: tuple[type[BaseException], ...] = (),
        locks: Sequence[str] = (),
        permits: Mapping[str, int] | None = None,
        rate: RateTemplate | None = None,
    ) -> None:
        self.function = function
        self.name = f"{function.__module__}.{function.__qualname__}"
        self.queue = queue
        self.timeout = timeout
        self.result_ttl = result_ttl
        self.retry = retry
        self.retry_on = retry_on
        self.give_up_on = give_up_on
        self.periodic: tuple[Timing, Rules] | None = None
        self.is_async = inspect.iscoroutinefunction(function)
        self.locks, self.permits = locks, permits or {}
        self.rate = rate
        self.needs = LockTemplates(function, locks, permits) if locks or permits else None
        try:
            self._arguments = Arguments(function)
            self._returned = Returned(_result_hint(function))
        except (PydanticUserError, NameError, SyntaxError) as error:
            raise TypeError(f"{self.name} has {explain_hint(error)}") from error

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    @property
    def signature(self) -> inspect.Signature | None:
        """The function's parameters; None for one in C that does not tell them."""
        try:
            return inspect.signature(self.function)
        except ValueError:
            return None

    @property
    def is_declared(self) -> bool:
        """Whether it stands under @task."""
        return _registry.get(self.name) is self

    @property
    def schema(self) -> Mapping[str, Any]:
        """The core schema of its function, as pydantic makes it; empty if that cannot be told."""
        return self._arguments.schema

    def retries(self, error: BaseException) -> bool:
        """Whether a job that failed with this error may be tried again."""
        kind = type(error)  # its __class__ may be anything
        return issubclass(kind, self.retry_on) and not issubclass(kind, self.give_up_on)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound:
        """Validate arguments and convert them to the annotated types.

        Raises:
            InvalidArguments: they do not fit.
        """
        try:
            return self._arguments.bind(args, kwargs)
        except Exception as error:
            raise self._invalid(error) from error

    def to_send(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        from_json: bool = False,
        strict: bool = False,
    ) -> Sent:
        """Validate like `bind`, and write what was given.

        Args:
            from_json: the arguments were read from JSON.
            strict: of HEORI_STRICT.

        Raises:
            InvalidArguments: they do not fit, or one would not arrive as what it is.
        """
        try:
            return self._arguments.write(args, kwargs, from_json=from_json, strict=strict)
        except Exception as error:
            raise self._invalid(error) from error

    def to_send_after(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, strict: bool
    ) -> Sent:
        """As `to_send`, of all but the first argument, which is known when the job begins."""
        try:
            return self._arguments.write_after(args, kwargs, strict=strict)
        except Exception as error:
            raise self._invalid(error) from error

    def receive_after(
        self, first: Any, args: Sequence[Any], kwargs: Mapping[str, Any], types: bytes | None
    ) -> Bound:
        """As `receive`, where the first argument is what others have returned."""
        try:
            return self._arguments.read_after(first, args, kwargs, types)
        except Exception as error:
            raise self._invalid(error) from error

    def receive(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        types: bytes | None,
        *,
        from_json: bool = True,
    ) -> Bound:
        """The arguments of a call that has arrived.

        Args:
            types: as `to_send` wrote them; None for a call that is still to be validated.
            from_json: such a call was read from JSON.

        Raises:
            InvalidArguments: they do not fit.
        """
        try:
            if types is not None:
                return self._arguments.read(args, kwargs, types)
            bind = self._arguments.bind_json if from_json else self._arguments.bind
            return bind(args, kwargs)
        except Exception as error:
            raise self._invalid(error) from error

    def _invalid(self, error: Exception) -> InvalidArguments:
        """What is raised in place of an error; the validators of a type may raise anything."""
        if isinstance(error, ValidationError):
            return InvalidArguments(f"{self.name}: {explain(error, self.function)}")
        what = ".".join(error.path) if isinstance(error, Unwritable) else type(error).__name__
        return InvalidArguments(f"{self.name}: {cut(what)}: {cut(str(error), 1000)}")

    def locks_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[LockName, ...]:
        """The locks that a job with these arguments, which `bind` has validated, needs to run.

        Raises:
            InvalidArguments: they make a name that no lock can have.
        """
        if self.needs is None:
            return ()
        try:
            return self.needs.fill_in(args, kwargs)
        except ValueError as error:
            raise InvalidArguments(f"{self.name}: {error}") from error

    def rate_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Rate | None:
        """The rate of a job with these arguments, which `bind` has validated.

        Raises:
            InvalidArguments: they make a name that no rate can have.
        """
        if self.rate is None:
            return None
        try:
            return self.rate.fill_in(args, kwargs)
        except ValueError as error:
            raise InvalidArguments(f"{self.name}: {error}") from error

    def dump_result(self, value: Any, *, strict: bool = False) -> Stored | None:
        """Validate a result and write it as JSON; None, which RQ does not store, stays None.

        Args:
            strict: of HEORI_STRICT.

        Raises:
            InvalidResult: it does not fit the return type, or would not be read as what it is.
        """
        if type(value) not in _SIMPLE and isinstance(value, _ITERATORS):
            # Writing it would run the task's code when its time is no longer measured.
            raise InvalidResult(
                f"{self.name} returned {short(value)}, which has no JSON form; return a list"
            )
        try:
            return self._returned.write(value, strict=strict)
        except ValidationError as error:
            problems = first_problems(error, MOST_TOLD)
            reason = first_of(
                [cut(problem["msg"], 300) for problem in problems], error.error_count()
            )
            raise InvalidResult(f"{self.name} returned {short(value)}: {reason}") from error
        except Unwritable as error:
            where = cut("".join(f"{part}: " for part in error.path))
            raise InvalidResult(
                f"{self.name} returned {short(value)}, which cannot be given back: {where}{error}"
            ) from error
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            raise InvalidResult(
                f"{self.name} returned {short(value)}, which has no JSON form: {error}"
            ) from error
        except Exception as error:  # the validators of a type may raise anything
            raise InvalidResult(
                f"{self.name} returned {short(value)}: {type(error).__name__}: {error}"
            ) from error

    def load_result(self, stored: Stored) -> R:
        """Read a result back into the annotated type.

        Raises:
            InvalidResult: it does not fit, because another version of the task wrote it.
        """
        try:
            return cast("R", self._returned.read(stored))
        except Exception as error:  # likewise
            raise InvalidResult(
                f"the stored result of {self.name} does not fit: {summary(error)}"
            ) from error


@overload
def task(function: Callable[P, R], /) -> TaskFunction[P, R]: ...
@overload
def task(
    *,
    queue: str = "default",
    timeout: int = 180,
    result_ttl: int | None = None,
    retry: Retry | int | None = None,
    retry_on: Errors = Exception,
    give_up_on: Errors = (),
    locks: Sequence[str] = (),
    permits: Mapping[str, int] | None = None,
    rate: str | None = None,
    rate_key: str | None = None,
    burst: int | None = None,
    every: Duration | None = None,
    cron: str | None = None,
    timezone: str = "UTC",
    catch_up: CatchUp = "once",
    overlap: bool = True,
) -> Callable[[Callable[P, R]], TaskFunction[P, R]]: ...
@public
def task(
    function: Callable[P, R] | None = None,
    /,
    *,
    queue: str = "default",
    timeout: int = 180,
    result_ttl: int | None = None,
    retry: Retry | int | None = None,
    retry_on: Errors = Exception,
    give_up_on: Errors = (),
    locks: Sequence[str] = (),
    permits: Mapping[str, int] | None = None,
    rate: str | None = None,
    rate_key: str | None = None,
    burst: int | None = None,
    every: Duration | None = None,
    cron: str | None = None,
    timezone: str = "UTC",
    catch_up: CatchUp = "once",
    overlap: bool = True,
) -> TaskFunction[P, R] | Callable[[Callable[P, R]], TaskFunction[P, R]]:
    """Register a plain or async function as a task.

    Args:
        queue: where its jobs go by default.
        timeout: seconds that one run may take; -1 for no limit.
        result_ttl: seconds for which a job and its result are kept once it has succeeded; -1 for
            ever. RQ's 500 if not said: at 1,000 jobs/s that is about 700 MB of Redis's memory.
        retry: when and how often a job that failed is tried again; a number n means
            ``Retry(max=n)``.
        retry_on: the errors after which it is; all exceptions, a timeout among them, by default.
        give_up_on: those of them after which it is not.
        locks: names of mutexes, such as ``"account:{account_id}"``, in which a job's arguments are
            filled in (`str.format`, by the names of the parameters). It begins when it has
            them all, keeps them until its end, and takes no slot while it waits.
        permits: likewise names of semaphores, and how many permits each has: a job takes one.
        rate: how many of its jobs may begin in a time, over all consumers, such as ``"100/min"``.
            The others wait in order, and take no slot.
        rate_key: what is counted together, with a job's arguments filled in, such as
            ``"api:{customer}"``; tasks may share it. By default all jobs of the task are.
        burst: how many may begin at once after a pause; by default what comes in a tenth of a
            second, and two at least. With 1 each begins an interval after the one before.
        every: how often consumers run it by themselves, without arguments: a second or more, such
            as ``"5min"``, counted from 1970.
        cron: when they do, as a crontab says it: ``"0 3 * * 1-5"``.
        timezone: whose clocks `cron` goes by, such as ``"Asia/Seoul"``.
        catch_up: which of the times are made up for that have passed while no consumer was
            there: the latest (``"once"``), ``"all"`` up to a thousand, or ``"none"``.
        overlap: whether it is sent again while the job of the time before waits or runs.

    Raises:
        TypeError: it is no function that a consumer could import by name, a hint is no type, what
            should be errors is not, or it needs arguments and is to run by itself.
        ValueError: the queue, a time, the retry, a rate or the name of a lock makes no sense.
    """
    check_queue(queue)
    whole_seconds("timeout", timeout, "no limit")
    if result_ttl is not None:
        whole_seconds("result_ttl", result_ttl, "ever")
    policy = retry if retry is None or isinstance(retry, Retry) else Retry(max=retry)
    tried_again, given_up = _errors("retry_on", retry_on), _errors("give_up_on", give_up_on)

    if rate is None and (rate_key is not None or burst is not None):
        raise ValueError("rate_key and burst say more about a rate; give that, too")
    periodic = declare(every, cron, timezone, catch_up, overlap)

    def decorate(function: Callable[P, R]) -> TaskFunction[P, R]:
        _check(function)
        pace = None if rate is None else RateTemplate(function, rate, rate_key, burst)
        made = Task(
            function,
            queue,
            timeout,
            result_ttl=result_ttl,
            retry=policy,
            retry_on=tried_again,
            give_up_on=given_up,
            locks=locks,
            permits=permits,
            rate=pace,
        )
        if periodic is not None:
            made.bind((), {})  # as consumers will call it; the error says what it needs
            made.periodic = periodic
        register(made)
        with contextlib.suppress(AttributeError):  # a function in C has none
            function.s = Signature(made)  # type: ignore[attr-defined]
        return cast("TaskFunction[P, R]", function)

    return decorate if function is None else decorate(function)


def find(function: Callable[P, R]) -> Task[P, R]:
    """The task that a function was registered as.

    Raises:
        UnknownTask: it was not.
    """
    module = getattr(function, "__module__", None)
    found = _registry.get(f"{module}.{getattr(function, '__qualname__', None)}")
    if found is not None and found.function is not function:
        raise UnknownTask(
            f"{found.name} is no task as it stands: a decorator above @task has wrapped it, and "
            "consumers run what is below; put @task above all others"
        )
    if found is None:
        do = why_not(function) or "put @task above it"
        raise UnknownTask(f"{shown(function)} is no task; {do}")
    if module == "__main__":
        raise UnknownTask(
            f"{found.name} is in the program itself; consumers can import modules only: move it "
            "to one, and import it from there"
        )
    return cast("Task[P, R]", found)


def registered() -> Mapping[str, Task[..., Any]]:
    """All tasks by name."""
    return _registry


def register(made: Task[..., Any]) -> None:
    """Have a task found by its name."""
    _registry[made.name] = made


def _check(function: Callable[..., Any]) -> None:
    """See that consumers can import a function by its name.

    Raises:
        TypeError: they cannot, or another task of its module has that name.
    """
    if isinstance(function, str):
        raise TypeError(
            f"@task({short(function)}): options have names, as in @task(queue={short(function)})"
        )
    if do := why_not(function):
        raise TypeError(
            f"{short(function)} is no function at the top of a module or class that @task could "
            f"take: {do}"
        )
    name = f"{function.__module__}.{function.__qualname__}"
    other = _registry.get(name)
    # A module that is imported anew, as by importlib.reload, may register all of its tasks again.
    spec = getattr(sys.modules.get(function.__module__), "__spec__", None)
    if (
        other is not None
        and other.function is not function
        and other.function.__globals__ is function.__globals__
        and getattr(spec, "_initializing", False)
    ):
        lines = [each.__code__.co_firstlineno for each in (other.function, function)]
        raise TypeError(
            f"{name} is there twice: the tasks at lines {lines[0]} and {lines[1]} of "
            f"{function.__code__.co_filename} need two names"
        )


def _result_hint(function: Callable[..., Any]) -> Any:
    """What is promised of results; Any when nothing is."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except TypeError:  # a function in C
        return Any
    return hints.get("return", Any)


def _errors(name: str, errors: Any) -> tuple[type[BaseException], ...]:
    listed = errors if isinstance(errors, tuple) else (errors,)
    for error in listed:
        if not (isinstance(error, type) and issubclass(error, BaseException)):
            raise TypeError(f"{name}: {short(error)} is no class of exceptions")
    return listed
