"""How scripts are put together, and that nothing is wrong in any of them."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis as redis_py

from heori_common.protocol.catalogue import REDIS_TYPES, catalogue
from heori_common.protocol.expansion import expand
from heori_common.protocol.keys import Keys
from heori_common.protocol.lua_words import LuaError, tokens
from heori_common.protocol.records import ClaimReply, JobFields, LockRecord
from heori_common.protocol.scripts import Script, assemble, load, script
from tests.rigs.lua_check import check, names
from tests.rigs.lua_files import CALLED, LUA, PARTS

NOW = {"now_s": "local now_s = 1\n", "now_us": "local now_us = 1000000\n"}
Load = Callable[..., Script]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Checks and loads a call made of some text, with parts made of other texts."""

    def loaded(call: str, **parts: str) -> Script:
        for kind, texts in (("calls", {"call": call}), ("parts", parts)):
            (tmp_path / kind).mkdir()
            for name, text in texts.items():
                full = "" if kind == "parts" or "FULL" in text else "\n-- FULL   passes\n"
                (tmp_path / kind / f"{name}.lua").write_text(text + full)
        check(tmp_path, "call")
        return load(tmp_path, "call")

    return loaded


# Names


@pytest.mark.parametrize(("wanted", "other"), [("now_s", "now_us"), ("now_us", "now_s")])
def test_a_script_that_reads_the_wrong_time_is_refused(
    loaded: Load, wanted: str, other: str
) -> None:
    call = f"-- call.lua: x\n-- USES   {other}\n\nreturn 2 * {wanted}\n"
    with pytest.raises(LuaError, match=rf"^calls/call.lua, line 4: .* defines {wanted}$"):
        loaded(call, **NOW)


def test_a_part_that_reads_what_only_its_user_brings_is_refused(loaded: Load) -> None:
    call = "-- USES   now_s, part\nreturn part() + now_s\n"
    part = "local function part() return now_s end\n"
    with pytest.raises(LuaError, match=r"^parts/part.lua, line 1: .* defines now_s$"):
        loaded(call, part=part, **NOW)


def test_a_script_that_reads_what_only_its_part_uses_is_refused(loaded: Load) -> None:
    part = "-- USES   now_s\nlocal function part() return now_s end\n"
    with pytest.raises(LuaError, match=r"^calls/call.lua, line 2: .* defines now_s$"):
        loaded("-- USES   part\nreturn part() + now_s\n", part=part, **NOW)


@pytest.mark.parametrize(
    ("source", "free"),
    [
        ("return x", {"x"}),
        ("local x = x", {"x"}),
        ("local x = 1 local y = x return y", set()),
        ("local x = 1\nx = x + 1", set()),
        ("x = 1", {"x"}),
        ("local function f(a, ...) return f(a, ...) end", set()),
        ("local function f() return g end local g", {"g"}),
        ("local f = function(a) return a end return a", {"a"}),
        ("local f = function() return f end", {"f"}),
        ("call(function() local x = 1 return x end) return x", {"call", "x"}),
        ("for i = 1, i do f(i) end", {"i", "f"}),
        ("for k, v in p do local w = k[v] end return w", {"p", "w"}),
        ("while a do local b = a end return b", {"a", "b"}),
        ("if a then local b elseif b then c() else local d end return d", {"a", "b", "c", "d"}),
        ("repeat local b = 1 until b", {"b"}),
        ("do local b = 1 end return b", {"b"}),
        ("return t.x.y, t['z'], t[w], s:f()", {"t", "w", "s"}),
        ("return { x = y, z, [w] = 1 }", {"y", "z", "w"}),
        ("return f{ x = y }", {"f", "y"}),
        ('return \'x\', "y\\"z", [[w]] -- v', set()),
        ("--[[ x\ny ]] return 1e5 + 0x1F .. 'a'", set()),
        ("local x = { f(function() return x end) } return x", {"f", "x"}),
    ],
)
def test_the_names_that_a_piece_of_lua_expects(source: str, free: set[str]) -> None:
    assert names(list(tokens(source))).free.keys() == free


@pytest.mark.parametrize(
    "source",
    ["end", "if a then", "f(", "f(]", "}", "local function f()", "function f() end", "a = $", "do"],
)
def test_what_is_no_lua_is_refused(source: str) -> None:
    with pytest.raises(LuaError):
        names(list(tokens(source)))


# Parts


def test_parts_are_brought_once_each_after_what_it_uses(loaded: Load) -> None:
    made = loaded(
        "-- USES   b, a\nreturn a() + b()\n",
        a="-- USES   base\nlocal function a() return base end\n",
        b="-- USES   a, base\nlocal function b() return a() + base end\n",
        base="local base = 1\n",
    )
    defined = re.findall(r"local (?:function )?(\w+)", made.source)
    assert defined == ["args", "base", "a", "b"]


