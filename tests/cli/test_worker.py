"""`heori worker` and `heori worker-pool`: RQ's own flags, and what they do."""

import json
import os
import pickle
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from rq import Queue
from rq.serializers import JSONSerializer
from rq.suspension import suspend

from heori.cli.app import load
from heori.cli.rq_redis import redis_url as url_of
from heori_common.protocol.scripts import script
from heori_common.redis.address import Address
from heori_consumer.supervisor.queue_order import QueueOrder
from tests.rigs.commands import run_here
from tests.rigs.proxy import proxy
from tests.rigs.stock_rq import VERSION, reads_all
from tests.rigs.zygote import Started
from tests.tasks.own_classes import OwnJob, Reversed

ADD = "tests.tasks.sample_tasks.add"


def work(redis_url: str, command: str, *words: str, **environment: str) -> tuple[int, str]:
    """Run a worker to its end; its exit code, and what it has said."""
    with Started(
        *("heori", command, *words),
        env={**os.environ, "HEORI_REDIS_URL": redis_url, **environment},
        stderr=subprocess.PIPE,
    ) as program:
        _, said = program.communicate(200)
    assert program.returncode is not None
    return program.returncode, said


def flags(command: Any) -> set[tuple[str, bool, bool, str | None]]:
    """How each option is written, whether it is a switch or may be repeated, and its variable."""
    return {
        (written, bool(option.is_flag), bool(option.multiple), option.envvar)
        for option in command.params
        if option.param_type_name == "option"
        for written in option.opts
        if written != "--help"
    }


@pytest.mark.skipif(VERSION != (3, 0), reason="the flags are those of rq 3.0")
@pytest.mark.parametrize("name", ["worker", "worker-pool"])
def test_it_has_all_flags_that_rq_has(name: str, redis_url: str) -> None:
    from rq.cli.cli import main

    theirs = flags(main.commands[name])
    ours = {flag for flag in flags(load(name)) if flag[0] != "--allow"}
    assert len(theirs) > 20
    assert ours == theirs
    helped = run_here(redis_url, name, "--help").output
    stock = rq_help(name)
    for written, *_ in theirs:
        assert written in stock
        assert written[:20] in helped


