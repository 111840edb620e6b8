"""`heori` is the only module that programs import: its names, and what they say of themselves."""

import ast
import importlib
import importlib.util
import inspect
import json
import pickle
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

import heori
from heori_common.raised import Raised

PACKAGES = ("heori", "heori_common", "heori_consumer", "heori_producer")
EXPORTED = sorted(heori.__all__)
# What cannot be imported where an extra is not installed, and the library that it brings.
EXTRAS = {
    "heori.lab.chart": "matplotlib",
    "heori.lab.notes.drawing": "matplotlib",
    "heori.otel": "opentelemetry",
}
WITHOUT_EXTRAS = {module for module, name in EXTRAS.items() if not importlib.util.find_spec(name)}
NOT_IMPORTED = ("heori.django.", *WITHOUT_EXTRAS)  # Django's modules need its settings


def fresh(program: str) -> Any:
    """What a program prints, as JSON, in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


def test_type_checkers_and_the_running_program_find_each_name_in_the_same_module() -> None:
    tree = ast.parse(Path(heori.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {
        alias.name: statement.module
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert declared == heori._HOME_OF
    assert sorted(declared) == EXPORTED
    assert set(EXPORTED) <= set(dir(heori))


@pytest.mark.parametrize("name", EXPORTED)
def test_what_is_exported_says_heori_as_its_module(name: str) -> None:
    thing = getattr(heori, name)
    assert (thing.__module__, thing.__qualname__) == ("heori", name)
    assert pickle.loads(pickle.dumps(thing)) is thing
    if isinstance(thing, type):
        assert repr(thing) == f"<class 'heori.{name}'>"
    # Hints that are texts are looked up where a thing says that it is defined.
    typing.get_type_hints(thing)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'heori' has no attribute 'Nothing'"):
        _ = heori.Nothing


def test_every_error_of_heori_is_exported_and_nothing_else_claims_to_be() -> None:
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        for found in pkgutil.walk_packages(path, package + "."):
            if not found.name.startswith(NOT_IMPORTED) and not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    errors, marked = {"HeoriError"}, set()
    for module_name, module in sys.modules.copy().items():
        if module_name.partition(".")[0] in PACKAGES[1:]:
            for name, thing in vars(module).items():
                if isinstance(thing, type) and issubclass(thing, heori.HeoriError):
                    errors.add(name)
                if getattr(thing, "__module__", None) == "heori":
                    marked.add(name)
    assert errors <= set(EXPORTED)
    assert marked == set(EXPORTED)
    raised = {
        name
        for name in EXPORTED
        if inspect.isclass(thing := getattr(heori, name)) and issubclass(thing, BaseException)
    }
    assert raised == errors | {"JobStopped"}


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import heori", ["redis", "rich", "pydantic", "rq", "typer", "structlog", "heori_common"]),
        ("from heori import Producer, RedisExecutor, task", ["rich", "typer", "heori_consumer"]),
        ("import heori.cli.app, heori.cli.consume, heori.cli.top, heori.cli.up", ["textual"]),
    ],
)
def test_an_import_brings_only_what_is_used(program: str, absent: list[str]) -> None:
    loaded = fresh(f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))")
    assert not set(absent) & set(loaded)


def test_a_programs_own_error_that_derives_from_heoris_is_no_error_of_heori() -> None:
    class Rejected(heori.HeoriError):
        pass

    assert Rejected in heori.HeoriError.__subclasses__()
    copy = Raised.of(ValueError("gone")).copy
    assert Raised("heori", "Rejected", "gone", [], copy).made_anew() is None
    assert Raised("heori", "LockError", "gone", [], copy).made_anew() is not None
