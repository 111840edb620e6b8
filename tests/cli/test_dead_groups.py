"""`heori dead list --group`, and what is replayed and purged by its error or a text."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heori import JobFailed, Producer
from heori.inspect.dead_choice import LONGEST_ERROR, alike
from heori_common.protocol.payload import encode_failure
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.dead_letters import FAIL, damaged, dead, letter, queued, rows, told
from tests.rigs.terminals import on_terminal
from tests.tasks import sample_tasks

HEADER = "Traceback (most recent call last):\n"
FRAME = '  File "/app/tasks.py", line 7, in fail\n    raise ValueError(text)\n'


def failed(redis: Any, job_id: str, text: str, **options: Any) -> str:
    """A dead letter with this traceback."""
    letter(redis, job_id, **options)
    redis.delete(f"rq:results:{job_id}")
    redis.xadd(f"rq:results:{job_id}", {"type": "2", "exc_string": encode_failure(text)})
    return job_id


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        (["KeyError: 'order-1'", "KeyError: 'order-97'"], "KeyError: 'order-#'"),
        (["E: took 0.5 s", "E: took 1,200 s", "E: took 7 s"], "E: took # s"),
        (
            ["E: 8f14e45f-ceea-467f-a2d3-abcdefabcdef", "E: 11111111-aaaa-bbbb-cccc-dddddddddddd"],
            "E: #",
        ),
        (["E: at 0x7f0a", "E: at 0xFFFF0000", "E: at 12"], "E: at #"),
        (["E: commit 8f14e45f", "E: commit a8f9k2", "E: commit 20260101"], "E: commit #"),
        (["E: utf8 of 10.0.0.1:80", "E: utf16 of 10.0.12.1:8080"], "E: utf# of #"),
        (["주문 17 없음", "주문 18 없음"], "주문 # 없음"),
        (["E: \x1b[31m", "E: \x1b[32m"], r"E: \x1b[#m"),
        (["E: " + "9" * 1000, "E: " + "8" * 999], "E: #"),
        ([""], ""),
    ],
)
def test_errors_are_alike_but_for_numbers_and_ids(errors: list[str], kind: str) -> None:
    kind = kind.replace(r"\x1b", r"\x#b")  # as the escape of a control character is a number, too
    assert {*map(alike, errors)} == {kind}
    assert alike(kind) == kind
    assert len(kind) <= LONGEST_ERROR


CHAINED = (
    f"{HEADER}{FRAME}KeyError: 1\n\nDuring handling of the above exception, another exception "
    f"occurred:\n\n{HEADER}{FRAME}ValueError: no\nmore\n"
)
GROUPED = (
    f'  + Exception Group {HEADER}  |   File "a", line 1, in b\n'
    "  | ExceptionGroup: both (2 sub-exceptions)\n  +-+---------------- 1 ------\n"
    f'    | {HEADER}    |   File "a", line 1, in b\n    | ValueError: no\n'
    "    +------------------------------------\n"
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{HEADER}{FRAME}ValueError: no\n", "ValueError: no"),
        (f"{HEADER}{FRAME}ValueError: two\nlines\n  and more\n", "ValueError: two"),
        (CHAINED, "ValueError: no"),
        (GROUPED, "ExceptionGroup: both (2 sub-exceptions)"),
        (f"{HEADER}{FRAME}", "    raise ValueError(text)"),
        ("the worker is gone\nwaitpid returned 9\n", "waitpid returned 9"),
        (" \n\n", "it left no traceback"),
    ],
)
def test_the_reason_is_the_exception_and_not_the_end_of_its_message(
    heori: Heori, redis: Any, text: str, reason: str
) -> None:
    failed(redis, "one", text)
    [row] = rows(heori("dead", "list", "--json"))
    assert row["reason"].strip() == reason.strip()


def test_one_kind_among_others_of_real_failures_is_counted_and_replayed_by_its_error(
    heori: Heori, consume: Callable[..., Consumer], producer: Producer, tmp_path: Path, redis: Any
) -> None:
    consumer = consume().ready()
    folder = tmp_path / "not-yet"
    lost = [producer.submit(sample_tasks.record, str(folder / f"{n}"), n) for n in range(40)]
    others = [producer.submit(sample_tasks.fail, f"order {n}\nis not paid") for n in range(20)]
    for handle in [*lost, *others]:
        with pytest.raises(JobFailed):
            handle.result(60)
    records = rows(heori("dead", "list", "--group", "--json"))
    assert [(group["task"], group["count"]) for group in records] == [
        ("tests.tasks.sample_tasks.record", 40),
        (FAIL, 20),
    ]
    first, second = records
    assert first["error"].startswith("FileNotFoundError: [Errno #] No such file or directory: ")
    assert second["error"] == "ValueError: order #"
    assert {*first["examples"]} < {handle.id for handle in lost}
    assert first["oldest"] < first["newest"]
    assert sum(first["counts"][-2:]) == 40  # the last two hours, as a test may go over an hour
    folder.mkdir()
    words = ("dead", "replay", "--error", first["error"], "--json")
    assert told(heori(*words, "--dry-run"))["replayed"] == 40
    assert told(heori(*words))["replayed"] == 40
    assert [handle.result(60) for handle in lost] == list(range(40))
    assert dead(redis) == {handle.id for handle in others}
    assert consumer.stop() == 0


def test_letters_are_found_by_the_type_of_an_error_by_a_line_of_it_and_by_a_text(
    heori: Heori, redis: Any
) -> None:
    failed(redis, "one", f"{HEADER}{FRAME}ValueError: order 7 is not paid\n")
    failed(redis, "two", f"{HEADER}{FRAME}ValueError: order 12 is not paid\n")
    failed(redis, "three", f"{HEADER}{FRAME}ValueError: no\n", meta='{"customer": "acme"}')
    failed(redis, "four", f"{HEADER}{FRAME}app.errors.Late: Order\n", description="send(77)")
    letter(redis, "five", data=b"\x00")
    redis.delete("rq:results:five")

    def ids(*words: str) -> set[str]:
        return {row["id"] for row in rows(heori("dead", "list", "--json", *words))}

    assert ids("--error", "ValueError") == {"one", "two", "three"}
    assert ids("--error", "ValueError: order # is not paid") == {"one", "two"}
    assert ids("--error", "ValueError: order 3 is not paid") == {"one", "two"}
    assert ids("--error", "ValueError: order") == set()
    assert ids("--error", "app.errors.Late") == {"four"}
    assert ids("--error", "it left no traceback") == ids("--task", "") == {"five"}
    assert ids("--search", "ORDER") == {"one", "two", "four"}
    assert ids("--search", "acme") == {"three"}
    assert ids("--search", "send(77)") == {"four"}
    assert ids("--search", "thre") == {"three"}
    assert ids("--search", "order", "--error", "ValueError", "--task", FAIL) == {"one", "two"}
    assert told(heori("dead", "replay", "--search", "acme", "--json"))["replayed"] == 1
    assert queued(redis) == ["three"]


def test_groups_tell_when_their_letters_failed(heori: Heori, redis: Any) -> None:
    hour = 3600
    for n, ago in enumerate((10, 1.5 * hour, 1.6 * hour, 23.5 * hour, 25 * hour, 9 * 24 * hour)):
        failed(redis, f"one-{n}", "ValueError: no\n", ago=ago)
    failed(redis, "no-time", "ValueError: no\n", ended_at="", failure_ttl=-1)
    failed(redis, "other", "KeyError: 1\n", ago=hour / 2)
    group, other = rows(heori("dead", "list", "--group", "--json"))
    assert group["count"] == 7
    assert group["counts"] == [1, *[0] * 21, 2, 1]
    assert other["counts"] == [*[0] * 23, 1]
    assert other["oldest"] == other["newest"]
    [old] = rows(heori("dead", "list", "--group", "--json", "--older", "7d"))
    assert (old["count"], sum(old["counts"]), old["examples"]) == (1, 0, ["one-5"])
    limited = heori("dead", "list", "--group", "--limit", "1", "--json")
    assert rows(limited) == [group | {"counts": rows(limited)[0]["counts"]}]
    assert "1 more; --limit shows them" in limited.stderr


HOSTILE = {
    "html": "<script>alert(1)</script>: <b>no</b>\n",
    "control": "ValueError: \x1b]0;title\x07\x1b[2J\r\x00\u202e\n",
    "large": "ValueError: " + "a b" * 3_500_000 + "\n",
    "words": "ValueError: " + "a1b" * 100_000 + "\n",
    "markup": "[bold]ValueError[/bold]: [/]\n",
    "wide": "ValueError: " + "허리" * 100 + "\n",
}


def test_hostile_errors_are_counted_and_shown_within_eighty_columns(
    heori: Heori, redis: Any, redis_url: str
) -> None:
    for name, text in HOSTILE.items():
        failed(redis, name, f"{HEADER}{FRAME}{text}")
    letter(redis, "bytes")
    redis.delete("rq:results:bytes")
    redis.xadd("rq:results:bytes", {"type": "2", "exc_string": zlib.compress(b"E: \xff\xfe")})
    letter(redis, "ten-megabytes")
    redis.delete("rq:results:ten-megabytes")
    redis.xadd("rq:results:ten-megabytes", {"exc_string": os.urandom(10_000_000)})
    damaged(redis)
    found = rows(heori("dead", "list", "--group", "--json"))
    assert sum(group["count"] for group in found) == redis.zcard("rq:failed:default")
    for group in found:
        assert len(group["error"]) <= LONGEST_ERROR
        assert group["error"].isprintable()
        # What is shown finds the same letters again.
        again = heori(
            *("dead", "list", "--group", "--json"),
            *("--task", group["task"], "--error", group["error"]),
        )
        assert [each["count"] for each in rows(again)] == [group["count"]]
    code, shown = on_terminal(redis_url, "dead", "list", "--group", columns=80)
    assert code == 0
    assert "\x1b" not in shown
    assert "<script>alert(#)</script>" in shown
    lines = shown.replace("\r", "").split("\n")
    assert max(map(len, lines)) <= 80


def test_letters_are_purged_by_id_by_task_and_by_error_and_on_a_terminal_it_asks(
    heori: Heori, redis: Any, redis_url: str
) -> None:
    for n in range(600):
        failed(redis, f"lost-{n}", f"KeyError: 'order-{n}'\n", ago=700 - n)
    failed(redis, "one", "ValueError: no\n")
    failed(redis, "two", "ValueError: no\n")
    add = zlib.compress(b'["tests.tasks.sample_tasks.add", null, [1], {}]')
    failed(redis, "added", "ValueError: no\n", data=add)
    done = heori("dead", "purge", "one", "nobody", "--json")
    assert told(done, code=1)["ids"] == {"one": "purged", "nobody": "absent"}
    code, shown = on_terminal(redis_url, "dead", "purge", "two", answer="n\n")
    assert code == 1
    assert "Delete 1 dead letter at 127.0.0.1" in shown
    words = ("dead", "purge", "--error", "KeyError")
    code, shown = on_terminal(redis_url, *words, answer="n\n")
    assert code == 1
    assert "Delete 600 dead letters at 127.0.0.1" in shown
    assert len(dead(redis)) == 602
    code, shown = on_terminal(redis_url, *words, answer="y\n")
    assert code == 0
    assert "600 purged" in shown
    task = ("--task", "tests.tasks.sample_tasks.add")
    assert heori("dead", "purge", *task).stdout == "1 purged\n"
    assert dead(redis) == {"two"}
    assert len(redis.keys("rq:job:*")) == 1
