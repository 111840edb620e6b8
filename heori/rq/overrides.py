"""What of rq's worker an application has changed, and so who is to run what.

A method counts as changed wherever that was done: in a subclass, by a patch of rq's own class as
sentry-sdk does it, or in one worker object. A function that rq's own `BaseWorker`, `Worker` and
`SimpleWorker` do not define is a change, too: that of `rq.worker.HerokuWorker`, say.
"""

import inspect
import types
from pathlib import Path
from typing import Any

import rq
from rq.worker import BaseWorker

_RQ = Path(inspect.getfile(rq)).parent
_HEORI = Path(__file__).parent
_OWN = ("BaseWorker.", "Worker.", "SimpleWorker.")

# The engine does not call these: they belong to rq's loop.
LOOP = (
    "dequeue_job_and_maintain_ttl",
    "run_maintenance_tasks",
    "clean_registries",
    "clean_group_registries",
    "reorder_queues",
    "heartbeat",
    "subscribe",
    "unsubscribe",
    "handle_payload",
    "_pubsub_exception_handler",
    "_start_scheduler",
    "stop_scheduler",
    "set_state",
    "get_state",
    "_install_signal_handlers",
    "prepare_execution",
)
# These run in the worker, and not in its work horse: rq's `execute_job` does all of it in the slot.
PARENT = (
    "execute_job",
    "fork_work_horse",
    "monitor_work_horse",
    "maintain_heartbeats",
    "main_work_horse",
    "setup_work_horse_signals",
    "handle_work_horse_killed",
    "kill_horse",
    "wait_for_horse",
    "_handle_stopped_job",
    "request_stop_execution",
    "set_current_job_id",
    "set_current_job_working_time",
)
# And these in the work horse.
HORSE = (
    "perform_job",
    "prepare_job_execution",
    "handle_job_success",
    "handle_job_failure",
    "handle_job_retry",
    "handle_exception",
    "handle_execution_ended",
    "cleanup_execution",
    "_finalize_success",
    "_finalize_failure",
)
# With these a queue class takes jobs out of Redis itself.
DEQUEUE = ("dequeue_any", "lpop", "lmove", "_fetch_dequeued_job")


# Keys of Redis that Heori has under one prefix.
PREFIXES = (
    "redis_worker_namespace_prefix",
    "redis_queue_namespace_prefix",
    "redis_job_namespace_prefix",
)


def mocked(of: Any, names: tuple[str, ...]) -> str:
    """The first of these methods that is an object which counts its calls, such as a mock.

    It would count in another process what is asked for in this one.
    """
    found = ((name, _function(_find(of, name))) for name in names)
    return next((n for n, each in found if each and not isinstance(each, types.FunctionType)), "")


def renamed(of: Any, own: Any) -> str:
    """The first of PREFIXES in which a class differs from rq's own."""
    return next((n for n in PREFIXES if getattr(of, n, None) != getattr(own, n, None)), "")


def changed(of: Any, names: tuple[str, ...]) -> str:
    """The first of these methods that is not rq's own; empty if all are.

    Args:
        of: a worker, or a class of queues.
    """
    return next((name for name in names if _is_changed(of, name)), "")


def _is_changed(of: Any, name: str) -> bool:
    found = _function(_find(of, name))
    if found is None:  # another version of rq has it
        return False
    if not isinstance(found, types.FunctionType):  # a mock, say
        return True
    if _RQ not in Path(found.__code__.co_filename).parents:
        return True
    return isinstance(of, BaseWorker) and not found.__qualname__.startswith(_OWN)


def _function(found: Any) -> Any:
    if isinstance(found, staticmethod | classmethod):
        return found.__func__
    return found.fget if isinstance(found, property) else found


def _find(of: Any, name: str) -> Any:
    """What stands there under that name, but for what Heori has put before it."""
    own = [] if isinstance(of, type) else [of]
    for each in (*own, *(of if isinstance(of, type) else type(of)).__mro__):
        if name in vars(each) and not _is_heoris(found := vars(each)[name]):
            return found
    return None


def _is_heoris(found: Any) -> bool:
    code = getattr(found, "__code__", None)
    return isinstance(code, types.CodeType) and Path(code.co_filename).parent == _HEORI
