"""Looks through the Lua scripts for what Redis would find only when a call comes past it.

A name that nothing defines may be met in a year. Here are which names a piece of Lua 5.1 defines
for what comes after it, and which it expects to be there. This knows no more of Lua than that
takes: its words, and where blocks begin and end.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from heori_common.protocol.expansion import expansions
from heori_common.protocol.lua_words import STATEMENTS, LuaError, Token, tokens
from heori_common.protocol.scripts import Assembled, File, assemble

# What is defined in every script: by the loader, by Redis and by Lua.
_GIVEN = {"PREFIX", "args", "KEYS", "redis", "cjson", "cmsgpack"}
_LUA_S = {"ipairs", "math", "pairs", "pcall", "select", "string", "table", "tonumber", "type"}
_GLOBALS = _GIVEN | _LUA_S | {"unpack"}
# What each of these words ends. The condition after `until` could read the block's locals: no
# script needs that, so none may.
_CLOSES = {
    "else": ["then"],
    "elseif": ["then"],
    "end": ["function", "do", "then", "else"],
    "until": ["repeat"],
}
_VALUES = frozenset(["end", "false", "nil", "true", ")", "]", "}", "..."])  # may end an expression


class Names(NamedTuple):
    """What a piece of Lua has to do with its surroundings."""

    defined: frozenset[str]  # its own outermost locals
    free: dict[str, int]  # name → the line where it is used first without being defined


def check(folder: Path, name: str) -> None:
    """See that each file of a script reads nothing but what it declares, and what is there.

    Raises:
        LuaError: one does; the message says where.
    """
    script = assemble(folder, name)
    together = [*script.parts.values(), script.call]
    read = {each.path: _names(each.path, each.text) for each in together}
    defined_in: dict[str, File] = {}
    for each in together:
        uses = [*each.uses, *(used for within in each.uses_within.values() for used in within)]
        brought = {own for used in uses for own in read[script.parts[used].path].defined}
        _check_file(each, read[each.path], brought)
        for own in read[each.path].defined:
            if own in defined_in:
                raise LuaError(f"{defined_in[own].path} and {each.path} both define {own}")
            defined_in[own] = each
    _check_whole(script)


@functools.cache  # many scripts have the same parts
def _names(path: str, text: str) -> Names:
    try:
        return names(list(tokens(text)))
    except LuaError as error:
        raise LuaError(f"{path}: {error}") from None


def _check_file(file: File, found: Names, brought: set[str]) -> None:
    known = _GLOBALS | expansions().keys() | brought
    for name, line in found.free.items():
        if name not in known:
            raise LuaError(f"{file.path}, line {line}: nothing that it uses defines {name}")
    read = set(re.findall(r"\bargs\.(\w+)", file.text))
    if read != set(file.arguments):
        differing = ", ".join(sorted(read ^ set(file.arguments)))
        raise LuaError(f"{file.path}: its ARGS and what it reads differ in {differing}")


def _check_whole(script: Assembled) -> None:
    """What stands within functions is seen by these alone."""
    for unknown in names(list(tokens(script.body))).free.keys() - _GLOBALS:
        raise LuaError(f"{script.call.path}: {unknown} is read where it is not defined")


def names(words: Sequence[Token]) -> Names:
    """What a piece of Lua defines and what it expects.

    Raises:
        LuaError: its blocks and brackets do not match, or something in it is no Lua.
    """
    return _Reader(words).read()


@dataclass
class _Scope:
    opened_by: str
    brackets: list[str] = field(default_factory=list)  # those that are open within it
    names: set[str] = field(default_factory=set)
    # Locals of a statement that is not over yet: `local now = now` reads another now.
    pending: list[str] = field(default_factory=list)


class _Reader:
    def __init__(self, words: Sequence[Token]) -> None:
        self._words = words
        self._at = 0
        self._scopes = [_Scope("")]
        self._free: dict[str, int] = {}

    def read(self) -> Names:
        while self._at < len(self._words):
            token = self._words[self._at]
            if self._begins_statement(token):
                self._end_statement()
            if token.kind == "keyword":
                self._keyword(token)
            elif token.kind == "name":
                self._name(token)
                self._at += 1
            else:
                self._symbol(token)
                self._at += 1
        self._end_statement()
        if len(self._scopes) > 1 or self._scopes[0].brackets:
            opened = [*(scope.opened_by for scope in self._scopes), *self._scopes[-1].brackets]
            raise LuaError(f"what {opened[-1]!r} begins has no end")
        return Names(frozenset(self._scopes[0].names), self._free)

    def _begins_statement(self, token: Token) -> bool:
        if self._scopes[-1].brackets or self._at == 0:
            return False
        before = self._words[self._at - 1]
        after_value = before.kind in ("name", "string", "number") or before.text in _VALUES
        if token.kind == "name":
            return after_value
        return token.text in STATEMENTS and (after_value or token.text != "function")

    def _end_statement(self) -> None:
        scope = self._scopes[-1]
        scope.names.update(scope.pending)
        scope.pending.clear()

    def _keyword(self, token: Token) -> None:
        self._at += 1
        match token.text:
            case "local" if self._text() == "function":
                self._at += 1
                self._scopes[-1].names.add(self._take_name())
                self._function()
            case "local":
                self._scopes[-1].pending = self._take_names()
            case "function":
                self._function()
            case "for":
                variables = self._take_names()
                self._scopes.append(_Scope("for", pending=variables))
            case "do" if self._scopes[-1].opened_by in ("for", "while"):
                self._end_statement()  # from here on a loop's variables are there, too
                self._scopes[-1].opened_by = "do"
            case "do" | "repeat" | "while" | "then":
                self._scopes.append(_Scope(token.text))
            case "else" | "elseif" | "end" | "until":
                self._close(token)

    def _function(self) -> None:
        """From its parameters on."""
        scope = _Scope("function")
        if self._text() != "(":
            raise LuaError(f"line {self._line()}: a function that is not local")
        self._at += 1
        while self._text() != ")":
            if self._text() not in (",", "..."):
                scope.names.add(self._take_name())
            else:
                self._at += 1
        self._at += 1
        self._scopes.append(scope)

    def _close(self, token: Token) -> None:
        scope = self._scopes.pop()
        if scope.opened_by not in _CLOSES[token.text] or scope.brackets:
            raise LuaError(f"line {token.line}: {token.text!r} ends nothing that was begun")
        if token.text == "else":
            self._scopes.append(_Scope("else"))

    def _name(self, token: Token) -> None:
        before = self._words[self._at - 1].text if self._at else ""
        after = self._words[self._at + 1].text if self._at + 1 < len(self._words) else ""
        brackets = self._scopes[-1].brackets
        if before in (".", ":"):
            return  # a field
        if after == "=" and brackets and brackets[-1] == "{" and before in ("{", ",", ";"):
            return  # the name of a field in a table that is written here
        if not any(token.text in scope.names for scope in self._scopes):
            self._free.setdefault(token.text, token.line)

    def _symbol(self, token: Token) -> None:
        brackets = self._scopes[-1].brackets
        if token.text in "([{":
            brackets.append(token.text)
        elif token.text in ")]}" and (not brackets or brackets.pop() + token.text not in "()[]{}"):
            raise LuaError(f"line {token.line}: {token.text!r} closes nothing that was opened")

    def _take_names(self) -> list[str]:
        taken = [self._take_name()]
        while self._text() == ",":
            self._at += 1
            taken.append(self._take_name())
        return taken

    def _take_name(self) -> str:
        if self._at >= len(self._words) or self._words[self._at].kind != "name":
            raise LuaError(f"line {self._line()}: a name is missing")
        self._at += 1
        return self._words[self._at - 1].text

    def _text(self) -> str:
        return self._words[self._at].text if self._at < len(self._words) else ""

    def _line(self) -> int:
        return self._words[min(self._at, len(self._words) - 1)].line
