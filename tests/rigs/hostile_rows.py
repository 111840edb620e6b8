"""Every kind of input that a queue may bring, and what becomes of it."""

import contextlib
import json
import os
import pickle
import signal
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.rigs.siege import ADD, HOSTILE, Siege
from tests.tasks.hostile_tasks import CHANGES, ERRORS, RESULTS

SHARE = 6  # one row of so many goes through the other models, too
FINISHES, DROPPED = "finishes", "is dropped"  # every other end is what its failure says
DIES = "delivered 2 times without an end; the last worker"


@dataclass(frozen=True)
class Row:
    """What is put on the queue, and what becomes of it."""

    name: str
    end: str  # FINISHES, DROPPED, or a pattern that its failure matches
    function: str = ADD
    args: tuple[Any, ...] = (1, 2)
    fields: dict[str, Any] = field(default_factory=dict)
    job_id: bytes | None = None
    prepare: Callable[[Any, str, str], object] = lambda *_: None  # with a pipe, queue and id
    check: Callable[[Siege, bytes, Any], object] = lambda *_: None  # with what was returned
    readable: bool = True  # whether rq itself can read the record
    restores: Callable[[Any, str, str], object] = lambda *_: None
    models: tuple[str, ...] = ("threads", "processes", "asyncio")

    @property
    def is_about_loops(self) -> bool:
        """Whether it may end otherwise where many coroutines share one event loop."""
        return self.function.endswith(("_later", ".meddle", ".numbers"))


def call(wire: object) -> bytes:
    return zlib.compress(json.dumps(wire).encode())


def record(name: str, end: str, **fields: Any) -> Row:
    """A row whose record has odd fields."""
    return Row(name, end, fields=fields, readable=False, models=("threads",))


def key(name: str, end: str, *commands: tuple[Any, ...], **more: Any) -> Row:
    """A row with commands that make keys odd, once the job is there."""

    def prepare(pipe: Any, queue: str, job_id: str) -> None:
        for words in commands:
            pipe.execute_command(*(str(w).format(q=queue, id=job_id) for w in words))

    return Row(name, end, prepare=prepare, readable=False, models=("threads",), **more)


def run(name: str, end: str, function: str, *args: Any, **more: Any) -> Row:
    """A row whose task does something odd."""
    return Row(name, end, HOSTILE + function, args, **more)


def unregistered(name: str, end: str, function: Any) -> Row:
    data = call([function, None, [], {}])
    return Row(name, end, fields={"data": data}, models=("threads", "asyncio"))


def wrong_type(kind: str, *words: Any) -> Row:
    return key(f"its key holds a {kind}", "does not hold a hash", ("DEL", "rq:job:{id}"), words)


