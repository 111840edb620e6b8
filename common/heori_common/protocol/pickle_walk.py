"""What a pickle would do, found by going through its instructions without following any.

A pickle is a program for a machine with a stack. Here the stack holds what is known of each value:
which opcode has made it, or which class or function. So it can be told before anything is loaded
whether an honest pickler has written it (``Lib/pickle.py``, class `_Pickler`): one calls nothing
but classes and functions that it has named; changes only what it has just made, and never a class
or a function; and is done with each thing once it has given it its state.
"""

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterable, Sequence
from pickletools import genops, opcodes
from typing import Any

MOST_DEPTH = 1000  # of tuples and the like in one another: hash() follows them in C without a limit

Name = tuple[str, str]  # of a class or function: its module, and its name there
GETATTR: Name = ("builtins", "getattr")


class Dishonest(ValueError):
    """No pickler writes such a pickle; the message says why."""


class Thing:
    """What is known of a value.

    Attributes:
        kind: "value", "tuple", "list", "dict", "set", "global", "made" or "got": the last is what
            getattr has found.
        value: of a "value", where the pickle has it; of a "tuple", its items.
        name: of a "global", its own; of what was "made", that of what has made it.
        size: what a copy of it would cost: items, or bytes.
        call: the position of the instruction that has "made" it.
    """

    value: Any = None
    name: Name = ("", "")
    depth = 0
    size = 0
    call = -1
    done = False

    def __init__(self, kind: str) -> None:
        self.kind = kind


class Made:
    """A call of a class or function.

    Attributes:
        name: of it.
        args: that it gets.
        new: whether it is ``cls.__new__`` that is called, and not the class.
        changed: whether the pickle changes what comes of it.
    """

    __slots__ = ("args", "changed", "name", "new")

    def __init__(self, name: Name, args: tuple[Thing, ...], *, new: bool) -> None:
        self.name = name
        self.args = args
        self.new = new
        self.changed = False


