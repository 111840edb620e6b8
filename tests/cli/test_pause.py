"""`heori pause`, `heori resume`, and what `heori status` and `heori top` tell of what waits."""

import json
import re
import shlex

import pytest

from heori import Producer
from tests.rigs.commands import Heori
from tests.rigs.script_bench import Bench, ids
from tests.tasks import limited_tasks

TASK = "tests.tasks.limited_tasks.plain"


def test_what_is_paused_is_told_until_it_is_resumed(
    heori: Heori, bench: Bench, producer: Producer
) -> None:
    [plain] = producer.submit_many(limited_tasks.plain, [1])
    for words, said in (
        (("default",), "queue default is paused; `heori resume default` ends that"),
        (("default", "--tenant", "acme"), "tenant acme of queue default is paused; `heori resume"),
        (("--task", TASK), f"task {TASK} is paused; `heori resume --task {TASK}` ends that"),
    ):
        assert heori("pause", *words).stdout.startswith(said)
    assert bench.look().claims == []
    shown = json.loads(heori("status", "--json").stdout)
    kinds = {each["name"]: each["kind"] for each in shown["paused"]}
    assert kinds == {"default": "queue", "default@@acme": "tenant", TASK: "task"}
    assert "`heori resume default --tenant acme` ends that" in heori("status").stdout
    assert heori("resume", "default").stdout == "queue default goes on\n"
    assert bench.look().claims == []
    assert "1 job set aside" in heori("status").stdout
    went_back = "1 job went back to the front of their queues"
    assert heori("resume", "--task", TASK).stdout == f"task {TASK} goes on; {went_back}\n"
    heori("resume", "default", "--tenant", "acme")
    assert ids(bench.claim()) == [plain.id]
    assert bench.execute(bench.commands.pauses()) == []


def test_what_waits_for_a_rate_is_told(heori: Heori, bench: Bench, producer: Producer) -> None:
    producer.submit_many(limited_tasks.seldom, range(5))
    assert len(bench.claim()) == 2
    shown = json.loads(heori("top", "--json", "--every", "100ms").stdout)
    [line] = shown["held"]["rates"]
    assert (line["queue"], line["waiting"]) == ("default", 3)
    assert 1700 < line["next"] <= 1800
    assert "3 jobs of default wait for the rate tests.tasks.limited_tasks.seldom" in (
        heori("status").stdout
    )


@pytest.mark.parametrize("words", [["my queue", "--tenant", "x"], ["--", "-x"], ["it's"]])
def test_the_command_that_ends_a_pause_can_be_typed_as_it_is_told(
    heori: Heori, bench: Bench, words: list[str]
) -> None:
    for told in (heori("pause", *words).stdout, heori("status").stdout):
        [command] = re.findall("`heori (resume .+?)` ends that", told)
        assert heori(*shlex.split(command)).returncode == 0
        assert bench.execute(bench.commands.pauses()) == []
        heori("pause", *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "a QUEUE is needed, or --task NAME"),
        (("--task", "a.b", "--tenant", "x"), "--tenant says which tenant of a QUEUE"),
        (("default", "--tenant", "a b"), "a name without blanks"),
    ],
)
def test_what_makes_no_sense_is_refused(heori: Heori, words: tuple[str, ...], said: str) -> None:
    refused = heori("pause", *words)
    assert refused.returncode == 2
    assert said in refused.stderr
