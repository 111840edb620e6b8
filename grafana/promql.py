"""Pieces of PromQL that many panels share."""

from heori_common import metrics
from heori_common.metrics import Metric

# What a rate is taken over: a minute, or more when zoomed out. Four times the shortest step, which
# is the data source's scrape interval unless a query says more, as all of these do: four scrapes of
# five seconds would have every line jump.
RATE = "[$__rate_interval]"
STEP = "15s"
SHOWN = "[$__range]"  # all of the time shown

NONE = "(none)"  # the name of a line that is there when there is nothing to show


def quantile(share: float, histogram: Metric, matchers: str, *by: str, over: str = RATE) -> str:
    """The value that so large a share of a histogram's observations stays below, if there are any.

    Of none, Prometheus says that it is no number, which no panel can show.
    """
    kept = ", ".join(("le", *by))
    rates = f"rate({histogram}_bucket{{{matchers}}}{over})"
    return f"histogram_quantile({share}, sum by ({kept}) ({rates})) >= 0"


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


def share(part: str) -> str:
    """A share of one: what is sampled at two moments may add up to more, and is no more."""
    return f"clamp_max({part}, 1)"


def by_model(of_consumers: str, matchers: str = "") -> str:
    """The sum over the consumers of each model, of an expression that has a value for each.

    Args:
        matchers: of what consumers tell of themselves, when not all of them count.
    """
    info = f"{metrics.CONSUMER_INFO}{{{matchers}}}" if matchers else metrics.CONSUMER_INFO
    return f"sum by (model) ({of_consumers} * on (consumer) group_left (model) {info})"
