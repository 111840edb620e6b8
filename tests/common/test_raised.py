"""Errors that travel: the same again, or known to be no copy."""

import pickle
import subprocess
import sys
from typing import Any

import pytest

from heori_common.raised import MOST_BYTES, Raised, _pack
from tests.tasks.raising_tasks import EXACT, INEXACT


def told(error: BaseException) -> tuple[Any, ...]:
    """All that anybody can ask an error for."""
    system = ("errno", "strerror", "filename", "filename2", "characters_written")
    others = ("encoding", "object", "start", "end", "reason", "name", "msg", "lineno", "where")
    return (
        type(error),
        str(error),
        repr(error),
        error.args,
        vars(error),
        [getattr(error, name, None) for name in system + others],
    )


@pytest.mark.parametrize("name", EXACT)
def test_an_error_of_plain_values_is_the_same_again(name: str) -> None:
    error = EXACT[name]()
    raised = Raised.decode(Raised.of(error).encode())
    assert raised is not None
    again = raised.made_anew()
    assert again is not None
    assert told(again) == told(error)
    assert raised.text == str(error)


@pytest.mark.parametrize("name", INEXACT)
def test_what_nothing_plain_makes_exactly_is_told_and_not_made(name: str) -> None:
    error = INEXACT[name]()
    raised = Raised.decode(Raised.of(error).encode())
    assert raised is not None
    assert (raised.copy, raised.made_anew()) == (None, None)
    assert raised.type.rpartition(".")[2] == type(error).__name__
    assert raised.size < MOST_BYTES
    if name not in ("explosive", "changing"):
        assert str(error).startswith(raised.text)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit("over")])
def test_what_ends_a_program_is_never_made_anew(error: BaseException) -> None:
    raised = Raised.of(error)
    assert raised.made_anew() is None
    assert raised.type == type(error).__name__


def test_a_program_with_another_version_of_a_class_does_not_make_it() -> None:
    raised = Raised.of(EXACT["status"]())
    for changed in (
        raised._replace(name="Counted", text="status 405"),
        raised._replace(name="Nobody"),
        raised._replace(module="nowhere.to.be.found"),
        raised._replace(module="os", name="system"),
        raised._replace(module="builtins", name="eval"),
        raised._replace(module="heori", name="Mutex"),
        raised._replace(copy=pickle.dumps(1)),
        raised._replace(copy=_pack((("x",), {"__class__": 5}))),
    ):
        assert changed.made_anew() is None


@pytest.mark.parametrize("field", [b"", b"\x00", b"\xc1", _pack([1, 2]), _pack([1, 2, 3, 4, 5])])
def test_a_field_that_means_nothing_is_no_error(field: bytes) -> None:
    assert Raised.decode(field) is None


def test_a_name_read_from_redis_makes_nothing_be_imported() -> None:
    raised = Raised("wave", "Error", "text", [], Raised.of(ValueError("text")).copy)
    program = f"""
import sys
from heori_producer.errors import JobFailed, original
failed = JobFailed("id", "its traceback", {raised.encode()!r})
assert original(failed) is failed
assert failed.error_type == "wave.Error"
assert "wave" not in sys.modules
fenced = JobFailed("id", "", {Raised.of(EXACT["fenced"]()).encode()!r})
assert original(fenced).fence == 7
assert original(fenced).__cause__ is fenced
assert not {{"heori_consumer", "heori_common.locks.lock"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
