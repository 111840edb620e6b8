"""Options whose values no command can hold: each is refused in a few words at once.

They run in this process, with a server that is not there.
"""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from heori.cli.app import load

ADD = ["send", "tests.tasks.sample_tasks.add", "--args", "[1, 2]"]
DIGITS = "9" * 6000
TEXT = "x" * 50_000
UNSEEN = "a\x1b[31m\u202eb"


@pytest.fixture(autouse=True)
def _nothing_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEORI_TASKS", "tests.tasks.sample_tasks")
    monkeypatch.setenv("HEORI_REDIS_URL", "redis://127.0.0.1:1/0")


CASES: list[tuple[list[str], list[str]]] = [
    ([*ADD, "--delay"], ["nan", "inf", "-1", "1e308", DIGITS, f"{DIGITS}s", "200000d", TEXT, "\0"]),
    (
        [*ADD, "--at"],
        ["9999-12-31T23:59:59-14:00", "9999-06-01T00:00:00Z", "10000-01-01T00:00Z", DIGITS, TEXT,
         "2030-01-01T00:00:00", "nan"],
    ),
    ([*ADD, "--wait", "--timeout"], ["nan", "inf", "1e308", "-1", DIGITS, "true"]),
    ([*ADD, "--queue"], [UNSEEN, TEXT, "\u2028", "a,b", "a@@b"]),
    ([*ADD, "--tenant"], [UNSEEN, TEXT, "a\x9bb"]),
    ([*ADD, "--key"], [UNSEEN, TEXT, "\udcff"]),
    (
        ["send", "tests.tasks.sample_tasks.add", "--args"],
        ["[" * 100_000, f"[1, {DIGITS}]", "[NaN, 1]", '["\udcff"]', TEXT, f'{{"{TEXT}": 1}}',
         f'{{"a": "{TEXT}"}}', f'["{TEXT}"]'],
    ),
    (["send"], [UNSEEN, TEXT, f"tests.tasks.{UNSEEN}"]),
    (["limit", "orders"], ["0", "-1", "nan", "1.5", "true", DIGITS, TEXT, "10000000000"]),
    (["limit"], [UNSEEN, TEXT]),
    (["locks"], [UNSEEN, TEXT]),
    (["locks", "release"], [UNSEEN]),
    (["dead", "list", "--older"], ["nan", "inf", "-1d", DIGITS, TEXT]),
    (["dead", "list", "--limit"], ["0", "nan", "1000001", DIGITS]),
    (["consume", "--queue"], [UNSEEN, TEXT, f"a={DIGITS}", "a=nan"]),
    (["consume", "--max-rss"], ["nan", "0", "-1", DIGITS, f"{DIGITS}G", TEXT]),
    (["consume", "--recycle-after"], ["0", "1000000001", DIGITS, "nan"]),
    (["consume", "--slots"], ["0", "10001", DIGITS]),
    (["consume", "--model", "hybrid", "--processes"], ["0", "1001", DIGITS]),
    (["consume", "--batch"], ["0", "1001", DIGITS]),
    (["top", "--every"], ["nan", "0", "2h", DIGITS, TEXT]),
    (["up", "--for"], ["nan", "inf", DIGITS, TEXT]),
    (["load", "--rate"], ["nan", "inf", "-1", "0", "1e308", DIGITS]),
    (["load", "--for"], ["nan", DIGITS, TEXT]),
    (["load", "--mix"], [f"tokens={DIGITS}", "tokens=nan", TEXT]),
    (["load", "--serve"], [f"a:{DIGITS}", "a:65536", "a:nan", UNSEEN, TEXT]),
    (["serve", "--port"], ["-1", "65536", DIGITS, "nan"]),
]  # fmt: skip


@pytest.mark.parametrize(("words", "values"), CASES, ids=[" ".join(words) for words, _ in CASES])
def test_what_no_command_can_hold_is_refused_in_few_words(
    words: list[str], values: list[str]
) -> None:
    command = load(words[0])
    for value in values:
        done = CliRunner().invoke(command, [*words[1:], value])
        case = (words, value[:40], done.output[:500])
        assert done.exit_code == 2, (case, done.exception)
        assert isinstance(done.exception, SystemExit), case
        assert "127.0.0.1:1 is away" not in done.output, case
        assert "Traceback" not in done.output, case
        told = done.stderr.replace("─", "")
        assert all(each.isprintable() for each in told.splitlines()), case
        # What click says itself has the value as it was given, and needs several lines.
        assert len(told) < 2500 or "Invalid value" in told, case


def test_a_line_that_makes_no_job_repeats_little_of_it(tmp_path: Path) -> None:
    file: Any = tmp_path / "jobs.jsonl"
    lines = [f'{{"{TEXT}": 1}}', f'["{TEXT}", 1]', "[" * 100_000, TEXT, f"[1, {DIGITS}]"]
    file.write_text("\n".join(lines))
    words = ["tests.tasks.sample_tasks.add", "--from", str(file), "--check"]
    done = CliRunner().invoke(load("send"), words)
    assert done.exit_code == 2
    assert "5 bad lines" in done.output
    assert len(done.output) < 3000
