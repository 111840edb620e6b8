"""`heori send TASK --from FILE`: one job for each line, and never two.

The position in the file is kept in Redis, and moves in the same step in which the jobs are sent.
So an import that was interrupted in any way goes on where it stopped when it is started again.
"""

import csv
import hashlib
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from pydantic_core import from_json
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from heori import Options, PayloadTooLarge, Producer, QueueFull, Sender
from heori.cli.ending import guarded, refuse
from heori.formats import count
from heori.inspect.reader import RedisReader
from heori.outage import Outage
from heori.terminal import Console
from heori_common.protocol.commands import Commands, Cursor
from heori_common.protocol.job import NewJob
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.redis.retries import Backoff
from heori_common.sendable import Sendable
from heori_common.settings import Settings
from heori_producer.options import AllOptions

CHUNK = 1000  # jobs encoded before they are sent
# Seconds after the latest step of an import for which its position is kept.
POSITION_TTL = 7 * 24 * 3600
SHOWN_LINES = 20  # of the bad ones
LONGEST_PAUSE = 1.0  # seconds between two tries while Redis takes nothing


Format = Literal["jsonl", "csv"]


@dataclass(frozen=True)
class ImportRequest:
    """What was asked for with --from."""

    source: str
    kind: Format | None
    options: AllOptions
    check: bool
    again: bool


@dataclass
class BadLine:
    """A line that makes no job."""

    line: int
    problem: str


@dataclass
class ImportReport:
    """What became of an import."""

    lines: int = 0  # that make jobs
    sent: int = 0  # of these, by this run
    before: int = 0  # of these, by earlier runs
    bad: list[BadLine] = field(default_factory=list)  # the first of them
    bad_lines: int = 0
    error: str | None = None


class Import:
    """One file, as jobs of one task.

    Args:
        file: from its beginning, and it can be read again.
        queue: where they go.
    """

    def __init__(
        self, sender: Sender, task: Sendable[Any], file: IO[bytes], kind: Format, queue: str
    ) -> None:
        self._sender = sender
        self._task = task
        self._file = file
        self._kind = kind
        self._queue = queue
        self.report = ImportReport()

    def check(self) -> str:
        """Read everything, and note the lines that make no job; returns the import's digest."""
        for made in self._jobs():
            if isinstance(made, NewJob):
                self.report.lines += 1
                continue
            self.report.bad_lines += 1
            if len(self.report.bad) < SHOWN_LINES:
                self.report.bad.append(made)
        self._file.seek(0)
        digest = hashlib.sha256()
        while part := self._file.read(1 << 20):
            digest.update(part)
        digest.update(json.dumps([self._task.name, self._queue, self._kind]).encode())
        return digest.hexdigest()

    def send(self, key: str, begin: int, progress: Progress) -> None:
        """Send what was not sent before. Once Redis has taken some, it goes on through an outage.

        Raises:
            QueueFull, RedisUnavailable, RedisRefused: as `Producer.submit_many`; a later run goes
                on from there.
        """
        report = self.report
        report.before = begin
        bar = progress.add_task(self._task.name, total=report.lines, completed=begin)
        jobs = islice((job for job in self._jobs() if isinstance(job, NewJob)), begin, None)
        while chunk := list(islice(jobs, CHUNK)):
            cursor = Cursor(key, begin + report.sent, POSITION_TTL)
            try:
                self._persist(chunk, cursor)
            except QueueFull as error:
                report.sent += len(error.sent)
                raise
            report.sent += len(chunk)
            progress.update(bar, completed=begin + report.sent)

    def _persist(self, chunk: list[NewJob], cursor: Cursor) -> None:
        """Send some jobs; the cursor says which of them are in, however often they are sent."""
        outage, backoff = Outage(), Backoff(lambda: LONGEST_PAUSE)
        while True:
            try:
                self._sender.send_jobs(self._task, chunk, cursor)
            except (RedisUnavailable, RedisRefused) as error:
                for_good = isinstance(error, RedisRefused) and not error.is_passing
                if for_good or not self.report.sent:
                    raise
                outage.note(error)
                time.sleep(backoff.pause())
            else:
                outage.end()
                return

    def _jobs(self) -> Iterator[NewJob | BadLine]:
        self._file.seek(0)
        calls = _csv(self._file) if self._kind == "csv" else _json_lines(self._file)
        for line, call in calls:
            if isinstance(call, ValueError):
                yield BadLine(line, str(call))
                continue
            args = tuple(call) if isinstance(call, list) else ()
            kwargs = call if isinstance(call, dict) else {}
            try:
                yield self._sender.encode(self._task, args, kwargs, from_json=True)
            except (TypeError, ValueError) as error:
                yield BadLine(line, str(error))


