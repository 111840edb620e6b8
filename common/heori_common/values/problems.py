"""What is not valid in a value, as people are told it."""

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import PydanticUserError, ValidationError
from pydantic_core import from_json

from heori_common.errors import cut, short

MOST_TOLD = 10  # problems of one value
MANY = 1000  # problems of one value
PROBLEM_CHARS = 1000  # of one of them, about


def first_problems(error: ValidationError, most: int) -> list[dict[str, Any]]:
    """What is not valid, as pydantic tells it: so many at most.

    Where there are MANY they are without what was given: to make an object of each takes seconds.
    """
    if error.error_count() <= MANY:
        return [dict(problem) for problem in error.errors(include_url=False)[:most]]
    text = error.json(include_url=False, include_context=False, include_input=False)
    first: list[dict[str, Any]] = from_json(text[: most * PROBLEM_CHARS], allow_partial=True)
    return [problem for problem in first[:most] if problem.keys() >= {"type", "loc", "msg"}]


def first_of(problems: list[str], count: int) -> str:
    """As many as a person may read."""
    more = f"; and {count - len(problems)} more" if count > len(problems) else ""
    return "; ".join(problems) + more


def explain_hint(error: Exception) -> str:
    """What is wrong with a hint, and what to do."""
    if not isinstance(error, PydanticUserError) or error.code != "schema-for-unknown-type":
        return f"a hint that is no type: {error}"
    # What pydantic says after this is for models, and of no use here.
    unknown = error.message.partition(" schema for ")[2].partition(". ")[0] or "something"
    return (
        f"a hint that names {unknown}, which pydantic does not know how to write and read: name "
        "another type, such as int for a number of NumPy's, or Any, or give the class a "
        "__get_pydantic_core_schema__"
    )


def explain(error: ValidationError, function: Callable[..., Any]) -> str:
    """What of the arguments of a function is not valid, by the names of its parameters."""
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
    problems = []
    for problem in first_problems(error, MOST_TOLD):
        first, *rest = problem["loc"] or ("arguments",)
        if isinstance(first, int):
            first = names[first] if first < len(names) else f"argument {first + 1}"
        where = cut(".".join(str(part) for part in (first, *rest)))
        is_told = "input" in problem and "missing" not in problem["type"]
        given = f" (got {short(problem['input'])})" if is_told else ""
        problems.append(f"{where}: {cut(problem['msg'], 300)}{given}")
    return first_of(problems, error.error_count())
