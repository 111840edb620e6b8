"""The command line, as a person and as a script use it."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from heori.cli.app import COMMANDS, load
from heori_common.embedded import EmbeddedValkey
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until


def test_send_waits_for_the_result_and_status_shows_the_job(
    heori: Heori, consume: Callable[..., Consumer]
) -> None:
    consume().ready()
    sent = heori("send", "tests.tasks.sample_tasks.add", "--args", '{"a": 40}', "--wait", "--json")
    assert sent.returncode == 0, sent.stderr
    told = json.loads(sent.stdout)
    assert told["result"] == 42
    plain = heori("send", "tests.tasks.sample_tasks.add", "--args", "[1, 2]", "--wait")
    assert plain.stdout == "3\n"
    shown = json.loads(heori("job", told["id"], "--json").stdout)
    assert (shown["status"], shown["result"], shown["deliveries"]) == ("finished", 42, 1)
    assert shown["call"] == "tests.tasks.sample_tasks.add(a=40)"
    assert "finished" in heori("job", told["id"]).stdout
    counts = json.loads(heori("status", "--json").stdout)
    assert counts["queues"]["default"] == {
        "waiting": 0, "scheduled": 0, "running": 0, "finished": 2, "failed": 0,
        "limit": None, "blocked": 0,
    }  # fmt: skip
    [record] = counts["consumers"].values()
    assert record["queues"] == "default"


def test_a_job_may_be_sent_for_later_and_status_tells_when_it_is_due(
    heori: Callable[..., Any],
) -> None:
    at = ("--at", "2050-01-31T10:00:00+09:00")
    sent = heori("send", "tests.tasks.sample_tasks.add", "--args", "[1]", *at)
    assert sent.returncode == 0, sent.stderr
    assert heori(*("send", "tests.tasks.sample_tasks.add", "--args", "[1]", "--delay", "1h")).stdout
    counts = json.loads(heori("status", "--json").stdout)
    assert counts["queues"]["default"]["scheduled"] == 2
    assert "scheduled" in heori("status").stdout
    shown = json.loads(heori("job", sent.stdout.strip(), "--json").stdout)
    assert (shown["status"], shown["due_at"]) == ("scheduled", "2050-01-31T01:00:00+00:00")


def test_send_tells_of_a_failure_with_its_traceback_and_exit_code_1(
    heori: Heori, consume: Callable[..., Consumer]
) -> None:
    consume().ready()
    failed = heori("send", "tests.tasks.sample_tasks.fail", "--args", '["why"]', "--wait")
    assert failed.returncode == 1
    assert "ValueError: why" in failed.stdout
    late = heori(
        *("send", "tests.tasks.sample_tasks.add", "--args", "[1]", "--queue", "nobody-serves"),
        *("--wait", "--timeout", "0.1"),
    )
    assert late.returncode == 1
    assert "has not ended after 0.1 s" in late.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["send", "tests.tasks.sample_tasks.add", "--args", '{"a": "x"}'],
            "a: Input should be a valid",
        ),
        (["send", "tests.tasks.sample_tasks.add", "--args", "{}"], "a: Missing required argument"),
        (["send", "tests.tasks.sample_tasks.add", "--args", "{a: 1}"], "--args is no JSON"),
        (["send", "tests.tasks.sample_tasks.add", "--args", "7"], "--args must be a JSON object"),
        (
            ["send", "tests.tasks.sample_tasks.add", "--delay", "-5s"],
            "--delay: '-5s' is no length of",
        ),
        (["send", "tests.tasks.sample_tasks.add", "--delay", "soon"], "such as 20s, 500ms, 5min"),
        (
            ["send", "tests.tasks.sample_tasks.add", "--at", "noon"],
            "--at noon: a time with its zone",
        ),
        (
            ["send", "tests.tasks.sample_tasks.add", "--at", "2050-01-31T10:00"],
            "with its zone is needed",
        ),
        (
            ["send", "tests.tasks.sample_tasks.add", "--delay", "5s", "--at", "2050-01-31T10:00Z"],
            "only one of them is needed",
        ),
        (["send", "os.system", "--args", '["true"]'], "tests.tasks.sample_tasks.add"),
        (["job", "no-such-job"], "there is no job no-such-job"),
        (["consume", "--model", "threads", "--processes", "2"], "one process"),
        (["consume", "--model", "processes", "--slots", "2"], "one slot each"),
        (["consume", "--queue", "a@@b"], "a name without @@"),
        (["consume", "--queue", "a,b"], "a name without commas"),
        (["up", "--for", "soon"], "such as 20s"),
        (["up", "--for", "0s"], "such as 20s"),
        (["up", "--for", "5s", "--forever"], "exclude each other"),
    ],
)
def test_bad_input_is_refused_with_one_message_and_nothing_is_sent(
    heori: Heori, redis: Any, words: list[str], message: str
) -> None:
    refused = heori(*words)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert redis.keys() == []


HELP = {
    (): ["distributed producer-consumer service", "heori up", "HEORI_REDIS_URL"],
    ("up",): ["See it work", "standard library", "--for", "--forever"],
    ("consume",): ["Run a consumer", "--queue", "--model", "HEORI_TASKS", "drains"],
    ("worker",): ["as rq worker does", "--allow", "--burst", "RQ_REDIS_URL", "HEORI_GRACE"],
    ("worker-pool",): ["as rq worker-pool does", "--num-workers"],
    ("send",): ["Send one job", "--args", "JSON", "--wait", "--from", "sends no job twice"],
    ("serve",): ["over HTTP", "/docs", "HEORI_API_TOKENS", "429", "--host", "--port"],
    ("limit",): ["how many jobs may wait", "HEORI_WHEN_FULL", "[JOBS|none]"],
    ("pause",): ["take no more jobs", "--tenant", "--task", "rq suspend"],
    ("resume",): ["take the jobs again", "heori pause", "--tenant", "--task"],
    ("tenants",): ["and their shares", "--weight", "TENANT=N", "all consumers at once"],
    ("schedule",): ["Show the periodic jobs", "nobody", "--json", "exit code is 1"],
    ("schedule", "pause"): ["ticks of an entry pass by", "NAME"],
    ("schedule", "resume"): ["from its next tick on", "NAME"],
    ("schedule", "delete"): ["Forget an entry of nobody", "NAME"],
    ("schedule", "run"): ["paused or not", "may not overlap", "NAME"],
    ("load",): ["--profile", "steady", "--rate", "--mix", "--for"],
    ("status",): ["what is in the queues"],
    ("jobs",): ["--state", "--search", "a thousand at a time"],
    ("job",): ["tries", "locks"],
    ("consumers",): ["Show the consumers and their slots"],
    ("cancel",): ["no slot has begun"],
    ("stop",): ["not tried again"],
    ("run",): ["tried again later"],
    ("retry",): ["as if for the first time"],
    ("delete",): ["doctor --mend"],
    ("top",): ["Watch queues", "waiting for the GIL", "--once", "--every"],
    ("drain",): ["claim no more jobs", "with its roles", "SIGTERM"],
    ("doctor",): ["how to mend what is wrong", "changes nothing", "--strict"],
    ("redis",): ["Send one command", "heori doctor"],
    ("locks",): ["who waits for them", "heori locks NAME", "release"],
    ("locks", "show"): ["who waits for it, in order", "--kind", "--json"],
    ("locks", "release"): ["--force", "two go on as if they held", "guarded by the fence"],
    ("lab",): ["Experiments", "locks", "notes"],
    ("lab", "notes"): ["less than a minute", "process:", "many-threads:", "--quick", "--seed"],
    ("lab", "models"): [
        "Which execution model to choose",
        "--python",
        "--seed",
        "--quick",
        "--out",
    ],
    ("lab", "locks"): ["money appears", "deadlocks", "--transfers", "--seed", "accounts.py"],
    ("dead",): ["dead letters", "replay", "rq:failed:QUEUE"],
    ("dead", "list"): ["List dead letters", "--task", "--older", "--limit", "one object a line"],
    ("dead", "show"): ["one dead letter", "traceback", "how its worker died"],
    ("dead", "replay"): ["back at the end of their queues", "--task", "--all", "--dry-run"],
    ("dead", "purge"): ["Delete dead letters for good", "--older", "--yes", "--dry-run"],
}


@pytest.mark.parametrize("command", HELP, ids=" ".join)
def test_every_command_tells_what_it_does(heori: Heori, command: tuple[str, ...]) -> None:
    shown = heori(*command, "--help", COLUMNS="200")
    assert shown.returncode == 0
    # Less the frame, and as one line: sentences break where the terminal ends.
    text = " ".join(shown.stdout.replace("│", " ").split())
    for words in HELP[command]:
        assert words in text, words
    listed = shown.stdout.partition("─ Commands ─")[2]
    subcommands = {(*command, name) for name in re.findall(r"^│ (\S+)", listed, re.MULTILINE)}
    assert subcommands == {known for known in HELP if known and known[:-1] == command}


def test_the_list_of_commands_says_the_first_sentence_of_the_help_of_each() -> None:
    for name, summary in COMMANDS.items():
        told = " ".join(load(name).help.split())
        assert told == summary or told.startswith(f"{summary} "), name


def test_the_list_of_commands_imports_none_of_what_they_need() -> None:
    program = (
        "import sys; from heori.cli.app import app; app(['--help'], standalone_mode=False); "
        "sys.exit(bool({'redis', 'pydantic', 'prometheus_client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_while_a_command_runs_its_garbage_is_collected() -> None:
    program = (
        "import atexit, gc, sys; atexit.register(lambda: print('collected:', gc.isenabled())); "
        "sys.argv[1:] = ['limit', '--help']; from heori.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("collected: True\n"), done.stderr


def test_without_redis_every_command_says_where_it_looked(heori: Heori) -> None:
    for words in (
        ["status"],
        ["doctor"],
        ["dead", "list"],
        ["locks"],
        ["locks", "release", "a", "--force"],
        ["send", "tests.tasks.sample_tasks.add", "--args", "[1]"],
    ):
        refused = heori(*words, HEORI_REDIS_URL="redis://127.0.0.1:1/0")
        assert refused.returncode == 2
        assert "Redis at 127.0.0.1:1 is away" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_consumer_with_nothing_to_run_is_refused(heori: Heori) -> None:
    refused = heori("consume", HEORI_TASKS="")
    assert refused.returncode == 2
    assert "HEORI_TASKS" in refused.stderr


@pytest.mark.parametrize(
    "command", [[str(Path(sys.executable).with_name("heori"))], [sys.executable, "-m", "heori"]]
)
def test_tasks_are_found_where_a_command_is_typed_and_hide_nothing_that_is_installed(
    command: list[str], redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from heori import task\n\n@task\ndef double(a: int) -> int:\n    return 2 * a\n"
    )
    for library in ("redis", "pydantic", "structlog", "psutil"):
        (tmp_path / f"{library}.py").write_text("raise RuntimeError('not the library')\n")
    environment = {
        **os.environ,
        "HEORI_REDIS_URL": redis_url,
        "HEORI_TASKS": "mine",
        "HEORI_METRICS_PORT": "0",
    }
    with subprocess.Popen([*command, "consume"], cwd=tmp_path, env=environment) as consumer:
        try:
            sent = subprocess.run(
                [*command, "send", "mine.double", "--args", "[4]", "--wait"],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            consumer.terminate()
    assert (sent.returncode, sent.stdout) == (0, "8\n"), sent.stderr
    assert consumer.returncode == 0


def test_a_task_module_that_raises_is_told_at_the_start(
    consume: Callable[..., Consumer], tmp_path: Path
) -> None:
    (tmp_path / "raising.py").write_text("raise RuntimeError('no licence file')\n")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    consumer = consume(HEORI_TASKS="raising", PYTHONPATH=path)
    assert consumer.join() == 2
    assert "no licence file" in str(consumer.log)


def probe(url: str, path: str = "/readyz") -> tuple[int, dict[str, Any]]:
    """What a consumer answers."""
    try:
        with urllib.request.urlopen(url + path, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_readyz_tells_whether_redis_and_the_workers_are_there(
    consume: Callable[..., Consumer],
) -> None:
    with EmbeddedValkey() as server:
        consumer = consume(HEORI_REDIS_URL=server.url).ready()
        code, report = probe(consumer.url)
        assert code == 200
        assert (report["redis"], report["workers_ready"], report["draining"]) == ("up", 1, False)
        server.stop()
        until(lambda: probe(consumer.url)[0] == 503)
        assert probe(consumer.url)[1]["redis"] == "away"
        assert probe(consumer.url, "/livez") == (200, {"status": "alive"})
        assert consumer.metric("heori_redis_up") == 0
        server.start()
        until(lambda: probe(consumer.url)[0] == 200)
        assert consumer.stop() == 0


def test_a_consumer_that_starts_without_redis_is_alive_and_not_ready(
    consume: Callable[..., Consumer],
) -> None:
    with EmbeddedValkey() as server:
        server.stop()
        consumer = consume(HEORI_REDIS_URL=server.url)
        process = psutil.Process(consumer.process.pid)

        def ports() -> list[int]:
            return [
                each.laddr.port for each in process.net_connections() if each.status == "LISTEN"
            ]

        until(ports)  # nothing tells its port before Redis is there
        url = f"http://127.0.0.1:{ports()[0]}"
        assert probe(url, "/livez") == (200, {"status": "alive"})
        code, report = probe(url)
        assert (code, report["workers_ready"]) == (503, 0)
        server.start()
        assert consumer.ready().url == url
        until(lambda: probe(url)[0] == 200)


def test_a_taken_metrics_port_is_told(consume: Callable[..., Consumer]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        consumer = consume(HEORI_METRICS_PORT=str(taken.getsockname()[1]))
        assert consumer.join(60) == 2
    assert "HEORI_METRICS_PORT" in str(consumer.log)


def test_a_job_whose_key_holds_something_else_is_two_lines(
    heori: Callable[..., Any], redis: Any
) -> None:
    redis.set("rq:job:wrong", "text")
    shown = heori("job", "wrong")
    assert shown.returncode == 1
    assert shown.stderr.startswith("heori: rq:job:wrong cannot be read: it holds another type of")
    assert shown.stderr.endswith("\n`heori doctor` says how to mend it\n")
    assert shown.stderr.count("\n") == 2
