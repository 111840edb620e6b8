"""Tables: a row for each task, consumer or alert."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import dashboard as dm

from grafana import links
from grafana.panels import DECIMALS, Steps, base, joined, setting, steps
from grafana.queries import Query, refs

_NOTHING = "-"  # in a cell that has no value


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table: an expression that gives one value for each row.

    One without a title is not shown, and brings the labels that other columns lack.
    """

    title: str
    expr: str
    unit: str
    steps: Steps = ()  # colours the number


def rows_of(
    title: str,
    about: str,
    labels: dict[str, str],
    columns: Sequence[TableColumn],
    *,
    empty: str,
    highest: str,
    span: int = 24,
    height: int = 10,
) -> table.Panel:
    """A table: one row for each combination of labels, one column for each expression.

    Names of tasks, consumers and the like lead on to what they name.

    Args:
        labels: what a label's column is called.
        highest: the column by which rows are sorted.
    """
    panel = base(table.Panel(), title, about, "short", empty, span, height).min_width(80)
    panel.sort_by([common.TableSortByFieldState().display_name(highest).desc(True)])
    dash = dm.ValueMappingResult(text=_NOTHING, index=0)
    panel.mappings(
        [dm.SpecialValueMap(dm.DashboardSpecialValueMapOptions(dm.SpecialValueMatch.NA_N, dash))]
    )
    names = {"Time": ""} | labels
    for label, name in labels.items():
        properties = [setting("noValue", _NOTHING), setting("links", links.of_value(label))]
        panel.override_by_name(name, properties)
    if len(columns) > 2:
        panel.override_by_name(next(iter(labels.values())), [setting("custom.width", 280)])
    for column, ref in refs(columns):
        panel.with_target(Query(column.expr).in_unit(column.unit).as_table(ref))
        names[f"Value #{ref}" if len(columns) > 1 else "Value"] = column.title
        properties = [setting("unit", column.unit), setting("noValue", _NOTHING)]
        if column.unit in DECIMALS:
            properties.append(setting("decimals", DECIMALS[column.unit]))
        if column.steps:
            levels = steps(column.steps).build().to_json()
            properties += [
                setting("thresholds", levels),
                setting("custom.cellOptions", {"type": "color-text"}),
            ]
        panel.override_by_name(column.title, properties)
    return joined(panel, names)
