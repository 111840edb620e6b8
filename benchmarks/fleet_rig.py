"""Many consumers on one server: started a few at a time, real ones and simulated ones."""

import statistics
import time
import urllib.request
from collections.abc import Sequence
from typing import NamedTuple

import psutil

from benchmarks.rig import HIDDEN, PATIENCE, WARM, Rig, family
from benchmarks.sender import Order
from benchmarks.systems import KEYS
from heori.inspect.overview import READ
from heori.inspect.scraper import query

AT_ONCE = 4  # consumers that start at the same time: their imports want all cores
SIMULATORS = 2  # programs that speak for the simulated ones
WARM_ROUNDS = 5  # with as many jobs as consumers each, at most, until each has had one
WARM_FOR = 10.0  # seconds, at most, until the last of them begins
LEAST_WARM = 10
LEAST_JOBS = 5
SETTLE = 2.0  # seconds until all is idle
TIDIED_PER_S = 200  # queues; the leader looks through all of them once, after it has begun
READY = (b"idle", b"busy")  # what consumers and stock workers are once they take jobs
LOOK_EVERY = 0.1  # seconds


class Use(NamedTuple):
    """What a server has done, so far or for something."""

    seconds: float
    commands: float  # those inside scripts included
    cpu: float  # seconds

    def since(self, before: "Use") -> "Use":
        """What it has done since then."""
        return Use(*(now - then for now, then in zip(self, before, strict=True)))

    def without(self, idle: "Use") -> "Use":
        """Without what an idle fleet has it do in the same time."""
        share = self.seconds / idle.seconds
        return Use(self.seconds, self.commands - share * idle.commands, self.cpu - share * idle.cpu)


class Answered(NamedTuple):
    """Jobs that were sent one after the other, each when the one before had its result."""

    use: Use
    round_trips: list[float]  # ms

    @property
    def jobs(self) -> int:
        """How many they were."""
        return len(self.round_trips)

    def percentile(self, percent: int) -> float:
        """Of the round trips, in ms."""
        return statistics.quantiles(self.round_trips, n=100, method="inclusive")[percent - 1]


