"""Spans that were written to a file, a line each, and their tree as docs/tracing.md shows it."""

import json
import sys
from pathlib import Path
from typing import Any, Self


class Spans:
    """All spans of a file."""

    def __init__(self, listed: list[dict[str, Any]]) -> None:
        self.listed = sorted(listed, key=lambda span: (span["start_time"], span["name"]))

    @classmethod
    def read(cls, path: Path) -> Self:
        whole = path.read_text().rpartition("\n")[0]  # somebody may be writing the last line
        return cls([json.loads(line) for line in whole.splitlines()])

    @property
    def traces(self) -> set[str]:
        return {span["context"]["trace_id"] for span in self.listed}

    def named(self, name: str) -> list[dict[str, Any]]:
        return [span for span in self.listed if span["name"] == name]

    def tree(self) -> str:
        return "\n".join(self._below())

    def _below(self, parent: str | None = None, indent: str = "") -> list[str]:
        lines: list[str] = []
        children = [span for span in self.listed if span["parent_id"] == parent]
        for span in children:
            is_last = span is children[-1]
            corner = "" if parent is None else "└─ " if is_last else "├─ "
            deeper = indent + ("" if parent is None else "   " if is_last else "│  ")
            service = span["resource"]["attributes"]["service.name"]
            told = [service.ljust(10), indent, corner, span["name"]]
            if (attempt := span["attributes"].get("heori.attempt", 1)) > 1:
                told.append(f", attempt {attempt}")
            if error := span["attributes"].get("error.type"):
                told.append(f": {error.removeprefix('builtins.')}")
            lines += ["".join(told), *self._below(span["context"]["span_id"], deeper)]
        return lines


if __name__ == "__main__":
    print(Spans.read(Path(sys.argv[1])).tree())