WITHIN = "-- USES   base\nlocal function f()\n  -- USES   a\n  return a()\nend\n"
A = {"base": "local base = 1\n", "a": "-- USES   base, b\nlocal function a() return base + b end\n"}
B = {"b": "-- ARGS   b\nlocal b = args.b\n"}


def test_what_few_calls_need_is_made_where_it_is_used(loaded: Load, redis: redis_py.Redis) -> None:
    made = loaded(WITHIN + "return f()\n", **A, **B)
    defined = re.findall(r"local (?:function )?(\w+)", made.source)
    assert defined == ["args", "base", "f", "b", "a"]
    assert made.arguments == {"b"}
    assert redis.eval(made.source, 0, made.pack({"b": 2}, "")) == 3


def test_what_two_functions_use_is_in_each_of_them(loaded: Load, redis: redis_py.Redis) -> None:
    again = "local function g()\n  -- USES   b\n  -- USES   a\n  return a() * b\nend\n"
    made = loaded(WITHIN + again + "return f() + g()\n", **A, **B)
    defined = re.findall(r"local (?:function )?(\w+)", made.source)
    assert defined == ["args", "base", "f", "b", "a", "g", "b", "a"]
    assert redis.eval(made.source, 0, made.pack({"b": 2}, "")) == 3 + 3 * 2


@pytest.mark.parametrize(
    ("call", "parts", "said"),
    [
        ("-- USES   none", {}, "there is no parts/none.lua"),
        (
            "-- USES   a",
            {"a": "-- USES   b\n", "b": "-- USES   a\n"},
            "these parts use each other: a, b, a",
        ),
        (
            "-- USES   a\nlocal x = 1",
            {"a": "local x = 2\n"},
            "parts/a.lua and calls/call.lua both define x",
        ),
        (WITHIN + "return a()\n", A | B, "calls/call.lua: a is read where it is not defined"),
        (WITHIN + "return b\n", A | B, "calls/call.lua, line 6: nothing that it uses defines b"),
        ("-- ARGS   a, b\nreturn args.a", {}, "ARGS and what it reads differ in b"),
        ("-- ARGS   a\nreturn args.a + args.c", {}, "ARGS and what it reads differ in c"),
        ("-- FULL   maybe\n", {}, "calls/call.lua: its FULL is none of: passes, is refused"),
        ("return job_key(1, 2)", {}, "line 1: job_key is given 2 for 1: job_id"),
        ("return job_key", {}, "line 1: job_key is not called"),
        ("return f(job_key(1", {}, "line 1: job_key is not called"),
    ],
)
def test_what_is_wrong_in_a_script_is_told(
    loaded: Load, call: str, parts: dict[str, str], said: str
) -> None:
    with pytest.raises(LuaError, match=re.escape(said)):
        loaded(call, **parts)


def test_a_part_brings_the_arguments_that_it_reads(loaded: Load) -> None:
    part = "-- ARGS   limit\nlocal limit = args.limit\n"
    made = loaded("-- ARGS   id\n-- USES   part\nreturn limit .. args.id\n", part=part)
    assert made.arguments == {"id", "limit"}


# What is Python's


def test_a_key_is_named_in_lua_as_in_python(redis: redis_py.Redis) -> None:
    keys = Keys("a 'prefix'\\")
    for entry in catalogue():
        given = [f"{parameter}:@{{}}'" for parameter in entry.parameters]
        arguments = ", ".join(f"ARGV[{n}]" for n in range(2, 2 + len(given)))
        source = f"return {entry.name}_key({arguments})"
        made = redis.eval("local PREFIX = ARGV[1] " + expand(source), 0, keys.prefix, *given)
        assert made.decode() == getattr(keys, entry.name)(*given)


def test_no_script_writes_a_part_of_a_keys_name_by_itself() -> None:
    stems = {
        stem
        for entry in catalogue()
        for stem in getattr(Keys("\0"), entry.name)(*("\0" for _ in entry.parameters)).split("\0")
        if len(stem) > 1
    }
    assert {":job:", ":heori:lock:{", ":holders"} <= stems
    for path in LUA.rglob("*.lua"):
        for word in tokens(path.read_text()):
            if word.kind == "string":
                assert not any(stem in word.text for stem in stems), f"{path.name}: {word.text}"


def test_the_type_of_each_key_is_told_first() -> None:
    methods = {name for name in dir(Keys) if not name.startswith("_")}
    others = methods - {entry.name for entry in catalogue()}
    assert others == {"prefix", "queue_name", "lock_name"}
    assert {re.match(r"\w+", entry.about)[0] for entry in catalogue()} <= set(REDIS_TYPES)  # type: ignore[index]


