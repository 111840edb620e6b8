"""The pages themselves: as short as promised, up to date with the code, and without dead ends."""

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from heori.cli.app import load
from tests.rigs.pages import ALL_PAGES, DOCS, PAGES, README, ROOT, Block, blocks

COMPOSE = (ROOT / "compose.yaml").read_text()
SERVICES = yaml.load(COMPOSE, Loader=yaml.CSafeLoader)["services"]
NOT_RUN = [
    pytest.param(block, id=str(block))
    for page in PAGES
    for block in blocks(page)
    if block.mark.startswith("not run") and block.language != "python"
]
QUOTED = [
    pytest.param(block, id=str(block))
    for page in PAGES
    for block in blocks(page)
    if block.mark.startswith("not run") and block.language == "python"
]


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


def test_the_pages_that_are_made_from_the_code_are_up_to_date() -> None:
    check = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_site_is_built_without_a_dead_link(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {page.relative_to(DOCS).with_suffix("") for page in DOCS.rglob("*.md")}
    built = {page.parent.relative_to(tmp_path) for page in tmp_path.rglob("index.html")}
    assert built == {page.parent if page.name == "index" else page for page in pages}
    # Nothing in it is loaded from elsewhere.
    for page in tmp_path.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|img)[^>]* src="(?:https?:)?//', text)
        assert not re.findall(r'rel="?stylesheet"? href="?(?:https?:)?//', text)
        language = "ko" if page.parent.name.endswith(".ko") else "en"
        assert f'<html lang="{language}"' in text


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in map(anchor_of, headings), target


def anchor_of(heading: str) -> str:
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    ours = {path.name for path in ROOT.iterdir()}
    for name in re.findall(r"`([\w.-]+(?:/[\w.-]+)+/?|[\w.-]+/)`", page.read_text()):
        if name.partition("/")[0] in ours:
            assert (ROOT / name).exists(), name
    for script in re.findall(r"`(\w+\.lua)`", page.read_text()):
        assert list((ROOT / "common").rglob(script)), script


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_that_a_page_names_exist(page: Path) -> None:
    known = (DOCS / "settings.md").read_text() + (ROOT / ".env.example").read_text()
    for name in re.findall(r"\bHEORI_(?!TEST)[A-Z_]+[A-Z]\b", page.read_text()):
        assert f"{name}`" in known or f"{name}=" in known or name in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("block", NOT_RUN)
def test_what_an_example_names_that_is_not_run_exists(block: Block) -> None:
    seen = 0
    for words in simple_commands(block.code):
        while re.match(r"\w+=", words[0]):
            variable, _, value = words.pop(0).partition("=")
            if words and words[0] == "docker":
                assert f"${{{variable}" in COMPOSE or variable == "COMPOSE_PROFILES", variable
                if variable == "COMPOSE_PROFILES":
                    assert value in profiles()
            if not words:
                break
        if words:
            CHECKS[words[0]](words[1:])
            seen += 1
    assert seen


@pytest.mark.parametrize(("page", "at_least"), [("rq.md", 30), ("coming-from.md", 50)])
def test_each_test_that_a_page_names_exists(page: str, at_least: int) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (DOCS / page).read_text())
    assert len(named) > at_least
    for file, name in named:
        assert f"\ndef {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


@pytest.mark.parametrize("block", QUOTED)
def test_python_that_is_not_run_is_quoted_from_an_example(block: Block) -> None:
    assert any(block.code in path.read_text() for path in (ROOT / "examples").rglob("*.py"))


def simple_commands(code: str) -> Iterator[list[str]]:
    """The commands of a script, without what joins them."""
    code = code.replace("\\\n", " ").replace('"$(', "$(").replace(')"', ")")
    for line in code.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();|&")
        lexer.whitespace_split = True
        words: list[str] = []
        for token in (*lexer, ";"):
            if set(token) <= set("();|&"):
                if words:
                    yield words
                words = []
            else:
                words.append(token)


def profiles() -> set[str]:
    return {profile for service in SERVICES.values() for profile in service.get("profiles", ())}


def check_make(words: list[str]) -> None:
    targets = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert words[0] in targets


def check_docker(words: list[str]) -> None:
    options = dict(itertools.pairwise(words))
    if words[0] == "compose":
        if "--profile" in options:
            assert options["--profile"] in profiles()
        if "--scale" in options:
            assert options["--scale"].partition("=")[0] in SERVICES
        if words[1] in ("exec", "kill"):
            assert next(word for word in words[2:] if not word.startswith("-")) in SERVICES
    if words[0] == "build":
        assert (ROOT / words[-1] / "Dockerfile").exists()
    if "-c" in options:
        assert (ROOT / options["-c"]).exists()


def check_files(words: list[str]) -> None:
    for option, file in itertools.pairwise(words):
        if option in ("-f", "-k"):
            assert (ROOT / file).exists(), file


def check_heori(words: list[str]) -> None:
    command: Any = load(words.pop(0))
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    known = {name for option in command.params for name in option.opts + option.secondary_opts}
    assert {word for word in words if word.startswith("--")} <= known


def check_nothing(_: list[str]) -> None:
    """Another's program, or one that needs no check."""


def check_copy(words: list[str]) -> None:
    assert (ROOT / words[0]).exists()


def check_systemctl(words: list[str]) -> None:
    for unit in [word for word in words if "@" in word]:
        assert (ROOT / f"examples/systemd/{unit.partition('@')[0]}@.service").exists()


def check_python(words: list[str]) -> None:
    program, command = words[:2]
    assert (ROOT / "examples/django" / program).exists()
    assert (ROOT / f"heori/django/management/commands/{command}.py").exists()


CHECKS = {
    "make": check_make,
    "docker": check_docker,
    "kubectl": check_files,
    "heori": check_heori,
    "python": check_python,
    "cp": check_copy,
    "systemctl": check_systemctl,
    **dict.fromkeys(("export", "pip", "openssl", "curl", "cat", "jq", "redis-cli"), check_nothing),
}