def send_from(
    task: Sendable[Any],
    settings: Settings,
    wanted: ImportRequest,
) -> ImportReport:
    """Check all lines, then send them, unless they are only to be checked or one is bad."""
    with Producer(settings=settings) as producer, _open(wanted.source) as file:
        kind = wanted.kind or _kind(wanted.source)
        queue = Options(**wanted.options).queue_for(task.queue)
        given = Import(producer.options(**wanted.options), task, file, kind, queue)
        report = given.report
        digest = given.check()
        if wanted.check or report.bad_lines:
            return report
        commands = Commands(Keys(settings.key_prefix))
        key = commands.keys.import_of(digest)
        with RedisClient(settings.redis_url) as client, _progress() as progress:

            def run() -> None:
                if wanted.again:
                    client.execute(commands.forget_position(key))
                reader = RedisReader(client, commands.keys)
                begin = max(0, min(reader.read(commands.position(key)) or 0, report.lines))
                if reader.unreadable:  # nobody can tell what was sent
                    refuse(*reader.problems(), f"Start anew: heori redis DEL {key}")
                try:
                    given.send(key, begin, progress)
                except (QueueFull, PayloadTooLarge) as error:
                    report.error = str(error)
                except RedisRefused as error:
                    if not report.sent:  # nothing was done
                        raise
                    report.error = str(error)

            guarded(run)
    return report


def _open(path: str) -> IO[bytes]:
    """A file that can be read twice; standard input is copied to a temporary one."""
    try:
        if path != "-":
            return Path(path).open("rb")
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        shutil.copyfileobj(sys.stdin.buffer, spool)
    except OSError as error:
        refuse(f"--from {path}: {error.strerror}")
    return spool


def _kind(path: str) -> Format:
    if path == "-" or path.endswith((".jsonl", ".ndjson")):
        return "jsonl"
    if not path.endswith(".csv"):
        refuse(f"--from {path}: is it JSON lines or CSV? Say --format jsonl or --format csv")
    return "csv"


def _json_lines(file: IO[bytes]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            call: Any = from_json(line, allow_inf_nan=False)
            if not isinstance(call, dict | list):
                call = ValueError("an object of arguments by name is needed, or an array of them")
        except ValueError as error:
            call = ValueError(f"no JSON: {error}")
        yield number, call


def _csv(file: IO[bytes]) -> Iterator[tuple[int, Any]]:
    """The first row names the arguments; one whose cell is empty is left out."""
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        rows = csv.DictReader(text, strict=True)
        while True:
            try:
                row: dict[Any, Any] = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield rows.line_num, ValueError(f"no CSV: {error}")
                continue
            if None in row:
                yield rows.line_num, ValueError("it has more cells than there are columns")
            else:
                yield rows.line_num, {name: cell for name, cell in row.items() if cell}
    finally:
        text.detach()


def _progress() -> Progress:
    console = Console(sys.stderr)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    return Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    )


def told(report: ImportReport, *, check: bool) -> Iterable[str]:
    """A report for people, line by line."""
    for bad in report.bad:
        yield f"line {bad.line}: {bad.problem}"
    if report.bad_lines > len(report.bad):
        yield f"… and {count(report.bad_lines - len(report.bad))} more"
    if report.bad_lines:
        good = count(report.lines)
        yield f"{count(report.bad_lines)} bad lines, {good} good ones; nothing was sent"
    elif check:
        yield f"{count(report.lines)} jobs could be sent; none was"
    elif not report.lines:
        yield "the file has no lines; nothing was sent"
    elif report.before == report.lines:
        yield f"all {count(report.lines)} jobs were sent before; --again sends them once more"
    else:
        before = f", after {count(report.before)} that were sent before" if report.before else ""
        yield f"{count(report.sent)} jobs sent{before}"
    if report.error:
        yield report.error
        yield "The same command goes on from here."