def test_keys_and_scripts_are_the_same_where_python_keeps_no_docstrings() -> None:
    asked = """
from heori_common.protocol.catalogue import catalogue
from heori_common.protocol.scripts import script
from tests.rigs.lua_files import CALLED
assert False, "this is not -OO"
print([script(name).digest for name in CALLED], list(catalogue()))
"""
    optimized = [sys.executable, "-OO", "-c", asked]
    told = subprocess.run(optimized, check=True, capture_output=True, text=True, timeout=60)
    assert told.stdout == f"{[script(name).digest for name in CALLED]} {list(catalogue())}\n"


def test_of_each_key_it_is_told_when_it_goes() -> None:
    untold = {entry.name for entry in catalogue() if not entry.end.startswith(("Gone", "Stays"))}
    assert untold == {"commands_to", "granted", "told"}, "those are channels"


def test_a_field_is_found_where_the_record_has_it() -> None:
    for record in (JobFields, LockRecord):
        for place, field in enumerate(record._fields, 1):
            source = f"return record[{field.upper()}], record.{field}"
            expected = f"return record[{place}], record.{field}"
            assert expand(source) == expected


def test_no_name_stands_for_two_things() -> None:
    assert not {*JobFields._fields} & {*LockRecord._fields}


def test_a_record_is_made_with_each_field_in_its_place(loaded: Load) -> None:
    fields = [*ClaimReply._fields]
    listed = f"local {', '.join(fields)}\nreturn claim_reply("
    assert f"{{ {', '.join(fields)} }}" in loaded(f"{listed}{', '.join(fields)})").source
    for wrong in ([*fields[1:], fields[0]], fields[:5], [*fields, "1"]):
        source = f"{listed}{', '.join(wrong)})"
        with pytest.raises(LuaError, match="claim_reply is given"):
            expand(source)


def test_a_field_may_be_a_literal_or_read_from_elsewhere() -> None:
    source = "lock_record(args.owner, false, record[LIMIT] or false, lease_us, '', since_us, 0, 0)"
    made = "{ args.owner, false, record[3] or false, lease_us, '', since_us, 0, 0 }"
    assert expand(source) == made
    for wrong in ("owner(1)", "now_us", "nil", "1 + owner"):
        spoilt = source.replace("args.owner", wrong)
        with pytest.raises(LuaError, match=f"is given '{re.escape(wrong)}' for owner$"):
            expand(spoilt)


# All that there are


@pytest.mark.parametrize("name", CALLED)
def test_a_script_reads_nothing_that_nothing_defines(name: str) -> None:
    check(LUA, name)


@pytest.mark.parametrize("name", CALLED)
def test_a_script_declares_what_it_takes_and_gives(name: str) -> None:
    text = (LUA / "calls" / f"{name}.lua").read_text()
    assert text.startswith(f"-- {name}.lua: ")
    for label in ("KEYS", "ARGS", "REPLY", "FULL"):
        assert re.search(rf"^-- {label} +\S", text, re.MULTILINE), label
    source = script(name).source
    assert source.count("redis.call('TIME')") == source.count("'TIME'") <= 1


@pytest.mark.parametrize("part", PARTS)
def test_a_part_says_what_it_is_and_some_script_uses_it(part: str) -> None:
    text = (LUA / "parts" / f"{part}.lua").read_text()
    assert text.startswith(f"-- {part}.lua: ")
    assert any(part in assemble(LUA, name).parts for name in CALLED)


@pytest.mark.parametrize("name", CALLED)
def test_a_script_is_sent_and_kept_without_its_comments(name: str) -> None:
    source = script(name).source
    assert re.findall(r"^ *--.*", source, re.MULTILINE) == []
    assert source.isascii(), "one other character would double what each process keeps of it"


def test_a_time_is_named_with_its_unit() -> None:
    times = [
        "now",
        "today",
        "epoch",
        "ttl",
        "delay",
        "due",
        "since",
        "lease_end",
        "interval",
        "margin",
        "pause",
        "late",
        "waited",
    ]
    for path in LUA.rglob("*.lua"):
        read = list(tokens(path.read_text()))
        for number, word in enumerate(read):
            if word.kind == "name" and word.text in times:
                of = "".join(each.text for each in read[number - 2 : number])
                assert of == "found.", f"{path.name}: {word.text} is no field of RQ's"


@pytest.mark.parametrize("name", CALLED)
def test_a_caller_that_disagrees_with_the_header_is_told_about_what(name: str) -> None:
    right = dict.fromkeys(script(name).arguments, 0)
    assert script(name).pack(right, "rq")
    with pytest.raises(TypeError, match=rf"{name}\.lua.*: lease_ende$"):
        script(name).pack({**right, "lease_ende": 1}, "rq")
    for missing in right:
        rest = {argument: 0 for argument in right if argument != missing}
        with pytest.raises(TypeError, match=rf"{name}\.lua.*: {missing}$"):
            script(name).pack(rest, "rq")
