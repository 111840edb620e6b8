"""Pickles that somebody could write who may write to Redis, and what is said of each."""

import os
import pickle
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.rigs.pickle_assembler import (
    NONE,
    ONE,
    SHOP,
    attributes,
    call,
    in_shop,
    named,
    new,
    old,
    text,
    whole,
)

TOUCH = "touch canary"  # runs in the folder of the test, where nothing of that name may appear
PYTHON = "is Python's own"
ELSEWHERE = "which was defined elsewhere"


class Hostile(NamedTuple):
    """A pickle, and a part of the sentence that refuses it."""

    name: str
    raw: bytes
    sentence: str


SYSTEM = named("posix", "system")
SETATTR = b"N" + attributes(discount=ONE) + b"\x86"  # the state of one with slots


def reducing(*reduced: Any, protocol: int = 5) -> bytes:
    """What Python's own pickler writes of something that says it is made so."""

    class Evil:
        def __reduce__(self) -> Any:
            return reduced

    return pickle.dumps(Evil(), protocol)


def hostile_pickles() -> Iterator[Hostile]:
    """All of them; those that only one machine could run are written by hand."""
    yield from _directly()
    yield from _through_python()
    yield from _through_the_application()
    yield from _changing()
    yield from _with_old_opcodes()
    yield from _exhausting()


def _directly() -> Iterator[Hostile]:
    for protocol in range(6):
        raw = reducing(os.system, (TOUCH,), protocol=protocol)
        yield Hostile(f"os.system, protocol {protocol}", raw, f"posix.system {PYTHON}")
    for module, name, args in (
        ("os", "system", [text(TOUCH)]),
        ("nt", "system", [text(TOUCH)]),
        ("os", "popen", [text(TOUCH)]),
        ("os", "execl", [text("/bin/touch"), text("touch"), text("canary")]),
        ("subprocess", "Popen", [text(TOUCH)]),
        ("subprocess", "check_output", [text(TOUCH)]),
        ("pty", "spawn", [text(TOUCH)]),
        ("shutil", "rmtree", [text(".")]),
        ("codecs", "decode", [text("x"), text("hex")]),
        ("runpy", "run_path", [text("evil.py")]),
        ("webbrowser", "open", [text("file:///")]),
        ("socket", "create_connection", [text("example.org")]),
        ("importlib", "import_module", [text("this")]),
        ("pickle", "loads", [text("x")]),
        ("marshal", "loads", [text("x")]),
        ("logging.config", "dictConfig", [attributes()]),
        ("ctypes", "CDLL", [text("libc.so.6")]),
        ("timeit", "timeit", [text("import os; os.system('touch canary')")]),
        ("code", "interact", []),
        ("sys", "exit", [ONE]),
        ("time", "sleep", [b"J\xff\xff\xff\x7f"]),
        ("gc", "get_objects", []),
        ("_io", "open", [text("canary"), text("w")]),
        ("atexit", "register", [named("builtins", "list")]),
        ("os.path", "exists", [text("/")]),
    ):
        yield Hostile(
            f"{module}.{name}", whole(call(named(module, name), *args)), f"{module}.{name} {PYTHON}"
        )


