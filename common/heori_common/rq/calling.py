"""Functions that are no tasks of Heori's, called as rq calls them.

``rq.job.Job._execute`` is the model: hints mean nothing, arguments arrive as the serializer has
read them, and the result is written by the serializer in which the job came
(``rq.results.Result.serialize``). rq itself is not imported for it.
"""

import asyncio
import contextlib
import json
import pickle
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from heori_common.protocol.job import ReturnedRetry
from heori_common.protocol.payload import OwnSerializer, Serializer, encode_failure

# What rq stores of a result that its serializer cannot write; the job has finished all the same.
UNSERIALIZABLE = "Unserializable return value"
# And in the place of the traceback of a job that was stopped.
STOPPED_WORDS = "Job stopped by user, work-horse terminated."
# Python's own functions that compute something, reach nothing else and need no longer for it than
# their arguments are long: they need no permission. ``sum(range(10**15))`` would never end.
_HARMLESS: Mapping[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        *(abs, ascii, bin, bool, chr, divmod, float, hash, hex, int, len, oct, ord, print, repr),
        str,
    )
}

_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by the thread that runs a coroutine in it


class Stranger:
    """A function that a job names and that is no task: rq's rules hold for it.

    Attributes:
        name: ``module.qualname``, or whatever the job calls it.
        function: whatever is called: a class, a method or an instance, too.
        is_async, retry, needs: as a task's; what is returned tells whether it is a coroutine.
    """

    is_async = False
    retry = None
    needs = None

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function

    def __repr__(self) -> str:
        return f"<Stranger {self.name}>"

    def retries(self, error: BaseException) -> bool:  # noqa: ARG002 - as a task's
        """Whether a job that failed with this error may be tried again: always, as in rq."""
        return True

    def called_with(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Callable[[], Any]:
        """The call, to be made once."""
        return partial(_call, self.function, args, kwargs)


def builtin(name: str) -> Callable[..., Any] | None:
    """One of Python's own functions that needs no permission, by either name that rq gives it."""
    return _HARMLESS.get(name.removeprefix("builtins."))


def encode_result(
    value: Any, serializer: Serializer, own: OwnSerializer | None = None
) -> bytes | None:
    """The ``return_value`` field of a result, as rq writes it; None for None, which it leaves out.

    Runs code of the value's: of its ``__reduce__``, say. Whatever that raises makes it one of those
    that cannot be written.
    """
    if value is None:
        return None
    dumps = _SERIALIZERS[serializer] if own is None else own.dumps
    try:
        written = dumps(value)
    except BaseException:
        written = dumps(UNSERIALIZABLE)
    return b64encode(written)


def returned_retry(value: Any) -> ReturnedRetry | None:
    """What rq's Retry says, if a job has returned one; only where rq is loaded, it can."""
    rq_job = sys.modules.get("rq.job")
    if rq_job is None or not issubclass(type(value), rq_job.Retry):
        return None
    if not hasattr(rq_job.Job, "_handle_retry_result"):  # rq 2.0 makes nothing of it
        return None
    at_front = getattr(value, "enqueue_at_front", None)
    if at_front is None:  # before rq 2.8
        failure = encode_failure(f"Job failed after {value.max} retry attempts")
        return ReturnedRetry(value.max, value.intervals, at_front=False, failure=failure)
    return ReturnedRetry(value.max, value.intervals, at_front)


def _call(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    result = function(*args, **kwargs)
    return _run(result) if asyncio.iscoroutine(result) else result


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """As ``asyncio.run``."""
    thread = threading.get_ident()
    with asyncio.Runner() as runner:
        _loops[thread] = runner.get_loop()
        try:
            return runner.run(coroutine)
        finally:
            del _loops[thread]


def wake(thread: int) -> None:
    """Have the event loop go on that waits in a thread, if one does: an exception is on its way."""
    loop = _loops.get(thread)
    if loop is not None:
        with contextlib.suppress(RuntimeError):  # it was closed just now
            loop.call_soon_threadsafe(_nothing)


def _nothing() -> None:
    pass


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


# rq.serializers.JSONSerializer and DefaultSerializer.
_SERIALIZERS: Mapping[Serializer, Callable[[Any], bytes]] = {
    "json": _json,
    "pickle": partial(pickle.dumps, protocol=pickle.HIGHEST_PROTOCOL),
}
