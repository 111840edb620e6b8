"""Every command tells how it is used, in examples, too, and to a shell that completes a line."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from heori.cli.app import COMMANDS, load
from heori.cli.examples import EXAMPLES, lines
from tests.rigs.commands import Heori

WIDEST = 76  # of 80 columns


def commands() -> Iterator[str]:
    for name in COMMANDS:
        yield name
        for inner in getattr(load(name), "commands", {}):
            yield f"{name} {inner}"


def written() -> Iterator[tuple[str, list[str]]]:
    """Each example: of which command, and its words."""
    for command in EXAMPLES:
        text = "\n".join(lines(command)).replace("\\\n", "")
        for line in text.splitlines():
            yield command, shlex.split(line, comments=True)


@pytest.mark.parametrize("command", ["", *commands()])
def test_help_is_there(command: str, heori: Heori) -> None:
    shown = heori(*command.split(), "--help", COLUMNS="80")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"Usage: heori {command}".strip() in shown.stdout
    if command:  # each example in a line of its own
        told = [line.strip() for line in shown.stdout.splitlines()]
        assert [line for line in lines(command) if line.strip() not in told] == []


def test_every_command_has_examples_that_fit_a_terminal() -> None:
    assert set(EXAMPLES) == set(commands())
    assert [line for each in EXAMPLES for line in lines(each) if len(line) > WIDEST] == []


def test_each_example_is_what_its_command_takes() -> None:
    parsed = 0
    for command, line in written():
        words = line[1:] if line[0] == "export" else line
        while words and "=" in words[0]:
            name, _, value = words[0].partition("=")
            assert name.startswith("HEORI_")
            assert value
            words = words[1:]
        if not words or words[0] == "curl":
            continue
        program, name, *given = words[: words.index("|")] if "|" in words else words
        assert program == "heori"
        assert name == command.partition(" ")[0] or command == "load"  # with what it needs
        found: Any = load(name)
        while True:  # refuses what is no option of it
            with found.make_context(name, given) as context:
                given = [*getattr(context, "_protected_args", ()), *context.args]
            if not (given and hasattr(found, "commands")):
                break
            found, name = found.commands[given[0]], given.pop(0)
        assert given == []
        parsed += 1
    assert parsed > len(EXAMPLES)


def test_examples_that_look_and_send_do_so(heori: Heori, tmp_path: Path, redis: Any) -> None:
    (tmp_path / "shop.py").write_text(
        "from heori import task\n\n\n@task(queue='mail')\ndef send_mail(to: str) -> int:\n"
        "    return len(to)\n"
    )
    (tmp_path / "mails.csv").write_text("to\nann@example.org\nbob@example.org\n")
    own = {"HEORI_TASKS": "shop", "PYTHONPATH": str(tmp_path)}
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    ran = 0
    for command, words in written():
        options = words[2:]
        if words[:1] != ["heori"] or {"|", "--wait"} & set(options):
            continue
        if command not in ("send", "status", "limit", "pause", "resume", "tenants", "redis"):
            continue
        # Of a job with that id, or of a consumer of that name.
        if (command == "status" and options) or "--consumer" in options:
            continue
        environment = {**own, "PYTHONPATH": path}
        given = [str(tmp_path / each) if each == "mails.csv" else each for each in words[1:]]
        done = heori(*given, **environment)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        ran += 1
    assert ran > 15
    assert redis.llen("rq:queue:mail") == 2
    assert redis.zcard("rq:scheduled:mail") == 1


def test_the_version_says_what_a_report_of_a_fault_needs(heori: Heori) -> None:
    told = heori("--version")
    python = ".".join(map(str, sys.version_info[:3]))
    assert told.stdout == f"heori {version('heori')} (Python {python}, rq {version('rq')})\n"
    assert told.returncode == 0


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("heori dea", {"dead"}),
        ("heori dead re", {"replay"}),
        ("heori locks ", {"show", "release"}),
        ("heori locks rel", {"release"}),
        ("heori locks printer --k", {"--kind"}),
        ("heori consume --model ", {"threads", "processes", "hybrid", "asyncio", "auto", "inline"}),
        ("heori status --j", {"--json"}),
        ("heori --v", {"--version"}),
    ],
)
def test_a_shell_can_complete_a_line(heori: Heori, typed: str, offered: set[str]) -> None:
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    told = heori(_HEORI_COMPLETE="complete_bash", **asked)
    assert set(told.stdout.split()) == offered


def test_completion_is_switched_on_for_the_shell_that_asks(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("heori")
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", f"{shlex.quote(str(program))} --install-completion; true"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "bash completion installed" in done.stdout, done.stderr
    script = (tmp_path / ".bashrc").read_text()
    typed = f"COMP_WORDS=(heori dea); COMP_CWORD=1; _heori_completion {shlex.quote(str(program))}"
    asked = f'{script}\n{typed}; echo "$COMPREPLY"'
    told = subprocess.run(
        ["bash", "-c", asked], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout == "dead\n", told.stderr
