"""What compose.yaml says of itself holds, on a real engine. `make test-compose` runs it."""

import json
import os
import re
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.compose.stack import ROOT, Stack, run

pytestmark = [
    pytest.mark.skipif(
        "HEORI_TEST_COMPOSE" not in os.environ,
        reason="needs a Docker engine: make test-compose",
    ),
    pytest.mark.timeout(300),
]


def test_an_image_that_is_built_here_is_built_once_and_never_pulled() -> None:
    services = _services()
    [builder] = [each for each in services.values() if "build" in each]
    assert builder["build"]["target"] == "heori"
    users = [each for each in services.values() if each["image"] == builder["image"]]
    assert {each["pull_policy"] for each in users} == {"never"}


def test_the_guide_names_what_is_published(stack: Stack) -> None:
    services = _services()
    guide = services["guide"]["command"][0]
    for service in ("grafana", "api", "prometheus"):
        [port] = services[service]["ports"]
        assert port["host_ip"] == "127.0.0.1"
        assert f"http://localhost:{port['published']}" in guide
    lines = run("docker", "logs", *stack.containers("guide")).splitlines()
    assert [line.split("  ")[0] for line in lines[-4:]] == [
        "Grafana", "the page", "Prometheus", "a terminal",
    ]  # fmt: skip
    with urlopen(
        f"http://{stack.published('prometheus', 9090)}/api/v1/rules", timeout=60
    ) as answer:
        rules = [each for group in json.load(answer)["data"]["groups"] for each in group["rules"]]
    assert any(each["name"] == "HeoriNoConsumer" for each in rules)
    assert {each["health"] for each in rules} <= {"ok", "unknown"}


def test_commands_of_the_guide_and_the_readme_run(stack: Stack) -> None:
    [token] = re.findall(
        r"this token: docker compose ([^\"]*)\"", _services()["guide"]["command"][0]
    )
    page = f"http://{stack.published('api', 8080)}/v1/queues"
    authorization = {"Authorization": f"Bearer {stack.compose(*token.split()).strip()}"}
    with urlopen(Request(page, headers=authorization), timeout=60) as answer:
        assert "stdlib" in [each["queue"] for each in json.load(answer)]
    asked = ("exec", "-T", "api", "heori")
    [consumer] = stack.containers("consumer")
    assert f"heori-{consumer}-" in stack.compose(*asked, "top", "--once")
    assert "no dead letters" in stack.compose(*asked, "dead", "list", check=False)
    assert "problems: 0" in stack.compose(*asked, "doctor")


def test_a_change_of_scale_recreates_nothing(stack: Stack) -> None:
    def there() -> dict[str, str]:
        """Which containers there are, and since when they run."""
        ids = stack.compose("ps", "-q").split()
        return {each: run("docker", "inspect", "-f", "{{.State.StartedAt}}", each) for each in ids}

    before = there()
    stack.scale(3)
    scaled = there()
    assert before.items() < scaled.items()
    assert len(scaled) == len(before) + 2
    stack.scale(1)
    assert there() == before


def _services() -> dict[str, Any]:
    """The services of compose.yaml as users have it, with nothing set."""
    words = ("--env-file", os.devnull, "--profile", "*", "config", "--format", "json")
    config = run("docker", "compose", "-f", str(ROOT / "compose.yaml"), *words)
    services: dict[str, Any] = json.loads(config)["services"]
    return services
