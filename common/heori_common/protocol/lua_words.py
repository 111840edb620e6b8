"""The words of Lua 5.1."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<skip>\s+|--\[\[.*?\]\]|--[^\n]*)
      | (?P<string>'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\[\[.*?\]\])
      | (?P<number>(?:0x[\da-fA-F]+|\d+\.?\d*(?:[eE][+-]?\d+)?))
      | (?P<name>[A-Za-z_]\w*)
      | (?P<symbol>\.\.\.|\.\.|[=~<>]=|[-+*/%^#<>=(){}\[\];:,.])""",
    re.VERBOSE | re.DOTALL,
)
_BEGIN = {"break", "do", "for", "function", "if", "local", "repeat", "return", "while"}
STATEMENTS = _BEGIN | {"else", "elseif", "end", "until"}  # a new one begins here, or the last ends
_KEYWORDS = STATEMENTS | {"and", "false", "in", "nil", "not", "or", "then", "true"}


class Token(NamedTuple):
    """A word of Lua."""

    kind: str  # name, keyword, string, number or symbol
    text: str
    line: int  # from 1
    at: int  # where it begins, from 0


class LuaError(ValueError):
    """A piece of Lua that cannot be what was meant."""


def tokens(source: str, start: int = 0) -> Iterator[Token]:
    """The words of a piece of Lua, without spaces and comments.

    Args:
        start: where the first of them begins.

    Raises:
        LuaError: something in it is no Lua.
    """
    position = start
    line = source.count("\n", 0, start) + 1
    while position < len(source):
        found = _TOKEN.match(source, position)
        if found is None:
            raise LuaError(f"line {line}: {source[position]!r} is no word of Lua")
        kind, text = found.lastgroup or "", found[0]
        if kind == "name" and text in _KEYWORDS:
            kind = "keyword"
        if kind != "skip":
            yield Token(kind, text, line, position)
        line += text.count("\n")
        position = found.end()
