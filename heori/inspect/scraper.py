"""Asks consumers for their metrics, without a Prometheus."""

from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families

from heori_common.metrics import Metric

AT_ONCE = 16  # consumers asked at the same time

Labels = frozenset[tuple[str, str]]

# Not through a proxy, should one be set: consumers are asked where they are.
_opener = build_opener(ProxyHandler({}))


class NoMetrics(Exception):
    """A consumer does not answer, or with something else than metrics; the message says why."""


class Samples:
    """The metrics of one consumer at one moment."""

    def __init__(self, text: str) -> None:
        """Read an exposition.

        Raises:
            ValueError: it is none.
        """
        self._values: dict[str, dict[Labels, float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            for name, labels, value, *_ in family.samples:
                self._values[name][frozenset(labels.items())] = value

    def get(self, metric: Metric, **labels: str) -> float:
        """Its value, summed over the labels that are not given; 0 when it is not there."""
        wanted = labels.items()
        return sum(value for key, value in self._values[metric.name].items() if wanted <= set(key))

    def mean(self, metric: Metric, since: "Samples | None", **labels: str) -> float | None:
        """The mean of a histogram's values since another moment; None when there were none."""
        count, total = (self._part(metric, part, labels) for part in ("_count", "_sum"))
        if since is not None:
            count -= since._part(metric, "_count", labels)
            total -= since._part(metric, "_sum", labels)
        return total / count if count > 0 else None

    def counted(self, metric: Metric, **labels: str) -> float:
        """How many values a histogram has."""
        return self._part(metric, "_count", labels)

    def values(self, metric: Metric, label: str) -> list[str]:
        """The values that a label has, in order."""
        names = {metric.name, f"{metric.name}_count"}
        found = {dict(key).get(label) for name in names for key in self._values[name]}
        return sorted((each for each in found if each is not None), key=_numbers_first)

    def _part(self, metric: Metric, part: str, labels: Mapping[str, str]) -> float:
        values = self._values[metric.name + part]
        return sum(value for key, value in values.items() if labels.items() <= set(key))


def scrape(url: str, timeout: float) -> Samples:
    """Ask one consumer.

    Args:
        url: of its HTTP server, without a path.
        timeout: seconds to wait for each part of the answer.

    Raises:
        NoMetrics: it does not answer, or not with metrics.
    """
    if not url.startswith("http://"):  # a stock worker; or anything else that was written there
        raise NoMetrics(f"{url!r} is no address of a consumer's metrics")
    try:
        with _opener.open(f"{url}/metrics", timeout=timeout) as answer:
            return Samples(answer.read().decode())
    except (OSError, HTTPException, ValueError) as error:
        raise NoMetrics(f"{url}/metrics does not answer: {error}") from error


def scrape_all(urls: Mapping[str, str], timeout: float) -> dict[str, Samples]:
    """Ask many consumers at once; those that do not answer are left out.

    Args:
        urls: of their HTTP servers, by the consumers' names.
        timeout: as for one.
    """

    def ask(url: str) -> Samples | None:
        try:
            return scrape(url, timeout)
        except NoMetrics:
            return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = zip(urls, pool.map(ask, urls.values()), strict=True)
        return {name: samples for name, samples in found if samples is not None}


def _numbers_first(text: str) -> tuple[int, int, str]:
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)
