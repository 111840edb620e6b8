"""The application: panes, keys, and what comes of them."""

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, Input

from heori.inspect.reader import RedisReader
from heori.terminal import Text
from heori.top.commands import PAUSABLE, set_paused, stop_job
from heori.top.details import Details as Told
from heori.top.details import read_details
from heori.top.dialogs import Details, Help, Menu, Question
from heori.top.feed import Feed, Snapshot
from heori.top.grid import heights
from heori.top.jobs import ClaimedJob
from heori.top.pane import Bar, Pane
from heori.top.table import View, plain
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.settings import Settings

WIDE = 150  # columns from which two panes are side by side
LEFT = ("queues", "consumers", "jobs")  # the others are to the right of these, or below
SILENT_S = 3.0  # longer than a reading takes; then it is said that nothing comes
TICK_S = 0.25
BY_SIGNAL = 128  # an exit code is that and the number of the signal
BARS = 3  # lines of heading, notice and footer


class TopApp(App[int]):
    """`heori top`. Its result is the exit code.

    Args:
        every: seconds between two readings.
        first: a reading, to compare the next with.
    """

    CSS = """
    Screen { background: $background; }
    #heading { text-style: bold; }
    #panes { height: 1fr; }
    Input { height: 1; border: none; padding: 0 1; display: none; background: $boost; }
    Input.-shown { display: block; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "leave(0)", "quit"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("s", "sort", "sort"),
        Binding("p", "pause", "pause"),
        Binding("k", "stop", "stop"),
        Binding("n", "notices", show=False),
        Binding("escape", "show_all", show=False),
        Binding("ctrl+c", f"leave({BY_SIGNAL + signal.SIGINT})", show=False, priority=True),
    ]

    class News(Message):
        """A reading, or why there is none."""

        def __init__(self, news: View | Exception) -> None:
            super().__init__()
            self.news = news

    class Answered(Message):
        """What came of something that was to be done at Redis."""

        def __init__(self, tell: Callable[[Any], None], result: Any) -> None:
            super().__init__()
            self.tell = tell
            self.result = result

    def __init__(
        self, client: RedisClient, settings: Settings, every: float, first: Snapshot
    ) -> None:
        super().__init__()
        self._client = client
        self._settings = settings
        self._keys = Keys(settings.key_prefix)
        self._feed = Feed(client, self._keys, every, first, self._hear)
        self._view = first.since(first, client.address)
        self._patience = every + SILENT_S
        self._heard = time.monotonic()
        self._base: Screen[Any] | None = None  # below any dialog
        self._trouble = ""
        self._said = Text()
        self._opened: tuple[str, tuple[str, ...], Any, Details] | None = None
        self._is_reading_details = False

        self._heading, self._notice = Bar(id="heading"), Bar(id="notice")
        self._panes = {name: Pane(table) for name, table in self._view.tables.items()}
        self._entered = self._panes["queues"]
        left = [pane for name, pane in self._panes.items() if name in LEFT]
        right = [pane for name, pane in self._panes.items() if name not in LEFT]
        self._sides = Vertical(*left), Vertical(*right)
        self._body = Vertical(*self._sides, id="panes")
        self._input = Input(placeholder="text in any column; Enter keeps it, Esc shows all")

    def compose(self) -> ComposeResult:
        """Make all that is on the screen."""
        yield from (self._heading, self._notice, self._body, self._input)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin."""
        self._base = self.screen
        self._pane.focus()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.action_leave, BY_SIGNAL + number)
        self.set_interval(TICK_S, self._draw_bars)
        self._draw_bars()
        self._feed.start()

    def action_leave(self, code: int) -> None:
        """End, whatever Redis does."""
        self._feed.stop()
        self.exit(code)

    def on_unmount(self) -> None:
        """Whatever has ended it, nothing is read any more."""
        self._feed.stop()

    # What comes from Redis

    def _hear(self, news: View | Exception) -> None:
        self._post(self.News(news))

    def _post(self, message: Message) -> None:
        """Have the application told something by another thread."""
        with contextlib.suppress(RuntimeError):  # it has ended meanwhile
            self.post_message(message)

    def on_top_app_news(self, message: "TopApp.News") -> None:
        """Show a reading, or say why there is none."""
        match message.news:
            case RedisUnavailable() | RedisRefused() as error:
                self._trouble = f"trying again; what follows was before: {error}"
            case Exception() as error:
                raise error
            case View() as view:
                self._view, self._trouble = view, ""
                self._heard = time.monotonic()
                for name, pane in self._panes.items():
                    pane.show(view.tables[name])
                self._read_details()
        self._draw_bars()

    def _draw_bars(self) -> None:
        silent = time.monotonic() - self._heard
        notices = self._view.notices
        notice = self._said
        if self._trouble:
            notice = Text(self._trouble, "bold red")
        elif silent > self._patience:
            told = f"nothing has come for {silent:.0f} s; what follows was before"
            notice = Text(told, "bold red")
        elif notices and not notice:
            more = f"(n: {len(notices) - 1} more) " if len(notices) > 1 else ""
            notice = Text(more + notices[0], "bold yellow")
        self._heading.show(Text(self._view.heading))
        self._notice.show(notice)

    def _at_redis(self, work: Callable[[RedisReader], Any], tell: Callable[[Any], None]) -> None:
        """Do something in a thread of its own; then tell of its result."""

        def run() -> None:
            try:
                result = work(RedisReader(self._client, self._keys))
            except Exception as error:  # told where it can be shown
                self._post(self.Answered(self._complain, error))
            else:
                self._post(self.Answered(tell, result))

        threading.Thread(target=run, name="at redis", daemon=True).start()

    def on_top_app_answered(self, message: "TopApp.Answered") -> None:
        """Tell what came of it."""
        message.tell(message.result)

    def _complain(self, error: Exception) -> None:
        self._is_reading_details = False
        if not isinstance(error, RedisUnavailable | RedisRefused):
            raise error
        self._say(str(error), "bold red")

    def _say(self, what: str, style: str = "bold green") -> None:
        self._said = Text(what, style)
        self._draw_bars()

    def _did(self, what: str) -> None:
        self._say(what)
        self._feed.hurry()

    # Panes

    def on_resize(self) -> None:
        """Have all panes find room."""
        self._arrange()

    def on_pane_resized(self) -> None:
        """The same."""
        self._arrange()

    def on_pane_entered(self, message: Pane.Entered) -> None:
        """Give it more room."""
        self._entered, self._said = message.pane, Text()
        self._arrange()

    @property
    def _pane(self) -> Pane:
        """The one with the cursor, or for which a text is asked."""
        # Who types fast is there before it is told that the pane was entered.
        focused = self._base.focused if self._base else None
        return focused if isinstance(focused, Pane) else self._entered

    def _arrange(self) -> None:
        height = self.size.height - BARS - self._asks
        is_wide = self.size.width >= WIDE
        self._body.styles.layout = "horizontal" if is_wide else "vertical"
        columns = [
            [pane for pane in self._panes.values() if pane.parent is side] for side in self._sides
        ]
        for column in columns if is_wide else [columns[0] + columns[1]]:
            at = column.index(self._pane) if self._pane in column else None
            given = heights([pane.wanted for pane in column], at, height)
            for pane, lines in zip(column, given, strict=True):
                pane.styles.height = lines
        for side in self._sides:
            side.styles.height = "1fr" if is_wide else "auto"

    @property
    def _asks(self) -> bool:
        """Whether it asks for a text to filter by."""
        return self._input.has_class("-shown")

    def action_filter(self) -> None:
        """Ask for a text."""
        self._input.value = self._pane.filter
        self._input.add_class("-shown")
        self._input.focus()
        self._arrange()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        if self._asks:
            self._pane.filter_by(event.value)

    def on_input_submitted(self) -> None:
        """Keep it."""
        self._close_input()

    def _close_input(self) -> None:
        self._input.remove_class("-shown")
        self._pane.focus()

    def action_show_all(self) -> None:
        """Filter no more."""
        if self._asks:
            self._close_input()
        self._pane.filter_by("")
        self._said = Text()

    def action_sort(self) -> None:
        """Ask by which column."""
        pane = self._pane

        def sort(chosen: object) -> None:
            if isinstance(chosen, int):
                pane.sort_by(chosen - 1 if chosen else None)

        headings = [column.heading or "bar" for column in pane.columns]
        options = ["as they come: no row moves", *headings]
        self.push_screen(Menu(f"sort {pane.id} by", options, pane.sorted_by), sort)

    # What keys do with the row at the cursor

    def action_help(self) -> None:
        """Say what the keys do."""
        self.push_screen(Help())

    def action_notices(self) -> None:
        """Show all of them."""
        told = {f"{n}": line for n, line in enumerate(self._view.notices, 1)}
        self.push_screen(Details("notices", told or {"": "There are none."}))

    def on_pane_opened(self, message: Pane.Opened) -> None:
        """Show all that is known of a row; it is read anew with each reading."""
        row, name = message.pane.selected, str(message.pane.id)
        if row is not None:
            screen = Details(f"{name}: {plain(row.cells[0])}", {"": "reading …"})
            self._opened = name, row.key, row.about, screen
            self.push_screen(screen)
            self._read_details()

    def _read_details(self) -> None:
        if self._opened is None or self._is_reading_details:
            return
        name, key, last, screen = self._opened
        if screen not in self.screen_stack:
            self._opened = None
            return
        now = {each.key: each.about for each in self._view.tables[name].rows}
        about = now.get(key, last)
        self._is_reading_details = True

        def show(told: Told) -> None:
            self._is_reading_details = False
            if screen in self.screen_stack:  # else it was closed meanwhile
                screen.fill(told)

        self._at_redis(lambda reader: read_details(reader, self._settings, about), show)

    def action_pause(self) -> None:
        """Pause what is at the cursor, or let it go on."""
        name, row = str(self._pane.id), self._pane.selected
        if name not in PAUSABLE or row is None or row.is_gone:
            self._say("p pauses a queue, a task or an entry of the schedule: go to one", "yellow")
            return
        [what] = row.key
        kind = PAUSABLE[name]
        paused = not (
            row.about.state == "paused" if kind == "entry" else (kind, what) in self._view.paused
        )
        self._at_redis(lambda reader: set_paused(reader, kind, what, paused=paused), self._did)

    def action_stop(self) -> None:
        """Stop the job at the cursor, if a person confirms it."""
        row = self._pane.selected
        job = row.about if row is not None and not row.is_gone else None
        if not isinstance(job, ClaimedJob):
            self._say("k stops a job that runs: go to one in the pane of jobs", "yellow")
            return

        def stop(confirmed: object) -> None:
            if confirmed:
                self._say(f"stopping {job.id} …")
                self._at_redis(lambda reader: stop_job(reader, job.id), self._did)

        self.push_screen(
            Question(
                "stop this job?",
                job.call,
                f"id        {job.id}",
                f"queue     {job.queue}",
                f"consumer  {job.consumer}",
                "",
                "It ends as stopped, a dead letter, and is not tried again.",
                "y stops it; n leaves it",
            ),
            stop,
        )
