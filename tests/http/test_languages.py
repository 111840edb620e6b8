"""Every text of the page is there in every language.

The tests import what shows it, and not this module: that takes long, and each process of a run
imports all modules of tests.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest

from tests.rigs.pages import ROOT

OTHERS = ("ko",)
PAGES = ROOT / "heori" / "http" / "pages"
# What the page tells is kept in English until it is known who reads it.
TELLING = {"Alert": (1, 2), "done": (1,), "NotDone": (1,), "_": (0,), "self": (0,)}


def texts() -> set[str]:
    from heori.http.routes.locks import CONSEQUENCE

    of_templates = {text for file in PAGES.glob("templates/*.html") for text in template(file)}
    code = [*PAGES.glob("*.py"), ROOT / "heori" / "inspect" / "alerts.py"]
    return of_templates | {text for file in code for text in program(file)} | {CONSEQUENCE}


def template(file: Path) -> Iterator[str]:
    """The constants that a template translates, one of several included."""
    for call in jinja2.Environment().parse(file.read_text()).find_all(jinja2.nodes.Call):
        if isinstance(call.node, jinja2.nodes.Name) and call.node.name == "_":
            of_call = call.args[0]
            if isinstance(of_call, jinja2.nodes.Getitem):  # one of several, by a name
                yield from (each.value.value for each in of_call.node.items)  # type: ignore[attr-defined]
            elif isinstance(of_call, jinja2.nodes.Const):
                yield of_call.value


def program(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            called = name.id if isinstance(name, ast.Name) else name
            for place in TELLING.get(str(called), ()):
                yield from constants(node.args[place]) if place < len(node.args) else ()


def constants(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)) if text:
            yield text
        case ast.IfExp(body=body, orelse=other):
            yield from constants(body)
            yield from constants(other)
        case ast.Subscript(value=ast.Dict(values=values)):
            for each in values:
                yield from constants(each)


@pytest.mark.parametrize("code", OTHERS)
def test_every_text_is_there_and_none_is_left_over(code: str) -> None:
    from heori.http.pages import languages

    assert set(languages.NAMES) == {"en", *OTHERS}
    known = languages.translations(code)
    assert len(texts()) > 50
    assert sorted(texts() - set(known)) == []
    assert sorted(set(known) - texts()) == []


@pytest.mark.parametrize("code", OTHERS)
def test_a_text_has_the_same_values_in_every_language(code: str) -> None:
    from heori.http.pages import languages

    def names(text: str) -> list[str]:
        return sorted(re.findall(r"{\w+}", text))

    for english, other in languages.translations(code).items():
        assert names(english) == names(other), english


def test_lengths_of_time_are_told_in_the_language() -> None:
    from heori.http.pages import languages

    korean, english = languages.Language("ko"), languages.Language("en")
    assert english.ago(200) == "3 min 20 s ago"
    assert korean.ago(200) == "3분 20초 전"
    assert korean.ago(-7320) == "2시간 2분 후"
    assert korean.duration(0.0031) == "3.1밀리초"
    assert korean.duration(None) == english.duration(None) == "\u2013"
