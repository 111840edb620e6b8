"""What people get wrong about tasks and their modules: one message each, that says what to do."""

import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from heori import RedisExecutor, UnknownTask, task
from heori_common import resolution, task_modules, tasks
from heori_common.settings import Settings
from heori_common.task_modules import NoTaskModule
from tests.tasks import sample_tasks
from tests.tasks.protocol_tasks import plain


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_registry", dict(tasks.registered()))


class Mailer:
    def send(self, to: str) -> None: ...

    @classmethod
    def make(cls) -> None: ...

    @staticmethod
    def check(to: str) -> None: ...

    def __call__(self) -> None: ...


def careless(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def careful(function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(function)(careless(function))


def executed() -> Any:
    names: dict[str, Any] = {}
    exec("def made(a): return a", names)
    return names["made"]


MISTAKES = [
    (lambda: None, "a lambda has no name; write it with def"),
    (careless(plain), "inside another function; .* decorator, it should use functools.wraps"),
    (functools.partial(plain, 1), "a partial, which has no name; define a function that calls it"),
    (functools.cache(plain), "made a .*cache_wrapper of it, and no function; define a function"),
    (Mailer.send, "a method, which is called with its self, .* @staticmethod with @task below"),
    (Mailer().send, "a method, .* top of its module"),
    (Mailer.make, "a method, .* top of its module"),
    (vars(Mailer)["make"], "a method, .* top of its module"),
    (vars(Mailer)["check"], "put @task below @staticmethod"),
    (Mailer, "a class; define a function"),
    (Mailer(), "a Mailer that can be called, and no function; define"),
    (len, "written in C; define a function"),
    (executed(), "its code is in no module"),
    (3, r"give the function itself, and its arguments apart, as in submit\(add, 1, 2\)"),
]


@pytest.mark.parametrize(("thing", "told"), MISTAKES)
def test_what_is_no_function_of_a_module_is_told_apart(thing: Any, told: str) -> None:
    with pytest.raises(TypeError, match=rf"(?s)no function at the top of a module .*{told}"):
        task(thing)
    with pytest.raises(UnknownTask, match=rf"(?s)is no task; .*{told}"):
        tasks.find(thing)


def test_options_have_names() -> None:
    with pytest.raises(TypeError, match=r"options have names, as in @task\(queue='mail'\)"):
        task("mail")  # type: ignore[call-overload]


def test_a_task_is_sent_as_the_function_and_not_by_its_name() -> None:
    with pytest.raises(UnknownTask, match=r"'app\.add' is no task; it is a text; give the functio"):
        tasks.find("app.add")  # type: ignore[arg-type]
    with pytest.raises(UnknownTask, match="give the function itself"):
        tasks.find(tasks.find(sample_tasks.add))  # type: ignore[arg-type]


@pytest.mark.parametrize("decorator", [functools.cache, careful])
def test_a_decorator_above_task_is_told_and_one_below_is_fine(decorator: Any) -> None:
    wrapped = decorator(task(plain))
    with pytest.raises(UnknownTask, match=r"a decorator above @task has wrapped it, .* above all"):
        tasks.find(wrapped)
    if decorator is careful:
        below = task(careful(plain))
        assert tasks.find(below).function is below


def test_an_executor_says_the_same_of_what_no_consumer_could_import(redis_url: str) -> None:
    with RedisExecutor(redis_url) as executor, pytest.raises(UnknownTask, match="is a partial"):
        executor.submit(functools.partial(plain, 1))
    with pytest.raises(UnknownTask, match="a lambda has no name"):
        resolution.find_or_make(lambda: None)


# Modules

FILES = {
    "empty.py": "def add(a, b): return a + b\n",
    "guarded.py": """
from heori import task
if __name__ == "__main__":
    @task
    def add() -> None: ...
""",
    "whole/__init__.py": "",
    "whole/jobs.py": "from heori import task\n@task\ndef add() -> None: ...\n",
    "joined/__init__.py": "from joined import jobs\n",
    "joined/jobs.py": "from heori import task\n@task\ndef add() -> None: ...\n",
    "again.py": "from joined.jobs import add\n",
    "twice.py": """
from heori import task

@task
def add(a: int) -> int: return a

@task
def add(a: int, b: int) -> int: return a + b
""",
    "either.py": """
from heori import task
if True:
    @task
    def add(a: int) -> int: return a
else:
    @task
    def add(a: int, b: int) -> int: return a + b
""",
    "needs.py": "import there_is_no_such_module\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("joined.py", "there is no module 'joined.py'; name it as an import statement .*: joined"),
        ("joined:add", "name it as an import statement does: joined"),
        ("joined/jobs", r"import statement does: joined\.jobs"),
        ("joined/jobs.py", r"import statement does: joined\.jobs"),
        ("joined.", "import statement does: joined"),
        ('"joined"', "import statement does: joined"),
        ("joined.jobs.add", r"add is something in the module joined\.jobs; name that alone"),
        ("joined whole", "write commas between names: joined,whole"),
        (".joined", "relative to nothing; name the module in full"),
        ("__main__", "__main__ is whatever program runs, .* a module with a name"),
        ("nowhere", "modules are looked for in the current directory, in PYTHONPATH and among"),
        ("joined.nowhere", "there is no module 'joined.nowhere'; modules are looked for"),
    ],
)
def test_a_name_that_is_none_of_a_module_says_what_is_meant(name: str, told: str) -> None:
    with pytest.raises(NoTaskModule, match=told):
        task_modules.load([name])


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("empty", r"empty \(.*empty\.py\) has no task: @task stands above no function"),
        ("guarded", "has no task: @task stands above no function when it is imported"),
        ("whole", r"a package that imports no module with tasks; name .* such as whole\.jobs"),
        ("queue", "Python's own module .* if one of yours has that name, rename it"),
    ],
)
def test_a_module_without_a_task_is_told_of(name: str, told: str) -> None:
    sentences = task_modules.load([name, "joined"])
    assert len(sentences) == 1
    assert re.search(told, sentences[0]), sentences
    assert task_modules.nothing_to_run(sentences, [name, "joined"]) is None
    assert task_modules.nothing_to_run(sentences, [name]) == sentences[0]


@pytest.mark.usefixtures("folder")
def test_modules_are_loaded_for_the_tasks_they_register() -> None:
    assert task_modules.load(["joined", "joined.jobs", "again", "either"]) == []
    assert task_modules.load(["joined", "joined.jobs", "again", "either"]) == [], "nor when known"
    assert {"joined.jobs.add", "either.add"} <= tasks.registered().keys()
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_module") as caught:
        task_modules.load(["needs"])
    assert not isinstance(caught.value, NoTaskModule), "its traceback says who needs it"


def test_two_tasks_of_one_name_are_refused_and_a_module_may_be_imported_anew(folder: Path) -> None:
    with pytest.raises(TypeError, match=r"twice\.add is there twice: .* lines 4 and 7 of .*twice"):
        task_modules.load(["twice"])
    task_modules.load(["either"])
    (folder / "either.py").write_text("\n\n" + FILES["either.py"])
    importlib.reload(sys.modules["either"])


def test_patterns_are_no_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("myapp.*", "myapp/", "myapp:", ".myapp", "a b", "myapp..b"):
        monkeypatch.setenv("HEORI_ALLOW", text)
        with pytest.raises(ValueError, match=r"is no beginning of names, such as myapp\.jobs\."):
            Settings().check(["allow"])
    monkeypatch.setenv("HEORI_ALLOW", "myapp,my-app.jobs.,허리")
    assert Settings().allow == ("myapp.", "my-app.jobs.", "허리.")