def _through_python() -> Iterator[Hostile]:
    code = text("__import__('os').system('touch canary')")
    for name in (
        *(
            "eval",
            "exec",
            "compile",
            "__import__",
            "open",
            "input",
            "breakpoint",
            "setattr",
            "vars",
        ),
        *("globals", "map", "type", "super", "classmethod", "memoryview", "delattr"),
    ):
        evil = whole(call(named("builtins", name), code))
        yield Hostile(f"builtins.{name}", evil, f"builtins.{name} {PYTHON}")
    yield Hostile("Python 2's eval", whole(call(old("__builtin__", "eval"), code), 2), "eval")
    yield Hostile(
        "getattr of a builtin",
        whole(call(named("builtins", "getattr"), named("builtins", "list"), text("__class__"))),
        "builtins.list.__class__ is a method of a class under no allowed prefix",
    )
    yield Hostile(
        "getattr of a text",
        whole(call(named("builtins", "getattr"), text("a"), text("__class__"))),
        "builtins.str.__class__ is a method of a class under no allowed prefix",
    )
    yield Hostile(
        "getattr of subclasses",
        whole(call(call(named("builtins", "getattr"), in_shop("Cart"), text("__subclasses__")))),
        "Cart.__subclasses__ is not there",
    )
    yield Hostile(
        "getattr as a value",
        whole(b"(" + named("builtins", "getattr") + b"l"),
        "holds builtins.getattr itself",
    )
    yield Hostile(
        "getattr of many things",
        whole(call(named("builtins", "getattr"), in_shop("Cart"), text("total"), NONE)),
        "calls builtins.getattr as no pickler does",
    )
    for name in ("attrgetter", "methodcaller"):
        raw = whole(call(named("operator", name), text("system")))
        yield Hostile(f"operator.{name}", raw, f"operator.{name} {PYTHON}")
    yield Hostile(
        "functools.partial",
        whole(call(named("functools", "partial"), SYSTEM, text(TOUCH))),
        PYTHON,
    )
    yield Hostile(
        "functools.reduce",
        whole(call(named("functools", "reduce"), SYSTEM, text("a"))),
        PYTHON,
    )
    yield Hostile(
        "types.FunctionType",
        whole(call(named("types", "FunctionType"), NONE, b"}")),
        f"types.FunctionType {PYTHON}",
    )
    yield Hostile(
        "types.CodeType", whole(call(named("types", "CodeType"), ONE)), f"types.CodeType {PYTHON}"
    )
    yield Hostile(
        "codecs with another codec",
        whole(call(named("_codecs", "encode"), text("x"), text("os"))),
        "calls _codecs.encode as no pickler does",
    )
    yield Hostile(
        "copyreg.add_extension",
        whole(call(named("copyreg", "add_extension"), text("os"), text("system"), ONE)),
        f"copyreg.add_extension {PYTHON}",
    )
    yield Hostile(
        "copyreg.pickle",
        whole(call(named("copyreg", "pickle"), named("builtins", "list"), SYSTEM)),
        PYTHON,
    )
    yield Hostile(
        "_reconstructor of a builtin",
        whole(
            call(
                named("copyreg", "_reconstructor"),
                in_shop("Bag"),
                named("builtins", "list"),
                call(named("builtins", "range"), b"J\xff\xff\xff\x7f"),
            )
        ),
        "calls copyreg._reconstructor as no pickler does",
    )
    yield Hostile(
        "or of what are no flags",
        whole(call(named("_operator", "or_"), b"}", b"}")),
        "is no flag",
    )
    yield Hostile(
        "a zone from a file",
        whole(
            call(
                call(
                    named("builtins", "getattr"), named("zoneinfo", "ZoneInfo"), text("from_file")
                ),
                text("/etc/passwd"),
            )
        ),
        "zoneinfo.ZoneInfo.from_file is a method of a class under no allowed prefix",
    )
    yield Hostile(
        "a path that is unlinked",
        whole(
            call(
                call(
                    named("builtins", "getattr"),
                    call(named("pathlib", "PosixPath"), text("canary")),
                    text("touch"),
                )
            )
        ),
        "PosixPath.touch is a method of a class under no allowed prefix",
    )
    yield Hostile("Heori's own", whole(named("heori_common.embedded", "main")), "no allowed prefix")
    yield Hostile("nonsense", whole(named("no such", "thing")), "under no allowed prefix")


