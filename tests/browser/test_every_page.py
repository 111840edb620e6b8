"""What holds for every page: all can read it, it loads nothing from elsewhere, it stands still."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.rigs.visits import SHAPES, Visit, refreshed

PAGES = [
    "/",
    "/queues",
    "/queues/default",
    "/consumers",
    "/schedule",
    "/locks",
    "/locks/mutex/account%3Akim",
    "/jobs",
    "/dead",
    "/docs",
]
SHIFTS = """() => new Promise((done) => {
    const shifts = [];
    new PerformanceObserver((list) => {
        for (const shift of list.getEntries())
            shifts.push(shift.sources.map((each) => each.node?.id || each.node?.outerHTML).join());
    }).observe({ type: "layout-shift", buffered: false });
    let count = 0;
    document.body.addEventListener("htmx:afterSettle", () => {
        count += 1;
        if (count === 3) done(shifts);
    });
})"""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("path", PAGES)
def test_a_page_can_be_read_by_all(path: str, shape: str, visit: Callable[..., Visit]) -> None:
    page = visit(shape).open(path)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    sideways = "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
    assert page.evaluate(sideways) == 0
    assert page.evaluate("window.struck") is None


@pytest.mark.parametrize("path", ["/", "/queues", "/consumers", "/locks"])
def test_nothing_jumps_while_it_is_brought_up_to_date(
    path: str, visit: Callable[..., Visit]
) -> None:
    page = visit().open(path)
    refreshed(page)
    assert page.evaluate(SHIFTS) == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_there_in_korean(path: str, visit: Callable[..., Visit]) -> None:
    page = visit(locale="ko-KR").open(path)
    assert page.get_attribute("html", "lang") == "ko"
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
