"""What panels ask Prometheus for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models import common as cm
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.promql import STEP, share

SOURCE = cm.DataSourceRef(type_val="prometheus", uid="${source}")

SHARE = "percentunit"  # a share of one, shown as a percentage


@dataclass(frozen=True, slots=True)
class Query:
    """An expression in PromQL, and the name of its series in the legend."""

    expr: str
    legend: str = ""

    def in_unit(self, unit: str) -> "Query":
        """What is shown as a share is at most all."""
        return replace(self, expr=share(self.expr)) if unit == SHARE else self

    def over_time(self, ref: str) -> prometheus.Dataquery:
        """As a panel asks it that shows a course."""
        return self._target(ref).range()

    def now(self, ref: str) -> prometheus.Dataquery:
        """As a panel asks it that shows the latest value."""
        return self._target(ref).instant()

    def as_table(self, ref: str) -> prometheus.Dataquery:
        """The latest values, with their labels as columns."""
        return self.now(ref).format(PromQueryFormat.TABLE)

    def _target(self, ref: str) -> prometheus.Dataquery:
        expr = " ".join(self.expr.split())
        target = prometheus.Dataquery().datasource(SOURCE).ref_id(ref).expr(expr).interval(STEP)
        return target.legend_format(self.legend) if self.legend else target


Item = TypeVar("Item")


def refs(items: Sequence[Item]) -> list[tuple[Item, str]]:
    """Each with the letter that it has in its panel."""
    return [(item, chr(ord("A") + index)) for index, item in enumerate(items)]
