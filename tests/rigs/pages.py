"""The documentation as the tests see it: pages, and the fenced blocks in them.

A comment above a block tells how it is to be treated:

    <!-- example: not run, WHY -->    only looked at: its targets, files and options exist
    <!-- example: stays -->           runs while the rest of its page runs, and ends on SIGTERM

A block of Python that begins with ``# myapp/tasks.py`` is that file.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
GENERATED = (
    "settings.md",
    "commands.md",
    "metrics.md",
    "python.md",
)  # by docs/generate.py, without examples
# The twin of NAME.md is NAME.ko.md. Its examples are the same ones, and run once.
KOREAN_PAGES = [ROOT / "README.ko.md", *sorted(DOCS.rglob("*.ko.md"))]
NOTES = sorted(page for page in DOCS.glob("notes/*.md") if page not in KOREAN_PAGES)
PAGES = [
    README,
    *sorted(page for page in DOCS.glob("*.md") if page.name not in GENERATED),
    *NOTES,
]
ALL_PAGES = [
    README,
    *KOREAN_PAGES,
    ROOT / "benchmarks/README.md",
    ROOT / "examples/README.md",
    *sorted(DOCS.glob("*.md")),
    *NOTES,
]

_FENCE = re.compile(
    r"^(?:<!-- example: (?P<mark>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"# (\w+(?:/\w+)*\.py)\n")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        line: the number of its first line of code, from 1.
        language: after the fence; empty where there is none.
        mark: the comment above it.
    """

    page: Path
    line: int
    language: str
    code: str
    mark: str

    @property
    def file(self) -> str | None:
        """The file that it is, if it says so."""
        named = _FILE.match(self.code) if self.language == "python" else None
        return named[1] if named else None

    @property
    def is_run(self) -> bool:
        """Whether it runs here."""
        return not self.mark.startswith("not run")

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    text = page.read_text()
    found = list(_FENCE.finditer(text))
    assert text.count("```") == 2 * len(found), f"{page.name}: a fence is indented or not closed"
    return [
        Block(
            page,
            text.count("\n", 0, match.start("code")) + 1,
            match["language"],
            match["code"],
            match["mark"] or "",
        )
        for match in found
    ]


def program(page: Path) -> str:
    """The Python of a page that is no file, each line where it stands in the page."""
    lines: list[str] = []
    for block in blocks(page):
        if block.language == "python" and block.file is None and block.is_run:
            lines += [""] * (block.line - 1 - len(lines)) + block.code.splitlines()
    return "\n".join([*lines, ""]) if lines else ""


def users_with_rights() -> dict[str, list[str]]:
    """What docs/deploying.md tells redis-cli to give to each user; their password is `secret`."""
    page = (DOCS / "deploying.md").read_text().replace("\\\n", "")
    lines = re.findall(r"^redis-cli (ACL SETUSER (\S+) .*)$", page, re.MULTILINE)
    return {user: shlex.split(words) for words, user in lines}
