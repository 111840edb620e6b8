"""What happens to consumers and workers, as marks on every chart.

Each expression has a value at the one step after it happened. What was not there for a moment, as a
scrape was missed, has neither started nor ended; and a counter that was not there before counts
from 0, which `increase` does not know.
"""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as dm

from grafana.colours import BLUE, GREEN, ORANGE, PURPLE, RED
from grafana.promql import STEP
from grafana.queries import SOURCE
from heori_common import metrics

# Why the code replaces a worker that is well; all other reasons are deaths.
RECYCLED = "recycle-after|max-rss|max-files|max-threads"

INFO, RESTARTS, DRAINING = metrics.CONSUMER_INFO, metrics.RESTARTS, metrics.DRAINING
_EARLIER = "[5m] offset $__interval"
_SIZE = {
    "processes": metrics.AUTO_PROCESSES,
    "slots": metrics.AUTO_SLOTS,
    "coroutines": metrics.AUTO_COROUTINES,
}


def _rise(counter: str, label: str) -> str:
    before = f"(max_over_time({counter}{_EARLIER}) or {counter} * 0)"
    return f"sum by (consumer, {label}) ({counter} - {before}) > 0"


def _replaced(matcher: str) -> str:
    return _rise(f"{RESTARTS}{{{matcher}}}", "reason")


def _moved() -> str:
    """The sizes become labels of what is asked for alone: no series has them."""
    moved = f"({_rise(str(metrics.AUTO_CAUSES), 'cause')})"
    for name, metric in _SIZE.items():
        for label, value in (
            (name, metric),
            (f"{name}_before", f"last_over_time({metric}{_EARLIER})"),
        ):
            number = f'count_values by (consumer) ("{label}", {value})'
            moved = f"{moved} * on (consumer) group_left ({label}) {number}"
    return moved


# By their names: the expression, what a mark says, and its colour.
MARKS = {
    "Sizes": (
        _moved(),
        (
            "{{consumer}}: {{processes_before}} × {{slots_before}} × {{coroutines_before}} → "
            "{{processes}} × {{slots}} × {{coroutines}}: {{cause}}"
        ),
        BLUE,
    ),
    "Starts": (
        f"{INFO} unless on (consumer) max_over_time({INFO}{_EARLIER})",
        "{{consumer}} has started",
        GREEN,
    ),
    "Ends": (
        f"last_over_time({INFO}[1m] offset $__interval) unless last_over_time({INFO}[1m])",
        "{{consumer}} is gone since a minute",
        PURPLE,
    ),
    "Drains": (
        f"{DRAINING} - max_over_time({DRAINING}{_EARLIER}) > 0",
        "{{consumer}} drains",
        ORANGE,
    ),
    "Deaths": (
        _replaced(f'reason!~"{RECYCLED}"'),
        "A worker of {{consumer}} died: {{reason}}",
        RED,
    ),
    "Recycling": (
        _replaced(f'reason=~"{RECYCLED}"'),
        "A worker of {{consumer}} was recycled: {{reason}}",
        BLUE,
    ),
}


class _Mark(Builder[dm.AnnotationQuery]):
    """A kind of marks; the SDK's own builder knows no expression."""

    def __init__(self, name: str, expr: str, says: str, colour: str) -> None:
        self._made = dm.AnnotationQuery(
            name, SOURCE, True, icon_color=colour, expr=expr, title_format=says, step=STEP
        )

    def build(self) -> dm.AnnotationQuery:
        """The kind."""
        return self._made


def annotate(board: dashboard.Dashboard) -> None:
    """Draw the marks; a switch at the top of the dashboard hides each kind."""
    for name, mark in MARKS.items():
        board.annotation(_Mark(name, *mark))
