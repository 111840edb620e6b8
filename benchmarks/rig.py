"""One system at work: a server of its own, its workers, its sender, and the tally of its jobs."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

import psutil
import redis

from benchmarks.apps import REDIS_URL, RESULTS
from benchmarks.sender import Order, Sent
from benchmarks.systems import System
from benchmarks.tasks import RECORD, TALLY
from heori_common.embedded import EmbeddedValkey

ROOT = Path(__file__).parents[1]
HIDDEN = "bench:hidden"  # where jobs are kept out of sight
WARM = 10**9  # the number of the first job that only warms up
PATIENCE = 120.0  # seconds for anything to be done


class Checkout(NamedTuple):
    """Which Heori is measured: the folder of its sources and the interpreter that runs it."""

    folder: Path
    python: str


class Refused(RuntimeError):
    """A figure that is not to be used: the work was not done, or not all of it."""


class Record(NamedTuple):
    """That a job began."""

    number: int
    at: int  # time.time_ns()
    pid: int


class Cpu(NamedTuple):
    """CPU time, in seconds, by role."""

    main: float  # the process that was started: a supervisor, or all there is
    others: float  # its descendants
    server: float


class Rig:
    """A system on a fresh server, as a context manager.

    Args:
        config: settings of the server, beside those of `EmbeddedValkey`.
        environment: for the workers.
        network: seconds from the workers to the server, and from there to them; see `relay`.

    Attributes:
        client: a plain client to look at the server.
        consumers: the processes that were started, each with its descendants.
        directory: for files, gone at the end.
    """

    # Set by --pin; None leaves it to the kernel.
    server_cores: ClassVar[list[int] | None] = None
    # How a long measurement says how far it is.
    tell: ClassVar[Callable[[str], None]] = print
    # This checkout, but where --beside names another.
    checkout: ClassVar[Checkout] = Checkout(ROOT, sys.executable)

    def __init__(
        self,
        system: System,
        *,
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        network: float = 0.0,
    ) -> None:
        self.system = system
        self._network = network
        self.consumers: list[psutil.Popen] = []
        self._senders: dict[str, psutil.Popen] = {}  # by library
        self._others: list[psutil.Popen] = []  # that are neither
        self._server = EmbeddedValkey(dict(config or {}))
        self._more = dict(environment or {})
        memory = Path("/dev/shm")
        self._directory = tempfile.TemporaryDirectory(
            prefix="heori-bench-", dir=memory if memory.is_dir() else None
        )
        self.directory = Path(self._directory.name)
        self._tally = self.directory / "tally"
        self._tally.touch()
        self._log = self.directory / "log"
        self._log.touch()
        self._warm = 0

    def __enter__(self) -> Self:
        self._server.start()
        self.url = self._server.url
        self.client = redis.Redis.from_url(self.url)
        self._found()
        self._environment = {
            **os.environ,
            RESULTS: "1" if self.system.results else "0",
            TALLY: str(self._tally),
            "HEORI_TASKS": "benchmarks.apps.heori_tasks",
            **self.system.environment,
            **self._more,
            **_addresses(self.url),
        }
        self._sender(self.system.app)
        if self._network:
            self._environment |= _addresses(self._relay())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for consumer in self.consumers:
            stop(consumer)
        for other in self._others:
            stop(other)
            other.communicate()  # its streams are closed
        for sender in self._senders.values():
            sender.communicate()  # closing its standard input ends it
        self.client.close()
        self._server.__exit__(kind, error, trace)
        self._directory.cleanup()

    # Work

    def send(self, order: Order, app: str | None = None) -> Sent:
        """Have jobs sent, by another library than the system's if one is named.

        Returns when they are.

        Raises:
            Refused: the sender failed.
        """
        sender = self._sender(app or self.system.app)
        sender.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        sender.stdin.flush()
        answer = json.loads(sender.stdout.readline() or '{"error": "the sender has ended"}')
        if "error" in answer:
            raise self.refusal(f"sending failed: {answer['error']}")
        return Sent(**answer)

    def hide(self, order: Order) -> None:
        """Have jobs sent and put them where no worker looks, until `release`."""
        self.send(order)
        self.client.rename(self.system.library.queue, HIDDEN)
        if group := self.system.library.group:
            self.client.xgroup_create(HIDDEN, group, "0")

    def add_fields(self, fields: Mapping[str, str]) -> None:
        """Add fields to the hash of each hidden job, where jobs are rq's."""
        words = [word for field in fields.items() for word in field]
        with self.client.pipeline(transaction=False) as pipe:
            for job_id in self.client.lrange(HIDDEN, 0, -1):
                assert isinstance(job_id, bytes)
                pipe.hset(b"rq:job:" + job_id, items=words)
            pipe.execute()

    def release(self) -> None:
        """Let all hidden jobs appear at once."""
        self.client.rename(HIDDEN, self.system.library.queue)

    def consume(self, system: System | None = None) -> psutil.Popen:
        """Start workers, of another system if one is given; `warm_up` tells when they are there."""
        consumer = self._start(*(system or self.system).words)
        self.consumers.append(consumer)
        return consumer

    def warm_up(self, task: str = "nothing", rest: tuple[float, ...] = ()) -> None:
        """Send jobs until every worker process has run one, and wait for the last.

        As many at a time as there are processes: of single jobs, the first that are idle have all.
        """
        at_once = self.system.processes
        seen: set[int] = set()
        before = {record.pid for record in self.records()}
        base = self.finished()
        first = self._warm

        def warm() -> bool:
            if self.system.runs:
                seen.update(record.pid for record in self.records() if record.pid not in before)
                return len(seen) >= self.system.processes
            return self.finished() > base

        deadline = time.monotonic() + PATIENCE
        while not warm():
            if time.monotonic() > deadline or self.consumers[-1].poll() is not None:
                raise self.refusal("its workers did not get ready")
            self.send(Order("each", self.system.task(task), at_once, WARM + self._warm, rest))
            self._warm += at_once
            time.sleep(0.05)
        sent = self._warm - first
        self.until(lambda: self.done(sent, base))
        self.forget()

    def forget(self) -> None:
        """Empty the tally."""
        os.truncate(self._tally, 0)

    def restart(self, seconds: float) -> None:
        """Stop the server for so long; returns when it has read what it wrote to disk."""
        self._server.stop()
        time.sleep(seconds)
        self._server.start()
        self.until(lambda: not self.client.info("persistence")["loading"])
        self._found()

    def run(self, *words: str, fine: Container[int] = (0,)) -> float:
        """Run a program of the checkout to its end; returns how many seconds that took.

        Raises:
            Refused: its exit code is none of those that are fine.
        """
        began = time.monotonic()
        code = self._start(*words).wait(PATIENCE)
        if code not in fine:
            raise self.refusal(f"{' '.join(words)} ended with {code}")
        return time.monotonic() - began

    def start_beside(self, *words: str) -> str:
        """Start a process that ends with the measurement; returns the line that it says first."""
        other = self._start(*words, talks=True)
        self._others.append(other)
        line = str(other.stdout.readline().decode().strip())
        if not line:
            raise self.refusal(f"{' '.join(words)} did not get ready")
        return line

    # Looking

    def records(self, since: int = 0) -> list[Record]:
        """What the tally holds, but for so many at its beginning."""
        with self._tally.open("rb") as file:
            file.seek(since * RECORD.size)
            read = file.read()
        whole = len(read) - len(read) % RECORD.size
        return [Record(*each) for each in RECORD.iter_unpack(read[:whole])]

    def begun(self) -> int:
        """How many jobs have begun since the last warm-up."""
        return self._tally.stat().st_size // RECORD.size

    def finished(self) -> int:
        """How many jobs the library's own records call done, but for a constant."""
        finished = self.system.library.finished if self.system.results else None
        return 0 if finished is None else finished(self.client)

    def done(self, jobs: int, base: int) -> bool:
        """Whether so many have run, and are done beyond what `finished` was before."""
        if self.system.runs and self.begun() < jobs:
            return False
        return not self.system.results or self.finished() - base >= jobs

    def until(
        self, condition: Callable[[], bool], patience: float = PATIENCE, pause: float = 0.002
    ) -> None:
        """Wait, looking every 2 ms, or with another pause in seconds.

        Raises:
            Refused: in vain.
        """
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise self.refusal(f"it was not done in {patience:.0f} s")
            time.sleep(pause)

    def verify(self, jobs: int) -> int:
        """Make sure that every job from 0 on was run; returns how many runs were too many.

        Raises:
            Refused: one was not.
        """
        if not self.system.runs:
            return 0
        numbers = [record.number for record in self.records() if record.number < WARM]
        if set(numbers) != set(range(jobs)):
            raise self.refusal(f"{len(set(numbers))} of {jobs} jobs were run")
        return len(numbers) - jobs

    def cpu(self) -> Cpu:
        """CPU time so far, of the last consumer and the server."""
        main = psutil.Process(self.consumers[-1].pid)
        return Cpu(_cpu(main), sum(map(_cpu, main.children(recursive=True))), _cpu(self.server))

    def woken(self) -> int:
        """How often the main process of the last consumer has slept so far."""
        return int(psutil.Process(self.consumers[-1].pid).num_ctx_switches().voluntary)

    def said(self) -> str:
        """What the processes have written."""
        return self._log.read_text(errors="replace")

    def refusal(self, reason: str) -> Refused:
        """An error that quotes the last of what the processes said."""
        said = self.said().strip()[-600:]
        return Refused(reason + (f"\n{said}" if said else ""))

    def _found(self) -> None:
        """Note which process the server is."""
        self.server = psutil.Process(self.client.info("server")["process_id"])
        if self.server_cores is not None:
            self.server.cpu_affinity(self.server_cores)

    def _relay(self) -> str:
        """Put a network before the server; returns the server's address beyond it."""
        port = self.url.rpartition(":")[2].partition("/")[0]
        beyond = self.start_beside("-m", "benchmarks.relay", port, str(self._network))
        return f"redis://127.0.0.1:{beyond}/0"

    def _sender(self, app: str) -> psutil.Popen:
        if app not in self._senders:
            self._senders[app] = self._start("-m", "benchmarks.sender", app, talks=True)
        return self._senders[app]

    def _start(self, *words: str, talks: bool = False) -> psutil.Popen:
        pipe = subprocess.PIPE if talks else None
        with self._log.open("ab") as log:
            return psutil.Popen(
                [self.checkout.python, *words],
                cwd=self.checkout.folder,
                env=self._environment,
                stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the measuring program alone
            )


def _addresses(url: str) -> dict[str, str]:
    """Where each library looks for the address of its server."""
    return {REDIS_URL: url, "HEORI_REDIS_URL": url, "RQ_REDIS_URL": url}


def stop(process: psutil.Popen) -> None:
    """End a consumer and all that it has started, gently at first."""
    if process.poll() is not None:
        return
    family = process.children(recursive=True)
    process.terminate()
    _, alive = psutil.wait_procs([process, *family], timeout=5)
    for each in alive:
        each.kill()
    psutil.wait_procs(alive, timeout=5)


def family(process: psutil.Popen) -> list[psutil.Process]:
    """A consumer's processes."""
    return [process, *process.children(recursive=True)]


def _cpu(process: psutil.Process) -> float:
    """Seconds, with those of its children that have ended."""
    try:
        return sum(process.cpu_times()[:4])
    except psutil.NoSuchProcess:
        return 0.0
