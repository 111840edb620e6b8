"""Whatever stands in Redis or is typed, no command lets it reach the terminal as anything but text.

Also where the terminal takes ASCII only, so that no command ends by what it cannot write.
"""

import ast
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

from heori import Mutex
from heori.cli.app import COMMANDS
from heori.terminal import Console, Text
from heori_common import logs
from heori_common.locks import session
from heori_common.protocol.keys import Keys
from tests.rigs.commands import Heori
from tests.rigs.dead_letters import letter

ROOT = Path(__file__).parents[2]
# What rich takes for markup, a terminal for commands, and a reader for another line.
EVIL = "eu[west]mail[/]\x1b[2J\x9b31m\n\u202e[bold red]"
SHOWN = r"eu[west]mail[/]\x1b[2J\x9b31m\n\u202e[bold red]"
ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "COLUMNS": "400"}

COMMAND_LINES = [
    (["status"], True),
    (["job", EVIL], True),
    *(([action, f"{EVIL}no"], True) for action in ("cancel", "stop", "run", "retry", "delete")),
    (["consumers"], True),
    (["drain", f"{EVIL}no"], True),
    (["jobs"], True),
    (["jobs", "--search", EVIL], True),
    (["jobs", "--state", EVIL], True),
    (["job", f"{EVIL}no"], True),
    (["top", "--once", "--every", "100ms"], True),
    (["limit"], True),
    (["limit", EVIL], True),
    (["pause", EVIL], True),
    (["resume", EVIL], True),
    (["tenants", EVIL], True),
    (["schedule"], False),
    (["schedule", "run", EVIL], True),
    (["dead", "list"], True),
    (["dead", "list", "--task", EVIL], False),
    (["dead", "show", EVIL], True),
    (["dead", "show", f"{EVIL}no"], True),
    (["dead", "replay", f"{EVIL}no"], True),
    (["dead", "purge", "--all", "--dry-run"], False),
    (["locks"], True),
    (["locks", EVIL], True),
    (["locks", "release", EVIL], True),
    (["doctor"], True),
    (["redis", "SMEMBERS", "rq:workers"], True),
    (["redis", EVIL], True),
    (["send", EVIL], True),
    (["send", "tests.tasks.sample_tasks.add", "--args", EVIL], False),
    (["send", "tests.tasks.sample_tasks.add", "--queue", EVIL], True),
    (["send", "tests.tasks.sample_tasks.add", "--from", "FILE", "--check"], True),
    (["consume", "--queue", EVIL], True),
    (["worker", "--allow", "tests", EVIL], True),
    (["worker", EVIL], True),
    (["worker-pool", "--allow", "tests", EVIL], True),
    (["consume", "--max-rss", EVIL], True),
    (["serve", "--host", EVIL], True),
    (["load", "--mix", EVIL], True),
    (["up", "--for", EVIL], True),
    (["lab", "locks", "--consumers", EVIL], False),
]


@pytest.fixture
def evil(redis: Any, redis_url: str) -> Any:
    """Everything that has a name or a text has this one."""
    letter(redis, EVIL, queue=EVIL, description=EVIL, worker_name=EVIL, heori_last_log=EVIL)
    redis.hset(f"rq:job:{EVIL}", mapping={"heori_deliveries": "3", "data": b"\x00"})
    redis.rpush(f"rq:queue:{EVIL}", f"waits {EVIL}")
    redis.hset(f"rq:job:waits {EVIL}", mapping={"status": "queued", "origin": EVIL})
    redis.hset(f"rq:job:lost {EVIL}", mapping={"status": "queued", "origin": EVIL})
    redis.sadd("rq:workers", f"rq:worker:{EVIL}")
    record = {"state": EVIL, "queues": EVIL, "heori_waits_for": EVIL, "last_heartbeat": EVIL}
    redis.hset(f"rq:worker:{EVIL}", mapping=record)
    with Mutex("a", redis_url) as lock:
        copy = Keys().lock("mutex", EVIL)  # no program of ours makes such a name
        for part in ("", ":holders"):
            redis.copy(f"{lock.key}{part}", f"{copy}{part}")
        redis.zadd(Keys().locks(), {copy: 1e18})
        yield redis
    session.close()


