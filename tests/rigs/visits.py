"""One person's real browser, and what is wrong with what it shows."""

from dataclasses import dataclass, field

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

SECRET, READS = "ana-has-a-long-token", "eve-has-another-one!"
# Width, height and colours: from a phone to a large screen.
SHAPES = {
    "phone": (390, 844, "light"),
    "phone, dark": (390, 844, "dark"),
    "desk": (1280, 800, "light"),
    "wide, dark": (2560, 1440, "dark"),
}
LANGUAGE = "en-GB"


@dataclass
class Visit:
    """One person's browser.

    Attributes:
        wrong: what its console, its scripts and its network have said.
    """

    context: BrowserContext
    url: str
    wrong: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """A page, once it has been brought up to date for the first time."""
        page = self.context.new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(f"{path}: {error}"))
        page.on("dialog", lambda dialog: self.wrong.append(f"{path} asks {dialog.message}"))
        page.on("request", self._request)
        page.goto(self.url + path)
        refreshed(page)
        return page

    def _console(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.wrong.append(f"{said.type}: {said.text} {said.location}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(self.url):
            self.wrong.append(f"it asked for {request.url}")


def refreshed(page: Page) -> None:
    """Waits until a page that is live has been brought up to date once more."""
    page.evaluate(
        """() => new Promise((done) => {
            if (!document.querySelector("#live[hx-get]")) return done();
            document.body.addEventListener("htmx:afterSettle", done, { once: true });
        })"""
    )