def _through_the_application() -> Iterator[Hostile]:
    for name, sentence in (
        ("shell", ELSEWHERE),
        ("run", ELSEWHERE),
        ("runner", ELSEWHERE),
        ("getter", ELSEWHERE),
        ("environ", ELSEWHERE),
        ("lock", ELSEWHERE),
        ("rates", ELSEWHERE),
        ("os", "is a module"),
        ("elsewhere", "is a module"),
        ("lazy", ELSEWHERE),
        ("Path", ELSEWHERE),
        ("os.system", "is reached through <module"),
        ("subprocess.Popen", "is reached through <module"),
        ("Cart.opened", ELSEWHERE),
        ("Cart.Home", ELSEWHERE),
        ("Cart.modules", ELSEWHERE),
        ("Cart.total.__globals__", "a name that Python keeps for itself"),
        ("Cart.__init__", "a name that Python keeps for itself"),
        ("Cart.__class__", "a name that Python keeps for itself"),
        ("Cart.mro", ELSEWHERE),
        ("add.__globals__", "a name that Python keeps for itself"),
        ("__builtins__", "a name that Python keeps for itself"),
        ("__getattr__", "a name that Python keeps for itself"),
        ("Cart.total.x", "is reached through <function"),
        ("add\n", "could stand in no code"),
        ("", "could stand in no code"),
        ("gone", "has no gone here"),
    ):
        yield Hostile(
            f"the application's {name!r}", whole(call(in_shop(name), text(TOUCH))), sentence
        )
    for module, name, sentence in (
        (f"{SHOP}.os", "system", f"there is no module {SHOP}.os"),
        (f"{SHOP}_evil", "run", "under no allowed prefix"),
        ("tests.tasks", "shop", "is a module"),
        (f"{SHOP}.__main__", "run", "a name that Python keeps for itself"),
        (f"{SHOP}..os", "system", "could stand in no code"),
        (f" {SHOP}", "add", "under no allowed prefix"),
        ("tests.tasks.sample_tasks", "add", "under no allowed prefix"),
    ):
        yield Hostile(f"{module}.{name}", whole(call(named(module, name), ONE)), sentence)
    got = call(named("builtins", "getattr"), call(in_shop("Cart"), ONE), text("opened"))
    yield Hostile("a method that is os.system", whole(call(got, text(TOUCH))), "is no method")
    got = call(
        named("builtins", "getattr"),
        new(in_shop("Cart")) + attributes(total=named("builtins", "list")) + b"b",
        text("total"),
    )
    yield Hostile("a method that the instance brings", whole(call(got, NONE)), "is no method")
    got = call(named("builtins", "getattr"), call(in_shop("Home"), text("canary")), text("touch"))
    yield Hostile("a method that is inherited", whole(call(got)), "touch is pathlib.")
    yield Hostile(
        "what a function returns",
        whole(call(call(in_shop("later")), text(TOUCH))),
        "calls something that it has not named",
    )
    yield Hostile(
        "what a class makes",
        whole(call(call(in_shop("Adder"), ONE), ONE)),
        "calls something that it has not named",
    )
    yield Hostile(
        "what a method returns",
        whole(call(call(call(named("builtins", "getattr"), in_shop("Cart"), text("make"))), ONE)),
        "calls something that it has not named",
    )
    yield Hostile("a text that is called", whole(call(text("os.system"), ONE)), "not callable")
    yield Hostile(
        "a name that is made",
        whole(call(in_shop("add"), ONE) + text("system") + b"\x93"),
        "makes up the name",
    )


