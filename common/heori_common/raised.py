"""An exception as it travels from a worker to whoever waits for the job.

The worker that has it makes a copy from what would travel, and compares the two. Only where they
are the same does the copy travel. So a producer never has to guess, and makes no other error of it.
"""

import sys
from collections.abc import Iterator
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, NamedTuple

import msgpack

from heori_common.errors import HeoriError

# Of what travels, in bytes: text, notes and copy. An error that says more is kept as a traceback.
MOST_BYTES = 50_000
LONGEST_TEXT_CHARS = 10_000  # of an error that cannot be copied, for people
_TUPLE = 1  # msgpack has lists only; this marks a tuple
_MOST_DEPTH = 8  # of tuples in tuples: to read each of them takes 50 kB of the stack

# The object that was asked for an attribute. Python's own pickles leave it out, too.
_LEFT_OUT = {(AttributeError, "obj")}


class Raised(NamedTuple):
    """What a job has raised.

    Attributes:
        module, name: of its class.
        text: what `str` says of it.
        notes: that were added to it.
        copy: what makes it anew, packed; None where nothing plain does that exactly.
    """

    module: str
    name: str
    text: str
    notes: list[str]
    copy: bytes | None = None

    @classmethod
    def of(cls, error: BaseException) -> "Raised":
        """Take down an exception that this process has; runs code of its class.

        Raises:
            Exception: it cannot even say what it is.
        """
        kind = type(error)
        raised = cls(kind.__module__, kind.__qualname__, "", [])
        try:
            text = str(error)
        except BaseException:  # printing what a task has raised may run anything
            return raised
        noted = getattr(error, "__notes__", [])
        notes = noted if type(noted) is list else [noted]
        raised = raised._replace(text=text, notes=[str(note) for note in notes])
        if raised.notes == noted and (copy := _copy(error)) is not None:
            exact = raised._replace(copy=copy)
            if exact.size <= MOST_BYTES and type(exact.made_anew()) is kind:
                return exact
        return raised._shortened()

    @property
    def type(self) -> str:
        """Its class as a traceback names it."""
        return self.name if self.module == "builtins" else f"{self.module}.{self.name}"

    @property
    def size(self) -> int:
        """Bytes, about."""
        return sum(map(len, (self.text, *self.notes, self.copy or b"")))

    def _shortened(self) -> "Raised":
        """What of it is for people, and small."""
        notes = [note[:LONGEST_TEXT_CHARS] for note in self.notes[:10]]
        return self._replace(text=self.text[:LONGEST_TEXT_CHARS], notes=notes, copy=None)

    def encode(self) -> bytes:
        """As it is written; see `decode`."""
        return _pack(tuple(self))

    @classmethod
    def decode(cls, field: bytes) -> "Raised | None":
        """Read what `encode` has written; None for anything else."""
        try:
            module, name, text, notes, copy = _unpack(field)
            fits = all(type(each) is str for each in (module, name, text, *notes))
            return cls(module, name, text, list(notes), copy) if fits else None
        except (ValueError, TypeError, msgpack.UnpackException):  # anybody may write anything
            return None

    def made_anew(self) -> Exception | None:
        """The exception, if this program has imported its class and the copy says the same.

        Nothing is imported for it, and its `__init__` does not run.
        """
        kind = _known(self.module, self.name)
        if kind is None or self.copy is None:
            return None
        try:
            args, state = _unpack(self.copy)
            error = _make(kind, args, state)
            same = type(error) is kind and str(error) == self.text and _copy(error) == self.copy
        except Exception:  # another version of its class, say
            return None
        for note in self.notes:
            error.add_note(note)
        return error if same else None


def _copy(error: BaseException) -> bytes | None:
    """What an exception is made of; None where that is nothing plain."""
    try:
        return _pack((error.args, dict(_state(error))))
    except Exception:
        return None


def _state(error: BaseException) -> Iterator[tuple[str, Any]]:
    """What an exception has beside its arguments, whether it is written in Python or in C."""
    for kind in type(error).__mro__:
        for name, member in vars(kind).items():
            is_field = isinstance(member, MemberDescriptorType | GetSetDescriptorType)
            if is_field and not name.startswith("__") and name != "args":
                value = getattr(error, name, None)
                if value is not None and (kind, name) not in _LEFT_OUT:
                    yield name, value
    for name, value in vars(error).items():
        if name != "__notes__":
            yield name, value


def _make(kind: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    error = kind.__new__(kind, *args)
    error.args = args
    for name, value in state.items():
        object.__setattr__(error, name, value)
    return error


def _known(module: str, name: str) -> type[Exception] | None:
    """The class of that name, if this program has it; another program has another `__main__`."""
    if module == "heori":  # whose names are loaded when they are used
        return next((kind for kind in _derived(HeoriError) if kind.__qualname__ == name), None)
    found: Any = None if module == "__main__" else sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)  # not getattr, which may import
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _derived(kind: type[Exception]) -> Iterator[type[Exception]]:
    """All of Heori's own errors: programs derive theirs from them, too, but in other modules."""
    if kind.__module__ == "heori":
        yield kind
        for each in kind.__subclasses__():
            yield from _derived(each)


def _pack(value: Any, depth: int = 0) -> bytes:
    """Plain values only: what is of a class of its own would come out as something else."""

    def tuple_only(other: Any) -> msgpack.ExtType:
        if type(other) is not tuple or depth == _MOST_DEPTH:
            raise TypeError(f"{type(other).__name__} is no plain value, or nested too deeply")
        return msgpack.ExtType(_TUPLE, _pack(list(other), depth + 1))

    packed: bytes = msgpack.packb(
        value, strict_types=True, default=tuple_only, unicode_errors="surrogatepass"
    )
    return packed


def _unpack(data: bytes, depth: int = 0) -> Any:
    def tuple_only(code: int, packed: bytes) -> tuple[Any, ...]:
        if code != _TUPLE or depth == _MOST_DEPTH:
            raise ValueError("it has a part that is unknown here, or nested too deeply")
        return tuple(_unpack(packed, depth + 1))

    return msgpack.unpackb(
        data, ext_hook=tuple_only, unicode_errors="surrogatepass", strict_map_key=False
    )
