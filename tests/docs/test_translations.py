"""A page and its Korean twin, NAME.md and NAME.ko.md, say the same: a person reads the words, and
these tests compare all that is the same in every language."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.rigs.pages import KOREAN_PAGES, ROOT, blocks

TWINS = [
    pytest.param(page.with_name(page.name.replace(".ko.md", ".md")), page, id=str(page.stem))
    for page in KOREAN_PAGES
]
FIGURE = re.compile(r"\d[\d,.]*")
HANGUL = re.compile(r"[가-힣]")


def prose(page: Path) -> str:
    """A page without its fenced blocks, in which a # is no heading."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def headings(page: Path) -> list[str]:
    return re.findall(r"^(#+) ", prose(page), re.MULTILINE)


def links(page: Path) -> Counter[str]:
    """Where a page leads, whatever the language there; a Korean page leads to Korean ones."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return Counter(target.replace(".ko.md", ".md") for target in targets)


def rows(page: Path) -> list[list[str]]:
    """The figures and the code in each row of the tables."""
    lines = re.findall(r"^\|.*\|$", prose(page), re.MULTILINE)
    return [[*re.findall(r"`[^`]+`", line), *FIGURE.findall(line)] for line in lines]


def test_the_readme_has_a_twin() -> None:
    assert ROOT / "README.ko.md" in KOREAN_PAGES


@pytest.mark.parametrize(("english", "korean"), TWINS)
def test_twins_lead_to_each_other_at_their_top(english: Path, korean: Path) -> None:
    for page, other, name in ((english, korean, "한국어"), (korean, english, "English")):
        assert f"[{name}]({other.name})" in page.read_text().partition("\n## ")[0]
    assert len(HANGUL.findall(prose(korean))) > 10 * len(HANGUL.findall(prose(english)))


@pytest.mark.parametrize(("english", "korean"), TWINS)
def test_twins_have_the_same_sections_examples_links_and_tables(
    english: Path, korean: Path
) -> None:
    assert headings(english)[0] == "#"
    assert headings(korean) == headings(english)
    ours, theirs = (
        [(each.language, each.mark, each.code) for each in blocks(page)]
        for page in (korean, english)
    )
    assert ours == theirs
    to_english, to_korean = Counter([english.name]), links(english)
    assert to_english <= links(korean) == to_korean
    assert rows(korean) == rows(english)
