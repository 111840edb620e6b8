"""How fast a full queue of jobs that do nothing is drained, beside rq and beside the floor.

    python -m benchmarks.drain [--jobs 20000] [--rounds 3] [--json FILE]

All systems take turns in one run on one embedded Valkey, so that the noise of the machine hits
all of them; the medians are printed. Jobs wait under another key until the consumer is ready,
then all appear at once; the time ends when the last is in RQ's finished registry. Results are
kept by all.

- heori: `heori consume`, one supervisor and one worker process with one slot, by batch size.
- rq: stock `rq worker` with SimpleWorker, which does not even fork.
- floor: one process that only claims and acknowledges, with no pipe, worker or task: what the
  scripts and the client cost by themselves.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import redis
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.tasks import nothing
from common.broker import Broker
from common.embedded import EmbeddedValkey
from common.protocol.commands import Commands, Ended
from producer import Producer

QUEUE = "bench"
COMMANDS = Commands()
PARKED = COMMANDS.keys.queue("parked")


@dataclass(frozen=True)
class Measurement:
    system: str
    jobs: int
    jobs_per_second: float
    supervisor_us_per_job: float  # CPU time, as the next two; for others, of their one process
    worker_us_per_job: float
    server_us_per_job: float
    commands_per_job: float
    scripts_per_job: float  # calls of a script; for heori and the floor, all round trips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs per drain")
    parser.add_argument("--rq-jobs", type=int, default=600, help="jobs per drain by stock rq")
    parser.add_argument("--rounds", type=int, default=3, help="turns; medians are shown")
    parser.add_argument("--json", type=Path, help="also write every measurement there")
    options = parser.parse_args()
    taken: list[Measurement] = []
    with EmbeddedValkey() as server, Progress(console=Console(stderr=True)) as progress:
        systems: list[tuple[str, Callable[[str], Measurement]]] = [
            ("floor", lambda url: drain_floor(url, options.jobs)),
            *(
                (f"heori batch {batch}", lambda url, b=batch: drain_heori(url, options.jobs, b))
                for batch in (1, 8, 64)
            ),
            ("rq SimpleWorker", lambda url: drain_rq(url, options.rq_jobs)),
        ]
        bar = progress.add_task("drain", total=options.rounds * len(systems))
        for _ in range(options.rounds):
            for name, measure in systems:
                progress.update(bar, description=name)
                taken.append(measure(server.url))
                progress.advance(bar)
    medians = [median([m for m in taken if m.system == name]) for name, _ in systems]
    show(medians, options.rounds)
    if options.json:
        record = {"machine": machine(), "rounds": options.rounds, "all": [asdict(m) for m in taken]}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def drain_heori(url: str, jobs: int, batch: int) -> Measurement:
    words = ["-m", "heori", "consume", "-q", QUEUE, "--slots", "1", "--batch", str(batch)]
    environment = {"HEORI_REDIS_URL": url, "HEORI_TASKS": "benchmarks.tasks"}
    return drain_with(f"heori batch {batch}", url, jobs, words, environment, "consuming")


def drain_rq(url: str, jobs: int) -> Measurement:
    words = ["-m", "rq.cli", "worker", QUEUE, "-w", "rq.worker.SimpleWorker"]
    words += ["--serializer", "json", "--url", url]
    return drain_with("rq SimpleWorker", url, jobs, words, {}, "Listening on")


def drain_with(
    system: str, url: str, jobs: int, words: list[str], environment: dict[str, str], ready: str
) -> Measurement:
    """Drain with a consumer in processes of its own."""
    with redis.Redis.from_url(url) as client:
        park(client, url, jobs)
        process = subprocess.Popen(
            [sys.executable, *words],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if ready in line:
                    break
            # What it says from here on must not fill the pipe.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            supervisor = psutil.Process(process.pid)
            with drained(
                system, client, jobs, supervisor, supervisor.children(recursive=True)
            ) as done:
                pass
            return done[0]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def drain_floor(url: str, jobs: int) -> Measurement:
    with redis.Redis.from_url(url) as client, Broker(url) as broker:
        park(client, url, jobs)
        with drained("floor", client, jobs, psutil.Process(), []) as done:
            while claims := broker.execute(
                COMMANDS.claim(
                    [QUEUE],
                    64,
                    lease=30,
                    consumer="floor",
                    token=uuid.uuid4().hex,
                    max_payload=10**6,
                )
            ).claims:
                ended = [Ended(claim, "finished", body=b"MQ==", run_time=0.0) for claim in claims]
                broker.execute(COMMANDS.ack(ended, consumer="floor"))
        return done[0]


def park(client: "redis.Redis", url: str, jobs: int) -> None:
    """Empty the server, which is ours, and put jobs where no consumer looks."""
    client.flushdb()
    with Producer(url) as producer:
        producer.submit_many(nothing, range(jobs))
    client.rename(COMMANDS.keys.queue(QUEUE), PARKED)


@contextmanager
def drained(
    system: str,
    client: "redis.Redis",
    jobs: int,
    supervisor: psutil.Process,
    workers: list[psutil.Process],
) -> Iterator[list[Measurement]]:
    """Let the jobs appear, and measure until the last of them is finished."""
    done: list[Measurement] = []
    server = psutil.Process(client.info("server")["process_id"])

    def cpu_times() -> list[float]:
        return [cpu(supervisor), sum(map(cpu, workers)), cpu(server)]

    client.config_resetstat()
    before, start = cpu_times(), time.perf_counter()
    client.rename(PARKED, COMMANDS.keys.queue(QUEUE))
    yield done
    polls = 1
    finished = COMMANDS.keys.finished(QUEUE)
    while client.zcard(finished) < jobs:
        polls += 1
        time.sleep(0.005)
        if time.perf_counter() - start > 300:
            raise TimeoutError(f"{system} has not drained {jobs} jobs in 300 s")
    seconds = time.perf_counter() - start
    ours, theirs, servers = [
        (now - then) / jobs * 1e6 for now, then in zip(cpu_times(), before, strict=True)
    ]
    stats = client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
    total = sum(calls.values()) - polls
    done.append(
        Measurement(
            system,
            jobs,
            jobs / seconds,
            ours,
            theirs,
            servers,
            total / jobs,
            (calls.get("evalsha", 0) + calls.get("eval", 0)) / jobs,
        )
    )


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def median(measurements: list[Measurement]) -> Measurement:
    """Of each figure by itself."""
    first = measurements[0]
    figures = {
        name: statistics.median(getattr(m, name) for m in measurements)
        for name in asdict(first)
        if name not in ("system", "jobs")
    }
    return Measurement(first.system, first.jobs, **figures)


def show(medians: list[Measurement], rounds: int) -> None:
    slowest = min(m.jobs_per_second for m in medians)
    table = Table(title=f"Draining jobs that do nothing: medians of {rounds}, {machine()}")
    table.add_column("system")
    for heading in ("jobs/s", "of rq", "supervisor", "worker", "server", "commands", "scripts"):
        table.add_column(heading, justify="right")
    for m in medians:
        table.add_row(
            m.system,
            f"{m.jobs_per_second:,.0f}",
            f"{m.jobs_per_second / slowest:.1f} ×",
            f"{m.supervisor_us_per_job:,.0f} µs",
            f"{m.worker_us_per_job:,.0f} µs",
            f"{m.server_us_per_job:,.0f} µs",
            f"{m.commands_per_job:.1f}",
            f"{m.scripts_per_job:.3f}",
        )
    Console(width=100).print(table)
    print("supervisor, worker, server: CPU time a job; commands, scripts: calls a job")


def machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}"


if __name__ == "__main__":
    main()
