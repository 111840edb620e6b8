"""What the checks of the dashboards share: what is checked in, and what it asks Prometheus for."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

GRAFANA = Path(__file__).parents[2] / "grafana"
PROMETHEUS = GRAFANA / "prometheus"
BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(GRAFANA.glob("dashboards/*.json"))
}

# A metric's name and its matchers; rules record names with a colon before and after.
_SELECTOR = re.compile(r"\b(?:\w+:)?heori_\w+(?::\w+)?(?:\{[^}]*\})?")


def tiles(board: dict[str, Any]) -> list[dict[str, Any]]:
    """All that lies on a dashboard, in closed rows too: headings, texts and panels."""
    rows = (panel.get("panels", []) for panel in board["panels"])
    return [*board["panels"], *(panel for row in rows for panel in row)]


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """What shows data, on a dashboard and in its closed rows."""
    return [panel for panel in tiles(board) if panel["type"] not in {"row", "text"}]


def marks(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The annotations of a dashboard."""
    found: list[dict[str, Any]] = board["annotations"]["list"]
    return found


def expressions(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every expression of a dashboard's panels, with the title of its panel."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def links(panel: dict[str, Any]) -> list[str]:
    """Where a panel's series and cells lead."""
    return [
        link["url"]
        for override in panel["fieldConfig"]["overrides"]
        for property_ in override["properties"]
        if property_["id"] == "links"
        for link in property_["value"]
    ]


def selectors(expression: str) -> list[str]:
    """What an expression selects, such as ``heori_jobs_total{outcome="failed"}``."""
    return _SELECTOR.findall(expression)


def names(texts: Iterable[str]) -> set[str]:
    """The metrics that texts name, each by one name, without those that rules record."""
    found = {name for text in texts for name in re.findall(r"(?<!:)\bheori_\w+\b(?!:)", text)}
    return {re.sub("_(bucket|sum|count)$", "", name) for name in found}
