"""What programs do while Redis is in trouble: they send, wait, ask over HTTP and run commands."""

import asyncio
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, Unpack

from heori import Handle, Producer, RedisExecutor, group
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_producer.options import AllOptions
from tests.chaos import work_tasks
from tests.rigs.commands import run_heori
from tests.rigs.service_rig import Service

T = TypeVar("T")

MODULE = "tests.chaos.work_tasks"
SHORT, LONGER = 0.01, 0.7  # seconds that jobs take
BULK = 20  # jobs
PATIENCE = 60.0  # seconds until a wait is given up, which is longer than anything may take
AT_ONCE = 32  # waits
# What operators do; {} is the id of a job.
COMMANDS = (
    "status",
    "doctor",
    "locks",
    "dead list",
    "limit",
    "top --once",
    "status {}",
    "limit default 100000",
    "locks held",
    "dead replay --all",
    "redis PING",
    "status --json",
)
COMMANDS_AT_ONCE = 3


class Course:
    """How far it all is, and what was seen; threads share it.

    Attributes:
        begun, ended: set when the trouble has begun, and when it has ended.
        ended_at: when that was, by time.monotonic().
        over: set when the work shall end.
        expected: the jobs that Redis has taken, by number, and how often each is to run.
        refused: what senders and those who ask for locks were told, by what they did.
        told: what others were told while Redis could not serve them, likewise.
        wrong: what should not have been.
        seen: what was as it should be.
        keeps: whether Redis serves all the while whoever wants nothing new of it.
    """

    def __init__(self, url: str, directory: Path, seconds: float, *, keeps: bool) -> None:
        self.url = url
        self.path = directory / "runs"
        self.directory = directory / "sections"
        self.directory.mkdir()
        self.seconds = seconds
        self.begun, self.ended, self.over = (threading.Event() for _ in range(3))
        self.expected: dict[int, int] = {}
        self.refused: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.ended_at = 0.0
        self.keeps = keeps
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def end_trouble(self) -> None:
        """Note that the trouble has ended just now."""
        self.ended_at = time.monotonic()
        self.ended.set()

    def finish(self) -> None:
        """Have everyone end, however far it has come."""
        for event in (self.begun, self.ended, self.over):
            event.set()

    def number(self) -> int:
        """Of the next job."""
        return next(self._numbers)

    def see(self, what: str, number: int = 1) -> None:
        """Count what has come about."""
        self._count(self.seen, what, number)

    def fail(self, what: str) -> None:
        """Count what should not have come about."""
        self._count(self.wrong, what)

    def refuse(self, what: str, error: Exception, number: int = 1) -> None:
        """Count what was refused to somebody who can do it again."""
        if _is_redis(error):
            self._count(self.refused, f"{what}: {_name(error)}", number)
        else:
            self.fail(f"{what}: {_name(error)}")

    def tell(self, what: str, error: Exception) -> None:
        """Count what somebody was told who wants nothing new of Redis."""
        if _is_redis(error) and not self.keeps:
            self.told_of(f"{what}: {_name(error)}")
        else:
            self.fail(f"{what}: {_name(error)}")

    def told_of(self, what: str) -> None:
        """Count what somebody was told, as it must be."""
        self._count(self.told, what)

    def send(self, call: Callable[[], T], jobs: dict[int, int]) -> T | None:
        """Send jobs, and note whether Redis has taken them.

        Args:
            jobs: their numbers, and how often each is to run.
        """
        try:
            answer = call()
        except Exception as error:  # each kind is counted
            self.refuse("sending", error, len(jobs))
            return None
        self.expected.update(jobs)
        return answer

    def await_result(self, what: str, wait: Callable[[], object], expected: object) -> None:
        """Wait for what jobs return."""
        try:
            right = wait() == expected
        except Exception as error:  # each kind is counted
            self.tell(what, error)
        else:
            self.see("results awaited")
            if not right:
                self.fail(f"{what}: another result")

    def _count(self, counts: "Counter[str]", what: str, number: int = 1) -> None:
        with self._lock:
            counts[what] += number


