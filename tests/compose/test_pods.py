"""The pods of examples/kubernetes, each run by Docker as its manifest says, in `make test-compose`.

There is no cluster: a test does what a kubelet would, with the same settings, limits, secrets and
probes.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.compose.stack import CommandFailed, Stack, run, wait_until
from tests.deploy.manifests import DOCUMENTS, PODS

pytestmark = [
    pytest.mark.skipif(
        "HEORI_TEST_COMPOSE" not in os.environ,
        reason="needs a Docker engine: make test-compose",
    ),
    pytest.mark.timeout(300),
]

NAME = f"heori-pods-{os.getpid()}"
SECRETS = {"redis": ["password"], "api": ["token"]}
PORTS = {"redis": 6379, "consumer": 9100, "api": 8080}
READY = "readinessProbe"
ALIVE = "livenessProbe"


class Pods:
    """Containers on a network of their own, each called as its pod's service."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for secret, keys in SECRETS.items():
            (folder / secret).mkdir()
            for key in keys:
                (folder / secret / key).write_text(secrets.token_hex(24))

    def start(self, name: str) -> None:
        """Create the pod and run it."""
        pod = PODS[name]
        [container] = pod["containers"]
        user = pod["securityContext"]
        limits = container["resources"]["limits"]
        words = [
            f"--name={NAME}-{name}", f"--network={NAME}", f"--network-alias={name}",
            f"--user={user['runAsUser']}:{user['runAsGroup']}", f"--group-add={user['fsGroup']}",
            "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--init",
            f"--memory={limits['memory'].removesuffix('i').lower()}",
            f"--cpus={limits.get('cpu', 0)}",
            f"--stop-timeout={pod['terminationGracePeriodSeconds']}",
        ]  # fmt: skip
        if name in PORTS:
            words.append(f"--publish=127.0.0.1::{PORTS[name]}")
        for key, value in self._environment(container).items():
            words.append(f"--env={key}={value}")
        paths = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        for volume in pod["volumes"]:
            path = paths.pop(volume["name"])
            if "secret" in volume:
                source = self._folder / volume["secret"]["secretName"]
                words.append(f"--volume={source}:{path}:ro")
            else:
                size = volume["emptyDir"]["sizeLimit"].removesuffix("i").lower()
                words.append(f"--tmpfs={path}:size={size},mode=1777")
        words += [f"--volume={NAME}-{claim}:{path}" for claim, path in paths.items()]
        entrypoint, *rest = container.get("command", [None])
        if entrypoint is not None:
            words.append(f"--entrypoint={entrypoint}")
        run("docker", "run", "--detach", *words, container["image"], *rest, *container["args"])

    @staticmethod
    def _environment(container: dict[str, Any]) -> dict[str, str]:
        values: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            values |= DOCUMENTS["ConfigMap", source["configMapRef"]["name"]]["data"]
        return values | {each["name"]: each["value"] for each in container.get("env", ())}

    def probe(self, name: str, which: str) -> bool:
        """What a kubelet would find."""
        asked = PODS[name]["containers"][0][which]
        if "exec" in asked:
            command = ("docker", "exec", f"{NAME}-{name}", *asked["exec"]["command"])
            try:
                run(*command)
            except CommandFailed:
                return False
            return True
        address = run("docker", "port", f"{NAME}-{name}", str(PORTS[name])).split()[0]
        try:
            path = asked["httpGet"]["path"]
            with urlopen(f"http://{address}{path}", timeout=asked["timeoutSeconds"]) as answer:
                return bool(answer.status == 200)
        except HTTPError as error:
            error.close()
            return False
        except OSError:  # nobody listens yet
            return False


@pytest.fixture
def pods(fresh: Stack, tmp_path: Path) -> Iterator[Pods]:
    """None of them runs yet. `fresh` has seen to the images."""
    [container] = PODS["consumer"]["containers"]
    run("docker", "tag", "heori", container["image"])
    run("docker", "network", "create", NAME)
    try:
        yield Pods(tmp_path)
    finally:
        for name in PODS:
            run("docker", "rm", "-f", "-v", f"{NAME}-{name}", check=False)
        run("docker", "network", "rm", NAME)
        run("docker", "volume", "rm", f"{NAME}-data", check=False)
        run("docker", "rmi", container["image"])


def finished() -> int:
    """How many jobs are done, as Redis has it."""
    ask = "REDISCLI_AUTH=$(cat /run/secrets/redis/password) redis-cli ZCARD rq:finished:stdlib"
    reply = run("docker", "exec", f"{NAME}-redis", "sh", "-c", ask, check=False).strip()
    return int(reply) if reply.isdecimal() else 0


def test_pods_that_start_before_redis_wait_for_it_and_outlast_it(pods: Pods) -> None:
    for name in ("consumer", "api", "producer"):
        pods.start(name)
    served = ("consumer", "api")
    for name in served:
        wait_until(lambda name=name: pods.probe(name, ALIVE))
        assert not pods.probe(name, READY)
    pods.start("redis")
    wait_until(lambda: pods.probe("redis", READY))
    wait_until(lambda: all(pods.probe(name, READY) for name in served))
    wait_until(lambda: finished() > 10)
    run("docker", "stop", f"{NAME}-redis")
    wait_until(lambda: not any(pods.probe(name, READY) for name in served))
    assert all(pods.probe(name, ALIVE) for name in served)
    run("docker", "start", f"{NAME}-redis")
    wait_until(lambda: all(pods.probe(name, READY) for name in served))
    before = finished()
    assert before > 10
    wait_until(lambda: finished() > before)
    for name in ("producer", "consumer", "api"):
        run("docker", "stop", f"{NAME}-{name}")
        state = ("docker", "inspect", "-f", "{{.State.ExitCode}}", f"{NAME}-{name}")
        assert run(*state).strip() == "0", name
