"""Every command tells how it is used."""

from collections.abc import Iterator

import pytest

from heori.cli.app import COMMANDS, load
from tests.rigs.commands import Heori


def commands() -> Iterator[str]:
    for name in COMMANDS:
        yield name
        for inner in getattr(load(name), "commands", {}):
            yield f"{name} {inner}"


@pytest.mark.parametrize("command", ["", *commands()])
def test_help_is_there(command: str, heori: Heori) -> None:
    shown = heori(*command.split(), "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"Usage: heori {command}".strip() in shown.stdout
