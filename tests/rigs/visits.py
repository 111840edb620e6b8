"""One person's real browser, and what is wrong with what it shows."""

from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Response

from tests.rigs.waiting import until

SECRET, READS = "ana-has-a-long-token", "eve-has-another-one!"
# Width, height, colours and language: from a phone to a large screen.
SHAPES = {
    "phone": (390, 844, "light", "en-GB"),
    "phone, dark": (390, 844, "dark", "ko-KR"),
    "desk": (1280, 800, "light", "en-GB"),
    "wide, dark": (2560, 1440, "dark", "ko-KR"),
}
# Counts how often a page was brought up to date, and notes what has jumped then, unless that was to
# make room: where a row or an alert comes or goes, others move.
WATCH = """
window.seen = { refreshes: 0, still: 0, shifts: [], swaps: [] };
const parts = () => [...document.querySelectorAll("#live :is([id], tr, li, dt, p, h2, .alert)")];
const outline = () => parts().map((each) => each.tagName + each.id).join();
// A number begins elsewhere when it has a digit more, as it stands at the right of its cell.
const grew = (node) => Boolean(node.parentElement?.closest(".n"));
seen.note = (list) => {
    for (const shift of list) {
        if (!seen.swaps.findLast((swap) => swap.at <= shift.startTime)?.isSame) continue;
        const moved = shift.sources.map((each) => each.node).filter((node) => node && !grew(node));
        const names = moved.map((node) => node.id || node.outerHTML || node.textContent);
        if (moved.length) seen.shifts.push(names.join());
    }
};
seen.observer = new PerformanceObserver((list) => seen.note(list.getEntries()));
seen.observer.observe({ type: "layout-shift", buffered: false });
let before = "";
addEventListener("htmx:beforeSwap", () => { before = outline(); }, true);
addEventListener("htmx:afterSwap", () => {
    const isSame = outline() === before;
    seen.swaps.push({ at: performance.now(), isSame });
    seen.still += isSame ? 1 : 0;
}, true);
addEventListener("htmx:afterSettle", () => { seen.refreshes += 1; }, true);
"""


@dataclass
class Visit:
    """One person's browser.

    Attributes:
        wrong: what its console, its scripts and its network have said.
        posted: the paths that it has posted to, of requests that were not refused.
        expected: texts of what may be wrong, as a test refuses something on purpose.
    """

    context: BrowserContext
    url: str
    wrong: list[str] = field(default_factory=list)
    posted: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.context.set_default_timeout(60_000)
        self.context.add_init_script(WATCH)
        self.context.on("console", self._console)
        self.context.on("weberror", lambda wrong: self.wrong.append(f"{wrong.error}"))
        self.context.on("dialog", lambda dialog: self.wrong.append(f"asks {dialog.message}"))
        self.context.on("request", self._request)
        self.context.on("response", self._response)

    def goto(self, path: str) -> Page:
        """A page in a tab of its own, as it comes."""
        page = self.context.new_page()
        page.goto(self.url + path)
        return page

    def open(self, path: str) -> Page:
        """A page, once it has been brought up to date for the first time."""
        page = self.goto(path)
        refreshed(page)
        return page

    def _console(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning") and not any(
            map(said.text.__contains__, self.expected)
        ):
            self.wrong.append(f"{said.type}: {said.text} {said.location}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(self.url):
            self.wrong.append(f"it asked for {request.url}")

    def _response(self, response: Response) -> None:
        if response.request.method == "POST" and response.status < 400:
            self.posted.append(response.url.removeprefix(self.url).partition("?")[0])


def refreshed(page: Page) -> None:
    """Waits until a page that is live has been brought up to date once more."""
    if page.locator("#live[hx-get]").count() == 0:
        return
    before = page.evaluate("seen.refreshes")
    until(lambda: page.evaluate("seen.refreshes") > before)


def jumps(page: Page, times: int) -> list[Any]:
    """What has jumped since a page came, once it was brought up to date so often.

    Those times do not count in which a row or an alert has come or gone.
    """
    until(lambda: page.evaluate("seen.still") >= times, timeout=200)
    found: list[Any] = page.evaluate(
        "() => { seen.note(seen.observer.takeRecords()); return seen.shifts; }"
    )
    return found
