"""A Django task as a task of Heori, under its own name, and how a worker runs it."""

import contextlib
from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction
from traceback import format_exception
from typing import Any, cast

from django.utils import timezone

from heori.django.framework import (
    InvalidTask,
    Task,
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_finished,
    task_started,
)
from heori_common import tasks
from heori_common.current_job import CurrentJob, current_job

_of_django: dict[str, tuple[Task, tasks.Task[..., Any]]] = {}  # by their names


def register(task: Task) -> None:
    """Have consumers run a Django task by its name.

    Where its function stands under Heori's own `@task`, too, what that says holds for its jobs.

    Raises:
        InvalidTask: that declares what needs the arguments, and a context is the first of them.
    """
    known = _of_django.get(task.module_path)
    if known is not None and known[0].func is task.func:
        return  # another queue or time of it
    declared = tasks.registered().get(task.module_path)
    if declared is not None and declared.function is not task.func:
        declared = None  # of a module that is imported anew
    made = _made(task, declared)
    _of_django[made.name] = task, made
    tasks.register(made)


def find(name: str) -> tuple[Task, tasks.Task[..., Any]] | None:
    """The Django task of that name, and Heori's of it; None where there is none."""
    return _of_django.get(name)


def of_task(task: Task) -> tasks.Task[..., Any]:
    """Heori's task of a Django task that is registered."""
    return _of_django[task.module_path][1]


def runners() -> list[Callable[..., Any]]:
    """What runs each of them."""
    return [made.function for _, made in _of_django.values()]


def _made(task: Task, declared: tasks.Task[..., Any] | None) -> tasks.Task[..., Any]:
    run = _runner(task)
    if declared is None:
        return tasks.Task(run, task.queue_name, 180)
    if task.takes_context and (declared.needs or declared.rate):
        raise InvalidTask(
            "names of locks and rates are filled in from the arguments, so a task that declares "
            "some takes no context; heori.current_job() is there for it"
        )
    made = tasks.Task(
        run,
        task.queue_name,
        declared.timeout,
        result_ttl=declared.result_ttl,
        retry=declared.retry,
        retry_on=declared.retry_on,
        give_up_on=declared.give_up_on,
        rate=declared.rate,
    )
    made.locks, made.permits, made.needs = declared.locks, declared.permits, declared.needs
    made.periodic = declared.periodic
    return made


def _runner(task: Task) -> Callable[..., Any]:
    """The function of Heori's task: of any JSON, as Django has it, whatever the hints say."""
    function: Callable[..., Any] = task.func

    async def run_later(*args: Any, **kwargs: Any) -> Any:
        with _running(task, args, kwargs) as job:
            job.value = normalize_json(await function(*job.context, *args, **kwargs))
        return job.value

    def run(*args: Any, **kwargs: Any) -> Any:
        with _running(task, args, kwargs) as job:
            job.value = normalize_json(function(*job.context, *args, **kwargs))
        return job.value

    runner: Any = run_later if iscoroutinefunction(function) else run
    runner.__module__, runner.__name__ = function.__module__, function.__name__
    runner.__qualname__ = function.__qualname__
    return cast("Callable[..., Any]", runner)


class _TaskRun:
    """One try of a job."""

    def __init__(self, result: TaskResult) -> None:
        self.result = result
        self.context = (TaskContext(task_result=result),) if result.task.takes_context else ()
        self.value: Any = None


@contextlib.contextmanager
def _running(task: Task, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[_TaskRun]:
    """Send Django's signals around a try."""
    job = current_job()
    result = _begun(task, job, args, kwargs)
    run = _TaskRun(result)
    backend = type(task.get_backend())
    task_started.send(sender=backend, task_result=result)
    try:
        yield run
    except BaseException as error:  # a task may raise anything, SystemExit included
        _end(result, TaskResultStatus.FAILED)
        kind, text = type(error), "".join(format_exception(error))
        path = f"{kind.__module__}.{kind.__qualname__}"
        result.errors.append(TaskError(exception_class_path=path, traceback=text))
        task_finished.send(sender=backend, task_result=result)
        raise
    _end(result, TaskResultStatus.SUCCESSFUL)
    object.__setattr__(result, "_return_value", run.value)
    task_finished.send(sender=backend, task_result=result)


def _begun(
    task: Task, job: CurrentJob, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> TaskResult:
    now = timezone.now()
    return TaskResult(
        task=task,
        id=job.id,
        status=TaskResultStatus.RUNNING,
        enqueued_at=None,
        started_at=now,
        finished_at=None,
        last_attempted_at=now,
        args=args,
        kwargs=kwargs,
        backend=task.backend,
        errors=[],
        worker_ids=[job.consumer] * (job.attempt + job.delivery - 1),
    )


def _end(result: TaskResult, status: TaskResultStatus) -> None:
    object.__setattr__(result, "finished_at", timezone.now())
    object.__setattr__(result, "status", status)
