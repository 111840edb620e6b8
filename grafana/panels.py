"""The kinds of panels that the dashboards are made of, alike wherever they are used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as cm
from grafana_foundation_sdk.models import dashboard as dm
from grafana_foundation_sdk.models import heatmap as hm
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.colours import BLUE, RED, by_name

SOURCE = cm.DataSourceRef(type_val="prometheus", uid="${source}")

EACH_SECOND, EACH_MINUTE = "count:/s", "count:/min"
JOBS_EACH_SECOND, CALLS_EACH_SECOND = "count:jobs/s", "count:calls/s"

Steps = Sequence[tuple[float | None, str]]
NEUTRAL: Steps = [(None, BLUE)]  # a number that is neither good nor bad

Plot = TypeVar(
    "Plot",
    barchart.Panel,
    bargauge.Panel,
    heatmap.Panel,
    stat.Panel,
    table.Panel,
    timeseries.Panel,
)


@dataclass(frozen=True, slots=True)
class Query:
    """An expression in PromQL, and the name of its series in the legend."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table: an expression that gives one value for each row.

    One without a title is not shown, and brings the labels that other columns lack.
    """

    title: str
    expr: str
    unit: str
    steps: Steps = ()  # colours the number


def steps(levels: Steps) -> dashboard.ThresholdsConfig:
    """From which value on which colour."""
    return (
        dashboard.ThresholdsConfig()
        .mode(dm.ThresholdsMode.ABSOLUTE)
        .steps([dm.Threshold(value=value, color=colour) for value, colour in levels])
    )


def number(
    title: str, about: str, unit: str, query: str, levels: Steps = NEUTRAL, *, span: int = 4
) -> stat.Panel:
    """One number, large."""
    panel = _base(stat.Panel(), title, about, span, 4).unit(unit).thresholds(steps(levels))
    return (
        panel.with_target(_now(Query(query, title), "A"))
        .color_mode(cm.BigValueColorMode.VALUE)
        .graph_mode(cm.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def words(
    title: str, about: str, query: Query, meanings: dict[str, tuple[str, str]], *, span: int = 4
) -> stat.Panel:
    """A number that stands for a word, or a series whose name is the word.

    Args:
        meanings: the word and its colour, by the number.
    """
    mapping = dm.ValueMap(
        options={
            value: dm.ValueMappingResult(text=word, color=colour, index=index)
            for index, (value, (word, colour)) in enumerate(meanings.items())
        }
    )
    return (
        _base(stat.Panel(), title, about, span, 4)
        .unit("none")
        .with_target(_now(query, "A"))
        .mappings([mapping])
        .text_mode(cm.BigValueTextMode.VALUE if meanings else cm.BigValueTextMode.NAME)
        .thresholds(steps(NEUTRAL))
        .color_mode(cm.BigValueColorMode.VALUE)
        .graph_mode(cm.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def lines(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    span: int = 12,
    height: int = 8,
    limit: float | None = None,
    reach: float | None = None,
) -> timeseries.Panel:
    """Lines over time.

    Args:
        limit: where too much begins; drawn as a dashed red line.
        reach: how far up the axis goes at least, so that a small value looks small.
    """
    panel = _base(timeseries.Panel(), title, about, span, height).unit(unit)
    panel.min(0).line_width(2).fill_opacity(8).show_points(cm.VisibilityMode.NEVER)
    panel.span_nulls(False).color_scheme(
        dashboard.FieldColor().mode(dm.FieldColorModeId.PALETTE_CLASSIC)
    )
    panel.legend(_legend()).tooltip(_tooltip())
    if reach is not None:
        panel.axis_soft_max(reach)
    if limit is not None:
        panel.thresholds(steps([(None, "transparent"), (limit, RED)])).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(cm.GraphThresholdsStyleMode.DASHED)
        )
    _ask(panel, [_range(query, ref) for query, ref in _refs(queries)])
    _colour(panel, queries)
    return panel


def stacked(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    span: int = 12,
    height: int = 8,
    most: float | None = None,
) -> timeseries.Panel:
    """Parts of a whole over time, one upon the other.

    Args:
        most: the whole, when it is known, such as 1 for shares.
    """
    panel = lines(title, about, unit, *queries, span=span, height=height)
    panel.line_width(0).fill_opacity(75).stacking(
        common.StackingConfig().mode(cm.StackingMode.NORMAL).group("A")
    )
    return panel if most is None else panel.max(most)


def dashed(panel: timeseries.Panel, name: str) -> timeseries.Panel:
    """Draw one series as a dashed line that is not filled: a bound for the others."""
    return panel.override_by_name(
        name,
        [
            _property("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
            _property("custom.lineWidth", 2),
            _property("custom.fillOpacity", 0),
            _property("custom.stacking", {"mode": "none", "group": "bound"}),
        ],
    )


def shares(
    title: str,
    about: str,
    unit: str,
    label: str,
    *queries: Query,
    span: int = 12,
    height: int = 8,
) -> barchart.Panel:
    """For each value of a label one bar, made up of what the queries give."""
    panel = _base(barchart.Panel(), title, about, span, height).unit(unit).min(0)
    panel.orientation(cm.VizOrientation.HORIZONTAL).stacking(cm.StackingMode.NORMAL)
    panel.fill_opacity(75).line_width(0).bar_width(0.8).show_value(cm.VisibilityMode.NEVER)
    panel.legend(_legend()).tooltip(_tooltip()).x_field(label)
    names = {"Time": ""}
    for query, ref in _refs(queries):
        panel.with_target(_now(Query(query.expr), ref).format(PromQueryFormat.TABLE))
        names[f"Value #{ref}"] = query.legend
    _colour(panel, queries)
    return _joined(panel, names)


def bars(
    title: str,
    about: str,
    unit: str,
    query: Query,
    levels: Steps = NEUTRAL,
    *,
    span: int = 12,
    height: int = 8,
    most: float | None = None,
) -> bargauge.Panel:
    """The latest value of each series as a bar."""
    panel = _base(bargauge.Panel(), title, about, span, height).unit(unit)
    panel.min(0).thresholds(steps(levels)).with_target(_now(query, "A"))
    panel.orientation(cm.VizOrientation.HORIZONTAL).display_mode(cm.BarGaugeDisplayMode.BASIC)
    panel.text(common.VizTextDisplayOptions().title_size(14).value_size(20))
    panel.value_mode(cm.BarGaugeValueMode.COLOR).reduce_options(
        common.ReduceDataOptions().calcs(["lastNotNull"])
    )
    return panel if most is None else panel.max(most)


def spread(
    title: str, about: str, unit: str, expr: str, *, span: int = 12, height: int = 8
) -> heatmap.Panel:
    """How often which value occurs, over time; the expression is summed by le."""
    query = _range(Query(expr, "{{le}}"), "A").format(PromQueryFormat.HEATMAP)
    return (
        _base(heatmap.Panel(), title, about, span, height)
        .with_target(query)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .cell_gap(1)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(hm.HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .steps(64)
            .exponent(0.5)
            .fill(BLUE)
            .reverse(False)
        )
    )


def rows_of(
    title: str,
    about: str,
    labels: dict[str, str],
    columns: Sequence[TableColumn],
    *,
    span: int = 24,
    height: int = 8,
) -> table.Panel:
    """A table: one row for each combination of labels, one column for each expression.

    Args:
        labels: what a label's column is called.
    """
    panel = _base(table.Panel(), title, about, span, height).min_width(80)
    nothing = dm.ValueMappingResult(text="-", index=0)
    panel.mappings(
        [dm.SpecialValueMap(dm.DashboardSpecialValueMapOptions(dm.SpecialValueMatch.NA_N, nothing))]
    )
    names = {"Time": ""} | labels
    panel.override_by_name(next(iter(labels.values())), [_property("custom.width", 280)])
    for column, ref in _refs(columns):
        panel.with_target(_now(Query(column.expr), ref).format(PromQueryFormat.TABLE))
        names[f"Value #{ref}"] = column.title
        properties = [_property("unit", column.unit)]
        if column.steps:
            levels = steps(column.steps).build().to_json()
            properties += [
                _property("thresholds", levels),
                _property("custom.cellOptions", {"type": "color-text"}),
            ]
        panel.override_by_name(column.title, properties)
    return _joined(panel, names)


Joined = TypeVar("Joined", barchart.Panel, table.Panel)


def _joined(panel: Joined, names: dict[str, str]) -> Joined:
    """Make one table of the queries, with the columns in this order; those without a name go."""
    panel.with_transformation(dm.DataTransformerConfig(id_val="merge", options={}))
    options = {
        "excludeByName": {name: True for name, title in names.items() if not title},
        "indexByName": {name: index for index, name in enumerate(names)},
        "renameByName": {name: title for name, title in names.items() if title},
    }
    return panel.with_transformation(dm.DataTransformerConfig(id_val="organize", options=options))


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(cm.LegendDisplayMode.LIST)
        .placement(cm.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )


def _tooltip() -> common.VizTooltipOptions:
    mode, sort = cm.TooltipDisplayMode.MULTI, cm.SortOrder.DESCENDING
    return common.VizTooltipOptions().mode(mode).sort(sort)


def _colour(panel: timeseries.Panel | barchart.Panel, queries: Iterable[Query]) -> None:
    colours: dict[str, str] = {}
    for query in queries:
        colours |= by_name(query.legend, query.expr)
    for name, colour in colours.items():
        panel.override_by_name(name, [_property("color", {"mode": "fixed", "fixedColor": colour})])


def _base(panel: Plot, title: str, about: str, span: int, height: int) -> Plot:
    return panel.title(title).description(about).datasource(SOURCE).span(span).height(height)


def _range(query: Query, ref: str) -> prometheus.Dataquery:
    return _target(query, ref).range()


def _now(query: Query, ref: str) -> prometheus.Dataquery:
    return _target(query, ref).instant()


def _target(query: Query, ref: str) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery().datasource(SOURCE).ref_id(ref).expr(" ".join(query.expr.split()))
    )
    return target.legend_format(query.legend) if query.legend else target


def _ask(panel: timeseries.Panel, targets: Iterable[prometheus.Dataquery]) -> None:
    for target in targets:
        panel.with_target(target)


Item = TypeVar("Item")


def _refs(items: Sequence[Item]) -> list[tuple[Item, str]]:
    return [(item, chr(ord("A") + index)) for index, item in enumerate(items)]


def _property(name: str, value: Any) -> dm.DynamicConfigValue:
    return dm.DynamicConfigValue(id_val=name, value=value)
