"""What the name in a job leads to: a task, a stranger, or nothing that may run here."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heori import InvalidArguments, UnknownTask
from heori_common import resolution, tasks
from heori_common.rq.calling import Stranger
from heori_common.settings import Settings
from heori_common.tasks import Task
from heori_common.values.results import Stored


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(tasks, "_registry", dict(tasks.registered()))


PACKAGE = {
    "__init__.py": "import os\nfrom operator import add\nfrom .jobs import triple\n",
    "jobs.py": """
import functools, os, pathlib
from heori import task
from os import system

def double(a: int) -> int:
    return 2 * a

@task(queue="registered", timeout=9)
def triple(a: int) -> int:
    return 3 * a

class Tools:
    @staticmethod
    def halve(a: int) -> int:
        return a // 2
    class Inner:
        @staticmethod
        def deep() -> int: return 1

class Callable:
    def __call__(self, a: int) -> int: return a

instance = Callable()
partial = functools.partial(os.system)
number = 5
cached = functools.lru_cache(double)

def unresolvable(a: "Missing") -> int: return a
def __getattr__(name):
    if name == "lazy":
        raise ImportError("the optional dependency is not installed")
    raise AttributeError(name)
""",
    "raises.py": "raise RuntimeError('no licence')\n",
    "exits.py": "import sys\nsys.exit('usage: exits FILE')\n",
    "needs.py": "import there_is_no_such_module\n",
    "syntax.py": "def broken(:\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The package of an application, and one beside it whose name begins the same."""
    for name in ("heoriapp", "heoriapp_evil"):
        (tmp_path / name).mkdir()
        for file, text in PACKAGE.items():
            (tmp_path / name / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield "heoriapp"
    for module in [name for name in sys.modules if name.startswith("heoriapp")]:
        del sys.modules[module]


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("jobs.double", [4], 8),
        ("jobs.triple", [4], 12),
        ("jobs.Tools.halve", [4], 2),
        ("jobs.Tools.Inner.deep", [], 1),
        ("jobs.cached", [4], 8),
    ],
)
def test_a_function_under_an_allowed_prefix_is_imported_and_checked(
    package: str, name: str, arguments: list[Any], result: int
) -> None:
    found = resolution.resolve_typed(f"{package}.{name}", ["other.", f"{package}."])
    assert found.name == f"{package}.{name}"
    args, kwargs = found.bind(arguments, {})
    assert found.function(*args, **kwargs) == result
    assert found.dump_result(result) == Stored(str(result).encode())
    again = resolution.resolve_typed(f"{package}.{name}", [f"{package}."])
    assert again is found, "its hints are read once"
    with pytest.raises(InvalidArguments):
        found.bind(["many", 1, 2], {})


def test_an_import_that_registers_the_task_keeps_its_settings(package: str) -> None:
    found = resolution.resolve(f"{package}.jobs.triple", [f"{package}."])
    assert isinstance(found, Task)
    assert (found.queue, found.timeout) == ("registered", 9)


