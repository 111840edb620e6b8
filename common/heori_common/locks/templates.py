"""The names of the locks that a task's jobs need, with the arguments of a job to be filled in."""

import inspect
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from heori_common.locks.arguments import check_name, check_permits
from heori_common.protocol.job import LockName

MAX_JOB_LOCKS = 32

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY,
          inspect.Parameter.POSITIONAL_ONLY)  # fmt: skip


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
            raise TypeError(f"locks={locks!r}: a list of names is needed, such as [{locks!r}]")
        self._signature = inspect.signature(function)
        self._templates = [LockName("mutex", template) for template in locks]
        self._templates += [
            LockName("semaphore", template, limit) for template, limit in (permits or {}).items()
        ]
        if len(self._templates) > MAX_JOB_LOCKS:
            raise ValueError(
                f"{len(self._templates)} locks; a job may need {MAX_JOB_LOCKS} at most"
            )
        named = {name for name, of in self._signature.parameters.items() if of.kind in _NAMED}
        for template in self._templates:
            _check(template, named)

    def fill_in(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[LockName, ...]:
        """The locks of the job with these arguments, each once, in the order of their keys.

        Raises:
            ValueError: an argument makes a name that no lock can have.
        """
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found = set()
        for kind, template, limit in self._templates:
            try:
                name = template.format_map(bound.arguments)
            except Exception as error:  # whatever the arguments do when they are formatted
                raise ValueError(
                    f"lock {template!r} cannot be filled in: {type(error).__name__}: {error}"
                ) from error
            check_name(f"lock {template!r} cannot be filled in:", name)
            found.add(LockName(kind, name, limit))
        return tuple(sorted(found, key=lambda lock: lock[:2]))


def _check(template: LockName, parameters: set[str]) -> None:
    if not isinstance(template.name, str):
        raise TypeError(f"lock {template.name!r}: a name is needed")
    if template.limit is not None:
        try:
            check_permits(template.limit)
        except (TypeError, ValueError) as error:
            raise ValueError(f"semaphore {template.name!r}: {error}") from None
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template.name)]
    except ValueError as error:
        raise ValueError(f"lock {template.name!r}: {error}") from error
    if not template.name:
        raise ValueError("a lock needs a name")
    for field in fields:
        if field is None:
            continue
        # As in {account.id}: what is asked of the parameter is its own affair.
        first = field.partition(".")[0].partition("[")[0]
        if first not in parameters:
            known = ", ".join(sorted(parameters)) or "none"
            raise ValueError(
                f"lock {template.name!r}: {{{field}}} names no parameter; there are: {known}"
            )