class Fleet(Rig):
    """A rig for many consumers of one system."""

    def start(self, consumers: int) -> None:
        """Start real ones, a few at a time; returns when all of them take jobs."""
        while (there := len(self.consumers)) < consumers:
            Rig.tell(f"{there} of {consumers} consumers")
            for _ in range(min(AT_ONCE, consumers - there)):
                self.consume()
            self.until_ready(len(self.consumers))

    def simulate(self, consumers: int, within: float) -> list[psutil.Popen]:
        """Have so many simulated ones start within some seconds; returns their programs."""
        programs = []
        first = 1
        url = self._serve_metrics()
        for number in range(SIMULATORS):
            share = consumers // SIMULATORS + (number < consumers % SIMULATORS)
            words = [str(share), str(first), str(within), url, *self.system.queues]
            programs.append(self._start("-m", "benchmarks.simulated", *words))
            first += share
        self.consumers += programs
        return programs

    def _serve_metrics(self) -> str:
        """Start a server of what a real consumer tells who looks, for all that are simulated.

        Were it one of them, who looks at all would wait for its event loop.
        """
        folder = self.directory / "said"
        folder.mkdir()
        (folder / "metrics").write_bytes(self.answer_to(f"/metrics{query(READ)}"))
        (folder / "slots").write_bytes(self.answer_to("/slots?jobs=0"))
        return self.start_beside("-m", "benchmarks.canned", str(folder))

    def until_ready(self, consumers: int) -> None:
        """Wait until so many take jobs.

        Raises:
            Refused: in vain, or one has ended.
        """
        self.until(lambda: self._are_ready(consumers), PATIENCE, LOOK_EVERY)

    def _are_ready(self, consumers: int) -> bool:
        if any(consumer.poll() is not None for consumer in self.consumers):
            raise self.refusal("a consumer has ended")
        if self.client.scard(KEYS.workers()) < consumers:  # reading the records is work
            return False
        workers = self.client.smembers(KEYS.workers())
        with self.client.pipeline(transaction=False) as pipe:
            for worker in workers:
                pipe.hget(worker, "state")
            return sum(state in READY for state in pipe.execute()) >= consumers

    def warm(self, consumers: int, apps: Sequence[str]) -> None:
        """Send each consumer a job, and some through each of these libraries; forget them all."""
        jobs = max(consumers, LEAST_WARM)
        end = time.monotonic() + WARM_FOR
        for turn in range(WARM_ROUNDS):
            for number, app in enumerate(apps):
                self.answered(jobs, WARM + (turn * len(apps) + number) * jobs, app)
            if (
                len({record.pid for record in self.records()}) >= consumers
                or time.monotonic() > end
            ):
                break
        self.forget()
        time.sleep(SETTLE + len(self.system.queues) / TIDIED_PER_S)

    def answered(
        self, jobs: int, first: int = 0, app: str | None = None, *, seconds: float = PATIENCE
    ) -> Answered:
        """Send jobs one at a time, to all queues in turns; fewer if that would take longer.

        Raises:
            Refused: so few that they tell nothing.
        """
        queues = self.system.queues
        order = Order("answered", "nothing", jobs, first, queues=queues, seconds=seconds)
        before = self.use()
        sent = self.send(order, app)
        use = self.use().since(before)
        if len(sent.round_trips) < min(jobs, LEAST_JOBS):
            raise self.refusal(f"only {len(sent.round_trips)} jobs in {seconds} s")
        return Answered(use, [took / 1e6 for took in sent.round_trips])

    def drain(self, jobs: int) -> float:
        """Let the hidden jobs appear, and wait until all are done; returns jobs a second."""
        begun, finished = self.begun(), self.finished()
        started = time.perf_counter()
        self.release_all()
        self.until(lambda: self.begun() >= begun + jobs)  # which asks nothing of the server
        self.until(lambda: self.finished() >= finished + jobs)
        return jobs / (time.perf_counter() - started)

    def hide_all(self, jobs: int) -> None:
        """Have jobs of all queues sent and put where nobody looks, until `release_all`."""
        self.send(Order("bulk", "nothing", jobs, queues=self.system.queues))
        with self.client.pipeline() as pipe:
            for queue in self.system.queues:
                pipe.rename(KEYS.queue(queue), f"{HIDDEN}:{queue}")
            pipe.execute()

    def release_all(self) -> None:
        """Let all of them appear at once."""
        with self.client.pipeline() as pipe:
            for queue in self.system.queues:
                pipe.rename(f"{HIDDEN}:{queue}", KEYS.queue(queue))
            pipe.execute()

    def finished(self) -> int:
        """How many jobs of all queues are done."""
        with self.client.pipeline(transaction=False) as pipe:
            for queue in self.system.queues:
                pipe.zcard(KEYS.finished(queue))
            return sum(pipe.execute())

    def use(self) -> Use:
        """What the server has done so far, but for being asked this."""
        info = self.client.info("all")
        commands = sum(
            of["calls"] for name, of in info.items() if name.startswith("cmdstat_")
        ) - info.get("cmdstat_info", {}).get("calls", 0)
        return Use(time.monotonic(), commands, info["used_cpu_user"] + info["used_cpu_sys"])

    def idle(self, seconds: float) -> tuple[Use, float]:
        """Wait so long; returns what the server did, and seconds of CPU of each real consumer."""
        processes = [each for consumer in self.real() for each in family(consumer)]
        before, used = self.use(), sum(map(_cpu, processes))
        time.sleep(seconds)
        used = sum(map(_cpu, processes)) - used
        return self.use().since(before), used / len(self.real())

    def connections(self) -> int:
        """How many the server has accepted so far."""
        return int(self.client.info("stats")["total_connections_received"])

    def answer_to(self, path: str) -> bytes:
        """What a real consumer answers."""
        workers = sorted(self.client.smembers(KEYS.workers()))
        with self.client.pipeline(transaction=False) as pipe:
            for worker in workers:
                pipe.hmget(worker, "pid", "heori_metrics")
            urls = dict(pipe.execute())
        url = urls[str(self.consumers[0].pid).encode()].decode()
        with urllib.request.urlopen(f"{url}{path}", timeout=PATIENCE) as answer:
            return bytes(answer.read())

    def real(self) -> list[psutil.Popen]:
        """Those that are not simulated."""
        return [each for each in self.consumers if "benchmarks.simulated" not in each.args]


def _cpu(process: psutil.Process) -> float:
    """Seconds of all its threads so far, from the kernel's clock of that process.

    /proc has hundredths of a second, and an idle consumer uses less in a second.
    """
    return time.clock_gettime((~process.pid << 3) | 2)  # MAKE_PROCESS_CPUCLOCK, CPUCLOCK_SCHED
