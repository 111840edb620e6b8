"""The one log of a consumer: of its supervisor, its workers, its tasks and what they import."""

import json
import logging
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from heori import JobFailed, Producer
from heori_common import logs
from tests.rigs.consumers import MODELS, Consumer
from tests.rigs.zygote import Started
from tests.tasks import log_tasks

Consume = Callable[..., Consumer]

THREE_MODELS = ["threads", "asyncio", "inline"]

SPEAK = """
import logging, structlog
from heori_common import logs
logs.configure(as_json={as_json}, level="info")
say = [logs.get_logger("heori_x").warning, structlog.get_logger().warning]
say.append(lambda event, **fields: logging.warning(event, extra=fields))
for number in range(3):
    say[number]("said", number=number, long="x" * 1000)
"""


@pytest.mark.parametrize("as_json", [True, False])
def test_a_line_is_written_at_once_so_that_no_other_process_gets_in_between(as_json: bool) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # it keeps writes apart
    with ours, theirs:
        program = SPEAK.format(as_json=as_json)
        subprocess.run(
            [sys.executable, "-u", "-c", program], stderr=theirs.fileno(), check=True, timeout=60
        )
        ours.setblocking(False)
        for number in range(3):
            line = ours.recv(1 << 16).decode()
            assert line.endswith("\n")
            assert line.count("\n") == 1
            if as_json:
                assert json.loads(line)["number"] == number
        with pytest.raises(BlockingIOError):
            ours.recv(1)


def start(
    consume: Consume, model: str = "threads", setup: str = "", **environment: str
) -> Consumer:
    return consume(
        *MODELS[model],
        HEORI_TASKS="tests.tasks.log_tasks",
        LOG_SETUP=setup,
        PYTHONWARNINGS="always::UserWarning",
        **environment,
    )


def is_json(line: dict[str, Any]) -> bool:
    """Else the rig has made an event of the whole line."""
    return "timestamp" in line


def told(consumer: Consumer, event: str) -> list[dict[str, Any]]:
    return [line for line in consumer.log if event in line["event"]]


def say_all(producer: Producer, model: str, text: str) -> None:
    producer.submit(log_tasks.say_later if model == "asyncio" else log_tasks.say, text).result(60)


@pytest.mark.parametrize("model", THREE_MODELS)
def test_every_line_is_json(
    model: str, consume: Consume, producer: Producer, redis_url: str
) -> None:
    consumer = start(consume, model).ready()
    say_all(producer, model, "parrot")
    jobs = [
        producer.submit(log_tasks.warn),
        producer.submit(log_tasks.misspell),
        producer.submit(log_tasks.fail_aside),
        producer.submit(log_tasks.forget),
        producer.submit(log_tasks.lose_lock, redis_url),
    ]
    failed = producer.submit(log_tasks.fail)
    for job in jobs:
        job.result(60)
    with pytest.raises(JobFailed):
        failed.result(60)
    assert consumer.stop() == 0
    assert [line for line in consumer.log if not is_json(line)] == []

    def the_one(event: str) -> dict[str, Any]:
        [line] = told(consumer, event)
        return line

    assert the_one("root parrot").items() >= {"level": "info", "logger": "root", "order": 7}.items()
    assert the_one("shop parrot")["logger"] == "shop"
    assert the_one("quiet parrot")["level"] == "warning"
    struct = {"event": "struct", "text": "parrot", "level": "info", "logger": log_tasks.__name__}
    assert the_one("struct").items() >= struct.items()
    assert the_one("careful")["logger"] == "py.warnings"
    assert "%d format" in the_one("cannot be written")["exception"]
    aside = the_one("a thread has failed")
    assert aside["thread"] == "aside"
    assert "KeyError: 'aside'" in aside["exception"]
    forgotten = the_one("Task exception was never retrieved")
    assert forgotten["logger"] == "asyncio"
    assert "LookupError: forgotten" in forgotten["exception"]
    assert the_one("mutex till was lost")["logger"] == "heori.locks.renewer"
    assert the_one("job failed")["error"] == "ValueError: on purpose"
    assert the_one("imported")["level"] == "info"