class Senders:
    """Programs that send jobs in each way, and wait for some of the results."""

    def __init__(self, course: Course, service: Service) -> None:
        self._course = course
        self._service = service
        self._producer = Producer(course.url)
        self._waits = ThreadPoolExecutor(AT_ONCE)

    def threads(self) -> Iterable[Callable[[], None]]:
        """What each is to run in a thread of its own."""
        return (self._one_by_one, self._in_bulk, self._in_coroutines, self._executor, self._http)

    def send_long(self, seconds: float) -> list[int]:
        """Send jobs that last; returns their numbers."""
        course = self._course
        numbers = [course.number() for _ in range(5)]
        path, place = str(course.path), str(course.directory)
        for number in numbers[:-1]:
            task: Any = (work_tasks.strive, work_tasks.strive_later)[number % 2]
            self._send(number, 1, task, path, number, seconds)
        self._send(numbers[-1], 1, work_tasks.hold, path, place, numbers[-1], seconds)
        return numbers

    def send_first(self, queue: str) -> tuple[int, str]:
        """Send a job as soon as it can be sent, through to a queue of its own; number and id."""
        while True:
            number = self._course.number()
            words = (str(self._course.path), number, 0.0)
            if handle := self._send(number, 1, work_tasks.strive, *words, queue=queue):
                return number, handle.id
            time.sleep(0.02)

    def wait(self) -> None:
        """Wait for all that wait; there is a limit to each wait."""
        self._waits.shutdown()

    def close(self) -> None:
        """Close the connections."""
        self.wait()
        self._producer.close()

    def _send(
        self, number: int, runs: int, task: Any, *words: Any, **options: Unpack[AllOptions]
    ) -> Any:
        return self._course.send(
            lambda: self._producer.options(**options).submit(task, *words), {number: runs}
        )

    def _one_by_one(self) -> None:
        course = self._course
        path, place = str(course.path), str(course.directory)
        for turn in itertools.count():
            if course.over.wait(0.05):
                return
            number = course.number()
            match turn % 10:
                case 0:
                    self._send(number, 2, work_tasks.strive_twice, path, place, number)
                case 1:
                    self._send(number, 1, work_tasks.strive, path, number, SHORT, delay=1.0)
                case 2:
                    self._send(number, 1, work_tasks.strive_alone, path, place, number)
                case rest:
                    seconds = LONGER if rest < 5 else SHORT
                    handle = self._send(number, 1, work_tasks.strive, path, number, seconds)
                    if handle is not None and rest in (3, 6):
                        self._await("result", handle, number)

    def _await(self, what: str, handle: Handle[Any], expected: object) -> None:
        def wait() -> object:
            return handle.result(PATIENCE)

        self._waits.submit(self._course.await_result, what, wait, expected)

    def _in_bulk(self) -> None:
        course = self._course
        while not course.over.wait(0.7):
            numbers = [course.number() for _ in range(BULK)]
            calls = [(str(course.path), number, SHORT) for number in numbers]
            handles = course.send(
                lambda calls=calls: self._producer.submit_many(work_tasks.strive, calls),  # type: ignore[misc]
                dict.fromkeys(numbers, 1),
            )
            if handles:
                ended = group(handles)

                def wait(ended: Any = ended) -> object:
                    return ended.wait(PATIENCE) and ended.results()

                self._waits.submit(course.await_result, "group", wait, numbers)

    def _in_coroutines(self) -> None:
        course = self._course

        async def one(number: int) -> None:
            words = (str(course.path), number, LONGER)
            handle = await asyncio.to_thread(self._send, number, 1, work_tasks.strive_later, *words)
            if handle is None:
                return
            try:
                async with asyncio.timeout(PATIENCE):
                    if await handle != number:
                        course.fail("await: another result")
                course.see("results awaited")
            except Exception as error:  # each kind is counted
                course.tell("await", error)

        async def main() -> None:
            async with asyncio.TaskGroup() as tasks:
                while not course.over.is_set():
                    tasks.create_task(one(course.number()))
                    await asyncio.sleep(0.3)

        asyncio.run(main())

    def _executor(self) -> None:
        course = self._course
        with RedisExecutor(course.url) as executor:
            while not course.over.wait(0.3):
                number = course.number()
                future = course.send(
                    lambda number=number: executor.submit(  # type: ignore[misc]
                        work_tasks.strive, str(course.path), number, SHORT
                    ),
                    {number: 1},
                )
                if future is not None:

                    def wait(future: Any = future) -> object:
                        return future.result(PATIENCE)

                    self._waits.submit(course.await_result, "future", wait, number)

    def _http(self) -> None:
        course = self._course
        while not course.over.wait(0.2):
            number = course.number()
            words = {"path": str(course.path), "number": number, "seconds": SHORT}
            sent = self._ask("POST", f"/v1/tasks/{MODULE}.strive", words)
            if sent is None:
                continue
            course.expected[number] = 1
            self._waits.submit(self._ask, "GET", f"/v1/jobs/{sent['id']}?wait=5")
            self._ask("GET", "/v1/queues")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """The body of the answer, if it is a good one."""
        try:
            answer = self._service.ask(method, path, body)
        except OSError as error:
            self._course.fail(f"HTTP {method}: {_name(error)}")
            return None
        if answer.status < 400:
            self._course.see("HTTP answers")
            return answer.body
        count = self._course.refuse if method == "POST" else self._course.tell
        count(f"HTTP {method}", _Answered(str(answer.status)))
        return None


class Operators:
    """People who run commands while the trouble lasts, in an order left to chance."""

    def __init__(self, course: Course, chance: random.Random) -> None:
        self._course = course
        self._left = chance.sample(COMMANDS, len(COMMANDS))
        self.job = ""

    def threads(self) -> Iterable[Callable[[], None]]:
        """What each is to run in a thread of its own."""
        return [self._run] * COMMANDS_AT_ONCE

    def _run(self) -> None:
        self._course.begun.wait()
        while self._left and not self._course.ended.is_set():
            words = self._left.pop().format(self.job).split()
            try:
                ended = run_heori(self._course.url, *words, HEORI_TASKS=MODULE)
            except Exception as error:  # each kind is counted
                self._course.fail(f"heori {words[0]}: {_name(error)}")
                continue
            self._course.see("commands")
            if "Traceback" in ended.stderr + ended.stdout:
                last = ended.stderr.strip().splitlines()[-1]
                self._course.fail(f"heori {words[0]}: a traceback, {last[:60]}")
            elif ended.returncode not in (0, 1, 2):
                self._course.fail(f"heori {words[0]}: exit code {ended.returncode}")


class _Answered(Exception):
    """By an error's number."""


def _is_redis(error: Exception) -> bool:
    """Whether it says that Redis is away or refuses, and nothing else."""
    return isinstance(error, RedisRefused | RedisUnavailable) or (
        isinstance(error, _Answered) and str(error) == "503"
    )


def _name(error: Exception) -> str:
    name = str(error) if isinstance(error, _Answered) else type(error).__name__
    return f"{name} {error.code}" if isinstance(error, RedisRefused) else name
