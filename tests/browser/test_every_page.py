"""What holds for every page: all can read it, it loads nothing from elsewhere, it stands still."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.rigs.at_work import LOST, AtWork
from tests.rigs.visits import SHAPES, Visit, jumps, refreshed

LIVE = [
    "/",
    "/queues",
    "/queues/nobody.serves",
    "/consumers",
    "/consumers/{consumer}",
    "/schedule",
    "/locks",
    "/locks/mutex/account%3Akim",
    "/jobs/{failed}",
    "/jobs/{running}",
    "/jobs/{scheduled}",
]
PAGES = [
    *LIVE,
    "/jobs",
    f"/dead?queue={LOST}",
    "/dead/letters",
    "/dead/replay?error=None",
    "/docs",
    "/no/such/page",
]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_can_be_read_by_all(path: str, work: AtWork, visit: Callable[..., Visit]) -> None:
    people = [visit(shape) for shape in SHAPES]
    for person in people:
        person.expected = ("404 (Not Found)",) if path == "/no/such/page" else ()
    # All come at once: a page is brought up to date every two seconds.
    pages = [person.goto(work.path(path)) for person in people]
    for shape, page in zip(SHAPES, pages, strict=True):
        refreshed(page)
        assert page.get_attribute("html", "lang") == SHAPES[shape][3][:2]
        results = Axe().run(page)
        assert results.violations_count == 0, f"{shape}: {results.generate_report()}"
        sideways = "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
        assert page.evaluate(sideways) == 0, shape
        assert page.evaluate("window.struck") is None


# Of /jobs, only those that stay: where jobs come and go, that is what it shows, and others move up.
def test_nothing_jumps_while_it_is_brought_up_to_date(
    work: AtWork, visit: Callable[..., Visit]
) -> None:
    # Each in a browser of its own, as one keeps six connections to a service at most.
    pages = {path: visit().goto(work.path(path)) for path in [*LIVE, "/jobs?queue=long"]}
    found = {path: jumps(page, times=3) for path, page in pages.items()}
    assert {path: jumped for path, jumped in found.items() if jumped} == {}