def test_the_level_says_what_the_least_is_that_is_shown(
    consume: Consume, producer: Producer
) -> None:
    consumer = start(consume, HEORI_LOG_LEVEL="Warning")
    say_all(producer, "threads", "parrot")
    with pytest.raises(JobFailed):
        producer.submit(log_tasks.fail).result(60)
    consumer.stop()
    assert {line["event"] for line in consumer.log} == {"quiet parrot", "job failed"}


@pytest.mark.parametrize("model", THREE_MODELS)
def test_a_failure_is_told_once_and_then_counted(
    model: str, consume: Consume, producer: Producer
) -> None:
    recycled = [] if model == "inline" else ["--recycle-after", "40"]
    consumer = consume(*MODELS[model], *recycled, HEORI_TASKS="tests.tasks.log_tasks").ready()
    texts = [*(f"order {number}" for number in range(300)), "elsewhere"]
    for job in producer.submit_many(log_tasks.fail, [(text,) for text in texts]):
        with pytest.raises(JobFailed):
            job.result(60)
    assert consumer.stop() == 0

    lines = [line for line in consumer.log if line["event"].startswith("job failed")]
    assert sum(line.get("times", 1) for line in lines) == 301
    assert len(lines) < 10  # two kinds, each told once or twice; more on a machine that stalls
    for error in ("ValueError: order ", "ValueError: elsewhere"):
        assert any(
            line["event"] == "job failed" and line["error"].startswith(error) for line in lines
        )


def test_debug_is_shown_when_it_is_asked_for(consume: Consume, producer: Producer) -> None:
    consumer = start(consume, HEORI_LOG_LEVEL="debug").ready()
    say_all(producer, "threads", "parrot")
    consumer.stop()
    assert sorted(line["level"] for line in told(consumer, "root parrot")) == ["debug", "info"]


# What is then said in the form that the task has chosen, and what in that of the consumer.
ALL_THEIRS = ["DEBUG root parrot", "INFO root parrot", "INFO shop parrot", "WARNING quiet parrot"]
EXPECTED = {
    "basic": (ALL_THEIRS, ["struct"]),
    "dict": (ALL_THEIRS, []),
    "handler": (["INFO shop parrot"], ["quiet parrot", "root parrot", "struct"]),
    "silence": ([], ["struct"]),
}


@pytest.mark.parametrize(
    ("model", "setup", "when"),
    [
        *((model, setup, "imported") for model in THREE_MODELS for setup in list(EXPECTED)[:3]),
        *(("threads", setup, "running") for setup in ("basic", "dict", "silence")),
    ],
)
def test_what_a_task_sets_up_is_its_own_and_heoris_lines_stay_as_they_are(
    model: str, setup: str, when: str, consume: Consume, producer: Producer
) -> None:
    consumer = start(consume, model, setup if when == "imported" else "").ready()
    if when == "imported":
        say_all(producer, model, "parrot")
    else:
        producer.submit(log_tasks.set_up, setup, "parrot").result(60)
    with pytest.raises(JobFailed):
        producer.submit(log_tasks.fail).result(60)
    assert consumer.stop() == 0

    [failed] = told(consumer, "job failed")
    assert failed.keys() == {"event", "level", "logger", "timestamp", "job", "task", "error"}
    assert failed["logger"] == "heori.pool.failures"
    assert all(is_json(line) for line in told(consumer, "stopped"))

    theirs, ours = EXPECTED[setup]
    said = [line for line in consumer.log if "parrot" in str(line)]
    assert sorted(line["event"] for line in said if is_json(line)) == ours
    lines = [line["event"] for line in said if not is_json(line)]
    assert sorted(line for line in lines if "struct" not in line) == [
        f"MINE {line}" for line in theirs
    ]
    assert [line for line in lines if "struct" in line] == (
        ["event='struct' text='parrot'"] if setup == "dict" else []
    )


