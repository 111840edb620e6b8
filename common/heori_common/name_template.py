"""Names that a task declares, in which the arguments of a job are filled in."""

import inspect
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from heori_common.errors import short, summary
from heori_common.names import check_name, check_seen

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY,
          inspect.Parameter.POSITIONAL_ONLY)  # fmt: skip


class NameTemplates:
    """Fills in names with the arguments of a job (`str.format`, by the names of the parameters).

    Args:
        what: the names are of.
    """

    def __init__(self, what: str, function: Callable[..., Any]) -> None:
        self._what = what
        self._signature = inspect.signature(function)

    def check(self, template: object) -> None:
        """See that a template can be filled in.

        Raises:
            TypeError: it is no text.
            ValueError: it cannot be filled in from the function's parameters.
        """
        if not isinstance(template, str):
            raise TypeError(f"{self._what} {short(template)}: a name is needed")
        try:
            fields = [field for _, field, _, _ in string.Formatter().parse(template)]
        except ValueError as error:
            raise ValueError(f"{self._what} {short(template)}: {error}") from error
        if not template:
            raise ValueError(f"a {self._what} needs a name")
        check_seen(self._what, template)
        known = {name for name, of in self._signature.parameters.items() if of.kind in _NAMED}
        for field in fields:
            # As in {account.id}: what is asked of the parameter is its own affair.
            if field is not None and field.partition(".")[0].partition("[")[0] not in known:
                raise ValueError(
                    f"{self._what} {short(template)}: {{{field}}} names no parameter; there are: "
                    f"{', '.join(sorted(known)) or 'none'}"
                )

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """What `fill_in` takes, of a job."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def fill_in(self, template: str, arguments: Mapping[str, Any]) -> str:
        """The name for these arguments.

        Raises:
            ValueError: they make a name that cannot be.
        """
        about = f"{self._what} {short(template)} cannot be filled in:"
        try:
            name = template.format_map(arguments)
        except Exception as error:  # whatever the arguments do when they are formatted
            raise ValueError(f"{about} {summary(error)}") from error
        return check_name(about, name)