def test_no_command_lets_a_terminal_obey_what_it_shows(
    evil: Any, heori: Heori, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text(json.dumps({EVIL: 1}))
    assert {words[0] for words, _ in COMMAND_LINES} == set(COMMANDS)
    for words, named in COMMAND_LINES:
        ran = heori(*(str(file) if word == "FILE" else word for word in words), **ASCII)
        told = ran.stdout + ran.stderr
        assert 'File "' not in told, (words, told)
        assert told.isascii(), words
        assert [c for c in told if not c.isprintable() and c != "\n"] == [], (words, told)
        assert ran.returncode in (0, 1, 2), (words, told)
        if named:
            assert "eu[west]mail[/]" in told, (words, told)
            assert r"\x1b[2J\x9b31m" in told, (words, told)
        assert not any(line.startswith(("\u202e", r"\u202e")) for line in told.splitlines()), words


def drawn(*things: Any) -> str:
    console = Console()
    console.width = 200
    with console.capture() as captured:
        console.print(*things)
    return captured.get()


def test_all_that_is_drawn_is_escaped() -> None:
    table = Table(EVIL, title=EVIL, caption=EVIL)
    table.add_row(EVIL)
    table.add_row(Text(EVIL, "red"))
    table.add_row(Text.assemble((EVIL, "bold"), EVIL))
    text = drawn(EVIL, table, Text(EVIL).append(EVIL))
    assert text.count(SHOWN) == 10
    assert "\x1b" not in text
    assert drawn(Text(EVIL, lines=True)).splitlines()[0] == SHOWN.partition(r"\n")[0]
    lying = Text("")
    lying._text = [EVIL]  # as text of rich's own would have it
    assert "\x1b" not in drawn(lying)
    with Progress(TextColumn("{task.description}", markup=False), console=Console()) as bar:
        bar.add_task(EVIL)
        assert "\x1b" not in drawn(bar.get_renderable())


def test_what_draws_by_itself_is_given_a_console() -> None:
    """They would make one of rich's own."""
    found = []
    for path in (ROOT / "heori").rglob("*.py"):
        tree = ast.parse(path.read_text())
        froms = [each.module or "" for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)]
        if not any(module.partition(".")[0] == "rich" for module in froms):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id == "TextColumn":
                assert "markup" in {each.arg for each in node.keywords}, path
            if node.func.id in ("Live", "Progress", "Status"):
                assert "console" in {each.arg for each in node.keywords}, path
                found.append(path)
    assert found


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "utf-8:strict"])
def test_what_an_encoding_lacks_is_described(heori: Heori, redis: Any, encoding: str) -> None:
    letter(redis, "µ한\udcff", queue="한")
    ran = heori("dead", "list", PYTHONIOENCODING=encoding, LC_ALL="C")
    assert ran.returncode == 0, ran.stderr
    assert r"\xff" in ran.stdout
    assert ("한" in ran.stdout) == encoding.startswith("utf")
    assert (r"\ud55c" in ran.stdout) != encoding.startswith("utf")


def test_a_line_of_the_log_is_escaped_for_people_and_as_json() -> None:
    try:
        raise ValueError(EVIL)
    except ValueError:
        about = ("heori.tests", logging.ERROR, "file", 1, EVIL, (), sys.exc_info())
    for as_json in (False, True):
        record = logging.LogRecord(*about)
        record.job = EVIL
        record.odd = [Path(EVIL)]
        line = logs._formatter(as_json=as_json).format(record)
        assert "\x1b[2J" not in line
        assert "\x9b" not in line
        assert line.count("eu[west]mail[/]") >= 4
