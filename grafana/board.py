"""What all dashboards have in common: variables, links to each other, the grid, and their JSON."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Self

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as dm

from grafana.annotations import annotate
from grafana.links import ADDRESSES
from grafana.queries import SOURCE
from heori_common import metrics

TAG = "heori"
COLUMNS = 24  # of Grafana's grid
MOST_OPEN = 8  # panels that a dashboard shows before a row is opened

Line = Sequence[Builder[dm.Panel]]


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(dm.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dm.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(dm.VariableOption(text="All", value="$__all"))
    )


# The model narrows the choice of consumers, which is what panels ask for.
VARIABLES = {
    "queue": ("Queue", f"label_values({metrics.QUEUE_DEPTH}, queue)"),
    "task": ("Task", f"label_values({metrics.JOBS}, task)"),
    "model": ("Model", f"label_values({metrics.CONSUMER_INFO}, model)"),
    "consumer": (
        "Consumer",
        f'label_values({metrics.CONSUMER_INFO}{{model=~"$model"}}, consumer)',
    ),
}


class Board:
    """A dashboard, line by line from the top.

    Args:
        uid: names its file and its address.
        names: of its variables.
    """

    def __init__(self, uid: str, title: str, about: str, names: Sequence[str]) -> None:
        self.uid = uid
        self._board = (
            dashboard.Dashboard(f"Heori: {title}")
            .uid(f"heori-{uid}")
            .description(about)
            .tags([TAG])
            .time("now-15m", "now")
            .refresh("5s")
            .timezone("browser")
            .tooltip(dm.DashboardCursorSync.CROSSHAIR)
            .editable()
        )
        # Hidden, as most have one Prometheus; it lets the same files be imported anywhere.
        self._board.with_variable(
            dashboard.DatasourceVariable("source")
            .label("Prometheus")
            .type("prometheus")
            .hide(dm.VariableHide.HIDE_VARIABLE)
        )
        for name in names:
            self._board.with_variable(_variable(name, *VARIABLES[name]))
        for name, address in ADDRESSES.items():
            self._board.with_variable(
                dashboard.TextBoxVariable(name)
                .default_value(address)
                .current(dm.VariableOption(text=address, value=address))
                .hide(dm.VariableHide.HIDE_VARIABLE)
            )
        self._board.link(
            dashboard.DashboardLink("Heori")
            .type(dm.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        for title, address in (("Page", "${page}/"), ("Alerts", "${alerts}/alerts")):
            self._board.link(
                dashboard.DashboardLink(title)
                .type(dm.DashboardLinkType.LINK)
                .icon("external link")
                .url(address)
                .target_blank(True)
            )
        annotate(self._board)

    def top(self, *lines: Line) -> Self:
        """What is seen at once.

        Raises:
            ValueError: a line does not fill the grid from side to side, or it is too much to see.
        """
        if (count := sum(map(len, lines))) > MOST_OPEN:
            raise ValueError(
                f"{self.uid}: {count} panels are open, and {MOST_OPEN} can be looked at"
            )
        for panel in self._checked(lines):
            self._board.with_panel(panel)
        return self

    def row(self, title: str, *lines: Line) -> Self:
        """A heading that a click opens, and lines of panels under it.

        Raises:
            ValueError: a line does not fill the grid from side to side.
        """
        row = dashboard.Row(title)
        for panel in self._checked(lines):
            row.with_panel(panel)
        self._board.with_row(row)
        return self

    def _checked(self, lines: Sequence[Line]) -> list[Builder[dm.Panel]]:
        for line in lines:
            built = [panel.build() for panel in line]
            widths = [panel.grid_pos.w for panel in built if panel.grid_pos is not None]
            if sum(widths) != COLUMNS:
                raise ValueError(f"{self.uid}, {built[0].title!r}: {widths} is not {COLUMNS} wide")
        return [panel for line in lines for panel in line]

    def to_json(self) -> str:
        """As it is checked in and as Grafana reads it."""
        built = json.loads(json.dumps(self._board.build(), cls=JSONEncoder))
        for number, panel in enumerate(_panels(built), 1):
            panel["id"] = number
        _mend(built)
        return json.dumps(built, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _panels(built: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in built["panels"]:
        yield panel
        yield from panel.get("panels", ())


def _mend(built: dict[str, Any]) -> None:
    """Take out what the SDK adds of itself and Grafana's schema does not know, or reads ill."""
    for link in built["links"]:
        del link["placement"]  # it would hide the links in a menu
    for mark in built["annotations"]["list"]:
        del mark["placement"]
    for variable in built["templating"]["list"]:
        for name in ("auto", "auto_count", "auto_min"):
            variable.pop(name, None)
    for panel in _panels(built):
        if panel["type"] == "table":
            del panel["options"]["footer"]
