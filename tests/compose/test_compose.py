"""`docker compose up`, scaled and broken, on a real engine. `make test-compose` runs it.

Each test prints what became of the jobs. HEORI_LONG=1 makes more rounds and longer cuts.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.compose.stack import ENV, FILES, ROOT, CommandFailed, Result, Stack, run, wait_until

pytestmark = [
    pytest.mark.skipif(
        "HEORI_TEST_COMPOSE" not in os.environ,
        reason="needs a Docker engine: make test-compose",
    ),
    pytest.mark.timeout(400),
]
Tell = Callable[..., None]

LONG = "HEORI_LONG" in os.environ
ROUNDS = 10 if LONG else 2
CUT = 60.0 if LONG else 8.0  # seconds off the network
LEASE = 5.0  # seconds; as in stack.env
MIX = ("--mix", "tokens=1,digest=1")


def all_were_done(result: Result) -> bool:
    return result.sent == result.done > 0 and (result.failed, result.lost) == (0, 0)


def test_up_from_nothing_runs_jobs_and_prometheus_sees_each_consumer(fresh: Stack) -> None:
    fresh.compose("up", "-d", "--wait", "--scale", "consumer=2")
    wait_until(lambda: len(fresh.query('up{job="consumer"} == 1')) == 2, timeout=40)
    for name in ("count_tokens", "digest", "fetch"):
        task = f'task="heori.examples.tasks.{name}",outcome="succeeded"'
        wait_until(lambda task=task: fresh.query(f"heori_jobs_total{{{task}}} > 0"), timeout=40)
    fresh.compose("stop", "producer")
    [producer] = fresh.compose("ps", "-a", "-q", "producer").split()
    assert run("docker", "inspect", "-f", "{{.State.ExitCode}}", producer).strip() == "0"
    fresh.redis("FLUSHALL")


def test_consumers_join_and_leave_under_load(stack: Stack, tell: Tell) -> None:
    ups, downs = [], []
    with stack.exits("consumer") as exits, stack.load("--rate", "50", *MIX) as load:
        for _ in range(ROUNDS):
            ups.append(stack.scale(4))
            downs.append(stack.scale(2))
        # Each that has left had its jobs done within its grace, and ended by itself.
        wait_until(lambda: len(exits) == 2 * ROUNDS)
        sent = load.end()
    result = stack.audit(sent)
    tell(result, f"1 → 4 in {max(ups):.0f} s, 4 → 2 in {max(downs):.0f} s at most")
    assert all_were_done(result)
    assert result.repeated == 0
    assert set(exits) == {0}


def test_what_a_leaving_consumer_has_not_begun_is_back_within_a_second(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    [consumer] = stack.containers("consumer")
    jobs = 6000
    with subprocess.Popen(
        stack.script("compose_watch.py", jobs, 0.005), stdout=subprocess.PIPE, text=True
    ) as watch:
        wait_until(lambda: int(stack.redis("ZCARD", "rq:finished:naps")) > 500)
        run("docker", "kill", "-s", "TERM", consumer)
        out, _ = watch.communicate(timeout=60)
    lines = [json.loads(line) for line in run("docker", "logs", consumer, check=False).splitlines()]
    [draining] = [line for line in lines if line["event"] == "draining"]
    assert draining["held"] > 8  # more than it has slots
    asked = datetime.fromisoformat(draining["timestamp"]).timestamp()
    at, waiting, running, finished = json.loads(out.splitlines()[-1])[-1]
    assert (running, waiting + finished) == (0, jobs)
    assert waiting > 0
    with capsys.disabled():
        print(f"\n  it had {draining['held']} jobs, and none {at - asked:.2f} s later")
    assert at - asked < 1
    stack.scale(1)
    wait_until(lambda: stack.redis("ZCARD", "rq:finished:naps") == str(jobs))
    stack.redis("FLUSHALL")


def test_a_consumer_that_is_killed_loses_nothing(stack: Stack, tell: Tell) -> None:
    stack.scale(2)
    with stack.load("--rate", "50", *MIX) as load:
        wait_until(lambda: stack.waiting_or_done() > 50)
        stack.compose("kill", "-s", "SIGKILL", "consumer")
        stack.scale(2)
        sent = load.end()
    result = stack.audit(sent)
    tell(result)
    assert all_were_done(result)


def test_a_redis_that_is_killed_loses_nothing(stack: Stack, tell: Tell) -> None:
    with stack.load("--rate", "50", *MIX) as load:
        wait_until(lambda: stack.waiting_or_done() > 50)
        stack.compose("kill", "-s", "SIGKILL", "redis")
        stack.compose("up", "-d", "--wait", "--no-deps", "redis")
        before = stack.waiting_or_done()
        wait_until(lambda: stack.waiting_or_done() > before)
        sent = load.end()
    result = stack.audit(sent)
    tell(result, load.messages.splitlines()[-1])
    assert "Redis is back" in load.messages
    assert all_were_done(result)


def test_a_consumer_that_is_paused_past_its_lease_is_refused(stack: Stack) -> None:
    stack.scale(2)
    # Naps take ten seconds on any machine, so that both hold some when one of them is paused.
    jobs = 3000
    with subprocess.Popen(stack.script("compose_watch.py", jobs, 0.05), stdout=subprocess.DEVNULL):
        paused = stack.containers("consumer")[0]
        host = run("docker", "inspect", "-f", "{{.Config.Hostname}}", paused).strip()
        held = f'heori_jobs_held{{consumer=~"heori-{host}-.+"}} > 0'
        wait_until(lambda: stack.query(held))  # it is at work
        # An old engine gives up freezing a busy container, and has it go on.
        wait_until(lambda: paused in run("docker", "pause", paused, check=False).splitlines())
        assert int(stack.redis("LLEN", "rq:queue:naps")) > 0
        # Others have all that it held when nothing is left.
        keys = ("LLEN", "rq:queue:naps"), ("ZCARD", "rq:wip:naps")
        wait_until(lambda: [stack.redis(*key) for key in keys] == ["0", "0"], timeout=150)
        run("docker", "unpause", paused)
    late = '{__name__=~"heori_(leases_lost|results_refused)_total"}'
    wait_until(lambda: stack.query(f"sum({late}) > 0"))
    assert stack.redis("ZCARD", "rq:finished:naps") == str(jobs)
    assert stack.redis("ZCARD", "rq:failed:naps") == "0"
    stack.redis("FLUSHALL")


def test_a_job_is_sent_and_awaited_over_http_with_the_token(stack: Stack) -> None:
    port = stack.compose("port", "api", "8080").strip()
    assert port.startswith("127.0.0.1:")
    token = stack.compose("exec", "-T", "api", "cat", "/run/secrets/api_token").strip()
    assert len(token) >= 32

    def ask(method: str, path: str, body: object = None, token: str = token) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        with closing(HTTPConnection(port, timeout=40)) as connection:
            connection.request(method, path, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    task = "/v1/tasks/heori.examples.tasks.digest"
    path = stack.compose("exec", "-T", "api", "python", "-c", "import os; print(os.__file__)")
    assert ask("POST", task, [path.strip()], token="x" * 48)[0] == 401
    status, sent = ask("POST", task, [path.strip()])
    assert status == 202
    status, job = ask("GET", f"/v1/jobs/{sent['id']}?wait=30")
    assert (status, job["status"]) == (200, "finished")
    wait_until(lambda: stack.query('heori_api_requests_total{status="202"} > 0'))


@pytest.mark.parametrize("who", ["consumer", "producer"])
def test_who_is_cut_off_goes_on_by_itself(stack: Stack, tell: Tell, who: str) -> None:
    network = f"{stack.project}_redis"
    with stack.load("--rate", "50", *MIX) as load:
        wait_until(lambda: stack.waiting_or_done() > 50)
        container = load.name if who == "producer" else stack.containers("consumer")[0]
        run("docker", "network", "disconnect", network, container)
        time.sleep(CUT)
        run("docker", "network", "connect", network, container)
        before = int(stack.redis("ZCARD", "rq:finished:stdlib"))
        wait_until(lambda: int(stack.redis("ZCARD", "rq:finished:stdlib")) > before + 100)
        sent = load.end()
    result = stack.audit(sent)
    tell(result, f"cut off for {CUT:.0f} s")
    assert all_were_done(result)


def test_a_job_that_takes_all_memory_is_a_dead_letter_and_the_others_run(
    stack: Stack, tell: Tell
) -> None:
    with stack.load("--rate", "20", *MIX) as load:
        send = ("heori", "send", "compose_tasks.leak", "--wait", "--timeout", "90")
        # From elsewhere: who takes all memory may take along what else is in its container.
        said = stack.compose("exec", "-T", "api", *send, check=False)
        sent = load.end()
    result = stack.audit(sent)
    tell(result, " ".join(said.split())[:200])
    # Where the engine hides the container's own count of OOM kills, the signal alone is known. Or
    # the whole consumer came to a standstill at its limit, for longer than its lease.
    causes = ("(an OOM kill)", "signal 9", "the last consumer vanished")
    assert any(cause in said for cause in causes), said
    assert all_were_done(result)
    assert len(stack.containers("consumer")) == 1
    purge = ("heori", "dead", "purge", "--task", "compose_tasks.leak", "--yes")
    assert "1 " in stack.compose("exec", "-T", "api", *purge)


def test_inside_a_container_there_is_nothing_to_be_had(stack: Stack) -> None:
    look = (
        "id -u; touch /x 2>&1; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/1/status; "
        "test -e /var/run/docker.sock && echo socket"
    )
    for service in ("redis", "consumer", "prometheus"):
        said = stack.compose("exec", "-T", service, "sh", "-c", look, check=False)
        assert said.splitlines()[0] != "0", service
        assert "Read-only file system" in said, service
        assert said.count("0000000000000000") == 2, said
        assert "NoNewPrivs:\t1" in said, service
        assert "socket" not in said, service
    asked = stack.compose("exec", "-T", "redis", "redis-cli", "GET", "x")
    assert "NOAUTH" in asked
    connect = (
        "import socket; socket.create_connection(('redis', 6379), 2).sendall(b'PING\\r\\n'); "
        "print('reached')"
    )
    assert "reached" in stack.compose("exec", "-T", "consumer", "python", "-c", connect)
    ask = ("exec", "-T", "prometheus", "wget", "-q", "-T", "2", "-t", "1", "-O", "-")
    assert "+PONG" not in stack.compose(*ask, "http://redis:6379/", check=False)


def test_the_configuration_holds_no_secret(stack: Stack) -> None:
    password = stack.compose("exec", "-T", "redis", "cat", "/run/secrets/redis_password").strip()
    assert len(password) == 48
    assert password not in stack.compose("config")
    for service in ("redis", "consumer"):
        [container] = stack.containers(service)
        assert password not in run("docker", "inspect", container)
        assert password not in run("docker", "top", container)


def test_the_example_of_tasks_of_your_own(stack: Stack) -> None:
    image = f"{stack.project}-mytasks"
    run("docker", "build", "-t", image, str(ROOT / "examples"))
    try:
        own = ("-e", "HEORI_TASKS=mytasks")
        for source in (("-v", f"{ROOT / 'examples'}:/tasks:ro"), ()):
            tag = "heori" if source else image
            network = ("--network", f"{stack.project}_redis")
            url = ("-e", "HEORI_REDIS_URL=redis://redis:6379/0")
            secret = ("-v", f"{stack.project}_secrets:/run/secrets:ro")
            file = ("-e", "HEORI_REDIS_PASSWORD_FILE=/run/secrets/redis_password")
            base = ("docker", "run", *network, *url, *secret, *file, *own, *source)
            consumer = run(*base, "-d", tag, "consume", "--queue", "greetings").strip()
            try:
                send = ("send", "mytasks.greet", "--args", '["Ada", 2]', "--wait")
                assert run(*base, "--rm", tag, *send).strip() == '"Hello, Ada! Hello, Ada!"'
            finally:
                run("docker", "rm", "-f", consumer)
    finally:
        run("docker", "rmi", "-f", image)


def test_mounted_tasks_hide_nothing_that_is_installed(stack: Stack, tmp_path: Path) -> None:
    for name in ("common", "consumer", "producer", "heori_tasks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "jobs.py").write_text(
            "from heori import task\n\n@task\ndef where() -> str:\n    return __name__\n"
        )
    (tmp_path / "redis.py").write_text("raise RuntimeError('not the library')\n")
    tmp_path.chmod(0o755)  # the image's user reads it
    base = (
        "docker", "run", "--network", f"{stack.project}_redis",
        "-v", f"{stack.project}_secrets:/run/secrets:ro", "-v", f"{tmp_path}:/tasks:ro",
        "-e", "HEORI_REDIS_URL=redis://redis:6379/0",
        "-e", "HEORI_REDIS_PASSWORD_FILE=/run/secrets/redis_password",
        "-e", "HEORI_TASKS=common.jobs,consumer.jobs,producer.jobs,heori_tasks.jobs",
    )  # fmt: skip
    consumer = run(*base, "-d", "heori", "consume", "--queue", "mounted").strip()
    try:
        for name in ("common", "consumer", "producer", "heori_tasks"):
            send = ("send", f"{name}.jobs.where", "--queue", "mounted", "--wait")
            assert run(*base, "--rm", "heori", *send).strip() == f'"{name}.jobs"'
    finally:
        run("docker", "rm", "-f", consumer)


def test_the_free_threaded_target_runs_jobs_without_a_gil(
    stack: Stack, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = f"{stack.project}-free-threaded"
    monkeypatch.setenv("HEORI_TARGET", "free-threaded")
    monkeypatch.setenv("HEORI_IMAGE", image)
    try:
        stack.compose("build", "image")
    except CommandFailed as failed:
        if "Failed to download" in str(failed):
            pytest.skip("a free-threaded Python cannot be downloaded here")
        raise
    replace = ("up", "-d", "--wait", "--no-deps", "--scale", "consumer=1", "consumer")
    try:
        stack.compose(*replace)
        with stack.load("--rate", "50", *MIX) as load:
            wait_until(lambda: stack.query("heori_worker_gil_enabled == 0"), timeout=60)
            wait_until(lambda: stack.waiting_or_done() > 50)
            sent = load.end()
        result = stack.audit(sent)
        tell(result)
        assert all_were_done(result)
    finally:
        monkeypatch.undo()
        stack.compose(*replace)
        run("docker", "rmi", "-f", image)


def test_a_failover_under_load(fresh: Stack, tell: Tell) -> None:
    from pytest_docker.plugin import get_docker_services

    fresh.compose("stop", "-t", "1")
    command = f"docker compose {ENV} --profile ha"
    project = f"{fresh.project}-ha"
    address = "redis+sentinel://sentinel:26379/heori"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_ADDRESS", address)
        with get_docker_services(
            command,
            FILES,
            project,
            ["up -d --wait --scale producer=0"],
            ["down -v -t 1 --remove-orphans"],
        ):
            stack = Stack(command, project)
            wait_until(lambda: "num-other-sentinels\n2" in _primary(stack))
            with stack.load("--rate", "50", *MIX) as load:
                wait_until(lambda: stack.waiting_or_done() > 50)
                stack.compose("kill", "-s", "SIGKILL", "redis")
                replica = "redis-replica"
                wait_until(lambda: "role:master" in stack.redis("INFO", service=replica))
                stack.compose("up", "-d", "--no-deps", "redis")
                wait_until(lambda: "role:slave" in stack.redis("INFO"))
                # A job whose sending is cut short by the end may or may not be in Redis.
                wait_until(lambda: "Redis is back" in run("docker", "logs", load.name, check=False))
                sent = load.end()
            result = stack.audit(sent)
    tell(result, load.messages.splitlines()[-1])
    assert "Redis is back" in load.messages
    assert result.failed == result.unfinished == 0
    # Replication is asynchronous: what the old primary alone had taken is gone with it.
    assert abs(result.lost) <= 25


def _primary(stack: Stack) -> str:
    """What a sentinel knows."""
    return stack.redis("-p", "26379", "SENTINEL", "MASTER", "heori", service="sentinel")
