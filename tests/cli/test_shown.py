"""What people are shown fits a terminal of 80 columns, and loses nothing on a pipe."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len

from heori import Mutex
from heori.terminal import Console, Name
from heori_common.locks import session
from heori_common.protocol.payload import encode_failure
from tests.rigs.commands import Heori
from tests.rigs.dead_letters import letter
from tests.rigs.terminals import on_terminal

LONG = f"first-{'of-many-names-' * 10}한국어-last"
PATH = f"/srv/{'releases/' * 12}site-packages/shop.py"
TRACEBACK = f'Traceback (most recent call last):\n  File "{PATH}", line 7, in run\nValueError: no\n'


@pytest.fixture
def long_names(redis: Any, redis_url: str) -> Iterator[None]:
    """A queue, a tenant, a consumer and a lock have this one; numbers are large."""
    for queue in (LONG, f"mail@@{LONG}"):
        redis.sadd("rq:queues", f"rq:queue:{queue}")
        redis.rpush(f"rq:queue:{queue}", *range(1000))
    redis.sadd("rq:workers", f"rq:worker:{LONG}")
    ago = datetime.now(UTC) - timedelta(hours=3)
    record = {"state": "busy", "queues": LONG, "last_heartbeat": ago.isoformat()}
    redis.hset(f"rq:worker:{LONG}", mapping={**record, "successful_job_count": 12_345_678})
    with Mutex(LONG, redis_url):
        yield
    session.close()


@pytest.mark.parametrize("words", [["status"], ["tenants", "mail"], ["locks"]], ids=" ".join)
@pytest.mark.usefixtures("long_names")
def test_tables_fit_80_columns_and_names_are_whole_on_a_pipe(
    heori: Heori, redis_url: str, words: list[str]
) -> None:
    code, shown = on_terminal(redis_url, *words, columns=80)
    assert code == 0, shown
    assert max(map(cell_len, shown.splitlines())) <= 80, shown
    assert re.search(r"[a-z-]+…[a-z-]*한?국?어?-last", shown), shown
    piped = heori(*words).stdout
    assert LONG in piped
    assert "…" not in piped


@pytest.mark.usefixtures("long_names")
def test_a_wide_terminal_shows_names_whole(redis_url: str) -> None:
    _, shown = on_terminal(redis_url, "status", columns=400)
    assert LONG in shown


@pytest.mark.parametrize("text", ["abc", LONG, "한국어" * 40, "한a" * 40])
@pytest.mark.parametrize("width", [1, 2, 9, 30, 31])
def test_a_name_loses_its_middle_and_fills_no_more_than_there_is(text: str, width: int) -> None:
    console = Console()
    console.width = width
    with console.capture() as captured:
        console.print(Name(text))
    shown = captured.get().rstrip("\n")
    assert cell_len(shown) <= width
    if cell_len(text) <= width:
        assert shown == text
    elif width > 2:
        head, _, tail = shown.partition("…")
        assert text.startswith(head.rstrip())
        assert text.endswith(tail.lstrip())


@pytest.mark.parametrize("columns", [80, 120])
def test_no_path_of_a_traceback_is_broken(redis: Any, redis_url: str, columns: int) -> None:
    letter(redis, "one", heori_last_log=TRACEBACK)
    redis.xadd("rq:results:one", {"type": "2", "exc_string": encode_failure(TRACEBACK)})
    for words in (["dead", "show", "one"], ["job", "one"]):
        code, shown = on_terminal(redis_url, *words, columns=columns)
        assert code == 0, shown
        assert f'    File "{PATH}", line 7, in run' in shown.splitlines()


def test_long_prose_is_broken_between_words_and_only_on_a_terminal(
    heori: Heori, redis: Any, redis_url: str
) -> None:
    reason = f"the job at {PATH} ran for longer than it may, {'and ' * 30}was killed"
    letter(redis, "one")
    redis.xadd("rq:results:one", {"type": "2", "exc_string": encode_failure(reason)})
    _, shown = on_terminal(redis_url, "dead", "show", "one", columns=80)
    assert [line for line in shown.splitlines() if len(line) > 80] == [f"{' ' * 13}{PATH}"]
    assert " ".join(shown.partition("traceback")[2].split()) == reason
    assert reason in heori("dead", "show", "one").stdout


def test_status_tells_ages_and_json_keeps_the_exact_times(
    heori: Heori, redis: Any, long_names: None
) -> None:
    letter(redis, "one", ago=7500.0)
    assert re.search(r"ended at +2 h \d+ min ago, \d{4}-\d\d-\d\d ", heori("job", "one").stdout)
    exact = redis.hget("rq:job:one", "ended_at").decode()
    assert json.loads(heori("job", "one", "--json").stdout)["ended_at"] == exact
    # A stock worker's is by its own clock.
    assert re.search(r"3 h \d min ago", heori("status").stdout)
    [record] = json.loads(heori("status", "--json").stdout)["consumers"].values()
    assert record["last_heartbeat"] == redis.hget(f"rq:worker:{LONG}", "last_heartbeat").decode()
    heori("send", "tests.tasks.sample_tasks.add", "--args", "[1]", "--delay", "2h", "--key", "k")
    [job] = redis.zrange("rq:scheduled:default", 0, -1)
    assert re.search(r"due at +in (1 h 59 min|2 h 0 min), ", heori("job", job.decode()).stdout)
