"""What this repository promises to a reader about its files."""

import ast
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 500
PACKAGES = ("heori/", "common/", "consumer/", "producer/")
PACKAGES = ("heori/", "common/", "consumer/", "producer/")


def files(*endings: str) -> list[str]:
    """What git keeps, by its path from the top."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("this is no clone: " + listed.stderr.strip())
    return [
        path
        for path in listed.stdout.splitlines()
        if path.endswith(endings) and not path.startswith(".") and (ROOT / path).exists()
    ]


# Whole files are parsed only where these find something: that takes long, of hundreds of files.
IMPORTS = re.compile(
    r"^ *((?:from [\w.]+ import \([^)]*\)|(?:from [\w.]+ )?import [^(\n]+$))", re.MULTILINE
)
TEST = re.compile(r"\b(?:test_\w|conftest\b)")


def parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def test_a_file_is_read_in_one_sitting() -> None:
    lengths = {
        path: len((ROOT / path).read_text(encoding="utf-8").splitlines())
        for path in files(".py", ".lua")
    }
    assert lengths
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_a_class_name_stands_for_one_thing() -> None:
    where = defaultdict(list)
    for path in files(".py"):
        if path.startswith(PACKAGES):
            for node in ast.walk(parsed(path)):
                if isinstance(node, ast.ClassDef):
                    where[node.name.strip("_")].append(path)
    assert where
    assert {name: paths for name, paths in where.items() if len(paths) > 1} == {}


def test_no_test_is_imported() -> None:
    """What tests share stands in `tests.rigs`, `tests.tasks` and fixtures."""
    imported = {
        f"{path}: {name}"
        for path in files(".py")
        if TEST.search(" ".join(IMPORTS.findall((ROOT / path).read_text(encoding="utf-8"))))
        for node in ast.walk(parsed(path))
        for name in _imported(node)
        if re.match(r"tests\..*(\btest_\w+|\bconftest\b)", name)
    }
    assert imported == set()


def test_all_imports_are_found() -> None:
    text = "import a.b\nfrom c import d, e\nif f:\n    from g import (\n        h,\n    )\n"
    found = [_imported(ast.parse(each).body[0]) for each in IMPORTS.findall(text)]
    assert found == [["a.b"], ["c.d", "c.e"], ["g.h"]]


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [name.name for name in names]
        case ast.ImportFrom(module=str(module), names=names, level=0):
            return [f"{module}.{name.name}" for name in names]
    return []