def _changing() -> Iterator[Hostile]:
    cart, function = in_shop("Cart"), in_shop("add")
    for what, thing, name in (
        ("class", cart, "Cart"),
        ("function", function, "add"),
        ("enumeration", in_shop("Color"), "Color"),
    ):
        for how, change in (
            ("state", attributes(discount=ONE) + b"b"),
            ("slots", SETATTR + b"b"),
            ("an item", text("discount") + ONE + b"s"),
            ("items", b"(" + text("discount") + ONE + b"u"),
            ("what is appended", ONE + b"a"),
            ("what is added", b"(" + ONE + b"\x90"),
        ):
            yield Hostile(
                f"a {what}, {how}", whole(thing + change), f"changes {SHOP}.{name} itself"
            )
    yield Hostile(
        "a class, from the memo",
        whole(cart + b"\x94" + b"0" + b"h\x00" + SETATTR + b"b"),
        f"changes {SHOP}.Cart itself",
    )
    yield Hostile(
        "a class, twice on the stack",
        whole(cart + b"2" + SETATTR + b"b"),
        f"changes {SHOP}.Cart itself",
    )
    yield Hostile(
        "a class of Python's",
        whole(named("uuid", "UUID") + SETATTR + b"b"),
        "changes uuid.UUID itself",
    )
    yield Hostile(
        "a function of Python's",
        whole(named("copyreg", "_reconstructor") + SETATTR + b"b"),
        "changes copyreg._reconstructor itself",
    )
    shared = "returns, which others have, too"
    yield Hostile(
        "what a function keeps", whole(call(in_shop("shared")) + text("eur") + ONE + b"s"), shared
    )
    yield Hostile(
        "a class that is returned", whole(call(in_shop("cart_class")) + SETATTR + b"b"), shared
    )
    yield Hostile(
        "a cached instance",
        whole(
            call(in_shop("cached"), b"K\x2a")
            + b"0"
            + call(in_shop("cached"), b"K\x2a")
            + attributes(items=ONE)
            + b"b"
        ),
        shared,
    )
    yield Hostile(
        "the only instance",
        whole(new(in_shop("Settings")) + attributes(safe=b"\x89") + b"b"),
        shared,
    )
    yield Hostile(
        "the only instance, called",
        whole(call(in_shop("Settings")) + attributes(safe=b"\x89") + b"b"),
        shared,
    )
    yield Hostile(
        "the only instance, with keywords",
        whole(in_shop("Settings") + b")}\x92" + attributes(safe=b"\x89") + b"b"),
        "makes for all",
    )
    yield Hostile(
        "a member of an enumeration",
        whole(call(in_shop("Color"), ONE) + attributes(_value_=b"K\x02") + b"b"),
        shared,
    )
    yield Hostile(
        "a method",
        whole(call(named("builtins", "getattr"), cart, text("total")) + SETATTR + b"b"),
        "changes something that it has not made for that",
    )
    yield Hostile(
        "a method, as Python 2 asks for it",
        whole(
            call(old("__builtin__", "getattr"), old(SHOP, "Cart"), text("total")) + SETATTR + b"b",
            2,
        ),
        "changes something that it has not made for that",
    )
    yield Hostile(
        "a state that sets a state",
        whole(new(cart) + attributes(__setstate__=named("builtins", "str")) + b"b" + b"]" + b"b"),
        "after it had its state",
    )
    yield Hostile(
        "an instance that appends as it likes",
        whole(
            new(cart) + attributes(append=named("builtins", "bytes")) + b"b" + b"J\xff\xff\xff\x7fa"
        ),
        "after it had its state",
    )
    yield Hostile(
        "a list with a state", whole(b"]" + attributes(x=ONE) + b"b"), "not made for that"
    )
    yield Hostile("a dict that is appended to", whole(b"}" + ONE + b"a"), "no attribute 'append'")
    yield Hostile(
        "a date with a state",
        whole(call(named("datetime", "timedelta"), ONE) + attributes(x=ONE) + b"b"),
        "changes what datetime",
    )


