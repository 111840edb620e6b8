"""Reads pickles from whoever can write to Redis, and runs nothing that was not allowed.

What may be in one: Python's own plain values, and what was defined under an allowed prefix. All
that a pickle names is asked for before any of it is loaded, and nothing is imported before that.

Most pickles hold plain values only: a regular expression finds that out. `pickle_check` looks
through any other. Then the unpickler of C loads it, which gets what was found and nothing else. All
of that is imported when it is needed: most programs read no pickle.
"""

from collections.abc import Collection
from typing import Any, cast

from heori_common.allowed import NotAllowed
from heori_common.importing import import_apart

_LOADING = "heori_common.protocol.pickle_loading"


class Unpicklable(NotAllowed):
    """A pickle that may not be loaded, or that cannot be.

    The message goes on where "its pickle" has begun.
    """


class Pickles:
    """How pickles are read here, and written; one of rq's serializers.

    Args:
        allow: prefixes of what may be in one, each ending at a dot.
        restricted: False reads any pickle, as rq does: whatever it likes is run.
    """

    def __init__(self, allow: Collection[str], *, restricted: bool = True) -> None:
        self._allow = tuple(allow)
        self._restricted = restricted

    @staticmethod
    def dumps(value: Any) -> bytes:
        """As rq writes it.

        Raises:
            Exception: whatever the value raises.
        """
        pickle = import_apart("pickle")
        return cast("bytes", pickle.dumps(value, pickle.HIGHEST_PROTOCOL))

    def loads(self, raw: bytes) -> Any:
        """The value in a pickle.

        Raises:
            Unpicklable: it holds what may not be in one, or cannot be read.
            BaseException: when any pickle is read, whatever it likes.
        """
        if not self._restricted:
            return import_apart("pickle").loads(raw)
        return import_apart(_LOADING).load(raw, self._allow)
