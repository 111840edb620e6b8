"""The stack of examples/swarm on a real Swarm, of one machine. `make test-compose` runs it."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator

import pytest

from tests.compose.stack import ROOT, CommandFailed, Stack, run, wait_until

pytestmark = [
    pytest.mark.skipif(
        "HEORI_TEST_COMPOSE" not in os.environ,
        reason="needs a Docker engine: make test-compose",
    ),
    pytest.mark.timeout(300),
]

NAME = f"heori-swarm-{os.getpid()}"
CONSUMERS = f"{NAME}_consumer"


@pytest.fixture
def swarm(fresh: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The stack is deployed. `fresh` has seen to the images; it rests meanwhile."""
    if run("docker", "info", "-f", "{{.Swarm.LocalNodeState}}").strip() != "inactive":
        pytest.skip("this engine is in a swarm already, which is not for tests")
    fresh.compose("stop", "-t", "1")
    monkeypatch.setenv("HEORI_IMAGE", "heori")
    run("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        node = run("docker", "info", "-f", "{{.Swarm.NodeID}}").strip()
        run("docker", "node", "update", "--label-add", "heori.redis=true", node)
        password = ["docker", "secret", "create", "redis_password", "-"]
        subprocess.run(
            password, input=secrets.token_hex(24), text=True, check=True, capture_output=True
        )
        stack = str(ROOT / "examples/swarm/stack.yaml")
        run("docker", "stack", "deploy", "--resolve-image", "never", "-c", stack, NAME)
        wait_until(lambda: len(_alive()) == 2, timeout=60)
        yield
    finally:
        wait_until(_is_removed, timeout=60)
        mine = ("docker", "ps", "-a", "-q", "--filter", f"name={NAME}")
        wait_until(lambda: not run(*mine), timeout=60)
        run("docker", "swarm", "leave", "--force")
        run("docker", "volume", "rm", f"{NAME}_redis", check=False)
        run("docker", "network", "rm", "docker_gwbridge", check=False)  # left by the swarm


def _is_removed() -> bool:
    """Remove the stack; a network cannot go while the last task on it ends."""
    try:
        run("docker", "stack", "rm", NAME)
    except CommandFailed:
        return False
    return True


def _alive() -> list[str]:
    """The consumers that are alive."""
    ask = ("docker", "ps", "-q", "--filter", "health=healthy", "--filter", f"name={CONSUMERS}")
    return run(*ask).split()


def _counts() -> dict[str, int]:
    """How many jobs wait, run, are finished and failed, as a consumer sees it."""
    for consumer in _alive():
        try:
            told = json.loads(run("docker", "exec", consumer, "heori", "status", "--json"))
        except CommandFailed:  # it has just been taken away
            continue
        counts: dict[str, int] = told["queues"].get("stdlib", {})
        return counts
    return {}


def test_a_stack_is_scaled_and_updated_under_load(swarm: None) -> None:
    load = ("load", "--json", "--rate", "30", "--mix", "tokens=1,digest=1", "--for", "25s")
    environment = {
        "HEORI_REDIS_URL": "redis://redis:6379/0",
        "HEORI_REDIS_PASSWORD_FILE": "/run/secrets/redis_password",
    }
    words = [f"--env={name}={value}" for name, value in environment.items()]
    words += ["--secret=redis_password", f"--network={NAME}_redis", "--no-resolve-image"]
    # A producer with its own name, which `docker stack rm` removes as well.
    words += [f"--label=com.docker.stack.namespace={NAME}", "--restart-condition=none", "--detach"]
    run("docker", "service", "create", f"--name={NAME}_load", *words, "heori", *load)
    wait_until(lambda: _counts().get("finished", 0) > 50)
    for consumers in (4, 1):
        run("docker", "service", "scale", "--detach=false", f"{CONSUMERS}={consumers}")
        wait_until(lambda consumers=consumers: len(_alive()) == consumers, timeout=60)
    status = json.loads(run("docker", "exec", _alive()[0], "heori", "status", "--json"))
    assert all(name.startswith("heori-consumer-1-") for name in status["consumers"])
    [old] = _alive()
    run("docker", "service", "update", "--force", "--detach=false", CONSUMERS)
    wait_until(lambda: old not in _alive())
    state = ("docker", "service", "ps", f"{NAME}_load", "--format", "{{.CurrentState}}")
    wait_until(lambda: run(*state).startswith("Complete"), timeout=60)
    logs = run("docker", "service", "logs", "--raw", f"{NAME}_load")
    total = [line for line in logs.splitlines() if '"unanswered"' in line][-1]
    sent = sum(json.loads(total)["sent"].values())
    assert sent == 25 * 30
    wait_until(lambda: _counts().get("finished") == sent, timeout=60)
    assert _counts()["failed"] == 0
