"""The catalogue of keys: what `Keys` says of each, for scripts, docs and tools."""

import ast
import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

from heori_common.protocol.keys import Keys
from heori_common.protocol.rq_keys import RqKeys


class CatalogueEntry(NamedTuple):
    """One key of the catalogue.

    Attributes:
        name: of its method of `Keys`.
        parameters: of that method.
        about: its type in Redis, and what it holds.
        end: when it is gone, or how many of it stay; empty for a channel, which is no key.
    """

    name: str
    parameters: tuple[str, ...]
    about: str
    end: str

    @property
    def type(self) -> str:
        """One of REDIS_TYPES."""
        return re.split(r"\W", self.about, maxsplit=1)[0]


REDIS_TYPES = ("channel", "hash", "list", "set", "stream", "string", "zset")


def catalogue() -> Iterator[CatalogueEntry]:
    """All keys, RQ's first, in the order in which they stand there."""
    said_of = _docstrings(RqKeys) | _docstrings(Keys)
    for name, method in (vars(RqKeys) | vars(Keys)).items():
        about = said_of.get(name, "")
        # The others take a key apart.
        if inspect.isfunction(method) and re.match(rf"({'|'.join(REDIS_TYPES)})\b", about):
            said, _, end = about.rpartition("\n\n")
            if not said:
                said, end = about, ""
            parameters = tuple(inspect.signature(method).parameters)[1:]
            yield CatalogueEntry(name, parameters, said, end)


def _docstrings(keys: type[RqKeys]) -> dict[str, str]:
    """What each method says; read from the source where Python has dropped it, as with -OO."""
    said = {name: inspect.getdoc(each) or "" for name, each in vars(keys).items()}
    if keys.queue.__doc__ is None:
        [body] = ast.parse(inspect.getsource(keys)).body
        methods = [each for each in ast.walk(body) if isinstance(each, ast.FunctionDef)]
        said |= {each.name: ast.get_docstring(each) or "" for each in methods}
    return said