@pytest.mark.parametrize(
    "name",
    [
        "heoriapp.jobs.double", "heoriapp_evil.jobs.double", "heoriapp", "heoriapp.", "os.system",
        "antigravity.webbrowser.open", "", ".", "..", "double", ".heoriapp.jobs.double",
        "heoriapp\n.jobs", "heoriapp/jobs", "x" * 10_000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("allow", [[], ["other."], ["heoriapp.jobs_of_mine.", "heoriapp.job."]])
def test_nothing_outside_the_allowed_prefixes_is_imported(
    package: str, name: str, allow: list[str]
) -> None:
    before = set(sys.modules)
    with pytest.raises(UnknownTask, match="no registered task and under no allowed") as caught:
        resolution.resolve(name, allow)
    assert set(sys.modules) == before
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["heoriapp_evil.jobs.double", "heoriappjobs.double", "heoriapp"])
def test_a_prefix_ends_at_its_dot(package: str, name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(UnknownTask, match="no registered task and under no allowed prefix"):
        resolution.resolve(name, [f"{package}."])
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        # ways out of the package
        ("os.system", "has no function os.system"),
        ("jobs.os.system", "has no function os.system"),
        ("jobs.system", r"leads to posix\., outside the allowed prefix heoriapp\."),
        ("add", r"leads to operator\., outside"),
        ("jobs.pathlib.Path.write_text", "has no function"),
        ("jobs.partial", r"leads to posix\., outside"),
        ("jobs.task", r"leads to heori\., outside"),
        ("jobs.double.__globals__.clear", "outside|has no function"),
        ("jobs.double.__call__", "outside"),
        ("jobs.double.__builtins__.eval", "outside|has no function"),
        ("jobs.Tools.__subclasses__", "outside"),
        ("jobs.Tools.__init__.__class__", r"leads to builtins\., outside"),
        # what is no function, or not there
        ("jobs.number", "is no function"),
        ("jobs.missing", "has no function missing"),
        ("jobs.Tools.missing.deeper", "has no function"),
        ("jobs", "has no function jobs"),
        ("missing.function", "has no function missing.function"),
        ("jobs..double", "has no function|cannot be imported"),
        ("", "has no function|cannot be imported"),
        ("jobs.dou\0ble", r"the name has '\\x00' in it"),
        ("\0.x", r"the name has '\\x00' in it"),
        ("jobs.\x1b[31m\n", r"the name has '\\x1b' in it"),
        ("jobs." + "x" * 600, "the name must be a string of 1 to 512 characters; it has 6"),
        # what goes wrong on the way
        ("jobs.lazy", "cannot be imported: .*optional dependency"),
        ("raises.f", r"heoriapp\.raises cannot be imported: RuntimeError\('no licence'\)"),
        ("exits.f", r"heoriapp\.exits cannot be imported: SystemExit\('usage"),
        ("needs.f", "needs cannot be imported: No module named 'there_is_no_such_module'"),
        ("syntax.f", "syntax cannot be imported: SyntaxError"),
    ],
)
def test_no_name_leads_out_of_the_prefix_or_breaks_the_worker(
    package: str, name: str, reason: str
) -> None:
    registered = dict(tasks.registered())
    with pytest.raises(UnknownTask, match=reason):
        resolution.resolve(f"{package}.{name}", [f"{package}."])
    assert {n for n in tasks.registered() if n not in registered} <= {f"{package}.jobs.triple"}


@pytest.mark.parametrize(
    "name", ["jobs.Tools", "jobs.instance", "jobs.unresolvable", "jobs.double"]
)
def test_what_is_no_task_is_a_stranger_whatever_its_hints_say(package: str, name: str) -> None:
    found = resolution.resolve(f"{package}.{name}", [f"{package}."])
    assert isinstance(found, Stranger)
    assert found.name == f"{package}.{name}"
    assert found.name not in tasks.registered()


def test_a_prefix_that_each_name_begins_with_lets_in_all(package: str) -> None:
    for name in ("os.getpid", "operator.add", f"{package}.jobs.system", f"{package}.jobs.partial"):
        found = resolution.resolve(name, Settings(allow=("*",)).allow)
        assert isinstance(found, Stranger)
    found = resolution.resolve(f"{package}.jobs.triple", [""])
    assert isinstance(found, Task)


def test_a_task_is_one_under_any_name(package: str) -> None:
    found = resolution.resolve(f"{package}.triple", [f"{package}."])
    assert isinstance(found, Task)
    assert found.name == f"{package}.jobs.triple"


def test_a_hint_that_is_no_type_is_told_where_it_counts(package: str) -> None:
    with pytest.raises(UnknownTask, match=r"cannot be a task: .*hint that is no type"):
        resolution.resolve_typed(f"{package}.jobs.unresolvable", [f"{package}."])


def test_functions_in_c_run_under_their_modules_name() -> None:
    found = resolution.resolve_typed("operator.add", ["operator."])
    assert found.bind((1, 2), {}) == ((1, 2), {})
    assert found.function(1, 2) == 3
    assert found.dump_result(3) == Stored(b"3")
    with pytest.raises(InvalidArguments):
        found.bind((1,), {})
    with pytest.raises(UnknownTask, match="no allowed prefix"):
        resolution.resolve("_operator.add", ["operator."])


def test_a_function_in_c_that_tells_no_parameters_takes_any() -> None:
    found = resolution.resolve_typed("math.hypot", ["math."])
    assert found.bind((3, 4), {}) == ((3, 4), {})
    assert found.function(3, 4) == 5.0


@pytest.mark.parametrize("name", ["eval", "open", "sum", "list", "pow", "range", "bytes", "round"])
def test_a_builtin_that_may_do_harm_or_never_end_needs_permission(name: str) -> None:
    assert isinstance(resolution.resolve("builtins.len", []), Stranger)
    for each in (name, f"builtins.{name}"):
        with pytest.raises(UnknownTask, match="under no allowed prefix"):
            resolution.resolve(each, [])