def _with_old_opcodes() -> Iterator[Hostile]:
    yield Hostile("INST", b"(S'touch canary'\niposix\nsystem\n.", "(INST)")
    yield Hostile("INST of the application", whole(f"(i{SHOP}\nCart\n".encode(), 0), "(INST)")
    yield Hostile("OBJ", whole(b"(" + old("posix", "system") + text(TOUCH) + b"o", 1), "(OBJ)")
    yield Hostile("PERSID", whole(b"Pposix.system\n"), "(PERSID)")
    yield Hostile("BINPERSID", whole(text("x") + b"Q"), "(BINPERSID)")
    yield Hostile("EXT1", whole(b"\x82\x01"), "(EXT1)")
    yield Hostile("EXT2", whole(b"\x83\x01\x00"), "(EXT2)")
    yield Hostile("EXT4", whole(b"\x84\x01\x00\x00\x00"), "(EXT4)")
    yield Hostile("NEXT_BUFFER", whole(b"\x97", 5), "(NEXT_BUFFER)")
    yield Hostile("READONLY_BUFFER", whole(b"]\x98", 5), "(READONLY_BUFFER)")
    yield Hostile(
        "what goes on", pickle.dumps(1) + call(SYSTEM, text(TOUCH)) + b".", "after its end"
    )
    yield Hostile("an opcode that is none", whole(b"\xff"), "is damaged")
    yield Hostile("nothing", b"", "is damaged")
    yield Hostile("no end", b"\x80\x04]", "is damaged")
    yield Hostile("an empty stack", whole(b""), "stack underflow")
    yield Hostile("below a mark", whole(ONE + b"(0R"), "has nothing on it")
    yield Hostile("no mark", whole(b"]e"), "could not find MARK")
    yield Hostile("a memo that is not there", whole(b"h\x07"), "Memo value not found")
    yield Hostile(
        "a protocol that changes",
        whole(old("__builtin__", "set") + b"0\x80\x04" + named("__builtin__", "set"), 2),
        "means two things",
    )
    yield Hostile("arguments that are none", whole(in_shop("add") + b"]R"), "no arguments")
    yield Hostile("keywords that are none", whole(in_shop("Cart") + b"))\x92"), "no keywords")
    yield Hostile(
        "a name with a blank", whole(old(f"{SHOP} os", "system")), "under no allowed prefix"
    )
    yield Hostile("a name that is no ASCII", whole("cpösix\nsystem\n".encode()), "is damaged")
    yield Hostile(
        "a truncated frame", b"\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00N.", "truncated"
    )


def _exhausting() -> Iterator[Hostile]:
    endless = call(named("builtins", "range"), b"J\xff\xff\xff\x7f")
    for name in ("set", "frozenset", "bytearray"):
        yield Hostile(
            f"{name} of a range",
            whole(call(named("builtins", name), endless)),
            "as no pickler does",
        )
    for name in ("deque", "Counter", "OrderedDict", "defaultdict"):
        yield Hostile(
            f"{name} of a range",
            whole(call(named("collections", name), endless, endless)),
            "as no pickler does",
        )
    for name in ("list", "tuple", "dict", "bytes", "str", "int"):
        yield Hostile(
            f"{name} that is called", whole(call(named("builtins", name), endless)), "as no pickler"
        )
    yield Hostile(
        "a bytearray of zeros",
        whole(call(named("builtins", "bytearray"), b"J\xff\xff\xff\x7f")),
        "as no pickler does",
    )
    yield Hostile(
        "a fraction of a huge power",
        whole(call(named("fractions", "Fraction"), text("1e999999999"))),
        "calls fractions.Fraction as no pickler does",
    )
    yield Hostile("a memo that is huge", whole(b"]r\xff\xff\xff\x7f"), "memory without end")
    yield Hostile("a memo that is huge, as text", whole(b"]p2147483647\n", 0), "memory without end")
    yield Hostile("a memo below zero", whole(b"]p-1\n", 0), "memory without end")
    big = b"](" + ONE * 200 + b"e\x94"
    yield Hostile(
        "the same list copied over and over",
        whole(big + b"0" + call(named("builtins", "set"), b"h\x00") * 100),
        "copies the same over and over",
    )
    yield Hostile("tuples 100,000 deep", whole(b")" + b"\x85" * 100_000), "nested more than")
    yield Hostile(
        "a hash 100,000 deep", whole(b"}" + b")" + b"\x85" * 100_000 + b"Ns"), "nested more than"
    )
    yield Hostile("lists 100,000 deep", whole(b"(" * 100_000 + b"l" * 100_000), "nested more than")
    yield Hostile("bytes that are not there", whole(b"\x8e" + b"\xff" * 7 + b"\x7f"), "is damaged")
    yield Hostile(
        "a bytearray that is not there", whole(b"\x96" + b"\xff" * 5 + b"\0\0\0"), "is damaged"
    )
    yield Hostile("a huge number as text", whole(b"I" + b"9" * 100_000 + b"\n", 0), "is damaged")
    yield Hostile("a number that is not there", whole(b"\x8b\xff\xff\xff\x7f"), "is damaged")
    yield Hostile(
        "exceptions of a range",
        whole(call(named("builtins", "ExceptionGroup"), text("x"), endless)),
        PYTHON,
    )
