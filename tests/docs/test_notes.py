"""Each note has a page, in English and Korean, in one order, and says nothing that is not there.

What a page says that its experiment shows is compared with the experiment in tests/cli.
"""

import re
from pathlib import Path

import pytest

from heori.lab.notes.running import NOTES
from tests.rigs.pages import DOCS, KOREAN_PAGES, ROOT

FOLDER = DOCS / "notes"
SECTIONS = ["The experiment", "What it shows", "In Heori", "What production taught", "Questions"]
MOST_LINES, MOST_BYTES = 120, 60_000
ENGLISH = [pytest.param(FOLDER / f"{name}.md", id=name) for name in NOTES]
BOTH = [
    pytest.param(FOLDER / f"{name}{ending}", id=f"{name}{ending}")
    for name in ("index", *NOTES)
    for ending in (".md", ".ko.md")
]


def sections(page: Path) -> dict[str, str]:
    _, *parts = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    return dict(part.split("\n", 1) for part in parts)


@pytest.mark.parametrize("page", ENGLISH)
def test_a_page_has_the_note_its_experiment_its_code_and_questions(page: Path) -> None:
    found = sections(page)
    assert list(found) == SECTIONS
    top = page.read_text().partition("## ")[0]
    assert f"# Note {list(NOTES).index(page.stem) + 1}: " in top
    assert "\n> " in top
    assert f"heori lab notes {page.stem}\n" in found["The experiment"]
    assert f"]({page.stem}.png)" in found["The experiment"]
    assert 3 <= found["Questions"].count("\n### ") <= 5


@pytest.mark.parametrize("page", BOTH)
def test_a_page_is_short_and_in_the_table_of_contents(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= MOST_LINES
    assert f": notes/{page.name}\n" in (ROOT / "mkdocs.yml").read_text()
    if page.stem.partition(".")[0] != "index":
        index = "index.ko.md" if page in KOREAN_PAGES else "index.md"
        assert f"]({page.name})" in (FOLDER / index).read_text()


@pytest.mark.parametrize("name", NOTES)
def test_a_picture_is_small(name: str) -> None:
    assert 2_000 < (FOLDER / f"{name}.png").stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("page", ENGLISH)
def test_what_a_page_names_of_a_file_is_defined_there(page: Path) -> None:
    """Whether the files exist is tested for all pages."""
    named = re.findall(
        r"^- `([\w/]+\.\w+)`((?:, `\w+`)*)", sections(page)["In Heori"], re.MULTILINE
    )
    assert len(named) >= 3
    for file, names in named:
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"\b(?:class|def) {name}\b", (ROOT / file).read_text()), (file, name)


@pytest.mark.parametrize("page", ENGLISH)
def test_figures_are_quoted_from_where_they_were_measured(page: Path) -> None:
    """Of what production taught: each stands in the page that its paragraph leads to."""
    quoted = 0
    for paragraph in re.split(r"^- ", sections(page)["What production taught"], flags=re.MULTILINE):
        text = re.sub(r"\]\([^)]*\)|`[^`]*`", "", paragraph)
        figures = re.findall(r"(?<![\w.])(?:\d+[.,]\d+|\.\d\d|\d{3,})\b", text)
        leads = re.findall(r"\]\(\.\./([\w-]+\.md)", paragraph)
        sources = "".join((DOCS / name).read_text() for name in leads)
        for figure in figures:
            assert figure in sources, (figure, leads)
            quoted += 1
    assert quoted or page.stem in ("thread", "daemon-threads")
