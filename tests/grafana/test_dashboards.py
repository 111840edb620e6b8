"""The dashboards as they are checked in: what Grafana is given is what the builder makes."""

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from grafana.colours import GREY
from heori_common.metrics import CATALOGUE
from tests.grafana.boards import (
    BOARDS,
    GRAFANA,
    PROMETHEUS,
    expressions,
    links,
    marks,
    names,
    panels,
    tiles,
)

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
        timeout=200,
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
    for panel in tiles(board):
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
    asked += [link.get("url", "") for link in board["links"]]
    for variable in known:
        assert any(
            f"${variable['name']}" in text or f"${{{variable['name']}}}" in text for text in asked
        ), variable["name"]


@each_board
def test_each_dashboard_leads_to_the_others_with_what_was_chosen(board: dict[str, Any]) -> None:
    others, page, alerts = board["links"]
    assert set(others["tags"]) <= set(board["tags"])
    assert others["includeVars"]
    assert others["keepTime"]
    assert (page["url"], alerts["url"]) == ("${page}/", "${alerts}/alerts")


@each_board
def test_a_dashboard_shows_eight_panels_at_most_until_a_row_is_opened(
    board: dict[str, Any],
) -> None:
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    assert len(board["panels"]) - len(rows) <= 8
    assert all(row["collapsed"] and row["panels"] for row in rows)
    assert rows or board["uid"] in {"heori-healthy", "heori-models"}


@each_board
def test_an_empty_panel_says_why_in_a_colour_that_is_neither_good_nor_bad(
    board: dict[str, Any],
) -> None:
    for panel in panels(board):
        defaults = panel["fieldConfig"]["defaults"]
        assert len(defaults["noValue"].split()) >= 3, panel["title"]
        if panel["type"] == "stat":
            said = defaults["mappings"][-1]["options"]
            assert said["match"] == "null+nan", panel["title"]
            assert said["result"] == {"text": defaults["noValue"], "color": GREY}


@each_board
def test_lines_have_a_legend_with_the_last_and_the_highest_value(board: dict[str, Any]) -> None:
    for panel in panels(board):
        if panel["type"] == "timeseries":
            legend = panel["options"]["legend"]
            assert legend["displayMode"] == "table", panel["title"]
            assert legend["calcs"] == ["lastNotNull", "max"], panel["title"]


@each_board
def test_no_share_is_above_all(board: dict[str, Any]) -> None:
    for panel in panels(board):
        defaults = panel["fieldConfig"]["defaults"]
        if defaults.get("unit") == "percentunit":
            assert all(target["expr"].startswith("clamp_max(") for target in panel["targets"])
            if panel["type"] != "stat":
                some_of_it = defaults.get("custom", {}).get("axisSoftMax", 1)
                assert defaults.get("max", some_of_it) <= 1, panel["title"]


@each_board
def test_times_and_queues_have_axes_on_which_decades_are_alike(board: dict[str, Any]) -> None:
    for panel in panels(board):
        if panel["type"] == "timeseries":
            defaults = panel["fieldConfig"]["defaults"]
            scale = defaults["custom"].get("scaleDistribution", {"type": "linear"})
            spans_decades = defaults["unit"] == "s" or panel["title"].startswith("Waiting, by")
            if spans_decades:
                assert (scale["type"], scale["log"]) == ("log", 10), panel["title"]
                assert "min" not in defaults, panel["title"]  # 0 has no place on it


@each_board
def test_rates_are_over_a_minute_or_more_and_never_over_a_time_that_is_written_down(
    board: dict[str, Any],
) -> None:
    for panel in panels(board):
        for target in panel["targets"]:
            windows = set(re.findall(r"\[([^]:]+)", target["expr"]))
            assert windows <= {"$__rate_interval", "$__range"}, panel["title"]
            assert target["interval"] == "15s", panel["title"]  # Grafana takes four times that


@each_board
def test_consumers_are_named_by_their_names(board: dict[str, Any]) -> None:
    assert "instance" not in json.dumps(board)


@each_board
def test_a_name_leads_to_its_panels_and_to_the_page(board: dict[str, Any]) -> None:
    for panel in panels(board):
        named = {
            label
            for target in panel["targets"]
            for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))
            if panel["type"] in {"timeseries", "bargauge"}
        }
        if panel["type"] == "table":
            titles = {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]}
            named = {title.lower() for title in titles}
            assert named & {"task", "consumer", "alert"}, panel["title"]
        found = " ".join(links(panel))
        if "task" in named:
            assert "/d/heori-flow?" in found, panel["title"]
            assert "${page}/jobs?task=$" in found, panel["title"]
        if "consumer" in named:
            assert "/d/heori-consumers?" in found, panel["title"]
            assert "${page}/consumers/$" in found, panel["title"]
        if "alert" in named:
            assert "${alerts}/alerts?search=$" in found, panel["title"]
        if "lock" in named:
            assert "${page}/locks?name=$" in found, panel["title"]
        if "queue" in named:
            assert "${page}/jobs?queue=$" in found, panel["title"]


@each_board
def test_what_happens_to_consumers_and_workers_is_marked(board: dict[str, Any]) -> None:
    assert [mark["name"] for mark in marks(board)] == [
        "Sizes",
        "Starts",
        "Ends",
        "Drains",
        "Deaths",
        "Recycling",
    ]
    assert all(mark["enable"] and "{{consumer}}" in mark["titleFormat"] for mark in marks(board))


def test_each_note_begins_with_its_sentence_and_what_to_look_at() -> None:
    rows = [panel for panel in BOARDS["notes"]["panels"] if panel["type"] == "row"]
    assert [row["title"].split(" · ")[0] for row in rows] == list("2345789")
    for row in rows:
        first, *others = row["panels"]
        said = re.fullmatch(r"\*\*[^*]+\.\*\* .+ `(.+\.md)`\.", first["options"]["content"])
        assert said, row["title"]
        assert (GRAFANA.parent / said[1]).exists(), row["title"]
        assert "text" not in {panel["type"] for panel in others}


def test_a_high_speedup_is_no_bad_sign() -> None:
    [panel] = [each for each in panels(BOARDS["gil"]) if each["title"].startswith("Speed-up")]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert {"red", "orange"}.isdisjoint(step["color"] for step in steps)


def test_all_metrics_of_the_catalogue_are_shown_and_no_others() -> None:
    rules = [path.read_text() for path in PROMETHEUS.glob("*.yml")]
    asked = [asked for board in BOARDS.values() for _, asked in expressions(board)]
    assert names([*rules, *asked]) == set(CATALOGUE)
