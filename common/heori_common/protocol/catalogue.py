"""The catalogue of keys: what `Keys` says of each, for scripts, docs and tools."""

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
    for name, method in (vars(RqKeys) | vars(Keys)).items():
        about = inspect.getdoc(method) or ""
        # The others take a key apart.
        if inspect.isfunction(method) and re.match(rf"({'|'.join(REDIS_TYPES)})\b", about):
            said, _, end = about.rpartition("\n\n")
            if not said:
                said, end = about, ""
            parameters = tuple(inspect.signature(method).parameters)[1:]
            yield CatalogueEntry(name, parameters, said, end)
