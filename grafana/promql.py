"""Pieces of PromQL that many panels share."""

from heori_common.metrics import Metric

RATE = "[$__rate_interval]"  # what a rate is taken over: four scrapes, or more when zoomed out
SHOWN = "[$__range]"  # all of the time shown

NONE = "(none)"  # the name of a line that is there when there is nothing to show


def quantile(share: float, histogram: Metric, matchers: str, *by: str, over: str = RATE) -> str:
    """The value that so large a share of a histogram's observations stays below."""
    kept = ", ".join(("le", *by))
    rates = f"rate({histogram}_bucket{{{matchers}}}{over})"
    return f"histogram_quantile({share}, sum by ({kept}) ({rates}))"


def only_some(label: str, counter: str) -> str:
    """The rate of a counter for those values of a label for which it has risen in the time shown.

    When there are none, one line at zero says so.
    """
    rate, rise = (
        f"sum by ({label}) ({function}({counter}{window}))"
        for function, window in (("rate", RATE), ("increase", SHOWN))
    )
    nothing = f'label_replace(vector(0), "{label}", "{NONE}", "", "")'
    return f"({rate} and on ({label}) {rise} > 0) or on () {nothing}"
