"""The dashboards as they are checked in: what Grafana is given is what the builder makes."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from heori_common.metrics import CATALOGUE
from tests.grafana.boards import BOARDS, GRAFANA, PROMETHEUS, expressions, names, panels

SCHEMA = Path(__file__).parent / "schema"
COMPILER = SCHEMA / "node_modules" / ".bin" / "tsc"

each_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def test_what_is_checked_in_is_what_the_builder_makes() -> None:
    """If this fails: `make dashboards`, and look at the difference."""
    from grafana.__main__ import DASHBOARDS, boards  # its library takes long to import

    made = {board.uid: board.to_json() for board in boards()}
    assert {path.stem: path.read_text() for path in DASHBOARDS.glob("*.json")} == made


def test_the_dashboards_have_the_types_that_grafana_says(tmp_path: Path) -> None:
    if shutil.which("node") is None or not COMPILER.exists():
        pytest.skip("needs Node.js and what `npm ci` puts into tests/grafana/schema")
    checked = tmp_path / "boards.ts"
    constants = [
        f"export const {uid}: Board = {path.read_text()};"
        for uid, path in ((path.stem, path) for path in GRAFANA.glob("dashboards/*.json"))
    ]
    checked.write_text(f"import type {{ Board }} from '{SCHEMA}/board';\n" + "\n".join(constants))
    options = "--strict --noEmit --target esnext --module esnext --moduleResolution bundler"
    found = subprocess.run(
        [COMPILER, *options.split(), "--skipLibCheck", "--types", "", checked],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (found.returncode, found.stdout) == (0, "")


@each_board
def test_each_panel_says_what_it_shows_and_how_to_read_it(board: dict[str, Any]) -> None:
    titles = Counter(panel["title"] for panel in panels(board))
    assert max(titles.values()) == 1
    for panel in panels(board):
        assert panel["description"].endswith("."), panel["title"]
        assert len(panel["description"].split()) >= 6, panel["title"]


@each_board
def test_panels_fill_the_grid_and_lie_on_none_other(board: dict[str, Any]) -> None:
    cells: Counter[tuple[int, int]] = Counter()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells.update(
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        )
    assert set(cells.values()) == {1}
    assert len(cells) == 24 * (1 + max(y for _, y in cells))  # nothing is left blank


@each_board
def test_each_variable_narrows_something_and_each_one_used_is_there(board: dict[str, Any]) -> None:
    known = board["templating"]["list"]
    asked = [expression for _, expression in expressions(board)]
    asked += [str(variable["query"]) for variable in known]
    asked += [str(panel["datasource"]["uid"]) for panel in panels(board)]
    for variable in known:
        assert any(
            f"${variable['name']}" in text or f"${{{variable['name']}}}" in text for text in asked
        ), variable["name"]


@each_board
def test_each_dashboard_leads_to_the_others_with_what_was_chosen(board: dict[str, Any]) -> None:
    [link] = board["links"]
    assert set(link["tags"]) <= set(board["tags"])
    assert link["includeVars"]
    assert link["keepTime"]


def test_all_metrics_of_the_catalogue_are_shown_and_no_others() -> None:
    rules = [path.read_text() for path in PROMETHEUS.glob("*.yml")]
    asked = [asked for board in BOARDS.values() for _, asked in expressions(board)]
    assert names([*rules, *asked]) == set(CATALOGUE)