def rq_help(name: str) -> str:
    command = [sys.executable, "-m", "rq.cli", name, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_burst_runs_what_waits_and_what_comes_of_it_as_its_flags_say(
    redis: Any, redis_url: str, tmp_path: Path
) -> None:
    pickled = Queue("pickled", connection=redis)
    first = pickled.enqueue(ADD, 1, b=2)
    child = pickled.enqueue(ADD, 2, b=2, depends_on=first)
    in_json = Queue("json", connection=redis, serializer=JSONSerializer).enqueue(ADD, 3, b=3)
    code, said = work(redis_url, "worker", "pickled", "-b", "--allow", "tests.tasks", "-S", "json")
    assert code == 2
    assert "set HEORI_ACCEPT=json,pickle" in said
    large = pickled.enqueue(len, b"x" * 3_000_000)
    code, said = work(
        redis_url,
        *("worker", "pickled", "json", "--burst", "--allow", "tests.tasks,other", "-n", "me"),
        *("--pid", str(tmp_path / "pid"), "--results-ttl", "77", "-ds", "round_robin", "-s"),
        *("--log-format", "%(levelname)s|%(message)s", "-P", str(tmp_path)),
        *("--worker-ttl", "420", "--maintenance-interval", "600", "--disable-job-desc-logging"),
        *("-S", "json"),
        HEORI_ACCEPT="json,pickle",
    )
    assert code == 0, said
    assert [job.return_value() for job in (first, child, in_json, large)] == [3, 4, 6, 3_000_000]
    assert 0 < redis.ttl(first.key) <= 77
    assert "INFO|consuming consumer=me queues=pickled,json model=processes processes=1" in said
    assert "INFO|this consumer ends reason=no job is left" in said
    assert int((tmp_path / "pid").read_text()) > 1
    assert redis.hget("rq:worker:me", "death") is not None


def test_it_ends_after_so_many_jobs(redis: Any, redis_url: str) -> None:
    queue = Queue(connection=redis)
    jobs = [queue.enqueue(ADD, n) for n in range(5)]
    code, said = work(redis_url, "worker", "--max-jobs", "3", HEORI_ALLOW="tests.tasks")
    assert code == 0, said
    assert [job.return_value() for job in jobs] == [2, 3, 4, None, None]
    assert queue.job_ids == [job.id for job in jobs[3:]]


def test_it_ends_when_it_was_idle_for_so_long(redis: Any, redis_url: str) -> None:
    queue = Queue(connection=redis)
    job = queue.enqueue(ADD, 1)
    code, said = work(
        redis_url, "worker", "--max-idle-time", "1", "--allow", "tests", "-u", redis_url
    )
    assert code == 0, said
    assert job.return_value() == 3
    assert "no job for 1 seconds" in said


def test_it_is_not_idle_before_it_has_found_nothing(redis: Any, redis_url: str) -> None:
    job = Queue(connection=redis).enqueue(ADD, 1)
    with proxy(urlsplit(redis_url).port or 0) as between:
        between.hold_at = script("claim").digest.encode()
        with Started(
            *("heori", "worker", "--max-idle-time", "1", "--allow", "tests"),
            env={**os.environ, "HEORI_REDIS_URL": f"redis://127.0.0.1:{between.port}/0"},
            stderr=subprocess.PIPE,
        ) as program:
            assert between.holds.wait(120)
            time.sleep(4)  # for longer than it may be idle, and takes to drain
            between.let_go()
            _, said = program.communicate(200)
    assert program.returncode == 0, said
    assert job.return_value() == 3


def test_a_pool_has_several_processes(redis: Any, redis_url: str) -> None:
    queue = Queue(connection=redis)
    jobs = [queue.enqueue(ADD, n) for n in range(5)]
    code, said = work(redis_url, "worker-pool", "-n", "2", "-b", "-l", "INFO", "--allow", "tests")
    assert code == 0, said
    assert [job.return_value() for job in jobs] == [2, 3, 4, 5, 6]
    [line] = [line for line in map(json.loads, said.splitlines()) if line["event"] == "consuming"]
    assert (line["processes"], line["slots"]) == (2, 1)


@reads_all
def test_classes_of_an_application_are_used_and_rqs_code_runs_its_jobs(
    redis: Any, redis_url: str
) -> None:
    queue = Queue("own", connection=redis, serializer=Reversed, job_class=OwnJob)
    job = queue.enqueue("tests.tasks.everyday_tasks.add", 1, b=4)
    other = queue.enqueue("os.getpid")
    own = "tests.tasks.own_classes"
    code, said = work(
        redis_url,
        *("worker", "own", "-b", "-w", f"{own}.CountingWorker", "-j", f"{own}.OwnJob"),
        *("-S", f"{own}.Reversed", "--max-jobs", "5", "--allow", "tests.tasks"),
    )
    assert code == 0, said
    assert job.return_value() == ["by OwnJob", 5]
    assert redis.get("performed") == b"1"
    assert f"--worker-class {own}.CountingWorker and --job-class {own}.OwnJob: so" in said
    assert other.get_status() == "failed", "it is not under what --allow names"


class Thing:
    """Of which a job may call a method."""

    def method(self) -> None: ...


def test_without_a_package_it_says_which_line_to_type(redis: Any, redis_url: str) -> None:
    queue, in_json = (
        Queue("default", connection=redis),
        Queue("json", connection=redis, serializer=JSONSerializer),
    )
    queue.enqueue(Thing().method)
    queue.enqueue(len, [1])
    in_json.enqueue("yours.tasks.go", 5)
    damaged = queue.enqueue(ADD, 1)
    for n, data in enumerate((b"", b"x", zlib.compress(b"\x80\x05\x8c"), zlib.compress(b'["'))):
        redis.hset(f"rq:job:{n}", mapping={"data": data, "status": "queued"})
        redis.lpush("rq:queue:default", str(n))
    redis.hset(damaged.key, "data", zlib.compress(pickle.dumps(7)))
    code, said = work(redis_url, "worker", "-v", "default", "json")
    assert code == 2
    assert "there is nothing this worker may call" in said
    line = "heori worker --allow tests,yours -v default json"
    assert f"the jobs that wait first call tests, yours; to let them, type: {line}\n" in said
    assert queue.count == 7
    code, said = work(redis_url, "worker", "empty")
    assert code == 2
    assert "such as: heori worker --allow myapp empty" in said


def test_what_it_cannot_do_is_refused_and_never_passed_over(redis: Any, redis_url: str) -> None:
    def refused(*words: str) -> str:
        ran = run_here(redis_url, "worker", "--allow", "tests", *words)
        assert ran.exit_code in (1, 2), ran.output
        return ran.output

    assert "can only be one of default, random, round_robin" in refused("-ds", "x")
    assert "mutually exclusive" in refused("-v", "-q")
    assert "'loud' is no level" in refused("--logging_level", "loud")
    assert "'no.Worker' cannot be imported" in refused("-w", "no.Worker")
    for option in ("--job-class", "--queue-class", "--connection-class"):
        assert f"{option} 'no.Class' cannot be imported" in refused(option, "no.Class")
    assert "cannot be imported" in refused("-c", "no.such.module")
    redis.hset("rq:worker:me", "birth", "x")
    assert "an active worker named 'me' already" in refused("-n", "me")
    suspend(redis)
    assert 'run "rq resume"' in refused("-b")


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ({"REDIS_URL": "redis://a:1/2"}, "redis://a:1/2"),
        ({}, "redis://localhost:6379/0"),
        (
            {"REDIS_HOST": "::1", "REDIS_PORT": 7, "REDIS_DB": 3, "REDIS_PASSWORD": "a/b@c"},
            "redis://:a%2Fb%40c@[::1]:7/3",
        ),
        (
            {"REDIS_SSL": "yes", "REDIS_SSL_CERT_REQS": "none"},
            "rediss://localhost:6379/0?ssl_cert_reqs=none",
        ),
        (
            {
                "SENTINEL": {
                    "INSTANCES": [("a", 1), ("b", 2)],
                    "MASTER_NAME": "one",
                    "DB": 4,
                    "USERNAME": "me",
                    "PASSWORD": "secret",
                    "SOCKET_TIMEOUT": 3,
                    "CONNECTION_KWARGS": {"ssl": True, "ssl_ca_certs": "/c"},
                    "SENTINEL_KWARGS": {"password": "other"},
                }
            },
            "rediss+sentinel://me:secret@a:1,b:2/one/4?socket_timeout=3&ssl_ca_certs=%2Fc&sentinel_password=other",
        ),
    ],
)
def test_a_module_of_settings_says_where_redis_is(said: dict[str, Any], url: str) -> None:
    assert url_of(None, said) == url
    assert Address.parse(url).url
    assert url_of("redis://given", said) == "redis://given"


