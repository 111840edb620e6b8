"""Loads the Lua scripts beside this file and holds callers to what their headers promise.

``lua/calls`` has what is called; ``lua/parts`` what several of them share. Each begins with a
header, a run of comment lines:

- ``KEYS`` and ``REPLY`` of a call, for people;
- ``ARGS``: the fields that the file reads of the one argument, a msgpack map (Redis' own
  ``cmsgpack`` reads it). One argument and one reply a call keep the cost of the client independent
  of the size of the batch;
- ``USES``: the parts whose names the file itself reads. What those use in turn, the loader brings.
- ``FULL`` of a call: what becomes of it while Redis' memory is full (``maxmemory``, noeviction).
  ``passes``: it keeps, frees or moves what is there, so that jobs run on and the queues empty.
  ``is refused``: it brings something new; Redis says so before anything of it is done.
  ``only reads``: it passes, and Redis keeps it from writing.
  ``as its command``: it executes one of a user's, which decides.

A call may have such lines within its functions, too: these parts are put in their place, but for
those that stand outside. What two functions use is in each of them, with variables of its own.
Redis makes all functions that stand outside of others anew in each call, at about 0.2 µs each. So
what few calls need stands in a function that the others do not come past.

The names of keys and the places of fields are Python's, see `expansion`.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from heori_common.protocol.expansion import expand
from heori_common.protocol.lua_words import LuaError

_LUA = Path(__file__).parent / "lua"
_READ_ARGS = "local args = cmsgpack.unpack(ARGV[1])\n"
_READ_PREFIX = "local PREFIX = args.prefix\n"
_USES = re.compile(r"(?:^ +-- USES .*\n)+", re.MULTILINE)  # within a function
# A comment that has its lines to itself. The server and each client hold what they run, and a text
# with a character such as an arrow takes twice its length.
_COMMENT = re.compile(r"^(?:--| +--(?! USES )).*\n", re.MULTILINE)
# By FULL, the first line of the script. Redis reads it when it compiles the script, so that no call
# pays for it. Without it, a script is refused at its first write that may take memory.
_WHEN_FULL = {
    "passes": "#!lua flags=allow-oom\n",
    "is refused": "#!lua\n",
    "only reads": "#!lua flags=no-writes\n",
    # With such a line all keys must be of one slot of a cluster; those of users need not be.
    "as its command": "",
}


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, ready to be called by digest (EVALSHA) or in full (EVAL)."""

    name: str
    source: str
    digest: str
    arguments: frozenset[str]
    makes_keys: bool  # then its argument holds the prefix of all keys, too
    when_full: str  # what its FULL says

    def pack(self, arguments: dict[str, Any], prefix: str) -> bytes:
        """Encode the one argument of a call.

        Raises:
            TypeError: the names are not just those that the script's headers declare.
        """
        if arguments.keys() != self.arguments:
            differing = sorted(arguments.keys() ^ self.arguments)
            raise TypeError(f"{self.name}.lua and its caller disagree on: {', '.join(differing)}")
        if self.makes_keys:
            arguments = {**arguments, "prefix": prefix}
        return pack_argument(arguments)


def pack_argument(value: Any) -> bytes:
    """Encode the argument of a call, or a part of it.

    cmsgpack knows the old format only, which has one type for text and bytes.
    """
    packer = msgpack.Packer(use_bin_type=False, unicode_errors="surrogateescape")
    packed: bytes = packer.pack(value)
    return packed


def read_files() -> None:
    """Read all files of scripts now: when one is called first, none may be left to be opened."""
    for path in _LUA.glob("*/*.lua"):
        _text(path)


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def script(name: str) -> Script:
    """The script of that name, with all that it needs put before it.

    Raises:
        LuaError: a header or a name in it is wrong; the message says where.
    """
    return load(_LUA, name)


def load(folder: Path, name: str) -> Script:
    """Put a script together from the files in a folder's ``calls`` and ``parts``.

    Raises:
        LuaError: a header in one of them is wrong; the message says where.
    """
    call, parts, body = assemble(folder, name)
    makes_keys = "(PREFIX .." in body
    when_full = re.search(r"^-- FULL +(.*)", call.text, re.MULTILINE)
    if when_full is None or when_full[1] not in _WHEN_FULL:
        raise LuaError(f"{call.path}: its FULL is none of: {', '.join(_WHEN_FULL)}")
    first_line = _WHEN_FULL[when_full[1]]
    source = first_line + _READ_ARGS + (_READ_PREFIX if makes_keys else "") + body
    return Script(
        name,
        source,
        hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(),
        frozenset(name for each in (*parts.values(), call) for name in each.arguments),
        makes_keys,
        when_full[1],
    )


class Assembled(NamedTuple):
    """The files of a script, and what they make."""

    call: "File"
    parts: "dict[str, File]"  # by name, each after those that it uses
    body: str


def assemble(folder: Path, name: str) -> Assembled:
    """Bring everything that a script uses.

    Raises:
        LuaError: as `load`.
    """
    call = File.read(folder, "calls", name)
    parts: dict[str, File] = {}
    _bring(folder, call.uses, parts, ())
    body = "".join(each.expanded for each in parts.values()) + call.expanded
    outside = set(parts)
    for lines, uses in call.uses_within.items():
        within = {name: parts[name] for name in outside}
        _bring(folder, uses, within, ())
        parts |= within
        brought = (each.expanded for name, each in within.items() if name not in outside)
        body = body.replace(lines, "".join(brought))
    return Assembled(call, parts, body)


@dataclass(frozen=True, slots=True)
class File:
    """One file of Lua.

    Attributes:
        expanded: what the server is to run of it.
        uses_within: the parts that it uses within functions, by the lines that say so.
    """

    path: str
    text: str
    expanded: str
    arguments: list[str]
    uses: list[str]
    uses_within: dict[str, list[str]]

    @classmethod
    @cache
    def read(cls, folder: Path, kind: str, name: str) -> "File":
        """Read it.

        Raises:
            LuaError: there is none, or a name of Python's is not given what it needs.
        """
        path = f"{kind}/{name}.lua"
        try:
            text = _text(folder / kind / f"{name}.lua")
        except FileNotFoundError:
            raise LuaError(f"there is no {path}") from None
        try:
            expanded = _COMMENT.sub("", expand(text))
        except LuaError as error:
            raise LuaError(f"{path}: {error}") from None
        within = {
            lines: [name for line in lines.splitlines() for name in _listed(line.split("USES")[1])]
            for lines in _USES.findall(text)
        }
        return cls(path, text, expanded, _header(text, "ARGS"), _header(text, "USES"), within)


def _bring(
    folder: Path, uses: Sequence[str], parts: dict[str, File], users: tuple[str, ...]
) -> None:
    """Add what is used to the parts, each after what it uses itself."""
    for name in uses:
        if name in users:
            raise LuaError(
                f"these parts use each other: {', '.join([*users[users.index(name) :], name])}"
            )
        if name not in parts:
            part = File.read(folder, "parts", name)
            _bring(folder, part.uses, parts, (*users, name))
            parts[name] = part


def _header(text: str, label: str) -> list[str]:
    """The names listed after a label: on its own line and on those that continue the list."""
    found = re.search(rf"^-- {label} +(.*(?:(?<=,)\n--  .*)*)", text, re.MULTILINE)
    if found is None:
        return []
    return _listed(found[1].replace("\n--", " "))


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip() not in ("", "nothing")]
