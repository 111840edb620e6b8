"""Every example in README and docs runs: against a real Valkey, with real consumers.

One application has the files of all pages, and one consumer runs its tasks. Each page is a session
of its own: what stays starts first, then the page's Python is one program, then its shell one
script.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis as redis_py

from heori import Producer, Settings
from heori_common.embedded import EmbeddedValkey
from heori_common.tasks import Task
from tests.rigs.commands import output_of
from tests.rigs.pages import PAGES, blocks, program, users_with_rights
from tests.rigs.shell import shell_heori
from tests.rigs.waiting import until

# Periodic jobs have queues of their own: a consumer of one page may not run what is another page's.
QUEUES = ("mail", "files", "reminders", "payments", "orders", "slow", "sums", "bank")
READY = re.compile(r'"consuming"|serving on (?P<url>\S+)|Listening on')
LONG = re.compile(r"^((?:\w+=\S+ )*)(heori (?:consume|serve|worker)|rq worker) ", re.MULTILINE)


@dataclass
class Application:
    """Where examples run.

    Attributes:
        folder: with the files of all pages.
        dead: the id of a job that failed, for examples that want one.
        port: of the server.
    """

    folder: Path
    environment: dict[str, str]
    port: int
    dead: str = ""
    service: str = "localhost:8080"

    def adapt(self, code: str) -> str:
        """An example with the addresses of this run, and the id of a job for ID."""
        code = code.replace("localhost:6379", f"localhost:{self.port}")
        return re.sub(r"\bID\b", self.dead, code.replace("localhost:8080", self.service))


class Staying:
    """A block that runs until it is told to end."""

    def __init__(self, code: str, application: Application) -> None:
        self.code = code
        self.said: list[str] = []
        self.url: str | None = None
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            ["bash", "-ec", LONG.sub(r"\1exec \2 ", application.adapt(code))],
            cwd=application.folder,
            env=application.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.said.append(line)
                if ready := READY.search(line):
                    self.url = ready["url"]
                    self._ready.set()
        self._ready.set()  # it has ended

    def wait(self) -> None:
        """Wait until it does what it is for."""
        assert self._ready.wait(200), self.said
        assert self._process.poll() is None, f"{self.code}\n{''.join(self.said)}"
        if self.url:
            host, port = self.url.removeprefix("http://").split(":")
            until(lambda: listens(host, int(port)))

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.send_signal(signal.SIGTERM)

    def join(self) -> int:
        """Wait for its end; its exit code."""
        try:
            return self._process.wait(200)
        finally:
            self._process.kill()
            self._reader.join()


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """The files of all pages, a server and a consumer."""
    folder = tmp_path_factory.mktemp("application")
    files: dict[str, list[str]] = {}
    for page in PAGES:
        for block in blocks(page):
            if block.file and block.code not in files.setdefault(block.file, []):
                files[block.file].append(block.code)
    for name, codes in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("\n\n".join(codes))
    tasks = [
        name.removesuffix(".py").replace("/", ".")
        for name, codes in files.items()
        if any("@task" in code for code in codes)
    ]
    with (
        EmbeddedValkey({"appendonly": "yes"}) as server,  # as `heori doctor` wants it
        shell_heori(tmp_path_factory.mktemp("bin")) as programs,
    ):
        port = int(server.url.split(":")[2].split("/")[0])
        url = server.url.replace("redis://", f"redis://{limited_user(server.url)}@")
        environment = {
            **os.environ,
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HEORI_REDIS_URL": url,
            "HEORI_TASKS": ",".join(tasks),
            "HEORI_ALLOW": "math.",
            "HEORI_MIDDLEWARE": "myapp.middleware.Tracing",
            "HEORI_API_PORT": "0",
        }
        made = Application(folder, environment, port)
        consumer = Staying(f"heori consume {' '.join(f'-q {name}' for name in QUEUES)}", made)
        try:
            consumer.wait()
            made.dead = a_dead_letter(url)
            yield made
        finally:
            consumer.terminate()
            assert consumer.join() == 0, consumer.said


def limited_user(url: str) -> str:
    """Make the user that a page recommends; its name and password."""
    rights = users_with_rights()["heori"]
    with redis_py.Redis.from_url(url, socket_timeout=None) as client:
        # what a fence guards, and what doctor says more with
        client.execute_command(*rights, "~balance:*", "+config|get", "+info", "+scan", "+zscan")
    return "heori:secret"


def a_dead_letter(url: str) -> str:
    """The id of a job that has failed for good."""

    def pay(order: int, amount: int) -> None: ...

    task = Task(pay, "payments", 10)
    task.name = "myapp.payments.pay"
    with Producer(settings=Settings(redis_url=url)) as producer:
        [handle] = producer.send_jobs(task, [producer.encode(task, (1, 0), {})])
        with contextlib.suppress(RuntimeError):
            handle.result(timeout=200)
        assert handle.status() == "failed"
        return handle.id


@contextlib.contextmanager
def stays(page: Path, application: Application) -> Iterator[None]:
    """What stays while a page runs."""
    started = [Staying(block.code, application) for block in blocks(page) if block.mark == "stays"]
    try:
        for each in started:
            each.wait()
            if each.url:
                application.service = each.url.removeprefix("http://")
        yield
    finally:
        for each in started:
            each.terminate()
        codes = [each.join() for each in started]
    assert codes == [0] * len(started), [each.said for each in started]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page: Path, application: Application) -> None:
    python = program(page)
    shell = "".join(
        block.code for block in blocks(page) if block.language == "sh" and not block.mark
    )
    with stays(page, application):
        if python:
            script = application.folder / f"{page.stem.replace('-', '_')}_page.py"
            script.write_text(application.adapt(python))
            said = output_of(
                script.stem, env=application.environment, cwd=application.folder
            ).splitlines()
            for expected in re.findall(r"# prints (.*)$", python, re.MULTILINE):
                assert expected in said, f"{page.name}: {said}"
                del said[: said.index(expected) + 1]
        if shell:
            run(["bash", "-euxo", "pipefail", "-c", application.adapt(shell)], application)


def run(command: list[str], application: Application) -> str:
    """Run it to its end; what it says."""
    done = subprocess.run(
        command,
        cwd=application.folder,
        env=application.environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_server_that_examples_have_used_holds_no_lock(application: Application) -> None:
    with redis_py.Redis(port=application.port, socket_timeout=None) as client:
        assert not list(client.scan_iter("rq:heori:lock:*"))
