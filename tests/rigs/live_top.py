"""`heori top` on a terminal, and in the process of a test."""

import asyncio
import os
import pty
import select
import signal
import termios
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import textual.screen
from textual.pilot import Pilot

from heori.inspect.reader import RedisReader
from heori.top.app import TopApp
from heori.top.feed import take_snapshot
from heori.top.pane import Bar, Pane
from heori.top.table import plain
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings
from tests.rigs.zygote import Started

ROOT = Path(__file__).parents[2]
EVERY = 0.2  # seconds between two readings
# In the process of a test, it is drawn ten times a second, and not 60 times as on a terminal.
vars(textual.screen)["UPDATE_PERIOD"] = 0.1


class Terminal:
    """One on which it runs.

    Attributes:
        process: what runs there.
        seen: all that was drawn and not waited for yet.
    """

    def __init__(self, process: Started, leader: int) -> None:
        self.process = process
        self.seen = b""
        self._leader = leader

    def drawn(self, is_seen: Callable[[bytes], bool]) -> None:
        """Read what is drawn from now on, until that is seen."""
        self.seen = b""
        while not is_seen(self.seen):
            assert select.select([self._leader], [], [], 120)[0], self.seen
            self.seen += os.read(self._leader, 65536)

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._leader, keys)

    def join(self) -> int:
        """Read until it ends; returns its exit code."""
        while self.process.poll() is None:
            try:
                self.seen += os.read(self._leader, 65536)
            except OSError:  # the other end is closed
                break
        return self.process.wait(120)


@contextmanager
def live_top(redis_url: str, *, rows: int = 50, columns: int = 200) -> Iterator[Terminal]:
    """Run it on a terminal; if it still runs in the end, a signal as that of Ctrl-C ends it."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (rows, columns))
    environment = {**os.environ, "HEORI_REDIS_URL": redis_url, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    with Started(
        *("heori", "top", "--every", "100ms"),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment,
        cwd=ROOT,
    ) as process:
        os.close(follower)
        terminal = Terminal(process, leader)
        try:
            yield terminal
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                assert terminal.join() == 130, terminal.seen
        finally:
            process.kill()  # who has failed reads nothing, and what is not read keeps it
            os.close(leader)


class Desk:
    """A person in front of it."""

    def __init__(self, app: TopApp, pilot: Pilot[int]) -> None:
        self.app = app
        self._pilot = pilot

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        await self._pilot.press(*keys)

    async def type(self, text: str) -> None:
        """Press the keys of a text."""
        await self._pilot.press(*text)

    async def until(self, condition: Callable[[], Any], timeout: float = 120.0) -> None:
        """Wait until something is so, while the application goes on."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "it did not come about in time"
            await asyncio.sleep(0.02)

    def pane(self, name: str) -> Pane:
        """One of them."""
        return self.app.screen_stack[0].query_one(f"#{name}", Pane)

    def lines(self, name: str) -> list[str]:
        """What of a pane is on the screen."""
        pane = self.pane(name)
        return [pane.render_line(y).text for y in range(pane.size.height)]

    def column(self, name: str, heading: str = "") -> list[str]:
        """The cells of all rows of a pane; by default the first of each."""
        pane = self.pane(name)
        headings = [column.heading for column in pane.columns]
        number = headings.index(heading) if heading else 0
        return [plain(row.cells[number]) for row in pane.rows]

    async def go_to(self, name: str, cell: str = "") -> None:
        """Go to a pane by Tab, and to the row that has this in its first cell, with the arrows."""
        panes = list(self.app.screen_stack[0].query(Pane))
        at = next(number for number, pane in enumerate(panes) if pane.has_focus)
        ahead = (panes.index(self.pane(name)) - at) % len(panes)
        behind = len(panes) - ahead
        await self.press(*(["tab"] * ahead if ahead <= behind else ["shift+tab"] * behind))
        await self.until(lambda: self.pane(name).has_focus)
        if cell:
            await self.until(lambda: cell in self.column(name))
            await self.press("home", *["down"] * self.column(name).index(cell))

    @property
    def bars(self) -> str:
        """The lines above the panes."""
        base = self.app.screen_stack[0]
        return "\n".join(each.render_line(0).text for each in base.query(Bar))

    @property
    def dialog(self) -> str:
        """What is open above the panes, as text."""
        screen = self.app.screen
        if screen is self.app.screen_stack[0]:
            return ""
        return "\n".join(
            each.render_line(y).text
            for each in screen.query("Static, OptionList")
            for y in range(each.size.height)
        )


def at_desk(
    redis_url: str,
    work: Callable[[Desk], Awaitable[None]],
    *,
    columns: int = 120,
    rows: int = 40,
) -> int | None:
    """Have a person work with it; returns its exit code, if it has ended."""
    with RedisClient(redis_url) as client:
        first = take_snapshot(RedisReader(client, Keys()))
        app = TopApp(client, Settings(redis_url=redis_url), EVERY, first)

        async def run() -> None:
            async with app.run_test(size=(columns, rows)) as pilot:
                await work(Desk(app, pilot))

        try:
            asyncio.run(run())
        finally:
            # What it still reads would count in the next test.
            for thread in threading.enumerate():
                if thread.name in ("readings", "at redis"):
                    thread.join(60)
        return app.return_value
