"""Loads the Lua scripts beside this file and holds callers to what their headers promise.

A header is a run of comment lines. ``ARGS`` names the fields of the one argument, a msgpack
map (Redis' own ``cmsgpack`` reads it): one argument and one reply a call keep the cost of the
client independent of the size of the batch. ``USES`` names the files to include, or says
"nothing".
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
    """The script of that name, with what it uses put before it."""
    text = (_LUA / f"{name}.lua").read_text(encoding="utf-8")
    uses = [used for used in _header(text, "USES") if used != "nothing"]
    source = _READ_ARGS + "".join(_include(used) for used in uses) + text
    digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, digest, frozenset(_header(text, "ARGS")))


def _include(name: str) -> str:
    return (_LUA / f"{name}.lua").read_text(encoding="utf-8")


def _header(text: str, label: str) -> list[str]:
    """The names listed after a label: on its own line and on those that continue the list."""
    found = re.search(rf"^-- {label} +(.*(?:(?<=,)\n--  .*)*)", text, re.MULTILINE)
    if found is None:
        return []
    listed = found[1].replace("\n--", " ")
    return [name.strip() for name in listed.split(",") if name.strip()]
