"""The kinds of panels that the dashboards are made of, alike wherever they are used.

Each panel says in words why it is empty when it is.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    dashboard,
    heatmap,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import text as texts
from grafana_foundation_sdk.models import common as cm
from grafana_foundation_sdk.models import dashboard as dm
from grafana_foundation_sdk.models import heatmap as hm
from grafana_foundation_sdk.models import text as tm
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana import links
from grafana.colours import BLUE, GREY, RED, by_name
from grafana.queries import SHARE, SOURCE, Query, refs

EACH_SECOND, EACH_MINUTE = "count:/s", "count:/min"
JOBS_EACH_SECOND, CALLS_EACH_SECOND = "count:jobs/s", "count:calls/s"
CORES = "suffix:cores"
COUNT = "none"  # a whole number
DECIMALS = {COUNT: 0, CORES: 2}  # more of them only tire; all other units choose for themselves

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


def steps(levels: Steps) -> dashboard.ThresholdsConfig:
    """From which value on which colour."""
    return (
        dashboard.ThresholdsConfig()
        .mode(dm.ThresholdsMode.ABSOLUTE)
        .steps([dm.Threshold(value=value, color=colour) for value, colour in levels])
    )


def text(markdown: str, *, span: int = 24, height: int = 3) -> texts.Panel:
    """Some sentences, such as what the panels below it show."""
    panel = texts.Panel().title("").transparent(True).span(span).height(height)
    return panel.mode(tm.TextMode.MARKDOWN).content(markdown)


def number(
    title: str,
    about: str,
    unit: str,
    query: str,
    levels: Steps = NEUTRAL,
    *,
    empty: str,
    span: int = 4,
) -> stat.Panel:
    """One number, large."""
    panel = _large(title, about, unit, Query(query, title), empty=empty, span=span)
    return panel.thresholds(steps(levels))


def words(
    title: str,
    about: str,
    query: Query,
    meanings: dict[str, tuple[str, str]],
    *,
    empty: str,
    span: int = 4,
) -> stat.Panel:
    """A number that stands for a word.

    Args:
        meanings: the word and its colour, by the number.
    """
    mapping = dm.ValueMap(
        options={
            value: dm.ValueMappingResult(text=word, color=colour, index=index)
            for index, (value, (word, colour)) in enumerate(meanings.items())
        }
    )
    panel = _large(title, about, COUNT, query, empty=empty, span=span)
    panel.mappings([mapping, _nothing(empty)])
    return panel.thresholds(steps(NEUTRAL)).text_mode(cm.BigValueTextMode.VALUE)


def best(
    title: str, about: str, unit: str, *queries: Query, empty: str, span: int, height: int
) -> stat.Panel:
    """A name, large, and a number that belongs to it, such as by how much it is the best."""
    panel = _large(title, about, unit, *queries, empty=empty, span=span, height=height)
    panel.thresholds(steps(NEUTRAL)).text_mode(cm.BigValueTextMode.VALUE_AND_NAME)
    _colour(panel, queries)
    return panel


def _large(
    title: str, about: str, unit: str, *queries: Query, empty: str, span: int, height: int = 4
) -> stat.Panel:
    panel = base(stat.Panel(), title, about, unit, empty, span, height)
    for query, ref in refs(queries):
        panel.with_target(query.in_unit(unit).now(ref))
    return (
        panel.mappings([_nothing(empty)])
        .color_mode(cm.BigValueColorMode.VALUE)
        .graph_mode(cm.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _nothing(empty: str) -> dm.SpecialValueMap:
    """That there is no value is neither good nor bad."""
    said = dm.ValueMappingResult(text=empty, color=GREY)
    match = dm.SpecialValueMatch.NULL_AND_NAN
    return dm.SpecialValueMap(dm.DashboardSpecialValueMapOptions(match, said))


def lines(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    empty: str,
    span: int = 12,
    height: int = 10,
    limit: float | None = None,
    reach: float | None = None,
    decades: bool = False,
    shade: str | None = None,
) -> timeseries.Panel:
    """Lines over time.

    Args:
        shade: the colour of whose shades lines are that have no meaning of their own: red where
            each of them is bad.
        limit: where too much begins; drawn as a dashed red line.
        reach: how far up the axis goes at least, so that a small value looks small.
        decades: whether values span several, so that each gets as much room. There is none for 0:
            a line that leaves the panel at its bottom is at 0.
    """
    panel = base(timeseries.Panel(), title, about, unit, empty, span, height)
    panel.line_width(2).fill_opacity(0 if decades else 8).show_points(cm.VisibilityMode.NEVER)
    mode = dm.FieldColorModeId.SHADES if shade else dm.FieldColorModeId.PALETTE_CLASSIC
    colour = dashboard.FieldColor().mode(mode)
    panel.span_nulls(False).color_scheme(colour.fixed_color(shade) if shade else colour)
    panel.legend(_legend("lastNotNull", "max")).tooltip(_tooltip())
    _link(panel, queries)
    if decades:
        panel.scale_distribution(
            common.ScaleDistributionConfig().type(cm.ScaleDistribution.LOG).log(10)
        )
    else:
        panel.min(0)
    if reach is not None:
        panel.axis_soft_max(reach)
    elif unit == SHARE:
        panel.max(1)
    if limit is not None:
        panel.thresholds(steps([(None, "transparent"), (limit, RED)])).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(cm.GraphThresholdsStyleMode.DASHED)
        )
    for query, ref in refs(queries):
        panel.with_target(query.in_unit(unit).over_time(ref))
    _colour(panel, queries)
    return panel


def stacked(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    empty: str,
    span: int = 12,
    height: int = 10,
) -> timeseries.Panel:
    """Parts of a whole over time, one upon the other."""
    panel = lines(title, about, unit, *queries, empty=empty, span=span, height=height)
    return (
        panel.line_width(0)
        .fill_opacity(75)
        .stacking(common.StackingConfig().mode(cm.StackingMode.NORMAL).group("A"))
    )


def dashed(panel: timeseries.Panel, name: str) -> timeseries.Panel:
    """Draw one series as a dashed line that is not filled: a bound for the others."""
    return panel.override_by_name(
        name,
        [
            setting("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
            setting("custom.lineWidth", 2),
            setting("custom.fillOpacity", 0),
            setting("custom.stacking", {"mode": "none", "group": "bound"}),
        ],
    )


def shares(
    title: str,
    about: str,
    unit: str,
    label: str,
    *queries: Query,
    empty: str,
    span: int = 12,
    height: int = 10,
) -> barchart.Panel:
    """For each value of a label one bar, made up of what the queries give."""
    panel = base(barchart.Panel(), title, about, unit, empty, span, height).min(0)
    panel.orientation(cm.VizOrientation.HORIZONTAL).stacking(cm.StackingMode.NORMAL)
    panel.fill_opacity(75).line_width(0).bar_width(0.8).show_value(cm.VisibilityMode.NEVER)
    panel.legend(_legend()).tooltip(_tooltip()).x_field(label)
    if unit == SHARE:
        panel.max(1)
    names = {"Time": ""}
    for query, ref in refs(queries):
        panel.with_target(Query(query.expr).in_unit(unit).as_table(ref))
        names[f"Value #{ref}"] = query.legend
    _colour(panel, queries)
    return joined(panel, names)


def bars(
    title: str,
    about: str,
    unit: str,
    query: Query,
    levels: Steps = NEUTRAL,
    *,
    empty: str,
    span: int = 12,
    height: int = 10,
) -> bargauge.Panel:
    """The latest value of each series as a bar."""
    panel = base(bargauge.Panel(), title, about, unit, empty, span, height)
    panel.min(0).thresholds(steps(levels)).with_target(query.in_unit(unit).now("A"))
    panel.orientation(cm.VizOrientation.HORIZONTAL).display_mode(cm.BarGaugeDisplayMode.BASIC)
    panel.text(common.VizTextDisplayOptions().title_size(14).value_size(20))
    panel.value_mode(cm.BarGaugeValueMode.COLOR).reduce_options(
        common.ReduceDataOptions().calcs(["lastNotNull"])
    )
    _colour(panel, [query])
    _link(panel, [query])
    return panel.max(1) if unit == SHARE else panel


def spread(
    title: str,
    about: str,
    unit: str,
    expr: str,
    *,
    empty: str,
    span: int = 12,
    height: int = 9,
) -> heatmap.Panel:
    """How often which value occurs, over time; the expression is summed by le."""
    query = Query(expr, "{{le}}").over_time("A").format(PromQueryFormat.HEATMAP)
    return (
        base(heatmap.Panel(), title, about, unit, empty, span, height)
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


def _legend(*figures: str) -> common.VizLegendOptions:
    """With figures a table, and what is highest now comes first."""
    mode = cm.LegendDisplayMode.TABLE if figures else cm.LegendDisplayMode.LIST
    legend = common.VizLegendOptions().display_mode(mode).calcs(list(figures)).show_legend(True)
    if figures:
        legend.sort_by("Last *").sort_desc(True)
    return legend.placement(cm.LegendPlacement.BOTTOM)


def _tooltip() -> common.VizTooltipOptions:
    mode, sort = cm.TooltipDisplayMode.MULTI, cm.SortOrder.DESCENDING
    return common.VizTooltipOptions().mode(mode).sort(sort)


def _link(panel: bargauge.Panel | timeseries.Panel, queries: Iterable[Query]) -> None:
    if found := links.of_series(query.legend for query in queries):
        panel.override_by_regexp(".*", [setting("links", found)])


def _colour(
    panel: barchart.Panel | bargauge.Panel | stat.Panel | timeseries.Panel,
    queries: Iterable[Query],
) -> None:
    colours: dict[str, str] = {}
    for query in queries:
        colours |= by_name(query.legend, query.expr)
    for name, colour in colours.items():
        panel.override_by_name(name, [setting("color", {"mode": "fixed", "fixedColor": colour})])


Joined = TypeVar("Joined", barchart.Panel, table.Panel)


def joined(panel: Joined, names: dict[str, str]) -> Joined:
    """Make one table of the queries, with the columns in this order; those without a name go."""
    panel.with_transformation(dm.DataTransformerConfig(id_val="merge", options={}))
    options = {
        "excludeByName": {name: True for name, title in names.items() if not title},
        "indexByName": {name: index for index, name in enumerate(names)},
        "renameByName": {name: title for name, title in names.items() if title},
    }
    return panel.with_transformation(dm.DataTransformerConfig(id_val="organize", options=options))


def base(
    panel: Plot, title: str, about: str, unit: str, empty: str, span: int, height: int
) -> Plot:
    """What all kinds have in common."""
    panel.title(title).description(about).datasource(SOURCE).span(span).height(height)
    panel.unit(unit).no_value(empty)
    return panel.decimals(DECIMALS[unit]) if unit in DECIMALS else panel


def setting(name: str, value: Any) -> dm.DynamicConfigValue:
    """A setting of some of a panel's series or columns."""
    return dm.DynamicConfigValue(id_val=name, value=value)
