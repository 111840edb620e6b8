"""The page in a real browser, Debian's Chromium, over real consumers that are at work."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import StorageState, sync_playwright

from heori_common.embedded import EmbeddedValkey
from tests.rigs.at_work import TASKS, AtWork, at_work
from tests.rigs.service_rig import Service, serving
from tests.rigs.visits import READS, SECRET, SHAPES, Visit

# Not even a name of another machine is looked up.
HERE_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without the target that brings a Chromium, the tests say so."""
    if os.environ.get("HEORI_TEST_PAGE"):
        return
    for item in items:
        if "tests/browser" in str(item.path):
            item.add_marker(pytest.mark.skip(reason="run by `make test-page`, in a Chromium"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail("there is no Chromium; apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", HERE_ONLY])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def work(valkey: EmbeddedValkey) -> Iterator[AtWork]:
    """What goes on in the Redis of all these tests."""
    with at_work(valkey.url) as goes_on:
        yield goes_on


@pytest.fixture(scope="session")
def service(work: AtWork) -> Iterator[Service]:
    tokens = {"HEORI_API_TOKENS": f"ana:{SECRET}", "HEORI_API_READ_TOKENS": f"eve:{READS}"}
    with serving(work.url, HEORI_TASKS=TASKS, **tokens) as one:
        yield one


@pytest.fixture(scope="session")
def log_in(chromium: Chromium) -> Callable[[str, str], StorageState]:
    """Gives what a browser keeps of who has logged in at a service with a token."""

    @cache
    def log_in(url: str, token: str) -> StorageState:
        with chromium.new_context() as context:
            page = context.new_page()
            page.goto(f"{url}/login")
            page.fill("#token", token)
            page.press("#token", "Enter")
            page.wait_for_url(f"{url}/", timeout=60_000)
            return context.storage_state()

    return log_in


@pytest.fixture
def visit(
    chromium: Chromium, service: Service, log_in: Callable[[str, str], StorageState]
) -> Iterator[Callable[..., Visit]]:
    """Has somebody come, logged in if they have a token; in the end nothing may have been wrong."""
    visits: list[Visit] = []

    def begin(shape: str = "desk", token: str | None = SECRET, **options: Any) -> Visit:
        width, height, colours, language = SHAPES[shape]
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if colours == "dark" else "light",
            locale=language,
            storage_state=log_in(service.url, token) if token else None,
            **options,
        )
        visits.append(Visit(context, service.url))
        return visits[-1]

    yield begin
    for each in visits:
        each.context.close()
    assert [wrong for each in visits for wrong in each.wrong] == []
