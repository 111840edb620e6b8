"""What Python knows and the scripts need, too: the names of keys and the places of fields.

The loader writes it into a script in the place of a name:

- `job_key(id)` becomes the key that ``Keys.job`` makes; so it is with all keys of the catalogue.
- `record[OWNER]` is the field of that name in an array that Redis or a script sends, such as
  ``LockRecord``, whatever its place there is.
- `lock_record(…)` and `claim_reply(…)` make such an array, `read_job_fields(key)` reads one.
- `are_plain(fields)` says whether these are a plain job's, and `told_if_plain(fields)` is what of
  them goes to the worker.

They are no functions before the script, as Redis would make each of them anew in every call: that
is a tenth of the time that a short script takes.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

from heori_common.protocol.catalogue import catalogue
from heori_common.protocol.keys import TENANT, Keys
from heori_common.protocol.lua_words import LuaError, tokens
from heori_common.protocol.records import (
    ABSENT_IF_PLAIN,
    EMPTY_IF_PLAIN,
    TOLD_IF_PLAIN,
    ClaimReply,
    JobFields,
    LockRecord,
)


class Expansion(NamedTuple):
    """What a name stands for.

    Attributes:
        parameters: None for a name that is not called.
        write: the Lua for some arguments, which are Lua themselves.
    """

    parameters: tuple[str, ...] | None
    write: Callable[[Sequence[str]], str]


@cache
def expansions() -> dict[str, Expansion]:
    """All of them, by name."""
    found = {
        f"{key.name}_key": Expansion(key.parameters, partial(_key, key.name, key.parameters))
        for key in catalogue()
    }
    for record in (JobFields, LockRecord):
        for place, field in enumerate(record._fields, 1):
            found[field.upper()] = Expansion(None, partial(_constant, str(place)))
    found["TENANT"] = Expansion(None, partial(_constant, f"'{TENANT}'"))
    found["read_job_fields"] = Expansion(("key",), partial(_read, JobFields._fields))
    found["are_plain"] = Expansion(("fields",), _are_plain)
    found["told_if_plain"] = Expansion(("fields",), _told_if_plain)
    for name, made in (("claim_reply", ClaimReply), ("lock_record", LockRecord)):
        found[name] = Expansion(made._fields, partial(_record, made))
    return found


# Where a name may stand: not in a comment, and not in a string.
_NAME = re.compile(
    r"""--\[\[.*?\]\]|--[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\[\[.*?\]\]|(\w+)""",
    re.DOTALL,
)


def expand(source: str) -> str:
    """Write what they stand for in the place of all names that stand for something.

    Raises:
        LuaError: one of them is not given what it needs.
    """
    text = []
    copied = 0
    for found in _NAME.finditer(source):
        expansion = expansions().get(found[1])
        if expansion is None or found.start() < copied:  # or it is an argument, see below
            continue
        text.append(source[copied : found.start()])
        copied = found.end()
        try:
            arguments: list[str] = []
            if expansion.parameters is not None:
                ends = _ends(source, copied)
                arguments = [source[a + 1 : b].strip() for a, b in pairwise(ends)]
                copied = ends[-1] + 1
            written = expansion.write([each for each in arguments if each])
        except LuaError as error:
            line = source.count("\n", 0, found.start()) + 1
            raise LuaError(f"line {line}: {found[1]} {error}") from None
        text.append(expand(written))  # the arguments may have such names, too
    return "".join([*text, source[copied:]])


def _ends(source: str, start: int) -> list[int]:
    """The bracket that opens a list of arguments, the commas in it, and the one that closes it."""
    ends: list[int] = []
    depth = 0
    for word in tokens(source, start):
        depth += (word.text in "([{") - (word.text in ")]}")
        if depth == 0 or (depth == 1 and (not ends or word.text == ",")):
            ends.append(word.at)
        if depth == 0:
            break
    if len(ends) < 2:
        raise LuaError("is not called")
    return ends


def _constant(text: str, _: Sequence[str]) -> str:
    return text


_MARK = "\0"  # around a parameter's place, in a key that is made to see its pattern


def _key(name: str, parameters: Sequence[str], arguments: Sequence[str]) -> str:
    _count(parameters, arguments)
    marked = (f"{_MARK}{argument}{_MARK}" for argument in arguments)
    made: str = getattr(Keys(f"{_MARK}PREFIX{_MARK}"), name)(*marked)
    # In turns what is the same in every such key, and an argument.
    pieces = enumerate(made.split(_MARK))
    joined = " .. ".join(piece if n % 2 else f"'{piece}'" for n, piece in pieces if piece)
    return f"({joined})"


def _read(names: Sequence[str], arguments: Sequence[str]) -> str:
    _count(("key",), arguments)
    fields = ", ".join(f"'{name}'" for name in names)
    return f"redis.pcall('HMGET', {arguments[0]}, {fields})"


def _are_plain(arguments: Sequence[str]) -> str:
    _count(("fields",), arguments)
    places = {name: f"{arguments[0]}[{place}]" for place, name in enumerate(JobFields._fields, 1)}
    empty = (f"({places[name]} or '') == ''" for name in EMPTY_IF_PLAIN)
    absent = " or ".join(places[name] for name in ABSENT_IF_PLAIN)
    return f"(not ({absent}) and {' and '.join(empty)})"


def _told_if_plain(arguments: Sequence[str]) -> str:
    _count(("fields",), arguments)
    told = (f"{arguments[0]}[{place}]" for place, _ in enumerate(TOLD_IF_PLAIN, 1))
    return f"{{ {', '.join(told)} }}"


_LITERAL = re.compile(r"-?\d+|''|true|false")
_NAMED = re.compile(r"(?:\w+[.\[])*(\w+)\]?(?: or \w+)?")


def _record(record: Any, arguments: Sequence[str]) -> str:
    """An array; an argument is a literal, or a name that ends as that of its field does."""
    fields, optional = record._fields, len(record._field_defaults)
    _count(fields[: max(len(arguments), len(fields) - optional)], arguments)
    for field, argument in zip(fields, arguments, strict=False):
        named = _NAMED.fullmatch(argument)
        if not _LITERAL.fullmatch(argument) and (not named or named[1].lower() != field):
            raise LuaError(f"is given {argument!r} for {field}")
    return f"{{ {', '.join(arguments)} }}"


def _count(parameters: Sequence[str], arguments: Sequence[str]) -> None:
    if len(parameters) != len(arguments):
        raise LuaError(f"is given {len(arguments)} for {len(parameters)}: {', '.join(parameters)}")
