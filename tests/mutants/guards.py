"""Finds the guards in a Lua script and takes them away, one at a time.

What counts as a guard: each condition (it is made true, and made false; of one with `and` or `or`,
each part is left out), each bound by `math.max` or `math.min` (each side is left out), each pcall
(it becomes a call), each ZADD's condition, and each line that only calls something. Scripts are
read line by line, as they are written: a condition stands on one, or on several of which each
further one begins with `and` or `or`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What is no mistake, or none that a test could see, and why: (file, line of code, what was done).
HARMLESS = {
    (
        "parts/job_locks.lua",
        "if not ok or type(listed) ~= 'table' then",
        "without not ok",
    ): "what is no JSON leaves the text of an error, which is no table either",
    (
        "parts/job_locks.lua",
        "return #locks > 0 and locks or nil",
        "without nil",
    ): "false is as good",
    (
        "parts/take_job_locks.lua",
        "return is_next and 'free' or 'full'",
        "without 'free'",
    ): "whoever asks only wants to know whether it is 'mine' or 'full'",
    (
        "parts/take_job_locks.lua",
        "if states[n] == 'mine' and remove_holder(want[1], request) then",
        "without states[n] == 'mine'",
    ): "remove_holder tells whether the job had it; the record of one that waits is written anew",
    (
        "parts/take_job_locks.lua",
        "if since_us then",
        "always",
    ): "it saves time: there is nothing to delete",
    (
        "parts/lock_handover.lua",
        "if #overdue == 0 then",
        "never",
    ): "it saves time: there is nothing to do",
    (
        "calls/lock_acquire.lua",
        "if firsts[n][1] then",
        "always",
    ): "it saves time: functions that only those need who may have to wait",
    (
        "calls/lock_acquire.lua",
        "return is_any_held() and ask() or hold_locks({})",
        "without is_any_held()",
    ): "it saves time: functions that only those need who may have to wait",
    (
        "parts/ask_for_locks.lua",
        "first = first or first_holder(lock)",
        "without first",
    ): "it saves time: what was read before in this call",
    (
        "parts/lock_deadlock.lua",
        "held = held or redis.call('ZRANGE', holders_key(lock), 0, -1, 'WITHSCORES')",
        "without held",
    ): "it saves time: what was read before in this call",
    (
        "parts/ask_for_locks.lua",
        "return free and 'free' or 'full', first",
        "without 'free'",
    ): "whoever asks only wants to know whether it is 'mine' or 'full'",
    (
        "parts/ask_for_locks.lua",
        "if record and record[WAKE] ~= mine[WAKE] then",
        "without record[WAKE] ~= mine[WAKE]",
    ): "it saves time: what is written is what stands there",
    ("parts/lock_handover.lua", "if any then", "always"): "it saves time: none of them is silent",
    (
        "parts/lock_handover.lua",
        "elseif record[WAKE] then",
        "always",
    ): "without a channel there is nothing to ask or to tell, which counts as told",
    (
        "calls/lock_release.lua",
        "rare = rare or make_rare()",
        "without rare",
    ): "it saves time: what is made anew is the same",
    (
        "calls/lock_release_process.lua",
        "if held > 0 then",
        "always",
    ): "it saves time: who waits there waits for others",
    (
        "parts/lock_deadlock.lua",
        "return #owners >= limit_of(lock, limit) and owners or nil",
        "without nil",
    ): "false is as good",
    (
        "parts/lock_deadlock.lua",
        "return whom and { record[ABOUT], lock, whom }",
        "without whom",
    ): "it saves time: one who waits for nobody ends the search when its turn comes",
}

_CONDITION = re.compile(r"\b(?P<word>if|elseif) (?P<condition>.+) then\b")
_RETURNED = re.compile(
    r"^(?P<head>\s*(?:(?:local )?\w[\w, \[\]]* = |return ))(?P<condition>.+ (?:and|or) .+)$"
)
_CALL = re.compile(r"^\s*(?P<name>(?:redis\.p?call|\w+)\().*\)\s*$")
_PCALL = re.compile(r"(?<![.\w])pcall\(")
_FURTHER = re.compile(r"\s*(?:and|or) ")
_BOUND = re.compile(r"math\.(?:max|min)\(")
_JOINT = re.compile(r" (and|or) ")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A script without one of its guards.

    Attributes:
        line: number from 1.
        code: the line as it was, without what stands around it.
        change: what was done to it.
        source: the whole script after that.
    """

    file: str
    line: int
    code: str
    change: str
    source: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """What tells it from others, wherever in its script it stands."""
        return self.file, self.code, self.change

    @property
    def harmless(self) -> str | None:
        """Why no test can tell it from the original."""
        return HARMLESS.get(self.identity)