def on_terminal(*words: str, redis_url: str) -> str:
    """What a consumer writes on a terminal."""
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "HEORI_REDIS_URL": redis_url,
        "HEORI_TASKS": "tests.tasks.log_tasks",
        "LOG_SETUP": "",
        "HEORI_METRICS_PORT": "0",
    }
    process = Started(
        *("heori", "consume", "--slots", "1", "-p", "1", *words),
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    said = b""
    try:
        while b"consuming" not in said:
            said += os.read(ours, 1 << 16)
        process.terminate()
        with pytest.raises(OSError, match="Input/output"):  # how a terminal ends
            while True:
                said += os.read(ours, 1 << 16)
        assert process.wait(60) == 0
    finally:
        process.kill()
        os.close(ours)
    return said.decode()


def test_people_read_text_on_a_terminal(redis_url: str) -> None:
    lines = on_terminal(redis_url=redis_url).splitlines()
    for event in ("imported", "consuming", "stopped"):
        [line] = [line for line in lines if event in line]
        assert not line.startswith("{")
        assert "info" in line


def test_with_json_every_line_is_on_a_terminal_too(redis_url: str) -> None:
    events = [
        json.loads(line)["event"]
        for line in on_terminal("--json", redis_url=redis_url).splitlines()
    ]
    assert {"imported", "consuming", "stopped"} <= set(events)


@pytest.mark.parametrize("as_json", [True, False])
def test_nobodys_text_makes_a_line_of_the_log_or_commands_a_terminal(as_json: bool) -> None:
    forged = "no\n2030-01-01T00:00:00 [error] forged\x1b]0;title\x07\x9b31m\u202e\u2028\r\ud800"
    try:
        raise ValueError(forged)
    except ValueError:
        exc_info = sys.exc_info()
    record = logging.LogRecord("a", logging.ERROR, __file__, 1, forged, (), exc_info)
    record.__dict__ |= {"job": forged, forged: 1, "error": OSError(forged)}
    line = logs._formatter(as_json=as_json).format(record)
    if as_json:
        assert line.isascii()
        assert line.isprintable()
        assert json.loads(line)["job"] == forged
        return
    first, *others = re.sub(r"\x1b\[\d+m", "", line).splitlines()  # our own colours
    assert all(part.isprintable() for part in (first, *others))
    assert sum("forged" in part for part in others) >= 2
    assert all(part.startswith("    ") for part in others)


APPLICATION = """
import logging, sys, threading
import redis
hook, root = threading.excepthook, list(logging.root.handlers)
from heori import Mutex, Producer
Producer({url!r})
{setup}
lock = Mutex("till", {url!r}, lease=1.0)
lock.acquire()
client = redis.Redis.from_url({url!r}, socket_timeout=None)
client.delete(*client.keys(lock.key + "*"))
assert lock.lost.wait(60)
assert threading.excepthook is hook
assert "structlog" not in sys.modules
print(len(logging.root.handlers), logging.root.level)
"""


@pytest.mark.parametrize(
    ("setup", "handlers", "line"),
    [
        ("", "0 30", "mutex till was lost (fence"),
        (
            "logging.basicConfig(format='MINE %(name)s %(filename)s %(message)s')",
            "1 30",
            "MINE heori.locks.renewer renewer.py mutex till was lost (fence",
        ),
        ("logging.getLogger('heori').setLevel('ERROR')", "0 30", ""),
    ],
)
def test_in_an_application_heoris_loggers_are_any_librarys(
    setup: str, handlers: str, line: str, redis_url: str
) -> None:
    program = APPLICATION.format(url=redis_url, setup=setup)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert ran.stdout.strip() == handlers
    assert ran.stderr.startswith(line)
    assert bool(ran.stderr) == bool(line)