class Evil:
    """Runs what it likes when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._reduced = function, args

    def __reduce__(self) -> Any:
        return self._reduced


def pickled(name: str, end: str, thing: object, **more: Any) -> Row:
    data = zlib.compress(thing if isinstance(thing, bytes) else pickle.dumps(thing))
    return Row(name, end, fields={"data": data}, models=("pickle",), readable=False, **more)


CALLS: list[object] = [
    None, 5, "add", {}, [], [ADD], [ADD, None, []], [ADD, None, [], {}, 1],
    [ADD, None, "args", {}], [ADD, None, [], []], [5, None, [], {}], [None, None, [], {}],
]  # fmt: skip


RECORDS = [
    # Fields of the hash
    record("an unknown status", "its status bananas is none that RQ knows", status="bananas"),
    record("a binary status", "is none that RQ knows", status=b"\xff\xfe"),
    record("a bad enqueued_at", "enqueued_at b'yesterday' is no time", enqueued_at="yesterday"),
    record("a binary enqueued_at", "enqueued_at .* is no time", enqueued_at=b"\xff\xfe"),
    record("a bad created_at, which nothing needs", FINISHES, created_at="yesterday"),
    record("a binary description, which nothing needs", FINISHES, description=b"\xff\xfe\x00"),
    record("a long description", FINISHES, description="d" * 200_000),
    record("timeout abc", "its timeout b'abc' is no whole number", timeout="abc"),
    record("timeout -5", "its timeout -5 is below zero", timeout="-5"),
    record("timeout 10^30", "its timeout .* is too large", timeout=str(10**30)),
    record("timeout 10^400", "its timeout .* is too large", timeout=str(10**400)),
    record("timeout of 5000 digits", "its timeout .* is no whole number", timeout="9" * 5000),
    record("timeout 1.5", "its timeout b'1.5' is no whole number", timeout="1.5"),
    record("timeout NaN", "its timeout b'nan' is no whole number", timeout="nan"),
    record("timeout -1, which means none", FINISHES, timeout="-1"),
    record("no timeout", FINISHES, timeout=None),
    record("no fields but data", FINISHES, status=None, created_at=None, enqueued_at=None),
    record("retries_left abc", "its retries_left b'abc' is no whole", retries_left="abc"),
    record("retries_left -3", "retries_left -3 is below zero", retries_left="-3"),
    record("retries_left 10^400", "retries_left .* is too large", retries_left=str(10**400)),
    *(
        record(
            f"retry_intervals {text[:20]!r}", "its retry_intervals .* are no list of seconds",
            retries_left="1", retry_intervals=text,
        )
        for text in ("abc", "5", '["a"]', "[-1]", "[NaN]", "[1e400]", "[" * 100_000, b"\xff")
    ),
    *(
        record(f"{name} {text[:10]!r}", FINISHES, **{name: text})
        for name in ("result_ttl", "failure_ttl")
        for text in ("abc", "1.5", "9" * 30, b"\xff")
    ),
    record("heori_deliveries abc", FINISHES, heori_deliveries="abc"),
    record("heori_deliveries 10^30", FINISHES, heori_deliveries=str(10**30)),
    *(
        record(f"{name} {text[:10]!r}", FINISHES, **{name: text})
        for name in ("repeats_left", "dependency_ids", "rate_limit_key", "ttl", "number_of_retries")
        for text in ("9" * 30, b"\xff")
    ),
    record("a rate limit of abc", FINISHES, rate_limit_key="k", rate_limit_concurrency="abc"),
    *(
        record(
            f"a {kind} callback that is not allowed", "'os.system' is no registered task",
            **{f"{kind}_callback_name": "os.system"},
        )
        for kind in ("success", "failure", "stopped")
    ),
    # Its payload
    record("no data", "its hash has no data field", data=None),
    record("empty data", "its payload is no json", data=""),
    record("data that is no zlib", "its payload is no json", data=b"\x00garbage"),
    record("truncated zlib", "its payload is no json", data=call([ADD, None, [1], {}])[:-9]),
    record("a zip bomb", "inflates to more than the limit", data=zlib.compress(b" " * 10_000_000)),
    record("a large payload", r"payload of \d+ bytes is over", data=os.urandom(1_100_000)),
    record("half a JSON", "its payload is no json", data=zlib.compress(b'["a", null')),
    record("JSON in UTF-16", "its payload is no json", data=zlib.compress("[1]".encode("utf-16"))),
    record("deep JSON", "its payload is no json", data=zlib.compress(b"[" * 200_000)),
    *(
        record(f"a call that is {wire}", "its payload is not a call", data=call(wire))
        for wire in CALLS
    ),
    record("a method", "method of a class under no allowed", data=call([ADD, "obj", [], {}])),
    record("a pickle", "its payload is pickle, and", data=zlib.compress(pickle.dumps((ADD,)))),
    # The function
    unregistered("an unknown function", "'nowhere.no' is no registered task", "nowhere.no"),
    unregistered("os.system", "'os.system' is no registered task", "os.system"),
    unregistered("builtins.eval", "'builtins.eval' is no registered task", "builtins.eval"),
    unregistered("what leads outside", "has no function os.getpid", "besieged.leads.os.getpid"),
    unregistered("an alias of what is outside", "outside the allowed", "besieged.leads.getpid"),
    unregistered("the builtins of a module", "has no function|outside|is no function",
                 "besieged.leads.__builtins__"),
    unregistered("a value", "besieged.leads.value is no function", "besieged.leads.value"),
    record("a class", FINISHES, data=call(["besieged.leads.Class", None, [], {}])),
    record("an odd callable", FINISHES, data=call(["besieged.leads.odd", None, [], {}])),
    unregistered("a missing attribute", "has no function missing", "besieged.leads.missing"),
    unregistered("a module alone", "has no function leads|no module", "besieged.leads"),
    unregistered("dots only", "under no allowed prefix", "...."),
    unregistered("a relative name", "under no allowed prefix", ".leads.function"),
    unregistered("dots after the prefix", "besieged", "besieged....function"),
    unregistered("no name", "under no allowed prefix", ""),
    unregistered("a name of a million letters", "under no allowed prefix", "a" * 900_000),
    unregistered("a long name under the prefix", "besieged", "besieged." + "a" * 500_000),
    unregistered("many parts under the prefix", "besieged", "besieged" + ".a" * 3_000),
    unregistered("a name in Korean", "under no allowed prefix", "허리.일"),
    unregistered("a name with a NUL", "besieged", "besieged.a\0b.function"),
    unregistered("a name with surrogates", "besieged|no json", "besieged.\ud800.function"),
    unregistered("a module that raises", "RuntimeError.*no licence", "besieged.raises.function"),
    unregistered("a module that exits", "SystemExit", "besieged.exits.function"),
    unregistered("a module that is interrupted", "KeyboardInterrupt",
                 "besieged.interrupts.function"),
    unregistered("a module with a syntax error", "SyntaxError", "besieged.wrong.function"),
    unregistered("a module that leaves", DIES, "besieged.leaves.function"),
    # Its arguments
    run("too many arguments", "exact: .*[Uu]nexpected", "exact", 1, 2, 3),
    run("missing arguments", "exact: number: Missing", "exact"),
    run("arguments of a wrong type", "exact: number: .*integer", "exact", {"a": [1]}),
    Row("an unknown keyword", "exact: nonsense: Unexpected",
        fields={"data": call([HOSTILE + "exact", None, [1], {"nonsense": 1}])}),
    Row("a huge number", FINISHES, HOSTILE + "exact", (10**4000,)),
    # Its id
    *(
        Row(f"an id that is {name}", FINISHES, job_id=job_id, readable=False)
        for name, job_id in {
            "empty": b"",
            "with a blank": b"a b",
            "a line break": b"a\nb",
            "not UTF-8": b"\xff\xfe\x00",
            "a colon": b"a:b:c",
            "of 500 letters": b"i" * 500,
            "like a pattern": b"*[a-z]?",
            "a brace": b"{a}",
        }.items()
    ),
    *(
        Row(f"a failing job whose id is {name}", "no room", HOSTILE + "throw", ("MemoryError",),
            job_id=job_id, readable=False)
        for name, job_id in {"not UTF-8": b"\xff\xfe\x01", "two lines": b"x\ny"}.items()
    ),
    Row("a killer whose id is not UTF-8", DIES, HOSTILE + "leave", (), job_id=b"\xfd \n",
        readable=False),
    # Its key, and those around it
    wrong_type("string", "SET", "rq:job:{id}", "text"),
    wrong_type("list", "RPUSH", "rq:job:{id}", "text"),
    wrong_type("set", "SADD", "rq:job:{id}", "text"),
    wrong_type("zset", "ZADD", "rq:job:{id}", 1, "text"),
    wrong_type("stream", "XADD", "rq:job:{id}", "*", "a", "b"),
    key("an id without a job", DROPPED, ("DEL", "rq:job:{id}")),
    *(
        key(f"an id of a {status} job", DROPPED, ("HSET", "rq:job:{id}", "status", status))
        for status in ("finished", "failed", "stopped", "canceled")
    ),
    key("an id twice in the list", FINISHES, ("RPUSH", "rq:queue:{q}", "{id}")),
    key("an id a hundred times", FINISHES, *[("RPUSH", "rq:queue:{q}", "{id}")] * 100),
    key("dependents that are no set", FINISHES, ("SET", "rq:job:{id}:dependents", "x")),
    key("dependents that are not there", FINISHES, ("SADD", "rq:job:{id}:dependents", "nobody")),
    key("a dependent that is a list", FINISHES, ("SADD", "rq:job:{id}:dependents", "list"),
        ("DEL", "rq:job:list"), ("RPUSH", "rq:job:list", "x"),
        restores=lambda redis, *_: redis.delete("rq:job:list")),
    key("dependents of what rq cannot read", FINISHES, ("SADD", "rq:job:{id}:dependents", "a"),
        ("HSET", "rq:job:{id}", "created_at", "yesterday", "status", "queued")),
    Row("dependents of an id that is not UTF-8", FINISHES, job_id=b"\xff\xfe\x02",
        prepare=lambda pipe, queue, job_id: pipe.sadd(b"rq:job:\xff\xfe\x02:dependents", "a"),
        readable=False),
]  # fmt: skip


RAISED = {
    "unprintable": "str|Unprintable",
    "ends who prints it": "EndsWhoPrintsIt",
    "nameless": "anonymous|cannot be printed|Nameless",
    "odd name": "odd",
    "unclassed": "unclassed|Unclassed",
    "group": "(?s)two at once.*ValueError: one.*KeyError: 'two'",
    "nested group": "in a group",
    "circle": "(?s)first of a circle",
    "chain": "cause 2999",
    "huge text": "(?s)characters left out.*the end of it",
    "surrogates": r"lone \\ud800 surrogate",
    "SystemExit": "SystemExit: 3",
    "KeyboardInterrupt": "KeyboardInterrupt",
    "GeneratorExit": "GeneratorExit: left",
    "CancelledError": "CancelledError: cancelled",
    "StopIteration": "StopIteration: stopped|coroutine raised StopIteration",
    "StopAsyncIteration": "StopAsyncIteration: stopped",
    "BaseException": "the base of all",
    "MemoryError": "no room",
}


RETURNED = {
    "lock": "no JSON form", "odd": "no JSON form", "list of odd": "no JSON form",
    "circle": "no JSON form.*recursion", "deep": "no JSON form", "large": "over the limit of",
    "generator": "no JSON form; return a list", "async generator": "no JSON form; return a list",
    "coroutine": "no JSON form", "surrogates": "no JSON form", "bytes": FINISHES,
    "number as key": FINISHES, "list as a key": FINISHES, "class": "no JSON form",
    "function": "no JSON form", "module": "no JSON form", "not a number": FINISHES,
    "set": FINISHES,
}  # fmt: skip


CHANGED = dict.fromkeys(CHANGES, FINISHES) | {"clock": f"{DIES}|the clock has stopped|{FINISHES}"}


def end_child(siege: Siege, _: bytes, child: int) -> None:
    assert child > 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def in_a_coroutine(change: str) -> str:
    if change == "own loop":
        return "cannot be called from a running event loop"
    return CHANGED[change]


TASKS = [
    *(run(f"raises {which}", RAISED[which], "throw", which) for which in ERRORS),
    *(run(f"raises {which} later", RAISED[which], "throw_later", which) for which in ERRORS),
    run("recurses for ever", "RecursionError", "recurse"),
    run("kills itself", DIES + ".*SIGKILL", "kill", signal.SIGKILL),
    run("aborts", DIES + ".*SIGABRT", "kill", signal.SIGABRT),
    run("reads where nothing is", DIES + ".*SIGSEGV", "crash"),
    run("terminates itself, in vain", FINISHES, "kill", signal.SIGTERM),
    run("interrupts itself, in vain", FINISHES, "kill", signal.SIGINT),
    run("leaves", DIES + ".*exit code 7", "leave"),
    run("closes standard files", FINISHES, "close_files", 0, 3),
    run("closes standard files and fails", "after all was closed", "close_files_and_fail"),
    run("closes all files", DIES, "close_files", 0, 4096),
    run("closes all but the standard files", DIES, "close_files", 3, 4096),
    run("closes the link", DIES, "close_sockets"),
    run("writes megabytes", FINISHES, "write_much", 3),
    run("handles signals", FINISHES, "handle_signals", models=("threads", "processes")),
    run("handles signals beside a loop", "signal only works in main thread", "handle_signals",
        models=("asyncio",)),
    run("reports nonsense", FINISHES, "report_nonsense"),
    *(run(f"changes {what}", CHANGED[what], "change", what) for what in CHANGES),
    *(run(f"changes {what} later", in_a_coroutine(what), "change_later", what) for what in CHANGES),
    run("forks and returns", FINISHES, "fork", "returns", check=end_child),
    run("forks and raises", FINISHES, "fork", "raises", check=end_child),
    run("forks a child that lives on", FINISHES, "fork", "lives on", check=end_child),
    run("forks a daemon", FINISHES, "fork", "daemon"),
    run("forks in a coroutine", FINISHES, "fork_later", check=end_child),
    run("leaves a task in the loop", FINISHES, "meddle", "leave a task"),
    run("leaves a task that exits", f"SystemExit: 6|{FINISHES}", "meddle",
        "leave a task that exits"),
    run("stops the loop", "Event loop stopped", "meddle", "stop the loop",
        models=("threads", "processes")),
    run("stops the loop of all", FINISHES, "meddle", "stop the loop", models=("asyncio",)),
    run("closes the loop", "Cannot close a running event loop", "meddle", "close the loop"),
    run("cancels itself", "CancelledError", "meddle", "cancel itself"),
    run("runs a loop in a loop", "cannot be called from a running", "meddle", "run a loop"),
    run("breaks the loop", "SystemExit: 3", "meddle", "break the loop",
        models=("threads", "processes")),
    run("breaks the loop of all", FINISHES, "meddle", "break the loop", models=("asyncio",)),
    *(run(f"returns {what}", RETURNED[what], "give", what) for what in RESULTS),
    *(run(f"returns {what} later", RETURNED[what], "give_later", what) for what in RESULTS),
    run("is an asynchronous generator", "no JSON form; return a list", "numbers"),
]  # fmt: skip


PICKLES = [
    pickled("a call", FINISHES, (ADD, None, (1,), {"b": 2})),
    pickled("a pickle that is none", "its payload is no pickle", b"\x80\x05garbage"),
    pickled("an unknown class", "its payload is no pickle: .*nowhere", b"\x80\x02cnowhere\nno\n."),
    pickled("a pickle that raises", "its payload is no pickle", Evil(int, "x")),
    pickled("a pickle that exits", "SystemExit", Evil(exit, 3)),
    pickled("a pickle that leaves", DIES + ".*exit code 9", Evil(os._exit, 9)),
    pickled("a pickle that changes directory", "not a call", Evil(os.chdir, "/")),
    pickled("a pickle that forks", "not a call", Evil(os.fork)),
    pickled("a call of os.system", "no registered task", ("os.system", None, ("true",), {})),
    pickled("keywords that are no text", "not a call", (ADD, None, (), {1: 2})),
    pickled("an object", "exact: number", (HOSTILE + "exact", None, (object(),), {})),
]  # fmt: skip


def cases() -> Iterator[tuple[str, Row]]:
    """Every row on the first model that it names, which is threads or pickle for most.

    A worker is the same program in all models. So the others get a share, and asyncio whatever
    has to do with its loop.
    """
    for number, row in enumerate([*RECORDS, *TASKS, *PICKLES]):
        for model in row.models:
            if (
                model == row.models[0]
                or number % SHARE == 0
                or (model == "asyncio" and row.is_about_loops)
            ):
                yield model, row