def file_of(path: Path) -> str:
    """A script's name: that of its folder and its own."""
    return f"{path.parent.name}/{path.name}"


def mutants(path: Path) -> Iterator[Mutant]:
    """All of a script."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number in range(len(lines) - 1, 0, -1):
        if _FURTHER.match(lines[number]):
            # The empty line in its place keeps the numbers of those below.
            lines[number - 1] = lines[number - 1].rstrip() + f" {lines[number].lstrip()}"
            lines[number] = "\n"
    for number, line in enumerate(lines):
        code, _, comment = line.partition("--")
        if not code.strip():
            continue
        rest = f"--{comment}" if comment else ""
        for change, changed in _changes(code):
            source = "".join([*lines[:number], changed + rest, *lines[number + 1 :]])
            yield Mutant(file_of(path), number + 1, code.strip(), change, source)


def _changes(code: str) -> Iterator[tuple[str, str]]:
    found = _CONDITION.search(code)
    if found:
        start, end = found.span("condition")
        yield "never", code[:start] + "false" + code[end:]
        yield "always", code[:start] + "true" + code[end:]
    found = found or _RETURNED.search(code.rstrip("\n"))
    if found:
        start, end = found.span("condition")
        for part, left in _parts(found["condition"]):
            yield f"without {part}", code[:start] + left + code[end:]
    for bound in _BOUND.finditer(code):
        end = _closing(code, bound.end())
        sides = _split(code[bound.end() : end], ", ")
        for side in range(len(sides)):
            kept = ", ".join(sides[:side] + sides[side + 1 :])
            yield f"without {sides[side]}", f"{code[: bound.start()]}({kept}){code[end + 1 :]}"
    if (called := _CALL.match(code)) and _closing(code, called.end("name")) == len(
        code.rstrip()
    ) - 1:
        yield "left out", "\n"
    if "redis.pcall(" in code:
        yield "call", code.replace("redis.pcall(", "redis.call(")
    if _PCALL.search(code):
        unsafe = _PCALL.sub("(function(f, ...) return true, f(...) end)(", code)
        # A statement that began with a bracket would belong to the line before.
        yield "call", f"local _ = {unsafe}" if _PCALL.match(code.lstrip()) else unsafe
    if "'LT', " in code:
        yield "without 'LT'", code.replace("'LT', ", "")


def _parts(condition: str) -> Iterator[tuple[str, str]]:
    """Each part of a condition, and the condition without it."""
    joints = [found for found in _JOINT.finditer(condition) if _depth(condition, found) == 0]
    bounds = [(0, 0), *(found.span() for found in joints), (len(condition),) * 2]
    parts = [condition[bounds[n][1] : bounds[n + 1][0]] for n in range(len(bounds) - 1)]
    if len(parts) == 1:
        if condition.startswith("(") and _closing(condition, 1) == len(condition) - 1:
            yield from ((part, f"({left})") for part, left in _parts(condition[1:-1]))
        return
    all_words = [found[1] for found in joints]
    for number, part in enumerate(parts):
        # The first goes with the word after it, each other one with the word before it.
        words = [*all_words]
        del words[max(0, number - 1)]
        kept = parts[:number] + parts[number + 1 :]
        yield part, _join(kept, words)
        for inner, left in _parts(part):
            yield inner, _join([*parts[:number], left, *parts[number + 1 :]], all_words)


def _join(parts: list[str], words: list[str]) -> str:
    rest = zip(words, parts[1:], strict=True)
    return parts[0] + "".join(f" {word} {part}" for word, part in rest)


def _depth(text: str, found: "re.Match[str]") -> int:
    before = text[: found.start()]
    return sum(map(before.count, "([{")) - sum(map(before.count, ")]}"))


def _closing(text: str, start: int) -> int:
    """Where the bracket ends that was opened before `start`; -1 when it does so on a later line."""
    depth = 1
    for position in range(start, len(text)):
        depth += (text[position] in "([{") - (text[position] in ")]}")
        if depth == 0:
            return position
    return -1


def _split(text: str, separator: str) -> list[str]:
    """At separators outside of brackets."""
    parts, depth = [""], 0
    for position, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 and text.startswith(separator, position):
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
