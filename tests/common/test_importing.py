"""Whoever waits for a module is told once it is imported, and the import is as without them."""

import importlib
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from heori_common.importing import when_imported

NAME = "heori_waited_for"


@pytest.fixture
def before() -> Iterator[list[Any]]:
    """The finders; they are the same afterwards, and the module is gone."""
    finders = list(sys.meta_path)
    yield finders
    sys.meta_path[:] = finders
    sys.modules.pop(NAME, None)


def test_all_that_wait_for_a_module_are_told_in_turn(
    before: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{NAME}.py").write_text("made = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    told: list[tuple[str, int]] = []

    def note(who: str, module: ModuleType) -> None:
        told.append((who, module.made))

    for who in ("first", "second", "third"):
        when_imported(NAME, partial(note, who))
    assert told == []
    importlib.import_module(NAME)
    assert told == [("first", 1), ("second", 1), ("third", 1)]
    assert sys.meta_path == before
    when_imported(NAME, partial(note, "late"))
    assert told[3:] == [("late", 1)]


def test_a_module_that_is_not_there_is_missing_as_ever(before: list[Any]) -> None:
    for _ in range(2):
        when_imported(NAME, lambda _: pytest.fail("nothing was imported"))
    with pytest.raises(ModuleNotFoundError, match=NAME):
        importlib.import_module(NAME)
    assert len(sys.meta_path) == len(before) + 2
