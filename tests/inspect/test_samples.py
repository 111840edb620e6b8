"""What consumers say in Prometheus' text format is read as it was meant, or refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from heori.inspect.scraper import Samples
from heori_common.metrics import Metric

HELD = Metric("heori_held", "gauge", "held")
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["", "{", "}", '"', "\\", "\\n", "\n", "} 1", '",a="', "a} 5 6", "x" * 2000]
)


def read(registry: CollectorRegistry) -> Samples:
    return Samples(generate_latest(registry).decode(), 0.0)


@given(st.dictionaries(st.tuples(ANYTHING, ANYTHING), st.floats(allow_nan=False)))
def test_labels_of_any_text_are_read(values: dict[tuple[str, str], float]) -> None:
    registry = CollectorRegistry()
    gauge = Gauge(HELD.name, HELD.help, ["task", "outcome"], registry=registry)
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
    samples = read(registry)
    for (task, outcome), value in values.items():
        told = samples.get(HELD, task=task, outcome=outcome)
        assert told == (value if math.isfinite(value) else 0)
    finite = [task for (task, _), value in values.items() if math.isfinite(value)]
    assert set(samples.values(HELD, "task")) == set(finite)


def test_every_kind_is_read() -> None:
    registry = CollectorRegistry()
    Counter("heori_c", "counts", registry=registry).inc(3)
    times = Histogram("heori_h", "times", ["task"], registry=registry)
    for seconds in (1.0, 2.0):
        times.labels("a").observe(seconds)
    samples = read(registry)
    seconds_of = Metric("heori_h", "histogram", "times")
    assert samples.get(Metric("heori_c_total", "counter", "counts")) == 3
    assert samples.mean(seconds_of, None, task="a") == 1.5
    assert samples.counted(seconds_of) == 2


@pytest.mark.parametrize(
    "line",
    ["x", "x y", "<html>", "{} 1", "x{a=1} 1", 'x{a="1" 1', 'x{a="b"}1', 'x{a="b} 1', "1x 1", "x{"],
)
def test_what_is_none_is_refused(line: str) -> None:
    for before in ("", "# HELP x y\nx 1.0\n"):
        with pytest.raises(ValueError, match=r"\S"):
            Samples(before + line, 0.0)
