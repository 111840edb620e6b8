"""Django's Tasks framework, wherever it is: in Django from 6.0 on, else in django-tasks.

The two differ in names of errors, and in where one function lies; nothing else of Heori knows that.
"""

try:
    from django.tasks import TaskContext, TaskResult, TaskResultStatus, exceptions, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskError
    from django.tasks.signals import task_enqueued, task_finished, task_started
    from django.utils.json import normalize_json
except ImportError:
    try:
        from django_tasks import (
            TaskContext,
            TaskResult,
            TaskResultStatus,
            exceptions,
            task_backends,
        )
        from django_tasks.backends.base import BaseTaskBackend
        from django_tasks.base import Task, TaskError
        from django_tasks.signals import task_enqueued, task_finished, task_started
        from django_tasks.utils import normalize_json
    except ImportError as error:
        raise ImportError(
            "heori.django needs Django 6, or before it django-tasks: pip install 'heori[django]'"
        ) from error

TaskResultDoesNotExist = exceptions.TaskResultDoesNotExist
if hasattr(exceptions, "InvalidTask"):  # Django
    InvalidTask, InvalidTaskBackend = exceptions.InvalidTask, exceptions.InvalidTaskBackend
else:
    InvalidTask, InvalidTaskBackend = (
        exceptions.InvalidTaskError,
        exceptions.InvalidTaskBackendError,
    )

__all__ = [
    "BaseTaskBackend",
    "InvalidTask",
    "InvalidTaskBackend",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultStatus",
    "normalize_json",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]
