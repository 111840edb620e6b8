"""Loads the Lua scripts beside this file and holds callers to what their headers promise.

``lua/calls`` has what is called, ``lua/parts`` what several of them share. A header is a run of
comment lines. ``ARGS`` names the fields of the one argument, a msgpack map (Redis' own
``cmsgpack`` reads it): one argument and one reply a call keep the cost of the client independent
of the size of the batch. ``USES`` names the parts that the file itself uses; what those use in
turn, the loader brings.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgpack

_LUA = files(__package__) / "lua"
_READ_ARGS = "local args = cmsgpack.unpack(ARGV[1])\n"


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, ready to be called by digest (EVALSHA) or in full (EVAL)."""

    name: str
    source: str
    digest: str
    arguments: frozenset[str]

    def pack(self, arguments: dict[str, Any]) -> bytes:
        """Encode the one argument of a call.

        Raises:
            TypeError: the names are not just those that the script's header declares.
        """
        if arguments.keys() != self.arguments:
            differing = sorted(arguments.keys() ^ self.arguments)
            raise TypeError(f"{self.name}.lua and its caller disagree on: {', '.join(differing)}")
        # cmsgpack knows the old format only, which has one type for text and bytes.
        packed: bytes = msgpack.packb(
            arguments, use_bin_type=False, unicode_errors="surrogateescape"
        )
        return packed


@cache
def script(name: str) -> Script:
    """The script of that name, with all parts that it needs put before it.

    Raises:
        FileNotFoundError: there is no such script, or no part that is used somewhere.
        ValueError: some parts use each other in a circle.
    """
    called = (_LUA / "calls" / f"{name}.lua").read_text(encoding="utf-8")
    parts: dict[str, str] = {}
    _bring(called, parts, ())
    source = _READ_ARGS + "".join(parts.values()) + called
    digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, digest, frozenset(_header(called, "ARGS")))


def _bring(text: str, parts: dict[str, str], users: tuple[str, ...]) -> None:
    """Add what a file uses to the parts, each after what it uses itself."""
    for used in _header(text, "USES"):
        if used in users:
            raise ValueError(f"these use each other: {', '.join([*users, used])}")
        if used not in parts:
            part = (_LUA / "parts" / f"{used}.lua").read_text(encoding="utf-8")
            _bring(part, parts, (*users, used))
            parts[used] = part


def _header(text: str, label: str) -> list[str]:
    """The names listed after a label: on its own line and on those that continue the list."""
    found = re.search(rf"^-- {label} +(.*(?:(?<=,)\n--  .*)*)", text, re.MULTILINE)
    if found is None:
        return []
    listed = found[1].replace("\n--", " ")
    return [name.strip() for name in listed.split(",") if name.strip()]