class Walk:
    """One pickle, gone through.

    Attributes:
        globals: the classes and functions that it means.
        named: these, by the names that it has for them.
        values: those of them that are values themselves, and not only called.
        calls: what it calls, by the position of the instruction.
        result: what it holds, as far as that stands in it: a list of the items of a tuple.

    Raises:
        Dishonest: it does what no pickler writes.
        Exception: it is damaged.
    """

    def __init__(self, raw: bytes) -> None:
        self.globals: set[Name] = set()
        self.named: dict[Name, Name] = {}
        self.values: set[Name] = set()
        self.calls: dict[int, Made] = {}
        self._stack: list[Thing] = []
        self._marks: list[int] = []
        self._memo: dict[int, Thing] = {}
        self._most = len(raw)
        self._protocol = 0
        at = 0
        stack, memo = self._stack, self._memo
        for opcode, arg, position in genops(raw):
            at = position or 0
            if opcode.name in _SCALARS:
                stack.append(_NUMBER if arg is None or type(arg) in _SMALL else _text(arg))
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = self._top()
            elif (follow := _OPCODES.get(opcode.name)) is not None:
                follow(self, arg, at)
            elif opcode.name in _REFUSED:
                raise Dishonest(_REFUSED[opcode.name])
            elif opcode.name == "PROTO":
                self._protocol = int(arg or 0)
        end = self._pop()
        self._use([end])
        self.result = [item.value for item in end.value] if end.kind == "tuple" else end.value
        if at + 1 != len(raw):
            raise Dishonest("goes on after its end")

    # The stack

    def _pop(self) -> Thing:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise Dishonest("takes from a stack that has nothing on it")
        return self._stack.pop()

    def _top(self) -> Thing:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise Dishonest("looks at a stack that has nothing on it")
        return self._stack[-1]

    def _pop_mark(self) -> list[Thing]:
        if not self._marks:
            raise Dishonest("takes from a stack what was not marked on it")
        mark = self._marks.pop()
        things = self._stack[mark:]
        del self._stack[mark:]
        return things

    def _use(self, things: Iterable[Thing]) -> int:
        """Have things be parts of another; returns how deep that is at least."""
        deepest = 0
        for thing in things:
            deepest = max(deepest, thing.depth)
            if thing.kind == "global":
                self.values.add(thing.name)
        if deepest >= MOST_DEPTH:
            raise Dishonest(f"is nested more than {MOST_DEPTH} deep")
        return deepest + 1

    def _push(self, kind: str, things: Sequence[Thing]) -> Thing:
        """Push what is made of others."""
        made = Thing(kind)
        made.depth = self._use(things)
        made.size = len(things)
        self._stack.append(made)
        return made

    # The instructions

    def _mark(self, _: Any, __: int) -> None:
        self._marks.append(len(self._stack))

    def _drop(self, _: Any, __: int) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    def _drop_mark(self, _: Any, __: int) -> None:
        self._pop_mark()

    def _twice(self, _: Any, __: int) -> None:
        self._stack.append(self._top())

    def _put(self, index: Any, _: int) -> None:
        if not 0 <= index <= self._most:  # the memo is a list that is as long as this
            raise Dishonest(f"numbers something {index}, which takes memory without end")
        self._memo[index] = self._top()

    def _get(self, index: Any, _: int) -> None:
        if index not in self._memo:
            raise Dishonest(f"refers to something {index} that it does not have")
        self._stack.append(self._memo[index])

    def _tuple_of(self, things: list[Thing]) -> None:
        made = self._push("tuple", things)
        made.value = tuple(things)

    def _tuple(self, _: Any, __: int) -> None:
        self._tuple_of(self._pop_mark())

    def _frozenset(self, _: Any, __: int) -> None:
        self._push("value", self._pop_mark())

    def _list(self, _: Any, __: int) -> None:
        self._push("list", self._pop_mark())

    def _dict(self, _: Any, __: int) -> None:
        self._push("dict", self._pop_mark())

    def _change(self, kind: str, things: list[Thing]) -> None:
        target = self._top()
        if target.kind == "global":
            raise Dishonest(f"changes {'.'.join(target.name)} itself")
        if target.kind not in (kind, "made"):
            raise Dishonest("changes something that it has not made for that")
        if target.done:
            raise Dishonest(f"changes what {'.'.join(target.name)} has made after it had its state")
        if target.kind == "made":
            self.calls[target.call].changed = True
        target.depth = max(target.depth, self._use(things))
        target.size += len(things)

    def _build(self, _: Any, __: int) -> None:
        state = self._pop()
        self._change("made", [state])
        self._top().done = True

    def _name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Dishonest("makes up the name of something that it wants")
        meant = self._meant((module, name))
        if self.named.setdefault((module, name), meant) != meant:
            raise Dishonest(f"means two things by {module}.{name}")
        self.globals.add(meant)
        thing = Thing("global")
        thing.name = meant
        self._stack.append(thing)

    def _meant(self, name: Name) -> Name:
        if self._protocol < 3:  # it names things as Python 2 did
            name = NAME_MAPPING.get(name) or (IMPORT_MAPPING.get(name[0], name[0]), name[1])
        return ("pathlib", name[1]) if name[0] == "pathlib._local" else name  # in Python 3.13

    def _global(self, both: Any, _: int) -> None:
        module, _, name = both.rpartition(" ")
        self._name(module, name)

    def _stack_global(self, _: Any, __: int) -> None:
        name, module = self._pop(), self._pop()
        if name.kind != "value" or module.kind != "value":
            raise Dishonest("makes up the name of something that it wants")
        self._name(module.value, name.value)

    def _call(self, function: Thing, args: Thing, at: int, *, new: bool) -> None:
        if function.kind not in ("global", "got") or (new and function.kind == "got"):
            raise Dishonest("calls something that it has not named")
        shown = ".".join(function.name)
        if args.kind != "tuple":
            raise Dishonest(f"calls {shown} with what are no arguments")
        made = self._push("value", args.value)
        made.name = function.name
        made.size = sum(arg.size for arg in args.value)
        if function.kind == "global":
            made.kind = "got" if function.name == GETATTR else "made"
            made.call = at
            self.calls[at] = Made(function.name, args.value, new=new)

    def _reduce(self, _: Any, at: int) -> None:
        args, function = self._pop(), self._pop()
        self._call(function, args, at, new=False)

    def _new(self, _: Any, at: int) -> None:
        args, function = self._pop(), self._pop()
        self._call(function, args, at, new=True)

    def _new_with_keywords(self, _: Any, at: int) -> None:
        keywords, args, function = self._pop(), self._pop(), self._pop()
        if keywords.kind != "dict":
            raise Dishonest("makes something with what are no keywords")
        self._call(function, args, at, new=True)


