"""A running project of compose.yaml, and what tests do to it."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
FILES = [str(ROOT / "compose.yaml"), str(ROOT / "tests/compose/override.yaml")]
ENV = f"--env-file {ROOT / 'tests/compose/stack.env'}"


class CommandFailed(AssertionError):
    """A command that must not fail has failed; the message is what it said."""


def run(*words: str, check: bool = True) -> str:
    """Run a command; returns its standard output, and its errors unless they are checked."""
    ran = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    if check and ran.returncode:
        raise CommandFailed(f"{' '.join(words)}: {ran.returncode}\n{ran.stdout}{ran.stderr}")
    return ran.stdout if check else ran.stdout + ran.stderr


def wait_until(condition: Callable[..., object], timeout: float = 30.0) -> None:
    """Look a few times a second until it is so.

    What cannot be asked now is not so yet: a server that starts or ends breaks connections off, and
    so do sentinels to what they promote. What it says at the end of the time is raised.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            if condition():
                return
            assert time.monotonic() < deadline, "it did not come about in time"
        except (CommandFailed, OSError):
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.2)


@dataclass(slots=True)
class Result:
    """What came of the jobs of a load."""

    sent: int
    done: int
    failed: int
    unfinished: int
    repeated: int
    amount: int
    lost: int
    failure: str


class Load:
    """A producer that is running in a container of its own."""

    def __init__(self, name: str, process: "subprocess.Popen[str]") -> None:
        self.name = name
        self.messages = ""
        self._process = process

    def end(self) -> dict[str, int]:
        """Have it end, unless it has; returns how many jobs of each task it has sent."""
        run("docker", "kill", "--signal", "TERM", self.name, check=False)
        out, self.messages = self._process.communicate(timeout=60)
        record = json.loads(out.splitlines()[-1])
        assert record["unanswered"] == 0, self.messages
        sent: dict[str, int] = record["sent"]
        return sent


class Stack:
    """A project that is up.

    Args:
        command: docker compose, with what is said before its subcommands.
    """

    def __init__(self, command: str, project: str) -> None:
        self.project = project
        files = [word for file in FILES for word in ("-f", file)]
        self._command = [*command.split(), *files, "-p", project]

    def compose(self, *words: str, check: bool = True) -> str:
        """Run a subcommand."""
        return run(*self._command, *words, check=check)

    def containers(self, service: str) -> list[str]:
        """The ids of its running containers, the oldest number first."""
        lines = self.compose("ps", service, "--format", "{{.Name}} {{.ID}}").splitlines()
        return [line.split()[1] for line in sorted(lines)]

    def scale(self, consumers: int) -> float:
        """Have so many consumers; returns the seconds until all are healthy, or gone."""
        began = time.monotonic()
        numbers = ["--scale", f"consumer={consumers}", "--scale", "producer=0"]
        self.compose("up", "-d", "--wait", *numbers)
        return time.monotonic() - began

    @contextmanager
    def load(self, *options: str) -> Iterator[Load]:
        """A producer with these options, sending, until it is told to end."""
        name = f"{self.project}-load"
        words = ["run", "--rm", "-T", "--name", name, "producer", "load", "--json", *options]
        with subprocess.Popen(
            [*self._command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                wait_until(lambda: "sending to" in run("docker", "logs", name, check=False))
                yield Load(name, process)
            finally:
                if process.poll() is None:
                    run("docker", "kill", name, check=False)

    @contextmanager
    def exits(self, service: str) -> Iterator[list[int]]:
        """The exit codes of its containers that end from now on, as they end.

        They are followed rather than asked for afterwards: the engine remembers 256 events, which
        the healthchecks fill in a minute.
        """
        which = (f"project={self.project}", f"service={service}")
        conditions = ("event=die", *(f"label=com.docker.compose.{each}" for each in which))
        filters = [word for each in conditions for word in ("--filter", each)]
        # Since now rather than from when it listens, so that none is missed until then.
        words = ["docker", "events", "--since", str(time.time()), *filters]
        codes: list[int] = []

        def follow(lines: Iterable[str]) -> None:
            codes.extend(map(int, lines))

        with subprocess.Popen(
            [*words, "--format", "{{.Actor.Attributes.exitCode}}"],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            follower = threading.Thread(target=follow, args=(process.stdout,))
            follower.start()
            try:
                yield codes
            finally:
                process.terminate()
                follower.join()

    def redis(self, *words: str, service: str = "redis") -> str:
        """Ask the server, with the password."""
        ask = 'REDISCLI_AUTH=$(cat /run/secrets/redis_password) exec redis-cli "$@"'
        return self.compose("exec", "-T", service, "sh", "-c", ask, "sh", *words).strip()

    def waiting_or_done(self) -> int:
        """How many jobs Redis knows, without those that run."""
        return int(self.redis("LLEN", "rq:queue:stdlib")) + int(
            self.redis("ZCARD", "rq:finished:stdlib")
        )

    def published(self, service: str, port: int) -> str:
        """The address of this machine at which a port of a service is."""
        return self.compose("port", service, str(port)).strip()

    def query(self, expression: str, address: str = "") -> list[dict[str, Any]]:
        """Ask Prometheus; who asks much says where it is, as to find that out takes a while."""
        address = address or self.published("prometheus", 9090)
        with urlopen(
            f"http://{address}/api/v1/query?{urlencode({'query': expression})}", timeout=60
        ) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def script(self, name: str, *arguments: object) -> list[str]:
        """The command that runs a program of tests/compose/tasks where producers run."""
        words = ["run", "--rm", "-T", "--no-deps", "--entrypoint", "python", "producer"]
        return [*self._command, *words, f"/tasks/{name}", *map(str, arguments)]

    def audit(self, sent: dict[str, int], patience: float = 60) -> Result:
        """Wait until all is done, and count."""
        told = run(*self.script("compose_audit.py", json.dumps(sent), patience))
        return Result(**json.loads(told.splitlines()[-1]))