def test_the_environment_says_it_as_for_rq(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("URL", "HOST", "PORT", "DB", "PASSWORD", "SSL")
    for name in ("HEORI_REDIS_URL", *(f"REDIS_{each}" for each in names)):
        monkeypatch.delenv(name, raising=False)
    assert url_of(None, None) is None
    monkeypatch.setenv("REDIS_PASSWORD", "secret")
    assert url_of(None, None) == "redis://:secret@localhost:6379/0"
    monkeypatch.setenv("REDIS_HOST", "there")
    assert url_of(None, None) == "redis://:secret@there:6379/0"
    monkeypatch.setenv("HEORI_REDIS_URL", "redis://ours")
    assert url_of(None, None) is None
    with pytest.raises(ValueError, match="REDIS_SSL is a boolean"):
        url_of(None, {"REDIS_SSL": "perhaps"})


def test_a_module_of_settings_says_what_to_serve_and_how_to_log(
    redis: Any, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "worker_settings.py").write_text(
        f"REDIS_URL = {redis_url!r}\nQUEUES = ['one', 'two']\nNAME = 'of-settings'\n"
        "DICT_CONFIG = {'version': 1, 'handlers': {'out': {'class': 'logging.FileHandler', "
        f"'filename': {str(tmp_path / 'log')!r}}}}}, 'root': {{'handlers': ['out']}}}}\n"
        "import logging\ndef warn(): logging.getLogger('app').warning('from a job')\n"
    )
    Queue("two", connection=redis).enqueue("worker_settings.warn")
    code, said = work(
        "redis://nowhere:1",
        *("worker", "-c", "worker_settings", "-b", "-P", str(tmp_path)),
        *("--allow", "worker_settings"),
    )
    assert code == 0, said
    assert '"consumer": "of-settings", "queues": "one,two"' in said
    assert (tmp_path / "log").read_text() == "from a job\n"


def test_jobs_of_any_queue_may_come_first() -> None:
    order = QueueOrder(3, at_random=True)
    shares = [order.shares(100) for _ in range(20)]
    assert {sum(each) for each in shares} == {100}
    assert all(min(each) > 0 for each in shares)
    assert len({tuple(each) for each in shares}) > 1


def test_lines_of_a_log_look_as_somebody_says(capfd: pytest.CaptureFixture[str]) -> None:
    code = (
        "import logging; from heori_common import logs\n"
        "logs.configure(as_json=False, level='info', layout=logs.Layout('%(name)s: %(message)s'))\n"
        "log = logs.get_logger('heori.x')\n"
        "try: 1 / 0\nexcept Exception: log.error('bad\\nline', exc_info=True, job=3)\n"
        "logging.getLogger('mine').warning('%d left', 5)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    said = capfd.readouterr().err
    assert said.startswith("heori.x: bad\n    line job=3\n    Traceback")
    assert said.endswith("    ZeroDivisionError: division by zero\nmine: 5 left\n")


@pytest.mark.parametrize(
    "words",
    [
        ("--log-format", "%(foo)s"),
        ("--log-format", "%(message"),
        ("--log-format", "%(message)d"),
        ("--log-format", "%(message)y"),
        ("--log-format", "no fields"),
        ("--log-format", "%"),
    ],
)
@pytest.mark.parametrize("command", ["worker", "worker-pool"])
def test_a_wrong_format_of_the_log_is_refused(
    redis_url: str, command: str, words: tuple[str, ...]
) -> None:
    done = run_here(redis_url, command, "--allow", "tests", "--burst", *words)
    assert done.exit_code == 2
    assert "heori: --log-format and --date-format are not such as logging reads" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_logging_does_not_take_of_a_config_is_refused(redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "spoilt_log.py").write_text("DICT_CONFIG = {'version': 7}\n")
    words = (
        "--allow",
        "tests",
        "--burst",
        "-P",
        str(tmp_path),
        "-c",
        "spoilt_log",
        "-u",
        redis_url,
    )
    code, said = work(redis_url, "worker", *words)
    assert code == 2
    assert "heori: logging does not take DICT_CONFIG of 'spoilt_log'" in said
    assert "Traceback" not in said


def test_a_burst_that_may_not_run_some_jobs_says_so(redis: Any, redis_url: str) -> None:
    pickled = Queue("pickled", connection=redis).enqueue(ADD, 1, b=2)
    in_json = Queue("json", connection=redis, serializer=JSONSerializer).enqueue(ADD, 3, b=3)
    words = ("worker", "pickled", "json", "--burst", "--allow", "tests.tasks", "-S", "json")
    code, said = work(redis_url, *words)
    assert code == 2, said
    assert "heori: jobs are left that it may not run\npickled: " in said
    assert "no job is left that it may run" in said
    assert in_json.get_status() == "finished"
    assert pickled.get_status() == "queued"