_SMALL = {int, float, bool}
_NUMBER = Thing("value")  # or None: one for all, as there may be very many


def _text(arg: Any) -> Thing:
    thing = Thing("value")
    thing.value, thing.size = arg, len(arg)
    return thing


def _making(kind: str) -> Callable[[Walk, Any, int], None]:
    def follow(walk: Walk, _: Any, __: int) -> None:
        thing = Thing(kind)
        if kind == "tuple":
            thing.value = ()
        walk._stack.append(thing)

    return follow


def _tuple_of(count: int) -> Callable[[Walk, Any, int], None]:
    def follow(walk: Walk, _: Any, __: int) -> None:
        walk._tuple_of([walk._pop() for _ in range(count)][::-1])

    return follow


def _one(kind: str, count: int) -> Callable[[Walk, Any, int], None]:
    def follow(walk: Walk, _: Any, __: int) -> None:
        walk._change(kind, [walk._pop() for _ in range(count)])

    return follow


def _many(kind: str) -> Callable[[Walk, Any, int], None]:
    def follow(walk: Walk, _: Any, __: int) -> None:
        walk._change(kind, walk._pop_mark())

    return follow


_SCALAR_TYPES = {"int", "int_or_bool", "float", "bool", "None", "str", "bytes_or_str"}
_SCALAR_TYPES |= {"bytes", "bytearray"}
_SCALARS = frozenset(
    opcode.name
    for opcode in opcodes
    if not opcode.stack_before and {each.name for each in opcode.stack_after} & _SCALAR_TYPES
)
_OPCODES: dict[str, Callable[[Walk, Any, int], None]] = {
    "MARK": Walk._mark,
    "POP": Walk._drop,
    "POP_MARK": Walk._drop_mark,
    "DUP": Walk._twice,
    "PUT": Walk._put,
    "BINPUT": Walk._put,
    "LONG_BINPUT": Walk._put,
    "GET": Walk._get,
    "BINGET": Walk._get,
    "LONG_BINGET": Walk._get,
    "EMPTY_TUPLE": _making("tuple"),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": Walk._tuple,
    "EMPTY_LIST": _making("list"),
    "LIST": Walk._list,
    "APPEND": _one("list", 1),
    "APPENDS": _many("list"),
    "EMPTY_DICT": _making("dict"),
    "DICT": Walk._dict,
    "SETITEM": _one("dict", 2),
    "SETITEMS": _many("dict"),
    "EMPTY_SET": _making("set"),
    "ADDITEMS": _many("set"),
    "FROZENSET": Walk._frozenset,
    "GLOBAL": Walk._global,
    "STACK_GLOBAL": Walk._stack_global,
    "REDUCE": Walk._reduce,
    "NEWOBJ": Walk._new,
    "NEWOBJ_EX": Walk._new_with_keywords,
    "BUILD": Walk._build,
}
_REFUSED = {
    "INST": "makes an instance as Python 2 did (INST)",
    "OBJ": "makes an instance as Python 2 did (OBJ)",
    "PERSID": "refers to something outside of it (PERSID)",
    "BINPERSID": "refers to something outside of it (BINPERSID)",
    "EXT1": "names something by a number (EXT1)",
    "EXT2": "names something by a number (EXT2)",
    "EXT4": "names something by a number (EXT4)",
    "NEXT_BUFFER": "refers to a buffer outside of it (NEXT_BUFFER)",
    "READONLY_BUFFER": "refers to a buffer outside of it (READONLY_BUFFER)",
}
