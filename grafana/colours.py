"""A colour means the same on every dashboard; what has no meaning gets one from the palette."""

import re

from grafana.promql import NONE

GREEN, RED, BLUE, ORANGE, PURPLE, GREY = "green", "red", "blue", "orange", "purple", "#8e8e8e"
YELLOW = "yellow"

# By the name that a series has in the legend.
MEANINGS = {
    "running": GREEN,
    "waiting for the GIL": RED,
    "waiting for I/O": BLUE,
    "waiting, not told for what": GREY,
    "came in": BLUE,
    "claimed": GREEN,
    "half": "#73bff2",
    "95%": BLUE,
    "99%": PURPLE,
    "given back": ORANGE,
    "late": ORANGE,
    "lost": RED,
    "expired": ORANGE,
    "taken away": PURPLE,
    "refused": PURPLE,
    "rejected": RED,
    "dropped": ORANGE,
    "gone": PURPLE,
    "dead letters": RED,
    "deadlocks": RED,
    "fenced off": ORANGE,
    "usable": GREY,
    "places that wait for a worker": ORANGE,
    "moved": BLUE,
    "behind": BLUE,
    "either": GREY,
    "without a lock": RED,
    "with a lock": GREEN,
    "without a bound": ORANGE,
    "with a bound": BLUE,
    "pending": BLUE,
    "result": GREEN,
    "exception": RED,
    "cancelled": PURPLE,
    "in Python": RED,
    "hashing": BLUE,
    NONE: GREY,
}
# By the value of the label that names a series in the legend.
MEANINGS_BY_LABEL = {
    "outcome": {
        "succeeded": GREEN,
        "failed": RED,
        "retried": ORANGE,
        "stopped": PURPLE,
        "lost": GREY,
    },
    "registry": {
        "started": GREEN,
        "scheduled": BLUE,
        "deferred": PURPLE,
        "failed": RED,
        "canceled": GREY,
    },
    "reason": {
        "recycle-after": GREY,
        "max-rss": GREY,
        "max-files": ORANGE,
        "max-threads": ORANGE,
    },
    "kind": {"voluntary": BLUE, "involuntary": ORANGE},
    "model": {
        "threads": BLUE,
        "processes": PURPLE,
        "hybrid": ORANGE,
        "asyncio": GREEN,
        "auto": YELLOW,
        "inline": GREY,
    },
}


def by_name(legend: str, expression: str) -> dict[str, str]:
    """The colours of the names that a query's series can have and that have a meaning."""
    known = [legend, *(name for name in (NONE,) if name in expression)]
    found = {name: MEANINGS[name] for name in known if name in MEANINGS}
    for label in re.findall(r"\{\{(\w+)\}\}", legend):
        found |= MEANINGS_BY_LABEL.get(label, {})
    return found
