"""The names of the locks that a task's jobs need, with the arguments of a job to be filled in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from heori_common.errors import short
from heori_common.locks.arguments import check_permits
from heori_common.name_template import NameTemplates
from heori_common.protocol.job import LockName

MAX_JOB_LOCKS = 32


class LockTemplates:
    """What a task declares.

    Args:
        locks: templates of the names of mutexes, such as ``"account:{account_id}"``.
        permits: templates of the names of semaphores, and how many permits each has.

    Raises:
        TypeError: a template is no text.
        ValueError: a template cannot be filled in from the function's parameters.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        locks: Sequence[str],
        permits: Mapping[str, int] | None,
    ) -> None:
        if isinstance(locks, str):
            raise TypeError(
                f"locks={short(locks)}: a list of names is needed, such as [{short(locks)}]"
            )
        self._templates = [LockName("mutex", template) for template in locks]
        self._templates += [
            LockName("semaphore", template, limit) for template, limit in (permits or {}).items()
        ]
        if len(self._templates) > MAX_JOB_LOCKS:
            raise ValueError(
                f"{len(self._templates)} locks; a job may need {MAX_JOB_LOCKS} at most"
            )
        self._names = NameTemplates("lock", function)
        for _, template, limit in self._templates:
            if limit is not None:
                try:
                    check_permits(limit)
                except (TypeError, ValueError) as error:
                    raise ValueError(f"semaphore {short(template)}: {error}") from None
            self._names.check(template)

    def fill_in(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[LockName, ...]:
        """The locks of the job with these arguments, each once, in the order of their keys.

        Raises:
            ValueError: an argument makes a name that no lock can have.
        """
        arguments = self._names.arguments(args, kwargs)
        found = {
            LockName(kind, self._names.fill_in(template, arguments), limit)
            for kind, template, limit in self._templates
        }
        return tuple(sorted(found, key=lambda lock: lock[:2]))
